/**
 * The work that the benchmarks do, here and in workers: deterministic functions.
 *
 * @module
 */

/** From a number to the one after the last. */
export type Range = readonly [from: number, to: number];

/** About 1 KB as JSON. */
export interface Item {
  /** Its number. */
  id: number;
  /** Its name. */
  name: string;
  /** How often it was worked on. */
  seen: number;
  /** Some words. */
  tags: string[];
  /** Something nested. */
  nested: { a: number; b: string; c: { d: null; e: boolean } };
  /** Most of its bytes. */
  text: string;
  /** Some numbers. */
  values: number[];
}

/** Counts the primes of a range. */
export function countPrimes([from, to]: Range): number {
  let count = from <= 2 && to > 2 ? 1 : 0;
  search: for (let n = Math.max(from | 1, 3); n < to; n += 2) {
    for (let d = 3; d * d <= n; d += 2) {
      if (n % d === 0) continue search;
    }
    count++;
  }
  return count;
}

/** Throws `points` pseudo-random points at a square; returns the hits in its circle. */
export function hitCircle(seed: number, points: number): number {
  let state = seed * 2_654_435_761 | 1;
  let hits = 0;
  for (let i = 0; i < points; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    const x = (state >>> 16) / 65_536;
    const y = (state & 0xffff) / 65_536;
    if (x * x + y * y < 1) hits++;
  }
  return hits;
}

/** The smallest task. */
export function square(n: number): number {
  return n * n;
}

/** A task whose length is its number of steps. */
export function churn(steps: number): number {
  let state = 123_456_789;
  for (let i = 0; i < steps; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
  }
  return state;
}

/** Changes an item a little and returns all of it. */
export function touch(item: Item): Item {
  item.seen++;
  return item;
}

/** Adds all bytes. */
export function sumBytes(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i++) sum += bytes[i]!;
  return sum;
}

/** Receives bytes without looking at them. */
export function countBytes(bytes: Uint8Array): number {
  return bytes.length;
}

/** Paints rows of the Mandelbrot set, one byte a pixel; returns how many rows. */
export function paintRows(
  pixels: Uint8Array,
  width: number,
  [from, to]: Range,
): number {
  const height = pixels.length / width;
  for (let row = from; row < to; row++) {
    const imaginary = row / height * 2 - 1;
    for (let column = 0; column < width; column++) {
      const real = column / width * 3 - 2;
      let x = 0;
      let y = 0;
      let depth = 0;
      while (x * x + y * y < 4 && depth < 255) {
        const next = x * x - y * y + real;
        y = 2 * x * y + imaginary;
        x = next;
        depth++;
      }
      pixels[row * width + column] = depth;
    }
  }
  return to - from;
}

/** Counts how often each word occurs. */
export function countWords(text: string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const [word] of text.matchAll(/\w+/g)) {
    counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  return counts;
}

/** Says that one more has arrived, and waits for the others. */
export function meet(arrived: Int32Array, parties = 2): number {
  Atomics.add(arrived, 0, 1);
  Atomics.notify(arrived, 0);
  let seen = Atomics.load(arrived, 0);
  while (seen < parties) {
    if (Atomics.wait(arrived, 0, seen, 20_000) === "timed-out") {
      throw new Error("Cannot meet: the others did not arrive");
    }
    seen = Atomics.load(arrived, 0);
  }
  return parties;
}
