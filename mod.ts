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
 * **Visibility:** what a thread wrote to shared memory before it put an item,
 * released a lock, set an event or started a process is seen by whoever then gets
 * that item, acquires that lock, waits for that event or runs in that process; what
 * a process wrote is seen after its `join`.
 *
 * **Timing:** a timeout is at least as long as asked for. How much longer depends on
 * the scheduler and, for promises, on how busy the event loop is.
 *
 * @module
 */

// `lock.ts` comes before the modules which repeat its types with `export type`: the
// first one decides whether a name is a value.
export * from "./lock.ts";
export * from "./barrier.ts";
export * from "./condition.ts";
export * from "./errors.ts";
export * from "./event.ts";
export * from "./pool.ts";
export * from "./process.ts";
export * from "./queue.ts";
export * from "./semaphore.ts";
export * from "./shared.ts";
export * from "./task.ts";
