/**
 * What the benchmarks work on, the same in every run.
 *
 * @module
 */

import type { Item, Range } from "./testdata/work.ts";

/** Cuts 0 up to `limit` into equal ranges. */
export function ranges(limit: number, count: number): Range[] {
  return Array.from(
    { length: count },
    (_, i): Range => [limit * i / count, limit * (i + 1) / count],
  );
}

/** 0 up to `count`. */
export function integers(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

/** Items of about 1 KB as JSON. */
export function makeItems(count: number): Item[] {
  return Array.from({ length: count }, (_, id): Item => ({
    id,
    name: `item number ${id}`,
    seen: 0,
    tags: ["alpha", "beta", "gamma", "delta"],
    nested: { a: id, b: "two", c: { d: null, e: true } },
    text: "lorem ipsum dolor sit amet ".repeat(20),
    values: Array.from({ length: 60 }, (_, i) => id + i),
  }));
}

/** Buffers with numbers in them. */
export function makeBuffers(
  count: number,
  bytes: number,
): Uint8Array<ArrayBuffer>[] {
  return Array.from(
    { length: count },
    (_, i) => new Uint8Array(bytes).fill(i + 1),
  );
}

/** English-looking text of at least `length` characters. */
export function makeText(length: number): string {
  const syllables = [
    "ba",
    "do",
    "ke",
    "li",
    "mu",
    "na",
    "ro",
    "se",
    "ti",
    "wa",
  ];
  const words: string[] = [];
  let state = 1;
  for (let size = 0; size < length;) {
    state = Math.imul(state, 1_103_515_245) + 12_345 >>> 0;
    // Small numbers are more frequent, as words are in a text.
    const rank = Math.floor((state >>> 8) % 1000 * ((state >>> 20) / 4096));
    const word = [...`${rank + 10}`].map((digit) => syllables[+digit]).join("");
    words.push(word);
    size += word.length + 1;
  }
  return words.join(" ");
}

/** Cuts a text into about `count` chunks, between words. */
export function cutText(text: string, count: number): string[] {
  const chunks: string[] = [];
  const size = Math.ceil(text.length / count);
  for (let from = 0; from < text.length;) {
    const space = text.indexOf(" ", from + size);
    const to = space < 0 ? text.length : space;
    chunks.push(text.slice(from, to));
    from = to + 1;
  }
  return chunks;
}

/** Adds numbers. */
export function sum(numbers: Iterable<number>): number {
  let total = 0;
  for (const number of numbers) total += number;
  return total;
}
