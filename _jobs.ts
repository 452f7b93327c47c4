/**
 * What all calls in a pool have in common: what they are told, how long they may take.
 *
 * @module
 */

import type { Task } from "./_dispatch.ts";
import type { SentFunction } from "./_functions.ts";
import { checkWait, Limit, timedOut, type WaitOptions } from "./_park.ts";

/** What a job needs to know about its tasks. */
export interface JobSpec {
  what: string;
  fn: SentFunction;
  mode: number;
  caller: { stack?: string };
  chunkSize: number | undefined;
  options: WaitOptions & {
    onProgress?:
      | ((progress: { completed: number; total: number | undefined }) => void)
      | undefined;
    transfer?: Transferable[] | undefined;
  };
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
 * @throws {RangeError} If the timeout is negative or `NaN`.
 * @throws {DOMException & { name: "TimeoutError" }} If it is 0.
 * @throws The signal's reason, if it is already aborted.
 */
export function startLimit(
  what: string,
  options: WaitOptions,
  end: (reason: unknown) => void,
  catchUp: () => void,
): Limit {
  checkWait(what, options);
  const early = expired(what, options);
  if (early !== undefined) throw early.reason;
  return new Limit(what, options, end, catchUp);
}

/** A task of a job. */
export function newTask(
  spec: JobSpec,
  count: number,
  done: (value: unknown) => void,
  failed: (error: unknown) => void,
): Task {
  const { fn, mode, caller } = spec;
  return { fn, mode, count, caller, done, failed, slot: -1 };
}

/** Whether the input is there at once. */
export function isSync(
  source: Iterable<unknown> | AsyncIterable<unknown>,
): source is Iterable<unknown> {
  // `in` would refuse a string.
  return (source as AsyncIterable<unknown>)[Symbol.asyncIterator] === undefined;
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
