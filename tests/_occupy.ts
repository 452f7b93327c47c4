/**
 * A task that runs until it is told to end.
 *
 * @module
 */

/** Says that it runs, and waits until it may end. Blocks its worker. */
export function occupy(words: Int32Array): number {
  Atomics.add(words, 0, 1);
  while (Atomics.load(words, 1) === 0) Atomics.wait(words, 1, 0, 5);
  return Atomics.add(words, 2, 1) + 1;
}

/** Lets the tasks of {@linkcode occupy} end. */
export function free(words: Int32Array): void {
  Atomics.store(words, 1, 1);
}
