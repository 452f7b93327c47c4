/**
 * What the workers of the primitives' tests do. Every scenario gets words shared
 * with the test, its options, and handles.
 *
 * @module
 */

import type { Lock, RLock } from "../../lock.ts";

const { add, load, store } = Atomics;

/** Waits for the other side by spinning: scenarios drive interleavings, they do not sleep. */
export function spinUntil(words: Int32Array, at: number, value: number): void {
  const deadline = performance.now() + 5000;
  while (load(words, at) < value) {
    if (performance.now() > deadline) {
      throw new Error(`Word ${at} stays below ${value}`);
    }
    Atomics.pause();
  }
}

/** Adds to words[1] under the lock without atomics; words[0] counts those ready. */
export async function lockCount(
  words: Int32Array,
  options: {
    rounds: number;
    threads: number;
    how: "sync" | "async" | "mixed" | "timed";
  },
  lock: Lock | RLock,
): Promise<number> {
  add(words, 0, 1);
  spinUntil(words, 0, options.threads);
  let worst = 0;
  const began = performance.now();
  for (let round = 0; round < options.rounds; round++) {
    const before = options.how === "timed" ? performance.now() : 0;
    using _ =
      options.how === "async" || options.how === "mixed" && round % 2 === 0
        ? await lock.acquire()
        : lock.acquireSync();
    if (before) worst = Math.max(worst, performance.now() - before);
    words[1] = words[1]! + 1;
  }
  return options.how === "timed" ? worst : performance.now() - began;
}

/** The hot loop of the contended benchmark. */
export function lockHot(
  words: Int32Array,
  options: { rounds: number; threads: number },
  lock: Lock,
): number {
  add(words, 0, 1);
  spinUntil(words, 0, options.threads);
  const began = performance.now();
  for (let round = 0; round < options.rounds; round++) {
    lock.acquireSync();
    words[1] = words[1]! + 1;
    lock.release();
  }
  store(words, 2, 1);
  return performance.now() - began;
}
