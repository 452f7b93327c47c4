/**
 * What all calls in a pool have in common: what they are told, how long they may take.
 *
 * @module
 */

import {
  checkArray,
  checkType,
  checkWhole,
  refuseSpelling,
  typeName,
} from "./_checks.ts";
import type { SentFunction } from "./_functions.ts";
import type { PoolTask } from "./_outgoing.ts";
import { checkOptions, Limit, timedOut, type WaitOptions } from "./_park.ts";
import { calledFrom, type Caller } from "./_thrown.ts";
import type { TaskOptions } from "./pool.ts";

/** What a job needs to know about its tasks. */
export interface JobSpec {
  what: string;
  fn: SentFunction;
  mode: number;
  caller: Caller;
  options: TaskOptions;
}

/** What Python's options are called here. */
const SPELLINGS = { chunksize: "chunkSize" };

/**
 * Refuses options of a call that are none, before any work.
 *
 * @throws {TypeError} If one has a wrong type, or the signal is no signal.
 * @throws {RangeError} If the timeout is negative or `NaN`, or `chunkSize` is no whole
 * number >= 1.
 */
export function checkCall(
  what: string,
  options: JobSpec["options"],
): void {
  checkOptions(what, options);
  refuseSpelling(what, options, SPELLINGS);
  const { chunkSize, onProgress, transfer } = options;
  if (chunkSize !== undefined) {
    checkWhole(what, "chunkSize", chunkSize, 1, Number.MAX_SAFE_INTEGER);
  }
  checkType(what, "onProgress", onProgress, "function");
  checkArray(what, "transfer", transfer);
}

/** Why a function cannot be sent, which its tasks tell; to be asked if there were none. */
export function refusalOf({ fn, caller }: JobSpec): TypeError | undefined {
  return fn.target.kind === "refused"
    ? calledFrom(new TypeError(fn.target.message), caller)
    : undefined;
}

/** Refuses items that cannot be read one by one. */
export function checkItems(what: string, iterable: unknown): void {
  if (isIterable(iterable)) return;
  if (typeof iterable === "object" && iterable !== null) {
    if (!isSync(iterable as AsyncIterable<unknown>)) return;
  }
  throw new TypeError(
    `Cannot ${what}: the items must be iterable, received ${
      typeName(iterable)
    }`,
  );
}

/** Refuses an item of `starmap` that cannot be spread into arguments. */
export function checkTuple(what: string, index: number, item: unknown): void {
  if (isIterable(item)) return;
  throw new TypeError(
    `Cannot ${what}: item ${index} must be an array of arguments, received ${
      typeName(item)
    }`,
  );
}

function isIterable(value: unknown): boolean {
  return typeof value === "string" ||
    typeof value === "object" && value !== null && Symbol.iterator in value;
}

/** Why a call is over before it begins, if it is. */
export function expired(
  what: string,
  { timeout, signal }: WaitOptions,
): { reason: unknown } | undefined {
  if (signal?.aborted) return { reason: signal.reason };
  if (timeout === 0) return { reason: timedOut(what, timeout) };
}

/**
 * Begins to watch a call's deadline and signal, see {@linkcode Limit}.
 *
 * @param options Checked by {@linkcode checkCall}.
 * @throws {DOMException & { name: "TimeoutError" }} If it is 0.
 * @throws The signal's reason, if it is already aborted.
 */
export function startLimit(
  what: string,
  options: WaitOptions,
  end: (reason: unknown) => void,
  catchUp: () => void,
): Limit {
  const early = expired(what, options);
  if (early !== undefined) throw early.reason;
  return new Limit(what, options, end, catchUp);
}

/** A task of a job. */
export function newTask(
  spec: JobSpec,
  count: number,
  done: PoolTask["done"],
  failed: PoolTask["failed"],
): PoolTask {
  const { fn, mode, caller } = spec;
  return { fn, mode, count, caller, done, failed, slot: -1 };
}

/** Whether the input is there at once. */
export function isSync<T>(
  source: Iterable<T> | AsyncIterable<T>,
): source is Iterable<T> {
  // `in` would refuse a string.
  return (source as AsyncIterable<T>)[Symbol.asyncIterator] === undefined;
}

/**
 * What an iterator's `next` has given, as `for await` takes it.
 *
 * @throws {TypeError} If it is no object.
 */
export function checkedResult<T>(result: IteratorResult<T>): IteratorResult<T> {
  if (typeof result === "object" && result !== null) return result;
  if (typeof result === "function") return result;
  throw new TypeError(
    `Cannot read input: iterator result ${String(result)} is not an object`,
  );
}

/** Tells an iterator that nothing more is wanted; resolves when it has taken note. */
export async function closeInput(
  iterator: Iterator<unknown> | AsyncIterator<unknown>,
): Promise<void> {
  try {
    await iterator.return?.();
  } catch {
    // The consumer leaves; nobody is left to be told.
  }
}

/** Rejects a call. Who has terminated the pool need not look at what that ended. */
export function rejectCall(
  dispatch: { isTermination(error: unknown): boolean },
  promise: Promise<unknown>,
  reject: (error: unknown) => void,
  error: unknown,
): void {
  if (dispatch.isTermination(error)) promise.catch(() => {});
  reject(error);
}
