/**
 * Shared words and repeatable randomness, for tests of every kind.
 *
 * @module
 */

/** Shared words, all 0. */
export function sharedWords(count = 16): Int32Array {
  return new Int32Array(new SharedArrayBuffer(4 * count));
}

/** A small deterministic random number generator: gives integers from 0 to below `below`. */
export function seeded(seed: number): (below: number) => number {
  let state = seed | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}
