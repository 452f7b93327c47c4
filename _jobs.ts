/**
 * What all calls in a pool have in common: what they are told, how long they may take.
 *
 * @module
 */

import type { Task } from "./_dispatch.ts";
import type { SentFunction } from "./_functions.ts";
import {
  checkWait,
  MAX_TIMER_MS,
  timedOut,
  type WaitOptions,
} from "./_park.ts";

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

/** Watches a call's deadline and signal; `end` is called at most once. */
export class Limit {
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort: (() => void) | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * @throws {RangeError} If the timeout is negative or `NaN`.
   * @throws {DOMException & { name: "TimeoutError" }} If it is 0.
   * @throws The signal's reason, if it is already aborted.
   */
  constructor(
    what: string,
    options: WaitOptions,
    end: (reason: unknown) => void,
  ) {
    checkWait(what, options);
    const early = expired(what, options);
    if (early !== undefined) throw early.reason;
    const { timeout = Infinity, signal } = options;
    if (timeout <= MAX_TIMER_MS) {
      this.#timer = setTimeout(() => {
        this.clear();
        end(timedOut(what, timeout));
      }, timeout);
    }
    if (signal !== undefined) {
      this.#signal = signal;
      this.#onAbort = () => {
        this.clear();
        end(signal.reason);
      };
      signal.addEventListener("abort", this.#onAbort, { once: true });
    }
  }

  /** Stops watching. */
  clear(): void {
    clearTimeout(this.#timer);
    if (this.#onAbort !== undefined) {
      this.#signal!.removeEventListener("abort", this.#onAbort);
    }
  }
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
