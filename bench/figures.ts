/**
 * The figures that the library promises, against `postMessage` written by hand.
 *
 * Each measurement runs in a fresh process, and the repetitions of all take turns,
 * so that a change of the machine's mood meets both sides. Prints a table of
 * medians. `--reps=5` is how many repetitions, `--quick` one with little work.
 *
 * @module
 */

import { Lock, Pool, Process, type Queue } from "@parallel/multiprocessing";
import { integers, makeBuffers, makeItems, ranges, sum } from "./_inputs.ts";
import {
  answerParent,
  expect,
  figure,
  inChild,
  machine,
  median,
  medianTime,
  table,
  time,
} from "./_measure.ts";
import { MessagePool } from "./_post_message.ts";
import { MessageEnds, QueueEnds } from "./_queue_ends.ts";
import { allMeet, START } from "./_start.ts";
import type { Kind } from "./testdata/items.ts";
import { countSync } from "./testdata/locks.ts";
import { countPrimes, square, sumBytes, touch } from "./testdata/work.ts";

/** A row of the table. */
interface Row {
  /** What is measured. */
  what: string;
  unit: string;
  /** The measurement of the library. */
  ours: string;
  /** The measurement it is compared with; without one `wanted` is absolute. */
  other?: string;
  /** Of what is compared. */
  against?: string;
  /** Least ratio (or value) wanted; most, if `lower`. */
  wanted: number;
  /** Whether less is better. */
  lower?: boolean;
}

const ROWS: Row[] = [
  {
    what:
      "CPU-bound `map`: primes below 4 000 000 in 64 ranges, numbers tested",
    unit: "k/s",
    ours: "cpuMap",
    other: "cpuSerial",
    against: "serial",
    wanted: 1.85,
  },
  {
    what: "`apply`, 10 000 outstanding",
    unit: "k/s",
    ours: "apply",
    other: "messageCalls",
    wanted: 3,
  },
  {
    what: "`apply`, one at a time",
    unit: "µs",
    ours: "applyLatency",
    other: "messageLatency",
    wanted: 0.5,
    lower: true,
  },
  {
    what: "`Queue` of small integers, worker to main, `putSync` and `get`",
    unit: "k/s",
    ours: "queueIntegers",
    other: "messageIntegers",
    wanted: 3,
  },
  {
    what: "`Lock`, uncontended `acquireSync` and `release`",
    unit: "M/s",
    ours: "lockSync",
    wanted: 10,
  },
  {
    what: "`new Pool(2)` until the first results of both workers",
    unit: "ms",
    ours: "poolStart",
    other: "workersStart",
    against: "of 2 bare Workers",
    wanted: 1.5,
    lower: true,
  },
];

/** Shown with `--all`: the same library, with less to spare. */
const MORE_ROWS: Row[] = [
  {
    what: "the CPU-bound `map` by hand: what this machine has to give",
    unit: "k/s",
    ours: "cpuByHand",
    other: "cpuSerial",
    against: "serial",
    wanted: 1.85,
  },
  {
    what: "`apply`, one at a time, the first 2 000",
    unit: "µs",
    ours: "firstLatency",
    other: "messageFirstLatency",
    wanted: 0.5,
    lower: true,
  },
  {
    what: "`map` of `square` over 10 000 integers",
    unit: "k/s",
    ours: "mapIntegers",
    other: "messageMap",
    wanted: 1.5,
  },
  {
    what: "1 KB objects in and out, 64 outstanding",
    unit: "k/s",
    ours: "applyItems",
    other: "messageItems",
    wanted: 2.5,
  },
  {
    what: "1 MiB copied in, 4 outstanding",
    unit: "MiB/s",
    ours: "applyCopied",
    other: "messageCopied",
    wanted: 1.4,
  },
  {
    what: "1 MiB moved in, 4 outstanding",
    unit: "MiB/s",
    ours: "applyMoved",
    other: "messageMoved",
    wanted: 1,
  },
  {
    what: "`Queue` of small integers, main to worker, `put` and `getSync`",
    unit: "k/s",
    ours: "queueIntegersOut",
    other: "messageIntegersOut",
    wanted: 5,
  },
  {
    what: "`Queue` of small integers, worker to main, `putSync` and `getSync`",
    unit: "k/s",
    ours: "queueIntegersSync",
    wanted: 10_000,
  },
  {
    what: "`Queue` of 100-byte objects, worker to main",
    unit: "k/s",
    ours: "queueObjects",
    other: "messageObjects",
    wanted: 1.8,
  },
  {
    what: "`Lock`, uncontended `acquire` and `release`",
    unit: "M/s",
    ours: "lockAsync",
    wanted: 2,
  },
  {
    what: "`Lock`, contended by 2 workers, blocking",
    unit: "M/s",
    ours: "lockContended",
    wanted: 5,
  },
  {
    what:
      "`kill()` of a node worker in an endless loop, until its thread is gone",
    unit: "ms",
    ours: "stopSpinning",
    wanted: 100,
    lower: true,
  },
  {
    what: "a task ends its worker, until both workers have done a task again",
    unit: "ms",
    ours: "recovery",
    wanted: 200,
    lower: true,
  },
  {
    what: "the same with node workers",
    unit: "ms",
    ours: "nodeRecovery",
    wanted: 200,
    lower: true,
  },
];

