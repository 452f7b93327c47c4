/**
 * Parallel `map`, `filter`, `forEach` and `reduce` without a pool of your own.
 *
 * ```ts
 * import { pmap, preduce } from "@parallel/multiprocessing/parallel";
 * import { assertEquals } from "@std/assert";
 *
 * const squares = await pmap((n: number) => n * n, [1, 2, 3]);
 * assertEquals(squares, [1, 4, 9]);
 *
 * const sum = await preduce((a: number, b: number) => a + b, squares);
 * assertEquals(sum, 14);
 * ```
 *
 * - **The pool:** all of them share one, which is made on first use, in each thread
 *   that uses them. It has as many workers as there are processors, is never ended and
 *   does not keep the program alive when it has nothing to do.
 * - **Calls from a function that runs in it** make another pool in its worker, with as
 *   many workers again. That works, but rarely pays.
 * - **Functions** cross to the workers as with a `Pool`: what they use beside their
 *   parameters and globals must come from a module that exports them. A module that is
 *   imported for that must not call these functions while it is being imported: put
 *   the calls under `if (import.meta.main)`.
 * - **The first failure** rejects the call and cancels what has not started.
 *
 * @module
 */

import type { AnyFunction } from "./_calls.ts";
import { Dispatch } from "./_dispatch.ts";
import type { SentFunction } from "./_functions.ts";
import { checkCall, checkItems, isSync, type JobSpec } from "./_jobs.ts";
import { MapJob } from "./_map_job.ts";
import { timedOut } from "./_park.ts";
import { EACH, FILTER, MAP, REDUCE } from "./_pool_protocol.ts";
import { assertMayStart } from "./_resolve.ts";
import { describeTarget } from "./_target.ts";
import type { Caller } from "./_thrown.ts";
import type { Progress, TaskOptions, WaitOptions } from "./pool.ts";
import { cpuCount } from "./process.ts";
import { type Target, Task } from "./task.ts";

export { type Progress, type Target, Task, type TaskOptions, type WaitOptions };

/** How many items of an async input make one task of `preduce`. */
const ASYNC_CHUNK = 16;

type Items<T> = Iterable<T> | AsyncIterable<T>;

/** The workers of this thread's calls. */
let workers: Dispatch | undefined;

/** A function that is called in the workers, and who asked for it. */
interface Call {
  what: string;
  fn: SentFunction;
  caller: Caller;
}

/** What all calls begin with. */
function begin(
  what: string,
  target: unknown,
  iterable: Items<unknown>,
  options: TaskOptions,
  below: AnyFunction,
): Call {
  assertMayStart(what);
  checkCall(what, options);
  checkItems(what, iterable);
  const ref = describeTarget(target, what, below);
  const caller: Caller = {};
  Error.captureStackTrace(caller, below);
  workers ??= new Dispatch({
    processes: cpuCount(),
    initializer: undefined,
    maxTasks: Infinity,
    name: "ParallelWorker",
    caller,
  });
  return { what, fn: workers.functions.get(ref), caller };
}

/** Does a call, or a part of one, in the workers. */
function run(
  call: Call,
  mode: number,
  iterable: Items<unknown>,
  options: TaskOptions,
): Promise<unknown[]> {
  const spec: JobSpec = { ...call, mode, options };
  return new Promise((resolve, reject) => {
    new MapJob(workers!, spec, iterable, resolve, reject);
  });
}

/**
 * Calls a function for each item, in parallel.
 *
 * @typeParam T The type of the items.
 * @typeParam R The type of the values.
 * @param target The function.
 * @param iterable The items.
 * @param options How to call it.
 * @returns A promise for the values, in the order of the items.
 * @throws {TypeError} If the function cannot be sent.
 * @throws {DOMException & { name: "DataCloneError" }} If an item or a value cannot be
 * cloned.
 * @throws What the function throws.
 *
 * @example Usage
 * ```ts
 * import { pmap } from "@parallel/multiprocessing/parallel";
 * import { assertEquals } from "@std/assert";
 *
 * const lengths = await pmap((word: string) => word.length, ["a", "bb"]);
 * assertEquals(lengths, [1, 2]);
 * ```
 */
export async function pmap<T, R>(
  target: Target<[T], R>,
  iterable: Iterable<T> | AsyncIterable<T>,
  options: TaskOptions = {},
): Promise<Awaited<R>[]> {
  const call = begin("pmap", target, iterable, options, pmap);
  return await run(call, MAP, iterable, options) as Awaited<R>[];
}

/**
 * Finds the items for which a function gives a truthy value, in parallel.
 *
 * The items that are returned are those of the input, not copies.
 *
 * @typeParam T The type of the items.
 * @param target The function.
 * @param iterable The items.
 * @param options How to call it.
 * @returns A promise for the items found, in their order.
 * @throws What {@linkcode pmap} throws.
 *
 * @example Usage
 * ```ts
 * import { pfilter } from "@parallel/multiprocessing/parallel";
 * import { assertEquals } from "@std/assert";
 *
 * const odd = await pfilter((n: number) => n % 2 === 1, [1, 2, 3]);
 * assertEquals(odd, [1, 3]);
 * ```
 */
