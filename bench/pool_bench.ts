/**
 * Calls in a pool, against the same calls in one thread.
 *
 * @module
 */

import { cpuCount, Pool, SharedArray } from "@parallel/multiprocessing";
import {
  cutText,
  integers,
  makeBuffers,
  makeItems,
  makeText,
  ranges,
  sum,
} from "./_inputs.ts";
import { MessagePool } from "./_post_message.ts";
import { type Case, group, workers } from "./_suite.ts";
import {
  churn,
  countPrimes,
  countWords,
  hitCircle,
  paintRows,
  square,
  sumBytes,
  touch,
} from "./testdata/work.ts";

const MIB = 1024 * 1024;

const pools = [...new Set([2, 4, cpuCount()])].sort((a, b) => a - b)
  .map((processes) => new Pool(processes));
const two = pools[0]!;
const messages = MessagePool.start(2);
addEventListener("unload", () => messages.close());

/** A case for each pool. */
function inPools(what: string, run: (pool: Pool) => unknown): Case[] {
  return pools.map((pool) => ({
    name: `${what}, ${workers(pool.processes)}`,
    run: () => run(pool),
  }));
}

// -- cpu-bound ------------------------------------------------------------------

const primeRanges = ranges(1_000_000, 64);
await group("cpu-bound: primes below 1 000 000 in 64 ranges", [
  { name: "serial", run: () => sum(primeRanges.map(countPrimes)) },
  ...inPools(
    "map",
    async (pool) => sum(await pool.map(countPrimes, primeRanges)),
  ),
], { runs: 10 });

const throws = integers(64).map((seed): [number, number] => [seed, 100_000]);
await group("cpu-bound: Monte-Carlo pi, 64 x 100 000 points", [
  {
    name: "serial",
    run: () => sum(throws.map(([seed, points]) => hitCircle(seed, points))),
  },
  ...inPools(
    "starmap",
    async (pool) => sum(await pool.starmap(hitCircle, throws)),
  ),
], { runs: 10 });

// -- tiny task ------------------------------------------------------------------

const numbers = integers(10_000);
await group("tiny task: square of 10 000 integers", [
  { name: "serial", run: () => sum(numbers.map(square)) },
  {
    name: "map, 2 workers",
    run: async () => sum(await two.map(square, numbers)),
  },
  {
    name: "apply all at once, 2 workers",
    run: async () =>
      sum(await Promise.all(numbers.map((n) => two.apply(square, [n])))),
  },
  {
    name: "postMessage in chunks, 2 workers",
    run: async () => sum(await messages.map("square", numbers) as number[]),
  },
  {
    name: "postMessage all at once, 2 workers",
    run: async () =>
      sum(
        await Promise.all(
          numbers.map((n) => messages.call("square", n)),
        ) as number[],
      ),
  },
], { runs: 20 });

await group("tiny task: one at a time, 1 000 calls", [
  { name: "serial", run: () => sum(numbers.slice(0, 1000).map(square)) },
  {
    name: "apply, 2 workers",
    run: async () => {
      let total = 0;
      for (let n = 0; n < 1000; n++) total += await two.apply(square, [n]);
      return total;
    },
  },
  {
    name: "postMessage, 2 workers",
    run: async () => {
      let total = 0;
      for (let n = 0; n < 1000; n++) {
        total += await messages.call("square", n) as number;
      }
      return total;
    },
  },
], { runs: 10 });

// -- grain ----------------------------------------------------------------------

// A step takes about a nanosecond.
for (const steps of [100, 1_000, 10_000, 100_000]) {
  const tasks = new Array<number>(Math.min(10_000, 20_000_000 / steps))
    .fill(steps);
  const amount = `${tasks.length} tasks of ${steps} steps`;
  await group(`grain: ${amount}`, [
    { name: "serial", run: () => sum(tasks.map(churn)) },
    {
      name: "map, 2 workers",
      run: async () => sum(await two.map(churn, tasks)),
    },
    {
      name: "map, chunkSize 1, 2 workers",
      run: async () => sum(await two.map(churn, tasks, { chunkSize: 1 })),
    },
    {
      name: "apply all at once, 2 workers",
      run: async () =>
        sum(await Promise.all(tasks.map((n) => two.apply(churn, [n])))),
    },
  ], { runs: 10 });
}

// -- records --------------------------------------------------------------------

