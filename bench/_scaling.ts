/**
 * The measurements of `report.ts`, each run in a process of its own.
 *
 * @module
 */

import { Pool } from "@parallel/multiprocessing";
import { integers, ranges, sum } from "./_inputs.ts";
import {
  expect,
  type Measurements,
  median,
  medianTime,
  time,
} from "./_measure.ts";
import { MessagePool } from "./_post_message.ts";
import { QueueEnds } from "./_queue_ends.ts";
import { allMeet } from "./_start.ts";
import { churn, countBytes, countPrimes, square } from "./testdata/work.ts";

const MIB = 1024 * 1024;
const PAYLOADS = [
  8,
  64,
  512,
  4096,
  32_768,
  262_144,
  2 * MIB,
  16 * MIB,
  64 * MIB,
];

async function warmPool(processes: number): Promise<Pool> {
  const pool = await warmStart(processes);
  await Promise.all(integers(1000).map((n) => pool.apply(square, [n])));
  return pool;
}

/** Runs for about as long, whatever one run takes. */
function runsFor(ms: number, once: number): number {
  return Math.max(1, Math.min(50, Math.round(ms / Math.max(once, 0.01))));
}

/** The median time of as many runs as fit, after one that warms up. */
async function steady(ms: number, run: () => unknown): Promise<number> {
  return await medianTime(runsFor(ms, await time(run)), run);
}

// -- Task length -----------------------------------------------------------------------

/** Speedups at one task length. */
export interface GrainRow {
  /** The length. */
  microseconds: number;
  /** How many tasks. */
  count: number;
  /** Of `map`, by number of workers. */
  map: number[];
  /** Of `map` with `chunkSize: 1`, 2 workers. */
  single: number;
  /** Of `imap`, 2 workers. */
  imap: number;
  /** Of `apply`, all at once, 2 workers. */
  apply: number;
}

/** What {@linkcode grain} measures. */
export interface Grain {
  /** How many workers there were. */
  workers: number[];
  /** By task length, in ascending order. */
  rows: GrainRow[];
  /** By call: from which length on 2 workers are faster, in microseconds. */
  breakEven: Record<string, number | null>;
}

async function grain(size: number): Promise<Grain> {
  const workers = [1, 2, 3, 4];
  churn(1e6);
  const stepsPerMicrosecond = 1e4 / await medianTime(9, () => churn(1e7));
  const rows: GrainRow[] = [];
  for (
    const microseconds of [0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 10_000]
  ) {
    const steps = Math.max(1, Math.round(microseconds * stepsPerMicrosecond));
    const wanted = 160_000 * size / microseconds;
    const count = Math.round(Math.max(16, Math.min(50_000, wanted)));
    // New ones for each length: what V8 makes of a function that was called with
    // short work for long may run long work at two thirds of the speed.
    const pools: Pool[] = [];
    for (const count of workers) pools.push(await warmPool(count));
    const two = pools[1]!;
    await Promise.all(
      pools.flatMap((pool) =>
        integers(8).map(() => pool.apply(churn, [steps]))
      ),
    );
    const tasks = new Array<number>(count).fill(steps);
    const expected = sum(tasks.map(churn));
    const checked = (values: number[]) => expect(sum(values), expected);
    const calls: (() => unknown)[] = [
      () => checked(tasks.map(churn)),
      ...pools.map((pool) => async () => checked(await pool.map(churn, tasks))),
      async () => checked(await two.map(churn, tasks, { chunkSize: 1 })),
      async () => checked(await Array.fromAsync(two.imap(churn, tasks))),
      async () =>
        checked(
          await Promise.all(tasks.map((task) => two.apply(churn, [task]))),
        ),
    ];
    // They take turns, so that all meet the same mood of the machine.
    const times = calls.map((): number[] => []);
    for (let round = 0; round < 4; round++) {
      for (const [i, call] of calls.entries()) {
        const ms = await time(call);
        if (round > 0) times[i]!.push(ms);
      }
    }
    for (const pool of pools) pool.terminate();
    await Promise.all(pools.map((pool) => pool.join()));
    const [serial, ...others] = times.map((all) =>
      all.sort((a, b) => a - b)[1]!
    );
    const speedups = others.map((ms) => serial! / ms);
    const [single, imap, apply] = speedups.slice(workers.length);
    rows.push({
      microseconds,
      count,
      map: speedups.slice(0, workers.length),
      single: single!,
      imap: imap!,
      apply: apply!,
    });
  }
  return {
    workers,
    rows,
    breakEven: {
      map: breakEven(rows, (row) => row.map[1]!),
      "map, chunkSize 1": breakEven(rows, (row) => row.single),
      imap: breakEven(rows, (row) => row.imap),
      apply: breakEven(rows, (row) => row.apply),
    },
  };
}

