/**
 * How long workers take to start, measured in a program that imports little: of a
 * function that it sends, the library reads the modules it may come from.
 *
 * @module
 */

import { Pool } from "@parallel/multiprocessing";
import { answerParent, type Measurements, time } from "./_measure.ts";
import { MessagePool } from "./_post_message.ts";
import { meet } from "./testdata/work.ts";

function noneArrived(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(4));
}

/** Has all workers of a pool do a task, none of which ends before the others begin. */
export function allMeet(pool: Pool, workers = 2): Promise<number[]> {
  const arrived = noneArrived();
  return Promise.all(
    Array.from({ length: workers }, () => pool.apply(meet, [arrived, workers])),
  );
}

/** The same by hand, with two workers. */
export function bothMeetByHand(pool: MessagePool): Promise<unknown[]> {
  const arrived = noneArrived();
  return Promise.all([pool.call("meet", arrived), pool.call("meet", arrived)]);
}

/** From the start of two workers until both have done a task. */
export const START: Measurements = {
  poolStart: () => time(() => allMeet(new Pool(2))),
  workersStart: () => time(() => bothMeetByHand(MessagePool.start(2))),
};

if (import.meta.main) await answerParent(START);
