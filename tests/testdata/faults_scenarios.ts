/**
 * What the threads do that `faults_worker.ts` ends at every step of it.
 *
 * @module
 */

import type { Barrier } from "../../barrier.ts";
import type { Condition } from "../../condition.ts";
import type { Event } from "../../event.ts";
import type { Lock, RLock } from "../../lock.ts";
import type { Connection } from "../../pipe.ts";
import type { JoinableQueue, Queue } from "../../queue.ts";
import type { Semaphore } from "../../semaphore.ts";
import { NOTE } from "./faults_steps.ts";
import { DEADLINE } from "../_within.ts";

const WAIT = { timeout: DEADLINE };

/** The first argument is the report; its words from NOTE on are free. */
// deno-lint-ignore no-explicit-any
type Act = (report: Int32Array, ...args: any[]) => unknown;

/** By name. */
export const acts: Record<string, Act> = {
  put: (_, queue: Queue<unknown>, item: unknown) => queue.putSync(item, WAIT),

  putAsync: (_, queue: Queue<unknown>, item: unknown) => queue.put(item, WAIT),

  get(report, queue: Queue<number>) {
    report[NOTE] = queue.getSync(WAIT);
  },

  async getAsync(report, queue: Queue<number>) {
    report[NOTE] = await queue.get(WAIT);
  },

  close: (_, queue: Queue<unknown>) => queue.close(),

  getAndDone(report, queue: JoinableQueue<number>) {
    report[NOTE] = queue.getSync(WAIT);
    queue.taskDone();
  },

  acquire(report, lock: Lock | RLock, depth: number) {
    const guards = [];
    for (let i = 0; i < depth; i++) guards.push(lock.acquireSync(WAIT));
    report[NOTE] = 1;
    for (const guard of guards) guard.release();
  },

  async acquireAsync(report, lock: Lock | RLock) {
    const guard = await lock.acquire(WAIT);
    report[NOTE] = 1;
    guard.release();
  },

  borrow(report, semaphore: Semaphore) {
    const guard = semaphore.acquireSync(WAIT);
    report[NOTE] = 1;
    guard.release();
  },

  waitCondition(report, condition: Condition) {
    using _ = condition.acquireSync(WAIT);
    condition.waitSync(WAIT);
    report[NOTE] = 1;
  },

  async waitConditionAsync(report, condition: Condition) {
    using _ = await condition.acquire(WAIT);
    await condition.wait(WAIT);
    report[NOTE] = 1;
  },

  notify(_, condition: Condition) {
    using __ = condition.acquireSync(WAIT);
    condition.notify();
  },

  set: (_, event: Event) => event.set(),

  setAndClear(_, event: Event) {
    event.set();
    event.clear();
  },

  waitEvent: (_, event: Event) => event.waitSync(WAIT),

  meet: (_, barrier: Barrier) => barrier.waitSync(WAIT),

  send: (_, end: Connection<unknown, unknown>, message: unknown) =>
    end.sendSync(message, WAIT),

  receive(report, end: Connection<unknown, number>) {
    report[NOTE] = end.recvSync(WAIT);
  },

  countUp: (_, proxy: { sync: { add(): number } }) => void proxy.sync.add(),
};