const items = makeItems(1_000);
await group("records: 1 000 x 1 KB, there and back", [
  {
    name: "serial",
    run: () => items.map((item) => touch({ ...item })).length,
  },
  {
    name: "map, 2 workers",
    run: async () => (await two.map(touch, items)).length,
  },
  {
    name: "apply all at once, 2 workers",
    run: async () =>
      (await Promise.all(items.map((item) => two.apply(touch, [item])))).length,
  },
  {
    name: "postMessage all at once, 2 workers",
    run: async () =>
      (await Promise.all(items.map((item) => messages.call("touch", item))))
        .length,
  },
], { runs: 20 });

// -- large payload and transfer ---------------------------------------------------

const buffers = makeBuffers(32, MIB);
const shared = buffers.map((bytes) => {
  const view = new Uint8Array(new SharedArrayBuffer(MIB));
  view.set(bytes);
  return view;
});
function copies(): Uint8Array<ArrayBuffer>[] {
  return buffers.map((bytes) => bytes.slice());
}
await group("large payload: sum of 32 x 1 MiB", [
  { name: "serial", run: () => sum(buffers.map(sumBytes)) },
  {
    name: "copied, 2 workers",
    run: async () => sum(await two.map(sumBytes, buffers, { chunkSize: 1 })),
  },
  {
    name: "transferred, 2 workers",
    prepare: copies,
    run: async (fresh) =>
      sum(
        await Promise.all(
          (fresh as Uint8Array<ArrayBuffer>[]).map((bytes) =>
            two.apply(sumBytes, [bytes], { transfer: [bytes.buffer] })
          ),
        ),
      ),
  },
  {
    name: "shared, 2 workers",
    run: async () => sum(await two.map(sumBytes, shared, { chunkSize: 1 })),
  },
  {
    name: "postMessage copied, 2 workers",
    run: async () =>
      sum(
        await Promise.all(
          buffers.map((bytes) => messages.call("sumBytes", bytes)),
        ) as number[],
      ),
  },
  {
    name: "postMessage transferred, 2 workers",
    prepare: copies,
    run: async (fresh) =>
      sum(
        await Promise.all(
          (fresh as Uint8Array<ArrayBuffer>[]).map((bytes) =>
            messages.call("sumBytes", bytes, [bytes.buffer])
          ),
        ) as number[],
      ),
  },
], { runs: 10 });

// -- image ----------------------------------------------------------------------

const WIDTH = 512;
const HEIGHT = 256;
const ownPixels = new Uint8Array(WIDTH * HEIGHT);
const image = new SharedArray("u8", WIDTH * HEIGHT);
const bands = ranges(HEIGHT, 32);
await group(`image: ${WIDTH} x ${HEIGHT} pixels in 32 bands of rows`, [
  {
    name: "serial",
    run: () => {
      ownPixels.fill(0);
      for (const band of bands) paintRows(ownPixels, WIDTH, band);
      return sum(ownPixels);
    },
  },
  ...inPools("starmap over shared memory", async (pool) => {
    image.view.fill(0);
    await pool.starmap(
      paintRows,
      bands.map((band): Parameters<typeof paintRows> => [
        image.view,
        WIDTH,
        band,
      ]),
      { chunkSize: 1 },
    );
    return sum(image.view);
  }),
], { runs: 10 });

// -- text -----------------------------------------------------------------------

const text = makeText(4 * MIB);
const chunks = cutText(text, 32);
function merge(parts: Iterable<Map<string, number>>): [string, number][] {
  const counts = new Map<string, number>();
  for (const part of parts) {
    for (const [word, count] of part) {
      counts.set(word, (counts.get(word) ?? 0) + count);
    }
  }
  return [...counts].sort(([a], [b]) => a < b ? -1 : 1);
}
await group("text: words of 4 Mi characters in 32 chunks", [
  { name: "serial", run: () => merge(chunks.map(countWords)) },
  ...inPools(
    "map",
    async (pool) => merge(await pool.map(countWords, chunks, { chunkSize: 1 })),
  ),
], { runs: 5 });

// -- streaming ------------------------------------------------------------------

const STREAMED = 2_000;
function* stream(): Generator<number> {
  for (let i = 0; i < STREAMED; i++) yield 20_000;
}
async function total(values: AsyncIterable<number>): Promise<number> {
  let result = 0;
  for await (const value of values) result += value;
  return result;
}
await group(`streaming: ${STREAMED} items of 20 000 steps from a generator`, [
  { name: "serial", run: () => sum(stream().map(churn)) },
  { name: "imap, 2 workers", run: () => total(two.imap(churn, stream())) },
  {
    name: "imap, chunkSize 32, 2 workers",
    run: () => total(two.imap(churn, stream(), { chunkSize: 32 })),
  },
  {
    name: "imapUnordered, 2 workers",
    run: () => total(two.imapUnordered(churn, stream())),
  },
], { runs: 10 });
