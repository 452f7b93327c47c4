/**
 * What the tests of pools count with.
 *
 * @module
 */

export function square(n: number): number {
  return n * n;
}

/** The numbers from 0 to below `length`. */
export function range(length: number): number[] {
  return Array.from({ length }, (_, index) => index);
}
