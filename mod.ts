/**
 * Python's `multiprocessing` for Deno: processes, pools, queues, locks and shared
 * memory, on workers with a thread each.
 *
 * ```ts
 * import * as mp from "@parallel/multiprocessing";
 * import { assertEquals } from "@std/assert";
 *
 * await using pool = new mp.Pool(2);
 *
 * const squares = await pool.map((n: number) => n * n, [1, 2, 3]);
 * assertEquals(squares, [1, 4, 9]);
 * ```
 *
 * Import everything under one name, as above: `mp.Event` and `mp.Lock` then shadow
 * no global.
 *
 * Any function that uses only its parameters and globals can be handed over as it
 * is. One that uses the rest of its module has to be exported from it, or named by
 * `task()`. Arguments and results are copied as by `structuredClone`, except that
 * locks, queues and the other shared objects stay the same object everywhere.
 *
 * **Two forms of waiting:** a method by its bare name returns a promise and never
 * blocks the event loop; its `…Sync` form blocks the thread it is called in. Both
 * take a `timeout` in milliseconds, the first also a `signal`. A wait that times out
 * throws a `DOMException` named `TimeoutError` and has taken nothing.
 *
 * **Visibility:** writes to shared memory (a `SharedArray`'s view, a typed array over
 * a `SharedArrayBuffer`) need no further care if one of these stands between the
 * writer and the reader. What a thread did before the left side is seen by whoever
 * comes back from the right side because of it:
 *
 * | before | is seen after |
 * | --- | --- |
 * | putting an item, sending a message | getting that item, receiving that message |
 * | releasing a lock or a permit; giving the lock up in a condition's `wait` | the next acquisition; having it again |
 * | `notify`, under the lock | the `wait` that it ended |
 * | setting an event | a `wait` that found it set, `isSet()` that is `true` |
 * | arriving at a barrier, for all parties and the action | leaving it in that round |
 * | `start()`, or handing a task to a pool | the beginning of the function |
 * | the end of the function | `join`, `result`, or the task's promise |
 * | `taskDone()` | the `join` of that queue |
 * | writing a `SharedValue` | reading what was written |
 * | a call of a manager's proxy | any later call for the same object |
 *
 * Nothing is promised about plain reads and writes with none of these in between.
 *
 * **Timing:** a timeout is at least as long as asked for. How much longer depends on
 * the scheduler and, for promises, on how busy the event loop is. A waiter is woken by
 * whoever makes room for it, in microseconds if the machine has a free core; should
 * that thread die before it does, the waiter looks by itself within 50 ms. The death of
 * a thread is noticed within about 100 ms, counted from when no code of it can run any
 * more. Timeouts are milliseconds of a clock that does not jump; `0` tries once.
 *
 * @module
 */

// `lock.ts` and `errors.ts` come before the modules which repeat their types with
// `export type`: the first one decides whether a name is a value.
export * from "./lock.ts";
export * from "./errors.ts";
export * from "./task.ts";
export * from "./barrier.ts";
export * from "./condition.ts";
export * from "./event.ts";
export * from "./manager.ts";
export * from "./parallel.ts";
export * from "./pipe.ts";
export * from "./pool.ts";
export * from "./process.ts";
export * from "./queue.ts";
export * from "./semaphore.ts";
export * from "./shared.ts";