// -- Measurements, each in its own process -----------------------------------------

function primeRanges(size: number) {
  return ranges(Math.ceil(4_000_000 * size), 64);
}

async function warmPool(): Promise<Pool> {
  const pool = new Pool(2);
  for (let round = 0; round < 3; round++) {
    await Promise.all(integers(200).map((n) => pool.apply(square, [n])));
  }
  return pool;
}

async function warmMessages(): Promise<MessagePool> {
  const pool = MessagePool.start(2);
  for (let round = 0; round < 3; round++) {
    await Promise.all(integers(200).map((n) => pool.call("square", n)));
  }
  return pool;
}

function moment(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 1));
}

/** How many threads this process has; only Linux tells. */
function threads(): number {
  return [...Deno.readDirSync("/proc/self/task")].length;
}

async function recover(worker: "web" | "node"): Promise<number> {
  const pool = new Pool({ processes: 2, worker });
  await allMeet(pool);
  const died = pool.apply(() => Deno.exit(3));
  return await time(async () => {
    await died.catch(() => {});
    await allMeet(pool);
  });
}

/** Keeps `width` calls outstanding; calls per millisecond. */
async function outstanding(
  count: number,
  width: number,
  call: (i: number) => Promise<unknown>,
): Promise<number> {
  let next = 0;
  async function lane(): Promise<void> {
    while (next < count) await call(next++);
  }
  return count / await time(() => Promise.all(integers(width).map(lane)));
}

async function perMs(
  count: number,
  run: () => unknown,
  runs = 3,
): Promise<number> {
  await run();
  return count / await medianTime(runs, run);
}

/** How many microseconds a call takes, one at a time. */
async function roundTrip(
  count: number,
  call: (i: number) => Promise<unknown>,
): Promise<number> {
  const rate = await perMs(count, async () => {
    for (let i = 0; i < count; i++) await call(i);
  });
  return 1000 / rate;
}

/** The same of the first calls, while they are still being compiled. */
async function firstRoundTrips(
  count: number,
  call: (i: number) => Promise<unknown>,
): Promise<number> {
  return 1000 / await outstanding(count, 1, call);
}

async function contended(times: number): Promise<number> {
  const pool = new Pool(2);
  const lock = new Lock();
  const words = new Int32Array(new SharedArrayBuffer(8));
  const arrived = words.subarray(1);
  async function fight(): Promise<void> {
    words.fill(0);
    await Promise.all(
      [0, 1].map(() => pool.apply(countSync, [lock, words, arrived, 2, times])),
    );
    expect(words[0], 2 * times);
  }
  return await perMs(2 * times, fight) / 1000;
}

async function fromWorker(
  kind: Kind,
  count: number,
  take: (ends: QueueEnds) => unknown,
): Promise<number> {
  const ends = new QueueEnds(kind, 1, 0);
  return await perMs(count, () => {
    ends.put(count);
    return take(ends);
  });
}

/** At least one of something. */
function some(count: number, size: number): number {
  return Math.max(1, Math.round(count * size));
}

