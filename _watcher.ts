/**
 * The root module of a watcher: buries threads on behalf of a thread that is
 * blocked and so cannot watch its workers itself.
 *
 * @module
 */

import {
  buryIn,
  CHANGED,
  ENDED,
  endWith,
  heldLocks,
  STARTING,
  stateOf,
  STOP,
} from "./_life.ts";
import { onSlack } from "./_leash.ts";
import { SLICE_MS, wake } from "./_park.ts";

const { load } = Atomics;

/** A worker to watch. */
export interface WatchMessage {
  table: SharedArrayBuffer;
  token: number;
  control: SharedArrayBuffer;
  lock: string;
  /** Where the life lock does not tell of its end. */
  leash: MessagePort | undefined;
  /** Exit code of a thread that went without a word. */
  vanished: number;
}

const watched = new Map<number, WatchMessage>();

async function look(): Promise<void> {
  if (watched.size === 0) return;
  // One that never came to hold its lock has run no code of the user.
  const expected: WatchMessage[] = [];
  for (const worker of watched.values()) {
    const control = new Int32Array(worker.control);
    if (stateOf(control) !== STARTING) expected.push(worker);
  }
  if (expected.length === 0) return;
  const names = await heldLocks();
  for (const worker of expected) {
    if (names.has(worker.lock)) continue;
    watched.delete(worker.token);
    hasEnded(worker);
  }
}

function hasEnded(worker: WatchMessage): void {
  const control = new Int32Array(worker.control);
  buryIn(new Int32Array(worker.table), worker.token);
  if (stateOf(control) === ENDED) return;
  endWith(control, load(control, STOP) || worker.vanished);
  wake(control, CHANGED, Infinity);
}

if (import.meta.main) {
  globalThis.addEventListener("message", (event) => {
    const { data } = event as MessageEvent<WatchMessage>;
    if (data.leash === undefined) watched.set(data.token, data);
    else onSlack(data.leash, () => hasEnded(data));
  });
  setInterval(look, SLICE_MS / 2);
}
