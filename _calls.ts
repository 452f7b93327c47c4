/**
 * How a pool's worker calls the user's functions.
 *
 * Once V8 has optimized a place where one function was called again and again, it has
 * put that function's code there, and what loops it has are never optimized as well as
 * alone: tasks of 0.1 to 1 ms ran at two thirds of their speed. So there is one such
 * place for each kind of call, and it has seen several functions before any task.
 *
 * @module
 */

import { isThenable } from "./_park.ts";
import { EACH, FILTER } from "./_pool_protocol.ts";

/** A function of the user's. */
// deno-lint-ignore no-explicit-any
export type AnyFunction = (...args: any[]) => any;

/** Calls a function with one argument. */
export function call(run: AnyFunction, value: unknown): unknown {
  return run(value);
}

/** Calls a function with any number of arguments. */
export function callWith(run: AnyFunction, args: unknown[]): unknown {
  return run(...args);
}

for (const run of [() => 1, () => 2, () => 3, () => 4, () => 5]) {
  for (let times = 0; times < 2; times++) {
    call(run, times);
    callWith(run, [times]);
  }
}

/**
 * Of a chunk of `pfilter`, `pforEach` and `preduce` only what is wanted travels back:
 * runs the items of a chunk through a function, one after the other.
 *
 * @param mode What to make of them.
 * @param run The user's function.
 * @param items The items.
 * @returns For `FILTER` a boolean for each item, for `EACH` nothing, for `REDUCE` the
 * one value they come to; in an array.
 */
export async function fold(
  mode: number,
  run: AnyFunction,
  items: unknown[],
): Promise<unknown[]> {
  if (mode === FILTER) {
    for (let i = 0; i < items.length; i++) {
      const value = call(run, items[i]);
      items[i] = Boolean(isThenable(value) ? await value : value);
    }
    return items;
  }
  if (mode === EACH) {
    for (let i = 0; i < items.length; i++) {
      const value = call(run, items[i]);
      if (isThenable(value)) await value;
    }
    return [];
  }
  let total = items[0];
  for (let i = 1; i < items.length; i++) {
    const value = callWith(run, [total, items[i]]);
    total = isThenable(value) ? await value : value;
  }
  return [total];
}