export async function pfilter<T>(
  target: Target<[T], unknown>,
  iterable: Iterable<T> | AsyncIterable<T>,
  options: TaskOptions = {},
): Promise<T[]> {
  const call = begin("pfilter", target, iterable, options, pfilter);
  const items: T[] = [];
  const noted = isSync(iterable)
    ? noting(iterable, items)
    : notingLater(iterable, items);
  const wanted = await run(call, FILTER, noted, options);
  return items.filter((_, index) => wanted[index]);
}

/** The same items, put into an array as they are read. */
function* noting<T>(source: Iterable<T>, items: T[]): Generator<T> {
  for (const item of source) {
    items.push(item);
    yield item;
  }
}

/** The same for items that are awaited. */
async function* notingLater<T>(
  source: AsyncIterable<T>,
  items: T[],
): AsyncGenerator<T> {
  for await (const item of source) {
    items.push(item);
    yield item;
  }
}

/**
 * Calls a function for each item, in parallel, for what it does.
 *
 * The values of the function are dropped in the workers.
 *
 * @typeParam T The type of the items.
 * @param target The function.
 * @param iterable The items.
 * @param options How to call it.
 * @returns A promise that resolves when all calls are done.
 * @throws What {@linkcode pmap} throws.
 *
 * @example Usage
 * ```ts
 * import { pforEach } from "@parallel/multiprocessing/parallel";
 * import { SharedArray } from "@parallel/multiprocessing/shared";
 * import { assertEquals } from "@std/assert";
 *
 * const marks = new SharedArray("u8", 3);
 * await pforEach(
 *   ([array, index]: [SharedArray<"u8">, number]) => {
 *     array.view[index] = 1;
 *   },
 *   [[marks, 0], [marks, 2]],
 * );
 *
 * assertEquals([...marks], [1, 0, 1]);
 * ```
 */
export async function pforEach<T>(
  target: Target<[T], unknown>,
  iterable: Iterable<T> | AsyncIterable<T>,
  options: TaskOptions = {},
): Promise<void> {
  const call = begin("pforEach", target, iterable, options, pforEach);
  await run(call, EACH, iterable, options);
}

/**
 * Brings all items down to one value, in parallel.
 *
 * **The function must be associative:** `f(f(a, b), c)` the same as `f(a, f(b, c))`,
 * as for sums, products, maxima, concatenation. Parts of the input are reduced in the
 * workers, then their results, in order, in a worker again. It need not be
 * commutative.
 *
 * @typeParam T The type of the items and of the result.
 * @param target The function: it gets what there is so far and the next item.
 * @param iterable The items.
 * @param initial What comes before the first item; `undefined`: nothing does.
 * @param options How to call it.
 * @returns A promise for the value. The only item of an input without `initial` is
 * returned as it is, and so is `initial` if there are no items.
 * @throws {TypeError} If there are no items and no `initial`.
 * @throws What {@linkcode pmap} throws.
 *
 * @example Usage
 * ```ts
 * import { preduce } from "@parallel/multiprocessing/parallel";
 * import { assertEquals } from "@std/assert";
 *
 * const text = await preduce((a: string, b: string) => a + b, ["a", "b"], "> ");
 * assertEquals(text, "> ab");
 * ```
 */
export async function preduce<T>(
  target: Target<[T, T], T>,
  iterable: Iterable<T> | AsyncIterable<T>,
  initial?: NoInfer<T>,
  options: TaskOptions = {},
): Promise<T> {
  const call = begin("preduce", target, iterable, options, preduce);
  const { timeout, ...rest } = options;
  const started = performance.now();
  const chunked = inChunks(iterable, options);
  const parts = await run(call, REDUCE, iterable, chunked) as T[];
  if (initial !== undefined) parts.unshift(initial);
  if (parts.length === 0) {
    throw new TypeError(
      "Cannot preduce: the iterable is empty and there is no initial value",
    );
  }
  if (parts.length === 1) return parts[0]!;
  const last: TaskOptions = {
    ...rest,
    chunkSize: parts.length,
    onProgress: undefined,
  };
  if (timeout !== undefined) {
    const left = timeout - (performance.now() - started);
    if (left <= 0) throw timedOut("preduce", timeout);
    last.timeout = left;
  }
  const [value] = await run(call, REDUCE, parts, last);
  return value as T;
}

/** A part of one item leaves nothing to reduce. */
function inChunks(iterable: Items<unknown>, options: TaskOptions): TaskOptions {
  return options.chunkSize === undefined && !isSync(iterable)
    ? { ...options, chunkSize: ASYNC_CHUNK }
    : options;
}
