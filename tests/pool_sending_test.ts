// What goes to the workers of a pool and comes back: functions, arguments and results.

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { Lock, RLock } from "../lock.ts";
import { Pool } from "../pool.ts";
import { Process } from "../process.ts";
import { Semaphore } from "../semaphore.ts";
import { task } from "../task.ts";
import { range, square } from "./_numbers.ts";
import { reaches, rejection, within } from "./_within.ts";
import { sharedWords } from "./_words.ts";
import type { processName } from "./testdata/pool_functions.ts";

// -- Functions ------------------------------------------------------------------------

Deno.test("A missing export is told, too, if the arguments take longer to arrive", async () => {
  await using pool = new Pool(1);
  const url = "data:text/javascript,export const there = () => 1";
  await within(pool.apply(task<() => number>(url, "there")));
  const error = await rejection(
    pool.apply(task<(lock: Lock) => void>(url, "nowhere"), [new Lock()]),
  );
  assertInstanceOf(error, TypeError);
  assertMatch(error.message, /no such export/);
  assertEquals(pool.stats.restarted, 0);
});

Deno.test("Pool.apply() runs task() targets, and tells a missing export", async () => {
  await using pool = new Pool(1);
  const url = new URL("./testdata/pool_functions.ts", import.meta.url);
  assertMatch(
    await within(pool.apply(task<typeof processName>(url, "processName"))),
    /PoolWorker/,
  );
  const error = await rejection(pool.apply(task(url, "noSuchExport")));
  assertStringIncludes(error.message, "noSuchExport");
  const none = new URL("./testdata/no_such.ts", import.meta.url);
  assertStringIncludes(
    (await rejection(pool.apply(task(none, "f")))).message,
    "no_such.ts",
  );
  assertEquals(pool.stats.restarted, 0);
});

Deno.test("A function with outer variables is refused before any of the work runs", async () => {
  await using pool = new Pool(2);
  const words = sharedWords();
  const outer = 1;
  const target = (words: Int32Array) => Atomics.add(words, 0, outer);
  const error = await rejection(pool.map(target, [words, words]));
  assertInstanceOf(error, TypeError);
  assertStringIncludes(error.message, "outer");
  assertEquals(words[0], 0);
});

// -- Arguments and results ------------------------------------------------------------

Deno.test("An argument that cannot be cloned rejects with a DataCloneError, and the pool goes on", async () => {
  await using pool = new Pool(1);
  const identity = (x: unknown) => x;
  const calls = [
    pool.apply(identity, [() => 1]),
    pool.map(identity, [1, () => 1]),
    pool.starmap(identity, [[1], [Symbol("s")]]),
    pool.imap(identity, [() => 1]).next(),
    pool.imapUnordered(identity, [() => 1]).next(),
  ];
  for (const call of calls) {
    const error = await rejection(call);
    assertInstanceOf(error, DOMException);
    assertEquals(error.name, "DataCloneError");
  }
  assertEquals(await within(pool.apply(square, [4])), 16);
});

Deno.test("A value nested too deeply is refused in the sender, and said to be", async () => {
  await using pool = new Pool(1);
  const nest = (depth: number) => {
    let value: unknown[] = [];
    for (let i = 0; i < depth; i++) value = [value];
    return value;
  };
  for (
    const call of [
      () => pool.apply((_: unknown) => {}, [nest(1e6)]),
      () => pool.apply(nest, [1e6]),
    ]
  ) {
    const error = await rejection(call());
    assertInstanceOf(error, RangeError);
    assertStringIncludes(error.message, "it is nested too deeply");
  }
  assertEquals(await within(pool.apply(square, [4])), 16);
});

Deno.test("A pool cannot be sent to a worker, nor by one", async () => {
  await using pool = new Pool(1);
  const identity = (value: unknown) => value;
  for (const value of [pool, { pools: [pool] }]) {
    const error = await rejection(pool.apply(identity, [value]));
    assertEquals(error.name, "DataCloneError");
    assertStringIncludes(error.message, "a Pool cannot leave");
    assertThrows(() => structuredClone(value), DOMException);
  }
  for (
    const value of [
      new Process({ target: () => {} }),
      new Lock().tryAcquire(),
      new RLock().tryAcquire(),
      new Semaphore(1).tryAcquire(),
      task("node:path", "basename"),
    ]
  ) {
    const error = await rejection(pool.apply(identity, [[value]]));
    assertEquals(error.name, "DataCloneError");
    assertMatch(error.message, /cannot leave the worker it was made in, send /);
  }
  const url = new URL("../pool.ts", import.meta.url).href;
  const error = await rejection(
    pool.apply(async (url: string) => new (await import(url)).Pool(1), [url]),
  );
  assertEquals(error.name, "DataCloneError");
  assertMatch(error.message, /result of the task.*a Pool cannot leave/);
  assertEquals(await within(pool.apply(square, [2])), 4);
});

Deno.test("A result that cannot be cloned rejects with an error that says so", async () => {
  await using pool = new Pool(1);
  const calls = [
    pool.apply(() => () => 1),
    pool.map(() => ({ f: () => 1 }), [1, 2]),
    pool.imap(() => Symbol("s"), [1]).next(),
  ];
  for (const call of calls) {
    const error = await rejection(call);
    assertInstanceOf(error, DOMException);
    assertEquals(error.name, "DataCloneError");
    assertStringIncludes(error.message, "result");
  }
  assertEquals(await within(pool.apply(square, [4])), 16);
  assertEquals(pool.stats.restarted, 0);
});

