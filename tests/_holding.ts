/**
 * Processes that end while they hold a lock.
 *
 * @module
 */

import { Lock } from "../lock.ts";
import { Process, type ProcessOptions } from "../process.ts";
import { DEADLINE } from "./_within.ts";
import { sharedWords } from "./_words.ts";
import { endHolding } from "./testdata/process_functions.ts";

/** How it ends: by itself, or not before the test sees to it. */
export type Ending = Parameters<typeof endHolding>[2];

/** A process that has a lock. */
export interface Holder {
  process: Process;
  lock: Lock;
  /** Those of {@linkcode endHolding}: it ends its spinning when word 1 is set. */
  words: Int32Array;
}

/**
 * Starts a process and waits until it has a lock. Blocks, for there are tests in which
 * main must not have turned its event loop since.
 */
export function startHolding(
  how: Ending,
  worker: ProcessOptions["worker"] = "web",
): Holder {
  const lock = new Lock();
  const words = sharedWords();
  const process = new Process({
    target: endHolding,
    args: [lock, words, how],
    worker,
  }).start();
  if (Atomics.wait(words, 0, 0, DEADLINE) === "timed-out") {
    throw new Error("Cannot test: the process did not take the lock in time");
  }
  return { process, lock, words };
}