const MEASUREMENTS: Record<string, (size: number) => Promise<number>> = {
  async cpuSerial(size) {
    countPrimes([0, 20_000]);
    const parts = primeRanges(size);
    const ms = await time(() => sum(parts.map(countPrimes)));
    return parts.at(-1)![1] / ms;
  },
  async cpuMap(size) {
    const pool = await warmPool();
    await pool.map(countPrimes, ranges(160_000, 8));
    const parts = primeRanges(size);
    let count = 0;
    const ms = await time(async () => {
      count = sum(await pool.map(countPrimes, parts));
    });
    expect(count, sum(parts.map(countPrimes)));
    return parts.at(-1)![1] / ms;
  },
  async cpuByHand(size) {
    const pool = await warmMessages();
    await Promise.all(
      ranges(160_000, 8).map((range) => pool.call("countPrimes", range)),
    );
    const parts = primeRanges(size);
    const ms = await time(() =>
      Promise.all(parts.map((range) => pool.call("countPrimes", range)))
    );
    return parts.at(-1)![1] / ms;
  },
  async apply(size) {
    const pool = await warmPool();
    const count = some(10_000, size);
    return await perMs(
      count,
      () => Promise.all(integers(count).map((n) => pool.apply(square, [n]))),
    );
  },
  async messageCalls(size) {
    const pool = await warmMessages();
    const count = some(10_000, size);
    return await perMs(
      count,
      () => Promise.all(integers(count).map((n) => pool.call("square", n))),
    );
  },
  async applyLatency(size) {
    const pool = await warmPool();
    return await roundTrip(some(2_000, size), (n) => pool.apply(square, [n]));
  },
  async messageLatency(size) {
    const pool = await warmMessages();
    return await roundTrip(some(2_000, size), (n) => pool.call("square", n));
  },
  async firstLatency(size) {
    const pool = await warmPool();
    const call = (n: number) => pool.apply(square, [n]);
    return await firstRoundTrips(some(2_000, size), call);
  },
  async messageFirstLatency(size) {
    const pool = await warmMessages();
    const call = (n: number) => pool.call("square", n);
    return await firstRoundTrips(some(2_000, size), call);
  },
  queueIntegers(size) {
    const count = some(200_000, size);
    return fromWorker("integers", count, (ends) => ends.take(count));
  },
  queueIntegersSync(size) {
    const count = some(500_000, size);
    return fromWorker("integers", count, (ends) => ends.takeSync(count));
  },
  queueObjects(size) {
    const count = some(50_000, size);
    return fromWorker("100-byte objects", count, (ends) => ends.take(count));
  },
  async messageIntegers(size) {
    const ends = await MessageEnds.start("integers", 1, 0);
    const count = some(50_000, size);
    return await perMs(count, () => ends.take(count));
  },
  async messageObjects(size) {
    const ends = await MessageEnds.start("100-byte objects", 1, 0);
    const count = some(20_000, size);
    return await perMs(count, () => ends.take(count));
  },
  async queueIntegersOut(size) {
    const ends = new QueueEnds("integers", 0, 1);
    const items: Queue<unknown> = ends.items;
    const count = some(200_000, size);
    return await perMs(count, async () => {
      ends.get(count);
      for (let i = 0; i < count; i++) await items.put(i);
      await ends.sum();
    });
  },
  async messageIntegersOut(size) {
    const ends = await MessageEnds.start("integers", 0, 1);
    const count = some(50_000, size);
    return await perMs(count, () => ends.give(count));
  },
  async lockSync(size) {
    const lock = new Lock();
    const count = some(5_000_000, size);
    const rate = await perMs(count, () => {
      for (let i = 0; i < count; i++) {
        lock.acquireSync();
        lock.release();
      }
    });
    return rate / 1000;
  },
  async lockAsync(size) {
    const lock = new Lock();
    const count = some(300_000, size);
    const rate = await perMs(count, async () => {
      for (let i = 0; i < count; i++) {
        await lock.acquire();
        lock.release();
      }
    });
    return rate / 1000;
  },
  lockContended: (size) => contended(some(500_000, size)),
  async mapIntegers(size) {
    const pool = await warmPool();
    const numbers = integers(some(10_000, size));
    return await perMs(numbers.length, () => pool.map(square, numbers), 15);
  },
  async messageMap(size) {
    const pool = await warmMessages();
    const numbers = integers(some(10_000, size));
    return await perMs(numbers.length, () => pool.map("square", numbers), 15);
  },
  async applyItems(size) {
    const pool = await warmPool();
    const items = makeItems(some(3_000, size));
    await outstanding(50, 64, (i) => pool.apply(touch, [items[i % 10]!]));
    return await outstanding(
      items.length,
      64,
      (i) => pool.apply(touch, [items[i]!]),
    );
  },
  async messageItems(size) {
    const pool = await warmMessages();
    const items = makeItems(some(3_000, size));
    await outstanding(50, 64, (i) => pool.call("touch", items[i % 10]));
    return await outstanding(
      items.length,
      64,
      (i) => pool.call("touch", items[i]),
    );
  },
  async applyCopied(size) {
    const pool = await warmPool();
    const buffers = makeBuffers(some(96, size), 1024 * 1024);
    await outstanding(4, 4, () => pool.apply(sumBytes, [buffers[0]!]));
    return 1000 * await outstanding(
      buffers.length,
      4,
      (i) => pool.apply(sumBytes, [buffers[i]!]),
    );
  },
  async messageCopied(size) {
    const pool = await warmMessages();
    const buffers = makeBuffers(some(96, size), 1024 * 1024);
    await outstanding(4, 4, () => pool.call("sumBytes", buffers[0]));
    return 1000 * await outstanding(
      buffers.length,
      4,
      (i) => pool.call("sumBytes", buffers[i]),
    );
  },
  async applyMoved(size) {
    const pool = await warmPool();
    const buffers = makeBuffers(some(96, size), 1024 * 1024);
    const [first] = buffers;
    await outstanding(4, 4, () => pool.apply(sumBytes, [first!]));
    return 1000 * await outstanding(
      buffers.length,
      4,
      (i) =>
        pool.apply(sumBytes, [buffers[i]!], { transfer: [buffers[i]!.buffer] }),
    );
  },
  async messageMoved(size) {
    const pool = await warmMessages();
    const buffers = makeBuffers(some(96, size), 1024 * 1024);
    const [first] = buffers;
    await outstanding(4, 4, () => pool.call("sumBytes", first));
    return 1000 * await outstanding(
      buffers.length,
      4,
      (i) => pool.call("sumBytes", buffers[i], [buffers[i]!.buffer]),
    );
  },
  async stopSpinning() {
    const before = threads();
    const begun = new Int32Array(new SharedArrayBuffer(4));
    const process = new Process({
      target: (words: Int32Array) => {
        Atomics.store(words, 0, 1);
        while (true);
      },
      args: [begun],
      worker: "node",
    }).start();
    while (Atomics.load(begun, 0) === 0) await moment();
    const most = threads();
    return await time(async () => {
      process.kill();
      await process.join();
      // The helpers that Deno starts with the first worker stay.
      while (threads() >= most && threads() > before) await moment();
    });
  },
  recovery: () => recover("web"),
  nodeRecovery: () => recover("node"),
};