/** The first length of speedup 1, between two lengths by their ratio. */
function breakEven(
  rows: GrainRow[],
  speedup: (row: GrainRow) => number,
): number | null {
  const first = rows.findIndex((row) => speedup(row) >= 1);
  const row = rows[first];
  const before = rows[first - 1];
  if (row === undefined) return null;
  if (before === undefined) return row.microseconds;
  const share = (1 - speedup(before)) / (speedup(row) - speedup(before));
  const ratio = row.microseconds / before.microseconds;
  return before.microseconds * ratio ** share;
}

// -- Number of workers --------------------------------------------------------------------

/** What {@linkcode workers} measures. */
export type Workers = {
  /** How many. */
  workers: number;
  /** Milliseconds until the first results of all. */
  start: number;
  /** Calls a millisecond. */
  apply: number;
  /** Items a millisecond. */
  map: number;
  /** Of a CPU-bound `map`. */
  speedup: number;
}[];

async function workers(size: number): Promise<Workers> {
  const numbers = integers(Math.ceil(100_000 * size));
  const few = integers(Math.ceil(10_000 * size));
  const parts = ranges(Math.ceil(2_000_000 * size), 128);
  const count = sum(parts.map(countPrimes));
  const serial = await medianTime(3, () => parts.map(countPrimes));
  const rows: Workers = [];
  for (const workers of [1, 2, 4, 8, 16]) {
    const start = await medianTime(3, async () => {
      const pool = await warmStart(workers);
      pool.terminate();
    });
    const pool = await warmPool(workers);
    const primes = async () =>
      expect(sum(await pool.map(countPrimes, parts)), count);
    const parallel = await steady(3 * serial, primes);
    const map = await steady(300 * size, () => pool.map(square, numbers));
    const apply = await steady(
      300 * size,
      () => Promise.all(few.map((n) => pool.apply(square, [n]))),
    );
    pool.terminate();
    await pool.join();
    rows.push({
      workers,
      start,
      apply: few.length / apply,
      map: numbers.length / map,
      speedup: serial / parallel,
    });
  }
  return rows;
}

async function warmStart(processes: number): Promise<Pool> {
  const pool = new Pool(processes);
  await allMeet(pool, processes);
  return pool;
}

// -- Payload ------------------------------------------------------------------------------

/** MiB/s with one size of payload. */
export interface Payload {
  /** The size. */
  bytes: number;
  /** Copied by `apply`. */
  copied: number;
  /** Transferred by `apply`. */
  moved: number;
  /** In shared memory, by `apply`. */
  shared: number;
  /** Copied by `postMessage`. */
  posted: number;
  /** Copied in this thread. */
  memory: number;
}

async function payload(size: number): Promise<Payload[]> {
  const pool = await warmPool(2);
  const messages = MessagePool.start(2);
  const rows: Payload[] = [];
  for (const bytes of PAYLOADS) {
    const wanted = Math.min(5_000, 256 * MIB / bytes) * size;
    const count = Math.max(4, Math.floor(wanted));
    const own = new Uint8Array(bytes).fill(1);
    const shared = new Uint8Array(new SharedArrayBuffer(bytes)).fill(1);
    const perSecond = (ms: number) => count * bytes / MIB * 1000 / ms;
    const lanes = (call: (i: number) => Promise<unknown>) =>
      inLanes(4, count, async (i) => expect(await call(i), bytes));
    const moved: number[] = [];
    for (let run = 0; run < 3; run++) {
      const fresh = integers(count).map(() => new Uint8Array(bytes).fill(1));
      const ms = await time(() =>
        lanes((i) =>
          pool.apply(countBytes, [fresh[i]!], { transfer: [fresh[i]!.buffer] })
        )
      );
      moved.push(ms);
    }
    rows.push({
      bytes,
      copied: perSecond(
        await steady(
          500 * size,
          () => lanes(() => pool.apply(countBytes, [own])),
        ),
      ),
      moved: perSecond(median(moved)),
      shared: perSecond(
        await steady(
          300 * size,
          () => lanes(() => pool.apply(countBytes, [shared])),
        ),
      ),
      posted: perSecond(
        await steady(
          500 * size,
          () => lanes(() => messages.call("countBytes", own)),
        ),
      ),
      memory: perSecond(
        await steady(200 * size, () => {
          for (let i = 0; i < count; i++) expect(own.slice().length, bytes);
        }),
      ),
    });
  }
  return rows;
}

