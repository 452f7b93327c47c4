/**
 * What a pool's worker does with a chunk for `pfilter`, `pforEach` and `preduce`: of
 * the values of the user's function only what is wanted travels back.
 *
 * @module
 */

import { EACH, FILTER } from "./_pool_protocol.ts";

// deno-lint-ignore no-explicit-any
type AnyFunction = (...args: any[]) => any;

/**
 * Runs the items of a chunk through a function, one after the other.
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
      const value = run(items[i]);
      items[i] = Boolean(isThenable(value) ? await value : value);
    }
    return items;
  }
  if (mode === EACH) {
    for (let i = 0; i < items.length; i++) {
      const value = run(items[i]);
      if (isThenable(value)) await value;
    }
    return [];
  }
  let total = items[0];
  for (let i = 1; i < items.length; i++) {
    const value = run(total, items[i]);
    total = isThenable(value) ? await value : value;
  }
  return [total];
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null &&
    typeof (value as { then?: unknown }).then === "function";
}