Deno.test("Locks and shared arrays arrive as themselves in args, items and results", async () => {
  await using pool = new Pool(2);
  const lock = new Lock();
  const words = sharedWords();
  const add = (
    { lock, words }: { lock: Lock; words: Int32Array },
    times: number,
  ) => {
    for (let i = 0; i < times; i++) {
      const guard = lock.acquireSync();
      words[0] = words[0]! + 1;
      guard.release();
    }
    return new Map<string, unknown>([["lock", lock], ["words", [words]]]);
  };
  const results = await within(
    pool.starmap(add, range(20).map(() => [{ lock, words }, 100])),
  );
  assertEquals(words[0], 2000);
  for (const result of results) {
    assertStrictEquals(result.get("lock"), lock);
    const [view] = result.get("words") as [Int32Array];
    assertStrictEquals(view.buffer, words.buffer);
  }
  const made = await within(pool.apply(() => {
    const shared = new Int32Array(new SharedArrayBuffer(8));
    shared[0] = 5;
    return { shared };
  }));
  assertEquals(made.shared[0], 5);
  assertInstanceOf(made.shared.buffer, SharedArrayBuffer);
});

// -- transfer -------------------------------------------------------------------------

Deno.test("Pool.apply() moves what is in `transfer`", async () => {
  await using pool = new Pool(1);
  const buffer = new Uint8Array([1, 2, 3]).buffer;
  const sent = pool.apply(
    (buffer: ArrayBuffer) => [...new Uint8Array(buffer)],
    [buffer],
    { transfer: [buffer] },
  );
  assertEquals(buffer.byteLength, 0);
  assertEquals(await within(sent), [1, 2, 3]);
});

Deno.test("Pool.map() and imap() move what is in `transfer`", async () => {
  await using pool = new Pool(2);
  const sum = (buffer: ArrayBuffer) =>
    new Uint8Array(buffer).reduce((a, b) => a + b, 0);
  const make = () => [1, 2, 3].map((n) => new Uint8Array([n, n]).buffer);
  const mapped = make();
  const kept = new Uint8Array([9]).buffer;
  assertEquals(
    await within(
      pool.map(sum, [...mapped, kept], { transfer: mapped, chunkSize: 2 }),
    ),
    [2, 4, 6, 9],
  );
  assertEquals(mapped.map((buffer) => buffer.byteLength), [0, 0, 0]);
  assertEquals(kept.byteLength, 1);
  const streamed = make();
  const sums = await within(
    Array.fromAsync(pool.imap(sum, streamed, { transfer: streamed })),
  );
  assertEquals(sums, [2, 4, 6]);
  assertEquals(streamed.map((buffer) => buffer.byteLength), [0, 0, 0]);
});

Deno.test("A detached buffer in `transfer` rejects, and the pool goes on", async () => {
  await using pool = new Pool(1);
  const buffer = new ArrayBuffer(8);
  structuredClone(buffer, { transfer: [buffer] });
  await rejection(
    pool.apply((b: ArrayBuffer) => b.byteLength, [buffer], {
      transfer: [buffer],
    }),
  );
  assertEquals(await within(pool.apply(square, [4])), 16);
});

Deno.test("An object that is twice in `transfer` rejects, and stays where it is", async () => {
  await using pool = new Pool(1);
  const buffer = new ArrayBuffer(8);
  const call = pool.apply(
    (buffer: ArrayBuffer) => buffer.byteLength,
    [buffer],
    {
      transfer: [buffer, buffer],
    },
  );
  await assertRejects(() => within(call), DOMException, "twice");
  assertEquals(buffer.byteLength, 8);
});

// -- Room -----------------------------------------------------------------------------

Deno.test("Tasks that wait for room go on when others are answered by message", async () => {
  await using pool = new Pool(2);
  const histogram = (pixels: Uint8Array) => {
    const counts = new Int32Array(new SharedArrayBuffer(16));
    counts[0] = pixels.length;
    return counts; // travels in a message
  };
  // More than the tasks' ring holds.
  const image = new Uint8Array(13 << 20);
  const results = await within(
    Promise.all(range(8).map(() => pool.apply(histogram, [image]))),
  );
  assertEquals(results.map((counts) => counts[0]), range(8).fill(13 << 20));
});

Deno.test("Tasks that wait for room go on when those before them are dropped", async () => {
  await using pool = new Pool(1);
  const words = sharedWords();
  // The worker takes nothing while its event loop is busy.
  await within(pool.apply((words: Int32Array) => {
    setTimeout(() => {
      Atomics.store(words, 0, 1);
      while (Atomics.load(words, 0) !== 2);
    }, 20);
  }, [words]));
  await within(reaches(words, 0, 1));
  const size = (bytes: Uint8Array) => bytes.length;
  const image = new Uint8Array(13 << 20);
  const dropping = new AbortController();
  const { signal } = dropping;
  const dropped = range(4).map(() => pool.apply(size, [image], { signal }));
  const waiting = pool.apply(size, [image]);
  dropping.abort(new Error("enough"));
  Atomics.store(words, 0, 2);
  const outcomes = await within(Promise.allSettled(dropped));
  assert(outcomes.every(({ status }) => status === "rejected"));
  assertEquals(await within(waiting), image.length);
});