/** Keeps `width` of `count` calls outstanding. */
async function inLanes(
  width: number,
  count: number,
  call: (i: number) => Promise<unknown>,
): Promise<void> {
  let next = 0;
  async function lane(): Promise<void> {
    while (next < count) await call(next++);
  }
  await Promise.all(integers(width).map(lane));
}

// -- Number of items ------------------------------------------------------------------------

/** Figures for one number of items. */
export interface Items {
  /** How many. */
  count: number;
  /** Calls a millisecond. */
  apply: number;
  /** Nanoseconds an item. */
  map: number;
  /** Nanoseconds an item. */
  imap: number;
  /** Items a millisecond, asynchronously. */
  queue: number;
  /** Items a millisecond, blocking. */
  queueSync: number;
}

async function items(size: number): Promise<Items[]> {
  const pool = await warmPool(2);
  const ends = new QueueEnds("integers", 1, 0);
  const rows: Items[] = [];
  for (const most of [100, 1_000, 10_000, 100_000, 1_000_000]) {
    const count = Math.max(100, most * size);
    const numbers = integers(count);
    const total = sum(numbers.map(square));
    const ms = 400 * size;
    const apply = await steady(
      ms,
      async () =>
        expect(
          sum(await Promise.all(numbers.map((n) => pool.apply(square, [n])))),
          total,
        ),
    );
    const map = await steady(
      ms,
      async () => expect(sum(await pool.map(square, numbers)), total),
    );
    const imap = await steady(ms, async () => {
      let got = 0;
      for await (const n of pool.imap(square, numbers, { chunkSize: 256 })) {
        got += n;
      }
      expect(got, total);
    });
    const queue = await steady(ms, async () => {
      ends.put(count);
      expect(await ends.take(count), count * (count - 1) / 2);
    });
    const queueSync = await steady(ms, () => {
      ends.put(count);
      expect(ends.takeSync(count), count * (count - 1) / 2);
    });
    rows.push({
      count,
      apply: count / apply,
      map: map * 1e6 / count,
      imap: imap * 1e6 / count,
      queue: count / queue,
      queueSync: count / queueSync,
    });
  }
  return rows;
}

// -- Memory ---------------------------------------------------------------------------------

/** The memory that a call took. */
export interface Memory {
  /** `map` or `imap`. */
  way: string;
  /** How many items it had. */
  count: number;
  /** Peak above the beginning, in MiB. */
  mib: number;
}

async function memory(
  way: "map" | "imap",
  most: number,
  size: number,
): Promise<Memory> {
  const count = most * size;
  function* texts(): Generator<string> {
    for (let i = 0; i < count; i++) yield `${i}`.padStart(100, "-");
  }
  const pool = await warmPool(2);
  const before = Deno.memoryUsage().rss;
  let peak = before;
  function look(): void {
    peak = Math.max(peak, Deno.memoryUsage().rss);
  }
  const timer = setInterval(look, 5);
  const measured = (text: string) => text.length;
  let total = 0;
  if (way === "map") {
    total = sum(await pool.map(measured, texts()));
  } else {
    const lengths = pool.imap(measured, texts(), { chunkSize: 256 });
    for await (const length of lengths) total += length;
  }
  look();
  clearInterval(timer);
  expect(total, 100 * count);
  return { way, count, mib: (peak - before) / MIB };
}

/** By name. */
export const MEASUREMENTS: Measurements = {
  grain,
  workers,
  payload,
  items,
  ...Object.fromEntries(
    (["map", "imap"] as const).flatMap((way) =>
      [10_000, 100_000, 1_000_000].map((count) => [
        `memory:${way}:${count}`,
        (size: number) => memory(way, count, size),
      ])
    ),
  ),
};
