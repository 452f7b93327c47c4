/**
 * Queues between workers: {@linkcode Queue}, {@linkcode JoinableQueue} and
 * {@linkcode SimpleQueue}.
 *
 * Many producers and many consumers, in any threads, blocking or not. Items travel as
 * bytes through shared memory; nothing is posted.
 *
 * ```ts
 * import { Queue } from "@parallel/multiprocessing/queue";
 * import { assertEquals } from "@std/assert";
 *
 * const queue = new Queue<string>();
 * await queue.put("Apple");
 * await queue.put("Orange");
 * queue.close();
 *
 * const fruits: string[] = [];
 * for await (const fruit of queue) fruits.push(fruit);
 *
 * assertEquals(fruits, ["Apple", "Orange"]);
 * ```
 *
 * @module
 */

import { Channel, type Ends } from "./_channel.ts";
import { checkObject, checkWhole, refuseSpelling } from "./_checks.ts";
import {
  defineHandle,
  guardHandle,
  HANDLE,
  type HandleParts,
  takeParts,
} from "./_handle.ts";
import { inspectAs } from "./_inspect.ts";
import {
  PENDING,
  waitAsync,
  type WaitOptions,
  waitSync,
  wake,
} from "./_park.ts";
import { MAX_CAPACITY, Ring, USER_WORDS } from "./_ring.ts";
import { QueueClosedError } from "./errors.ts";

export type { WaitOptions };
export { QueueClosedError };

const { compareExchange, load } = Atomics;

const DEFAULT_CAPACITY = 64 * 1024 * 1024;
const MAX_ITEMS = 2 ** 31 - 1;

// A joinable queue has two more words in its ring's memory:
//
//   word       | name   | written by     | meaning
//   -----------+--------+----------------+------------------------------------
//   USER_WORDS | DONE   | taskDone, CAS  | how often taskDone was called
//   + 2, + 3   | JOINED | see _park.ts   | spot: nothing is left to be done
//
// What is left is the number of puts, which the ring counts, less DONE. So a
// producer that dies has put and counted an item, or neither; a consumer that dies
// after `get` and before `taskDone` leaves its item undone, as in Python.
const DONE = USER_WORDS;
const JOINED = USER_WORDS + 2;

/** Set by the class, whose private field it reads. */
let ringOf: (queue: Queue<unknown>) => Ring;

/** Options for {@linkcode Queue}. */
export interface QueueOptions {
  /**
   * How many items the queue holds before a put has to wait; `0` for no limit.
   *
   * @default {0}
   */
  maxSize?: number | undefined;
  /**
   * How many bytes of items the queue holds before a put has to wait, which is also
   * the size of the largest item. At most about 2³⁰. Memory is taken as it is
   * needed, up to five thirds of this.
   *
   * @default {67108864}
   */
  byteCapacity?: number | undefined;
}

/** What {@linkcode Queue.tryGet} found. */
export type TryGetResult<T> =
  | { state: "ok"; value: T }
  | { state: "empty" }
  | { state: "closed" };

function createRing(options: unknown): Ring {
  const parts = takeParts();
  if (parts !== undefined) return new Ring(parts[0] as SharedArrayBuffer);
  const what = "create queue";
  const given: QueueOptions = typeof options === "object" && options !== null
    ? options
    : { maxSize: options as number | undefined };
  checkObject(what, given, "{ maxSize: 100 }");
  refuseSpelling(what, given, { maxsize: "maxSize" });
  const { maxSize = 0, byteCapacity = DEFAULT_CAPACITY } = given;
  checkWhole(what, "maxSize", maxSize, 0, MAX_ITEMS);
  checkWhole(what, "byteCapacity", byteCapacity, 1, MAX_CAPACITY);
  return Ring.create({ maxItems: maxSize, capacity: byteCapacity });
}

