/**
 * What two workers do that fight for a lock: count, `counter[0]` being theirs both.
 *
 * @module
 */

import type { Lock } from "@parallel/multiprocessing";
import { meet } from "./work.ts";

/** Counts to `times`, blocking. */
export function countSync(
  lock: Lock,
  counter: Int32Array,
  arrived: Int32Array,
  parties: number,
  times: number,
): void {
  meet(arrived, parties);
  for (let i = 0; i < times; i++) {
    lock.acquireSync();
    counter[0] = counter[0]! + 1;
    lock.release();
  }
}

/** Counts to `times`, asynchronously. */
export async function countAsync(
  lock: Lock,
  counter: Int32Array,
  arrived: Int32Array,
  parties: number,
  times: number,
): Promise<void> {
  meet(arrived, parties);
  for (let i = 0; i < times; i++) {
    await lock.acquire();
    counter[0] = counter[0]! + 1;
    lock.release();
  }
}
