/**
 * The root module of a watcher: buries threads on behalf of a thread that is
 * blocked and so cannot watch its workers itself.
 *
 * It is told of the workers of that thread, so that it can also say how they ended, and
 * finds in the table of the living all others: those that a worker has started, which has
 * ended and taken them with it, nobody else may be able to notice.
 *
 * @module
 */

import {
  buryIn,
  CHANGED,
  ENDED,
  endWith,
  heldLocks,
  holdersIn,
  KILLED,
  lifeLockName,
  STARTING,
  stateOf,
  STOP,
} from "./_life.ts";
import { onSlack } from "./_leash.ts";
import { SLICE_MS, wake } from "./_park.ts";

const { load } = Atomics;

/** A worker to watch. */
export interface WatchMessage {
  program: string;
  table: SharedArrayBuffer;
  token: number;
  control: SharedArrayBuffer;
  /** Where the life lock does not tell of its end. */
  leash: MessagePort | undefined;
}

const watched = new Map<number, WatchMessage>();
let program = "";
let table: Int32Array | undefined;

async function look(): Promise<void> {
  if (table === undefined) return;
  const expected = new Set(holdersIn(table));
  for (const { token, control } of watched.values()) {
    // One that never came to hold its lock has run no code of the user.
    if (stateOf(new Int32Array(control)) !== STARTING) expected.add(token);
  }
  if (expected.size === 0) return;
  const names = await heldLocks();
  for (const token of expected) {
    if (names.has(lifeLockName(token, program))) continue;
    const worker = watched.get(token);
    watched.delete(token);
    buryIn(table, token);
    if (worker !== undefined) noteEnd(worker);
  }
}

function noteEnd(worker: WatchMessage): void {
  const control = new Int32Array(worker.control);
  if (stateOf(control) === ENDED) return;
  endWith(control, load(control, STOP) || KILLED);
  wake(control, CHANGED, Infinity);
}

function watch(worker: WatchMessage): void {
  const { token, leash } = worker;
  const words = table ??= new Int32Array(worker.table);
  program = worker.program;
  if (leash === undefined) {
    watched.set(token, worker);
    return;
  }
  onSlack(leash, () => {
    buryIn(words, token);
    noteEnd(worker);
  });
}

if (import.meta.main) {
  globalThis.addEventListener("message", (event) => {
    watch((event as MessageEvent<WatchMessage>).data);
  });
  setInterval(look, SLICE_MS / 2);
}
