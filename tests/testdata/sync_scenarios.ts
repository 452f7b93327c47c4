/**
 * What the workers of the primitives' tests do. Every scenario gets words shared
 * with the test, its options, and handles.
 *
 * @module
 */

import { PENDING, waitSync, wake } from "../../_park.ts";
import type { Barrier } from "../../barrier.ts";
import type { Condition } from "../../condition.ts";
import type { Event } from "../../event.ts";
import type { Lock, RLock } from "../../lock.ts";
import type { Semaphore, SemaphoreGuard } from "../../semaphore.ts";
import { seeded } from "../_words.ts";
import { DEADLINE } from "../_within.ts";

const { add, compareExchange, load, store, sub } = Atomics;

/** Waits for the other side by spinning: scenarios drive interleavings, they do not sleep. */
export function spinUntil(words: Int32Array, at: number, value: number): void {
  const deadline = performance.now() + DEADLINE;
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

/** Takes the lock, says so, and goes on holding it: blocked or not. */
export async function lockAndStay(
  words: Int32Array,
  options: { how: "await" | "return" | "block" },
  lock: Lock | RLock,
): Promise<void> {
  lock.acquireSync();
  store(words, 0, 1);
  Atomics.notify(words, 0);
  if (options.how === "await") await new Promise(() => {});
  if (options.how === "block") Atomics.wait(words, 3, 0, DEADLINE);
}

/** Waits for the lock with a blocking call and says what it got. */
export function lockOnce(
  words: Int32Array,
  _options: unknown,
  lock: Lock | RLock,
): boolean {
  add(words, 0, 1);
  using guard = lock.acquireSync({ timeout: DEADLINE });
  return guard.abandoned;
}

/** Releases a lock that another thread holds. */
export function lockRelease(
  _words: Int32Array,
  _options: unknown,
  lock: Lock | RLock,
): string {
  try {
    lock.release();
    return "released";
  } catch (error) {
    return (error as Error).name;
  }
}

/** Random acquisitions with timeouts and aborts; nobody inside with another. */
export async function lockChaos(
  words: Int32Array,
  options: { rounds: number; threads: number; index: number },
  lock: Lock | RLock,
): Promise<{ taken: number; overlaps: number }> {
  const below = seeded(options.index + 7);
  add(words, 0, 1);
  spinUntil(words, 0, options.threads);
  let taken = 0;
  let overlaps = 0;
  for (let round = 0; round < options.rounds; round++) {
    let guard: Disposable | undefined;
    try {
      switch (below(5)) {
        case 0:
          guard = lock.tryAcquire();
          break;
        case 1:
          guard = lock.acquireSync({ timeout: below(3) });
          break;
        case 2:
          guard = await lock.acquire({ timeout: below(3) });
          break;
        case 3: {
          const controller = new AbortController();
          const wait = lock.acquire({ signal: controller.signal });
          if (below(2) === 0) await Promise.resolve();
          controller.abort(new DOMException("Not wanted", "TimeoutError"));
          guard = await wait;
          break;
        }
        default:
          guard = await lock.acquire();
      }
    } catch (error) {
      if ((error as Error).name !== "TimeoutError") throw error;
    }
    if (guard === undefined) continue;
    taken++;
    if (add(words, 1, 1) !== 0) overlaps++;
    if (below(4) === 0) await Promise.resolve();
    sub(words, 1, 1);
    guard[Symbol.dispose]();
  }
  return { taken, overlaps };
}

// -- Semaphore ----------------------------------------------------------------

/** Takes 1 to 3 permits in every way; words[1] is how many are out, words[2] the most. */
export async function semaphoreChaos(
  words: Int32Array,
  options: { rounds: number; threads: number; index: number; permits: number },
  semaphore: Semaphore,
): Promise<{ taken: number; overdrawn: number }> {
  const below = seeded(options.index + 99);
  add(words, 0, 1);
  spinUntil(words, 0, options.threads);
  let taken = 0;
  let overdrawn = 0;
  for (let round = 0; round < options.rounds; round++) {
    const permits = 1 + below(3);
    let guard: SemaphoreGuard | undefined;
    try {
      switch (below(5)) {
        case 0:
          guard = semaphore.tryAcquire({ permits });
          break;
        case 1:
          guard = semaphore.acquireSync({ permits, timeout: below(3) });
          break;
        case 2: {
          const controller = new AbortController();
          const wait = semaphore.acquire({
            permits,
            signal: controller.signal,
          });
          controller.abort(new DOMException("Not wanted", "TimeoutError"));
          guard = await wait;
          break;
        }
        case 3:
          guard = semaphore.acquireSync({ permits });
          break;
        default:
          guard = await semaphore.acquire({ permits });
      }
    } catch (error) {
      if ((error as Error).name !== "TimeoutError") throw error;
    }
    if (guard === undefined) continue;
    taken++;
    if (add(words, 1, permits) + permits > options.permits) overdrawn++;
    if (below(4) === 0) await Promise.resolve();
    sub(words, 1, permits);
    guard.release();
  }
  return { taken, overdrawn };
}

/** Takes and gives back single permits until told to stop: bad company for big requests. */
export function semaphoreHog(
  words: Int32Array,
  _options: unknown,
  semaphore: Semaphore,
): number {
  let rounds = 0;
  while (load(words, 3) === 0) {
    using _ = semaphore.acquireSync();
    add(words, 1, 1);
    if (++rounds === 1) add(words, 0, 1);
  }
  return rounds;
}

// -- Event --------------------------------------------------------------------

/** Waits for each of `rounds` pulses of the event; words[1] counts pulses seen. */
export async function eventFollow(
  words: Int32Array,
  options: { rounds: number; how: "sync" | "async" },
  event: Event,
): Promise<number> {
  for (let round = 0; round < options.rounds; round++) {
    if (options.how === "sync") {
      // Being in the wait is not visible from outside: announce, then wait; the
      // pulse comes only when all have announced, and may be too early.
      add(words, 0, 1);
      event.waitSync({ timeout: DEADLINE });
    } else {
      const wait = event.wait({ timeout: DEADLINE });
      add(words, 0, 1);
      await wait;
    }
    add(words, 1, 1);
    spinUntil(words, 2, round + 1);
  }
  return options.rounds;
}

/** Sets and clears as fast as it can until told to stop. */
export function eventFlicker(
  words: Int32Array,
  _options: unknown,
  event: Event,
): void {
  add(words, 0, 1);
  while (load(words, 3) === 0) {
    event.set();
    event.clear();
  }
}

// -- Condition ----------------------------------------------------------------

/**
 * Takes items that are counted in words[1] (plain, under the lock) until words[2] says
 * that no more will come; returns how many it got.
 */
export async function conditionConsume(
  words: Int32Array,
  options: { how: "sync" | "async" | "mixed"; index: number },
  condition: Condition,
): Promise<number> {
  let got = 0;
  add(words, 0, 1);
  for (let round = 0;; round++) {
    const isSync = options.how === "sync" ||
      options.how === "mixed" && round % 2 === options.index % 2;
    using _ = isSync ? condition.acquireSync() : await condition.acquire();
    if (isSync) condition.waitForSync(() => words[1]! > 0 || words[2]! > 0);
    else await condition.waitFor(() => words[1]! > 0 || words[2]! > 0);
    if (words[1]! === 0) return got;
    words[1] = words[1]! - 1;
    got++;
  }
}

/** Waits once, saying when it waits (under the lock) and when it was notified. */
export async function conditionWaitOnce(
  words: Int32Array,
  options: { how: "sync" | "async" },
  condition: Condition,
): Promise<string> {
  using _ = await condition.acquire();
  add(words, 0, 1);
  try {
    if (options.how === "sync") condition.waitSync({ timeout: DEADLINE });
    else await condition.wait({ timeout: DEADLINE });
  } catch (error) {
    return (error as Error).name;
  }
  add(words, 1, 1);
  return "notified";
}

// -- Barrier ------------------------------------------------------------------

/** Goes through rounds; words[1] counts arrivals, which all must have happened on leaving. */
export async function barrierRounds(
  words: Int32Array,
  options: {
    rounds: number;
    threads: number;
    index: number;
    how: "sync" | "async" | "mixed";
  },
  barrier: Barrier,
): Promise<number[]> {
  const indexes: number[] = [];
  for (let round = 0; round < options.rounds; round++) {
    add(words, 1, 1);
    const isSync = options.how === "sync" ||
      options.how === "mixed" && (round + options.index) % 2 === 0;
    const index = isSync
      ? barrier.waitSync({ timeout: DEADLINE })
      : await barrier.wait({ timeout: DEADLINE });
    if (load(words, 1) < (round + 1) * options.threads) {
      throw new Error("Left too early");
    }
    indexes.push(index);
  }
  return indexes;
}

/** Waits once and says how that ended. */
export async function barrierOnce(
  words: Int32Array,
  options: { how: "sync" | "async"; timeout?: number },
  barrier: Barrier,
): Promise<string> {
  add(words, 0, 1);
  const wait = options.timeout === undefined
    ? { timeout: DEADLINE }
    : { timeout: options.timeout };
  try {
    const index = options.how === "sync"
      ? barrier.waitSync(wait)
      : await barrier.wait(wait);
    return `index ${index}`;
  } catch (error) {
    return (error as Error).name;
  }
}

/** Arrives and returns without waiting for the outcome: the thread then dies. */
export function barrierDesert(
  words: Int32Array,
  _options: unknown,
  barrier: Barrier,
): void {
  barrier.wait().catch(() => {});
  add(words, 0, 1);
}

/** An action of a barrier that needs its module: it is found again by importing that. */
export function moduleAction(): void {
  seeded(1);
}

// -- Parking ------------------------------------------------------------------

/** Takes one of the permits that words[2] counts, blocking at the spot 0. */
export function parkTake(words: Int32Array): number {
  return waitSync("take", words, 0, () => {
    const value = load(words, 2);
    if (value === 0) return PENDING;
    return compareExchange(words, 2, value, value - 1) === value ? 1 : PENDING;
  });
}

/** Answers each permit with one more in words[6], at the spot 4. */
export function parkPong(
  words: Int32Array,
  options: { rounds: number },
): number {
  for (let round = 0; round < options.rounds; round++) {
    parkTake(words);
    add(words, 6, 1);
    wake(words, 4, 1);
  }
  return options.rounds;
}
