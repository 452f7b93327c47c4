/**
 * Acquiring and releasing, against no lock and against what the platform has.
 *
 * @module
 */

import { Lock, Pool, RLock, Semaphore } from "@parallel/multiprocessing";
import { group } from "./_suite.ts";
import { countAsync, countSync } from "./testdata/locks.ts";

const lock = new Lock();
const rlock = new RLock();
const semaphore = new Semaphore(1);

// -- uncontended ----------------------------------------------------------------

const TIMES = 100_000;
const word = new Int32Array(new SharedArrayBuffer(4));
const counter = new Int32Array(new SharedArrayBuffer(4));

/** Counts to TIMES. */
function counted(once: () => void): () => number {
  return () => {
    counter[0] = 0;
    for (let i = 0; i < TIMES; i++) once();
    return counter[0]!;
  };
}

await group(`uncontended: ${TIMES} times, blocking`, [
  { name: "serial, no lock", run: counted(() => counter[0]!++) },
  {
    name: "Atomics.compareExchange and store",
    run: counted(() => {
      while (Atomics.compareExchange(word, 0, 0, 1) !== 0);
      counter[0]!++;
      Atomics.store(word, 0, 0);
    }),
  },
  {
    name: "Lock, acquireSync and release",
    run: counted(() => {
      lock.acquireSync();
      counter[0]!++;
      lock.release();
    }),
  },
  {
    name: "Lock, using acquireSync",
    run: counted(() => {
      using _held = lock.acquireSync();
      counter[0]!++;
    }),
  },
  {
    name: "Lock, using tryAcquire",
    run: counted(() => {
      using held = lock.tryAcquire();
      if (held !== undefined) counter[0]!++;
    }),
  },
  {
    name: "RLock, acquireSync and release",
    run: counted(() => {
      rlock.acquireSync();
      counter[0]!++;
      rlock.release();
    }),
  },
  {
    name: "Semaphore, acquireSync and release",
    run: counted(() => {
      semaphore.acquireSync();
      counter[0]!++;
      semaphore.release();
    }),
  },
], { runs: 20 });

// Its types are not in Deno's.
const { locks } = navigator as unknown as {
  locks: { request(name: string, run: () => unknown): Promise<unknown> };
};
const ASYNC_TIMES = 10_000;
await group(`uncontended: ${ASYNC_TIMES} times, async`, [
  {
    name: "serial, no lock",
    run: async () => {
      counter[0] = 0;
      for (let i = 0; i < ASYNC_TIMES; i++) {
        await undefined;
        counter[0]!++;
      }
      return counter[0];
    },
  },
  {
    name: "Lock, acquire and release",
    run: async () => {
      counter[0] = 0;
      for (let i = 0; i < ASYNC_TIMES; i++) {
        await lock.acquire();
        counter[0]!++;
        lock.release();
      }
      return counter[0];
    },
  },
  {
    name: "Semaphore, acquire and release",
    run: async () => {
      counter[0] = 0;
      for (let i = 0; i < ASYNC_TIMES; i++) {
        await semaphore.acquire();
        counter[0]!++;
        semaphore.release();
      }
      return counter[0];
    },
  },
  {
    name: "navigator.locks.request",
    run: async () => {
      counter[0] = 0;
      for (let i = 0; i < ASYNC_TIMES; i++) {
        await locks.request("bench", () => counter[0]!++);
      }
      return counter[0];
    },
  },
], { runs: 5 });

// -- 2 workers ------------------------------------------------------------------

const pool = new Pool(2);
const arrived = new Int32Array(new SharedArrayBuffer(4));

async function fight(
  count: typeof countSync | typeof countAsync,
  parties: number,
  total: number,
): Promise<number> {
  counter[0] = 0;
  arrived[0] = 0;
  const times = total / parties;
  await Promise.all(Array.from(
    { length: parties },
    () => pool.apply(count, [lock, counter, arrived, parties, times]),
  ));
  return counter[0];
}

for (
  const [count, how, total] of [
    [countSync, "blocking", 200_000],
    [countAsync, "async", 20_000],
  ] as const
) {
  await group(`contended: ${total} times, ${how}`, [
    { name: "serial, 1 worker", run: () => fight(count, 1, total) },
    { name: "2 workers", run: () => fight(count, 2, total) },
  ], { runs: 10 });
}