// -- The report ----------------------------------------------------------------------

function rowCells(row: Row, values: Map<string, number[]>): string[] {
  const { what, unit, ours, other, against, wanted, lower } = row;
  const value = median(values.get(ours)!);
  let ratio = value;
  let compared = "–";
  if (other !== undefined) {
    const theirs = median(values.get(other)!);
    ratio /= theirs;
    compared = `${against ?? "postMessage"}: ${figure(theirs)}`;
  }
  const bound = `${lower ? "≤" : "≥"} ${figure(wanted)}`;
  const met = lower ? ratio <= wanted : ratio >= wanted;
  return [
    what,
    `${figure(value)} ${unit}`,
    compared,
    other === undefined ? "–" : figure(ratio),
    other === undefined ? `${bound} ${unit}` : bound,
    met ? "met" : "**missed**",
  ];
}

if (import.meta.main) {
  await answerParent(MEASUREMENTS);
  const quick = Deno.args.includes("--quick");
  const asked = Deno.args.find((arg) => arg.startsWith("--reps="))?.slice(7);
  const reps = quick ? 1 : Number(asked ?? 5);
  const rows = Deno.args.includes("--all") ? [...ROWS, ...MORE_ROWS] : ROWS;
  const names = new Set(
    rows.flatMap(({ ours, other }) => other ? [ours, other] : ours),
  );
  // A start is soon measured, and no two take the same time.
  const startsPerRep = quick ? 1 : 4;
  const starts = [...names].filter((name) => name in START);
  const turn = [...names];
  for (let more = 1; more < startsPerRep; more++) turn.push(...starts);
  const values = new Map<string, number[]>();
  for (const name of names) values.set(name, []);
  for (let rep = 0; rep < reps; rep++) {
    for (const name of turn) {
      const value = await inChild<number>(
        name in START ? import.meta.resolve("./_start.ts") : import.meta.url,
        name,
        quick ? 0.1 : 1,
      );
      if (value !== undefined) values.get(name)!.push(value);
    }
  }
  const about = Object.entries(await machine());
  console.log(about.map(([key, value]) => `${key}: ${value}  `).join("\n"));
  console.log(
    `medians of ${reps} repetitions, of starts ${
      reps * startsPerRep
    }, 2 workers\n`,
  );
  console.log(table(
    ["what", "measured", "compared with", "ratio", "wanted", ""],
    rows.map((row) => rowCells(row, values)),
  ));
}
