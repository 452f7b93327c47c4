/**
 * Where the calls of a pool were made, for the stacks of their errors.
 *
 * @module
 */

import type { AnyFunction } from "./_calls.ts";
import type { SentFunction } from "./_functions.ts";
import type { Caller } from "./_thrown.ts";

/** After how many captures of its call sites a function is one that is called in a loop. */
const EXACT_CAPTURES = 256;
/** How many calls share a call site then. */
const SHARED_CALLS = 1024;

/**
 * The call sites of one pool.
 *
 * Capturing one costs more than a small task, so calls of one function that are made in
 * one go share what the first found; and the many that are made in a loop, until one
 * fails.
 */
export class CallSites {
  /** How often the call sites of a function were captured. */
  readonly #captures = new WeakMap<SentFunction, number>();
  #fn: SentFunction | undefined;
  #caller: Caller = {};
  /** How many more calls may share it. */
  #shares = 0;
  #failures = 0;
  readonly #forget = () => {
    this.#shares = 0;
  };

  /**
   * Where a function is called.
   *
   * @param fn The function.
   * @param below The public method that was called: the stack above it is the caller's.
   * @param failures How many calls have failed so far.
   */
  of(fn: SentFunction, below: AnyFunction, failures: number): Caller {
    if (
      fn === this.#fn && this.#shares-- > 0 && failures === this.#failures
    ) return this.#caller;
    this.#fn = fn;
    this.#failures = failures;
    this.#caller = {};
    Error.captureStackTrace(this.#caller, below);
    this.#shares = SHARED_CALLS;
    const captures = this.#captures.get(fn) ?? 0;
    if (captures < EXACT_CAPTURES) {
      this.#captures.set(fn, captures + 1);
      Promise.resolve().then(this.#forget);
    }
    return this.#caller;
  }
}