/** The ends of a queue: it is over when it was closed. */
function endsOf(ring: Ring): Ends {
  return {
    putEnded: () =>
      ring.closed
        ? new QueueClosedError("Cannot put: the queue is closed")
        : undefined,
    getEnded: () =>
      ring.closed
        ? new QueueClosedError("Cannot get: the queue is closed and empty")
        : undefined,
  };
}

/**
 * A queue that workers put items into and get them out of. Python's
 * `multiprocessing.Queue`, and it can be closed.
 *
 * - **First in, first out** per producer. Each item goes to exactly one consumer.
 * - **Backpressure:** a put waits while the queue holds `maxSize` items or
 *   `byteCapacity` bytes. Without a `maxSize` only the bytes limit it.
 * - **When a put has returned** (or its promise has resolved) the item is in the
 *   queue: it stays there if the producer ends, and any consumer sees it at once.
 *   There is no feeder thread.
 * - **Close:** after {@linkcode Queue.close} nothing can be put; what is in the queue
 *   can still be got, then `get` rejects with {@linkcode QueueClosedError}. All who
 *   wait learn of it at once.
 * - **Items are copied** as `structuredClone` would copy them, when they are put. One
 *   that cannot be cloned raises `DataCloneError` in the sender, and one that holds a
 *   handle or a `SharedArrayBuffer` a `TypeError`; the queue is unharmed.
 * - **Order of waits:** the async puts (or gets) of one worker are served in the
 *   order they were called. A blocking put comes after the async ones before it; a
 *   blocking get does not queue up behind async ones.
 * - **Blocking:** the `…Sync` forms block the thread and may be used in every
 *   thread. Never wait that way for an async task of the same thread.
 * - **If a worker ends** in the middle of a put or a get, even by being killed, the
 *   queue goes on for the others: the item was put whole or not at all.
 * - **Sending:** pass it to workers in `args`, pool items or initializer arguments.
 *
 * @typeParam T The type of the items.
 *
 * @example A producer with backpressure
 * ```ts
 * import { Queue } from "@parallel/multiprocessing/queue";
 * import { assertEquals } from "@std/assert";
 *
 * const queue = new Queue<number>(2);
 *
 * async function produce(): Promise<void> {
 *   for (let i = 0; i < 5; i++) await queue.put(i);
 *   queue.close();
 * }
 *
 * const produced = produce();
 * const items = await Array.fromAsync(queue);
 * await produced;
 *
 * assertEquals(items, [0, 1, 2, 3, 4]);
 * ```
 */
export class Queue<
  // deno-lint-ignore no-explicit-any -- as `new Map()` is a `Map<any, any>`.
  T = any,
