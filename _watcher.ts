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
  EXIT,
  heldLocks,
  STARTING,
  STATE,
  STOP,
} from "./_life.ts";
import { SLICE_MS, wake } from "./_park.ts";

const { load, store } = Atomics;

/** A worker to watch. */
export interface WatchMessage {
  table: SharedArrayBuffer;
  token: number;
  control: SharedArrayBuffer;
  lock: string;
  /** Exit code of a thread that went without a word. */
  vanished: number;
}

const watched = new Map<number, WatchMessage>();

async function look(): Promise<void> {
  if (watched.size === 0) return;
  const names = await heldLocks();
  for (const worker of watched.values()) {
    const control = new Int32Array(worker.control);
    const state = load(control, STATE);
    if (names.has(worker.lock) || state === STARTING) continue;
    watched.delete(worker.token);
    buryIn(new Int32Array(worker.table), worker.token);
    if (state === ENDED) continue;
    store(control, EXIT, load(control, STOP) || worker.vanished);
    store(control, STATE, ENDED);
    wake(control, CHANGED, Infinity);
  }
}

if (import.meta.main) {
  globalThis.addEventListener("message", (event) => {
    const { data } = event as MessageEvent<WatchMessage>;
    watched.set(data.token, data);
  });
  setInterval(look, SLICE_MS / 2);
}