> {
  readonly #ring: Ring;
  readonly #channel: Channel;

  /**
   * Creates an empty queue.
   *
   * @param options The number of items it holds (`0` for no limit), or options.
   * @throws {RangeError} If a limit is negative, fractional or too large.
   * @throws {TypeError} If a limit is not a number.
   *
   * @example Usage
   * ```ts
   * import { Queue } from "@parallel/multiprocessing/queue";
   * import { assertEquals } from "@std/assert";
   *
   * const queue = new Queue<string>({ maxSize: 100, byteCapacity: 1024 * 1024 });
   *
   * assertEquals(queue.size, 0);
   * ```
   */
  constructor(options: number | QueueOptions = 0) {
    const ring = createRing(options);
    this.#ring = ring;
    this.#channel = new Channel(ring, endsOf(ring));
    guardHandle(this, ring.memory);
  }

  /**
   * Puts an item at the end, waiting until there is room. Never blocks the event
   * loop, and keeps the program alive while it waits.
   *
   * @param item The item. It is copied before this returns.
   * @param options Additional options.
   * @returns A promise that resolves when the item is in the queue.
   * @throws {QueueClosedError} If the queue is closed, also meanwhile.
   * @throws {RangeError} If the item is larger than the queue's `byteCapacity`.
   * @throws {DOMException & { name: "DataCloneError" }} If the item cannot be cloned.
   * @throws {TypeError} If the item holds a handle or a `SharedArrayBuffer`.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   * @throws The signal's reason, if `options.signal` aborts first.
   *
   * @example Usage
   * ```ts
   * import { Queue } from "@parallel/multiprocessing/queue";
   * import { assertEquals } from "@std/assert";
   *
   * const queue = new Queue<{ id: number }>();
   * await queue.put({ id: 1 });
   *
   * assertEquals(queue.size, 1);
   * ```
   */
  put(item: T, options?: WaitOptions): Promise<void> {
    return this.#channel.put("put", item, options);
  }

  /**
   * Puts an item at the end, blocking this thread until there is room.
   *
   * @param item The item.
   * @param options Additional options.
   * @throws {QueueClosedError} If the queue is closed, also meanwhile.
   * @throws {RangeError} If the item is larger than the queue's `byteCapacity`.
   * @throws {DOMException & { name: "DataCloneError" }} If the item cannot be cloned.
   * @throws {TypeError} If the item holds a handle or a `SharedArrayBuffer`.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   *
   * @example Usage
   * ```ts
   * import { Queue } from "@parallel/multiprocessing/queue";
   * import { assertEquals } from "@std/assert";
   *
   * const queue = new Queue<number>();
   * queue.putSync(1, { timeout: 1000 });
   *
   * assertEquals(queue.getSync(), 1);
   * ```
   */
  putSync(item: T, options?: Pick<WaitOptions, "timeout">): void {
    this.#channel.putSync("put", item, options);
  }

  /**
   * Puts an item at the end if that takes no waiting.
   *
   * @param item The item.
   * @returns `true` if it is in the queue, `false` if the queue is full or closed.
   * @throws {RangeError} If the item is larger than the queue's `byteCapacity`.
   * @throws {DOMException & { name: "DataCloneError" }} If the item cannot be cloned.
   * @throws {TypeError} If the item holds a handle or a `SharedArrayBuffer`.
   *
   * @example Usage
   * ```ts
   * import { Queue } from "@parallel/multiprocessing/queue";
   * import { assertEquals } from "@std/assert";
   *
   * const queue = new Queue<number>(1);
   *
   * assertEquals(queue.tryPut(1), true);
   * assertEquals(queue.tryPut(2), false);
   * ```
   */
  tryPut(item: T): boolean {
    return this.#channel.tryPut(item);
  }

  /**
   * Removes and returns the next item, waiting until there is one. Never blocks the
   * event loop, and keeps the program alive while it waits.
   *
   * @param options Additional options.
   * @returns A promise for the item.
   * @throws {QueueClosedError} If the queue is closed and empty.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   * @throws The signal's reason, if `options.signal` aborts first.
   *
   * @example Usage
   * ```ts
   * import { Queue } from "@parallel/multiprocessing/queue";
   * import { assertEquals, assertRejects } from "@std/assert";
   *
   * const queue = new Queue<string>();
   * await queue.put("Apple");
   *
   * assertEquals(await queue.get(), "Apple");
   * await assertRejects(() => queue.get({ timeout: 0 }), DOMException, "timed out");
   * ```
   */
  get(options?: WaitOptions): Promise<T> {
    return this.#channel.get("get", options) as Promise<T>;
  }

  /**
   * Removes and returns the next item, blocking this thread until there is one.
   *
   * @param options Additional options.
   * @returns The item.
   * @throws {QueueClosedError} If the queue is closed and empty.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   *
   * @example Usage
   * ```ts
   * import { Queue } from "@parallel/multiprocessing/queue";
   * import { assertEquals } from "@std/assert";
   *
   * const queue = new Queue<Map<string, number>>();
   * queue.putSync(new Map([["one", 1]]));
   *
   * assertEquals(queue.getSync({ timeout: 1000 }).get("one"), 1);
   * ```
   */
  getSync(options?: Pick<WaitOptions, "timeout">): T {
    return this.#channel.getSync("get", options) as T;
  }

  /**
   * Removes the next item if there is one.
   *
   * @returns The item, or whether the queue is just empty or closed as well.
   *
   * @example Usage
   * ```ts
   * import { Queue } from "@parallel/multiprocessing/queue";
   * import { assertEquals } from "@std/assert";
   *
   * const queue = new Queue<number | undefined>();
   * queue.putSync(undefined);
   *
   * assertEquals(queue.tryGet(), { state: "ok", value: undefined });
   * assertEquals(queue.tryGet(), { state: "empty" });
   * queue.close();
   * assertEquals(queue.tryGet(), { state: "closed" });
   * ```
   */
  tryGet(): TryGetResult<T> {
    // Closed before it was found empty: nothing can have come after.
    const { closed } = this.#ring;
    const got = this.#channel.tryGet();
    if (got !== undefined) return { state: "ok", value: got.value as T };
    return closed ? { state: "closed" } : { state: "empty" };
  }

  /**
   * How many items are in the queue. Informational only: it may have changed by the
   * time it is looked at.
   *
   * @returns The number of items.
   *
   * @example Usage
   * ```ts
   * import { Queue } from "@parallel/multiprocessing/queue";
   * import { assertEquals } from "@std/assert";
   *
   * const queue = new Queue<number>();
   * queue.putSync(1);
   *
   * assertEquals(queue.size, 1);
   * ```
   */
  get size(): number {
    return this.#ring.size;
  }

  /**
   * Returns whether the queue is empty. Informational only while others put items:
   * use {@linkcode Queue.tryGet}, or {@linkcode Queue.close} and iteration.
   *
   * @returns `true` if there is no item.
   *
   * @example Usage
   * ```ts
   * import { Queue } from "@parallel/multiprocessing/queue";
   * import { assertEquals } from "@std/assert";
   *
   * assertEquals(new Queue().empty(), true);
   * ```
   */
  empty(): boolean {
    return this.#ring.empty;
  }

  /**
   * Returns whether the queue holds `maxSize` items. Informational only. A queue
   * without a `maxSize` is never full in this sense, though a put may have to wait
   * for bytes.
   *
   * @returns `true` if there are as many items as allowed.
   *
   * @example Usage
   * ```ts
   * import { Queue } from "@parallel/multiprocessing/queue";
   * import { assertEquals } from "@std/assert";
   *
   * const queue = new Queue<number>(1);
   * queue.putSync(1);
   *
   * assertEquals(queue.full(), true);
   * ```
   */
  full(): boolean {
    const { maxItems, size } = this.#ring;
    return maxItems > 0 && size >= maxItems;
  }

  /**
   * Whether the queue was closed. There may still be items in it.
   *
   * @returns `true` once {@linkcode Queue.close} was called in any thread.
   *
   * @example Usage
   * ```ts
   * import { Queue } from "@parallel/multiprocessing/queue";
   * import { assertEquals } from "@std/assert";
   *
   * const queue = new Queue();
   * queue.close();
   *
   * assertEquals(queue.closed, true);
   * ```
   */
  get closed(): boolean {
    return this.#ring.closed;
  }

  /**
   * Closes the queue for all threads: nothing can be put any more. Waiting puts
   * reject; what is in the queue can still be got. Idempotent.
   *
   * @example Usage
   * ```ts
   * import { Queue, QueueClosedError } from "@parallel/multiprocessing/queue";
   * import { assertEquals, assertRejects } from "@std/assert";
   *
   * const queue = new Queue<number>();
   * queue.putSync(1);
   * queue.close();
   *
   * await assertRejects(() => queue.put(2), QueueClosedError);
   * assertEquals(await queue.get(), 1);
   * await assertRejects(() => queue.get(), QueueClosedError);
   * ```
   */
  close(): void {
    this.#ring.close();
  }

  /**
   * Iterates over the items, removing them, until the queue is closed and empty.
   * Several loops, in any threads, share the items between them.
   *
   * @returns An async iterator.
   *
   * @example Usage
   * ```ts
   * import { Queue } from "@parallel/multiprocessing/queue";
   * import { assertEquals } from "@std/assert";
   *
   * const queue = new Queue<number>();
   * for (let i = 1; i <= 3; i++) queue.putSync(i);
   * queue.close();
   *
   * let sum = 0;
   * for await (const item of queue) sum += item;
   *
   * assertEquals(sum, 6);
   * ```
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<T> {
    return this.#channel.values("get") as AsyncIterableIterator<T>;
  }

  /** @ignore */
  [HANDLE](): HandleParts {
    return { kind: "Queue", parts: [this.#ring.memory] };
  }

  static {
    ringOf = (queue) => queue.#ring;
    defineHandle("Queue", () => new Queue());
    inspectAs<Queue<unknown>>(
      Queue,
      (queue) => describe("Queue", queue.#ring),
    );
  }
}

function describe(name: string, ring: Ring): string {
  const { size, maxItems, closed } = ring;
  return `${name} { size: ${size}, maxSize: ${maxItems}, closed: ${closed} }`;
}

/**
 * A queue that counts what is still to be done. Python's
 * `multiprocessing.JoinableQueue`.
 *
 * Everything said of {@linkcode Queue} holds, and:
 *
 * - **Each put is a task.** A consumer calls {@linkcode JoinableQueue.taskDone} once
 *   for each item it has got, when it is finished with it; once too often is a
 *   `RangeError`.
 * - **{@linkcode JoinableQueue.join}** waits until all that was put is done, including
 *   what is put while it waits, also after {@linkcode Queue.close}.
 * - **If a worker ends** after it got an item and before it said so, that item stays
 *   undone and `join` waits on: give it a `timeout` where workers may fail.
 *
 * @typeParam T The type of the items.
 *
 * @example Waiting for the work to be done
 * ```ts
 * import { JoinableQueue } from "@parallel/multiprocessing/queue";
 * import { assertEquals } from "@std/assert";
 *
 * const queue = new JoinableQueue<number>();
 * let sum = 0;
 *
 * async function work(): Promise<void> {
 *   for await (const item of queue) {
 *     sum += item;
 *     queue.taskDone();
 *   }
 * }
 *
 * const working = work();
 * for (let i = 1; i <= 4; i++) await queue.put(i);
 * await queue.join();
 * assertEquals(sum, 10);
 *
 * queue.close();
 * await working;
 * ```
 */
export class JoinableQueue<
  // deno-lint-ignore no-explicit-any -- as `new Map()` is a `Map<any, any>`.
  T = any,
> extends Queue<T> {
  /**
   * Says that an item which was got is done.
   *
   * @throws {RangeError} If it was called more often than items were put.
   *
   * @example Usage
   * ```ts
   * import { JoinableQueue } from "@parallel/multiprocessing/queue";
   * import { assertThrows } from "@std/assert";
   *
   * const queue = new JoinableQueue<string>();
   * queue.putSync("Apple");
   * queue.getSync();
   * queue.taskDone();
   *
   * assertThrows(() => queue.taskDone(), RangeError, "taskDone");
   * ```
   */
  taskDone(): void {
    const ring = ringOf(this);
    const { words } = ring.items;
    while (true) {
      const done = load(words, DONE);
      if (((ring.putCount - done) | 0) <= 0) {
        throw new RangeError(
          "Cannot call taskDone: it was called for all items already",
        );
      }
      const next = (done + 1) | 0;
      if (compareExchange(words, DONE, done, next) !== done) continue;
      if (ring.putCount === next) wake(words, JOINED, Infinity);
      return;
    }
  }

  /**
   * Waits until every item that was put is done. Never blocks the event loop, and
   * keeps the program alive while it waits.
   *
   * @param options Additional options.
   * @returns A promise that resolves when nothing is left to be done.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   * @throws The signal's reason, if `options.signal` aborts first.
   *
   * @example Usage
   * ```ts
   * import { JoinableQueue } from "@parallel/multiprocessing/queue";
   * import { assertRejects } from "@std/assert";
   *
   * const queue = new JoinableQueue<string>();
   * await queue.join();
   *
   * queue.putSync("Apple");
   * await assertRejects(() => queue.join({ timeout: 0 }), DOMException, "timed out");
   * ```
   */
  join(options?: WaitOptions): Promise<void> {
    const ring = ringOf(this);
    return waitAsync<void>(
      "join queue",
      ring.items.words,
      JOINED,
      (slept) => isAllDone(ring, slept),
      options,
    );
  }

  /**
   * Blocks this thread until every item that was put is done.
   *
   * @param options Additional options.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   *
   * @example Usage
   * ```ts
   * import { JoinableQueue } from "@parallel/multiprocessing/queue";
   *
   * const queue = new JoinableQueue<string>();
   * queue.putSync("Apple");
   * queue.getSync();
   * queue.taskDone();
   *
   * queue.joinSync();
   * ```
   */
  joinSync(options?: Pick<WaitOptions, "timeout">): void {
    const ring = ringOf(this);
    waitSync<void>(
      "join queue",
      ring.items.words,
      JOINED,
      (slept) => isAllDone(ring, slept),
      options,
    );
  }

  /** @ignore */
  override [HANDLE](): HandleParts {
    return { kind: "JoinableQueue", parts: [ringOf(this).memory] };
  }

  static {
    defineHandle("JoinableQueue", () => new JoinableQueue());
    inspectAs<JoinableQueue<unknown>>(
      JoinableQueue,
      (queue) => describe("JoinableQueue", ringOf(queue)),
    );
  }
}

function isAllDone(ring: Ring, slept: boolean): undefined | typeof PENDING {
  // A producer may have died with its put counted and not yet made.
  if (slept) ring.repairCount();
  const done = load(ring.items.words, DONE);
  return done === ring.putCount ? undefined : PENDING;
}

/**
 * A queue with the fewest operations. Python's `multiprocessing.SimpleQueue`.
 *
 * It has no limit on the number of items, and otherwise is a {@linkcode Queue}.
 *
 * @typeParam T The type of the items.
 *
 * @example Usage
 * ```ts
 * import { SimpleQueue } from "@parallel/multiprocessing/queue";
 * import { assertEquals } from "@std/assert";
 *
 * const queue = new SimpleQueue<string>();
 * await queue.put("Apple");
 *
 * assertEquals(queue.empty(), false);
 * assertEquals(await queue.get(), "Apple");
 * ```
 */
export class SimpleQueue<
  // deno-lint-ignore no-explicit-any -- as `new Map()` is a `Map<any, any>`.
  T = any,
> {
  readonly #ring: Ring;
  readonly #channel: Channel;

  /**
   * Creates an empty queue.
   *
   * @example Usage
   * ```ts
   * import { SimpleQueue } from "@parallel/multiprocessing/queue";
   * import { assertEquals } from "@std/assert";
   *
   * assertEquals(new SimpleQueue().empty(), true);
   * ```
   */
  constructor() {
    const ring = createRing(0);
    this.#ring = ring;
    this.#channel = new Channel(ring, endsOf(ring));
    guardHandle(this, ring.memory);
  }

  /**
   * Puts an item at the end, as {@linkcode Queue.put} does. It waits only while the
   * queue's 64 MiB are used up.
   *
   * @param item The item. It is copied before this returns.
   * @param options Additional options.
   * @returns A promise that resolves when the item is in the queue.
   * @throws {QueueClosedError} If the queue is closed.
   * @throws {RangeError} If the item is larger than 64 MiB.
   * @throws {TypeError} If the item is or contains a handle or a `SharedArrayBuffer`.
   * @throws {DOMException & { name: "DataCloneError" }} If the item cannot be cloned.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   * @throws The signal's reason, if `options.signal` aborts first.
   *
   * @example Usage
   * ```ts
   * import { SimpleQueue } from "@parallel/multiprocessing/queue";
   * import { assertEquals } from "@std/assert";
   *
   * const queue = new SimpleQueue<string>();
   * await queue.put("Apple");
   *
   * assertEquals(queue.empty(), false);
   * ```
   */
  put(item: T, options?: WaitOptions): Promise<void> {
    return this.#channel.put("put", item, options);
  }

  /**
   * Puts an item at the end, as {@linkcode Queue.putSync} does.
   *
   * @param item The item.
   * @param options Additional options.
   * @throws {QueueClosedError} If the queue is closed.
   * @throws {RangeError} If the item is larger than 64 MiB.
   * @throws {TypeError} If the item is or contains a handle or a `SharedArrayBuffer`.
   * @throws {DOMException & { name: "DataCloneError" }} If the item cannot be cloned.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   *
   * @example Usage
   * ```ts
   * import { SimpleQueue } from "@parallel/multiprocessing/queue";
   * import { assertEquals } from "@std/assert";
   *
   * const queue = new SimpleQueue<string>();
   * queue.putSync("Apple");
   *
   * assertEquals(queue.empty(), false);
   * ```
   */
  putSync(item: T, options?: Pick<WaitOptions, "timeout">): void {
    this.#channel.putSync("put", item, options);
  }

  /**
   * Removes and returns the next item, as {@linkcode Queue.get} does.
   *
   * @param options Additional options.
   * @returns A promise for the item.
   * @throws {QueueClosedError} If the queue is closed and empty.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   * @throws The signal's reason, if `options.signal` aborts first.
   *
   * @example Usage
   * ```ts
   * import { SimpleQueue } from "@parallel/multiprocessing/queue";
   * import { assertEquals } from "@std/assert";
   *
   * const queue = new SimpleQueue<string>();
   * const item = queue.get();
   * await queue.put("Apple");
   *
   * assertEquals(await item, "Apple");
   * ```
   */
  get(options?: WaitOptions): Promise<T> {
    return this.#channel.get("get", options) as Promise<T>;
  }

  /**
   * Removes and returns the next item, as {@linkcode Queue.getSync} does.
   *
   * @param options Additional options.
   * @returns The item.
   * @throws {QueueClosedError} If the queue is closed and empty.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   *
   * @example Usage
   * ```ts
   * import { SimpleQueue } from "@parallel/multiprocessing/queue";
   * import { assertEquals } from "@std/assert";
   *
   * const queue = new SimpleQueue<string>();
   * queue.putSync("Apple");
   *
   * assertEquals(queue.getSync(), "Apple");
   * ```
   */
  getSync(options?: Pick<WaitOptions, "timeout">): T {
    return this.#channel.getSync("get", options) as T;
  }

  /**
   * Returns whether the queue is empty. Informational only.
   *
   * @returns `true` if there is no item.
   *
   * @example Usage
   * ```ts
   * import { SimpleQueue } from "@parallel/multiprocessing/queue";
   * import { assertEquals } from "@std/assert";
   *
   * assertEquals(new SimpleQueue().empty(), true);
   * ```
   */
  empty(): boolean {
    return this.#ring.empty;
  }

  /**
   * Closes the queue for all threads, as {@linkcode Queue.close} does. Idempotent.
   *
   * @example Usage
   * ```ts
   * import { QueueClosedError, SimpleQueue } from "@parallel/multiprocessing/queue";
   * import { assertThrows } from "@std/assert";
   *
   * const queue = new SimpleQueue<string>();
   * queue.close();
   *
   * assertThrows(() => queue.getSync(), QueueClosedError);
   * ```
   */
  close(): void {
    this.#ring.close();
  }

  /** @ignore */
  [HANDLE](): HandleParts {
    return { kind: "SimpleQueue", parts: [this.#ring.memory] };
  }

  static {
    defineHandle("SimpleQueue", () => new SimpleQueue());
    inspectAs<SimpleQueue<unknown>>(SimpleQueue, (queue) => {
      const { size, closed } = queue.#ring;
      return `SimpleQueue { size: ${size}, closed: ${closed} }`;
    });
  }
}
