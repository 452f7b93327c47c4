import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertNotStrictEquals,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { WorkerError } from "../errors.ts";
import { Lock, RLock } from "../lock.ts";
import {
  Pool,
  type PoolOptions,
  type Progress,
  type TaskOptions,
} from "../pool.ts";
import { pmap, preduce } from "../parallel.ts";
import { cpuCount, Process } from "../process.ts";
import { Semaphore } from "../semaphore.ts";
import { task } from "../task.ts";
import { describe, runSource } from "./_child.ts";
import { free, occupy } from "./_occupy.ts";
import { DEADLINE, reaches, rejection, until, within } from "./_within.ts";
import { sharedWords } from "./_words.ts";
import {
  addUnderLock,
  failStock,
  prepare,
  prepareLater,
  prepareShared,
  processName,
  readPrepared,
  squareInPool,
} from "./testdata/pool_functions.ts";

function square(n: number): number {
  return n * n;
}

function range(length: number): number[] {
  return Array.from({ length }, (_, index) => index);
}

// -- Making a pool ----------------------------------------------------------------

Deno.test("Pool() refuses a number of processes out of range", () => {
  for (const processes of [0, -1, 1.5, NaN, Infinity, -Infinity]) {
    assertThrows(() => new Pool(processes), RangeError, "processes");
    assertThrows(() => new Pool({ processes }), RangeError, "processes");
  }
});

Deno.test("Pool() refuses what is not a number of processes", () => {
  for (const processes of ["2", true, 2n, () => 2]) {
    assertThrows(() => new Pool(processes as unknown as number), TypeError);
    assertThrows(
      () => new Pool({ processes } as unknown as PoolOptions),
      TypeError,
    );
  }
});

Deno.test("Pool() refuses bad options", () => {
  const ranges: PoolOptions[] = [
    { maxTasksPerChild: 0 },
    { maxTasksPerChild: -1 },
    { maxTasksPerChild: 1.5 },
    { maxTasksPerChild: NaN },
    { worker: "node", memoryLimit: 0 },
    { worker: "node", memoryLimit: NaN },
  ];
  for (const options of ranges) {
    assertThrows(() => new Pool({ processes: 1, ...options }), RangeError);
  }
  const types: unknown[] = [
    { maxTasksPerChild: "3" },
    { initializer: 5 },
    { initializer: "prepare" },
    { initArgs: 5 },
    { name: 5 },
    { worker: "thread" },
    { memoryLimit: 10 },
    { worker: "node", permissions: "none" },
  ];
  for (const options of types) {
    assertThrows(
      () => new Pool({ processes: 1, ...options as PoolOptions }),
      TypeError,
    );
  }
});

Deno.test("Pool() throws a DataCloneError for initArgs that cannot be sent", () => {
  const error = assertThrows(() =>
    new Pool({ processes: 1, initializer: prepare, initArgs: [() => 1] })
  );
  assertInstanceOf(error, DOMException);
  assertEquals(error.name, "DataCloneError");
});

Deno.test("Pool.processes is what was asked for, else cpuCount()", () => {
  using two = new Pool(2);
  assertEquals(two.processes, 2);
  using three = new Pool({ processes: 3 });
  assertEquals(three.processes, 3);
  using all = new Pool();
  assertEquals(all.processes, cpuCount());
  using none = new Pool({});
  assertEquals(none.processes, cpuCount());
});

Deno.test("Pool workers are named after the pool", async () => {
  await using pool = new Pool({ processes: 1, name: "Crawler" });
  assertMatch(await within(pool.apply(processName)), /Crawler/);
});

// -- apply ------------------------------------------------------------------------

Deno.test("Pool.apply() calls a function once", async () => {
  await using pool = new Pool(1);
  assertEquals(
    await within(pool.apply((a: number, b: string) => `${a}${b}`, [1, "x"])),
    "1x",
  );
  assertEquals(await within(pool.apply(() => 5)), 5);
  assertStrictEquals(await within(pool.apply(() => {})), undefined);
  assertEquals(await within(pool.apply((x?: number) => x ?? "none")), "none");
});

Deno.test("Pool.apply() gives one array argument as one argument", async () => {
  await using pool = new Pool(1);
  const sum = (list: number[]) => list.reduce((a, b) => a + b, 0);
  assertEquals(await within(pool.apply(sum, [[1, 2, 3]])), 6);
});

Deno.test("Pool.apply() waits for the promise of an async function", async () => {
  await using pool = new Pool(1);
  const later = async (n: number) => {
    await new Promise((resolve) => setTimeout(resolve, 5));
    return n + 1;
  };
  assertEquals(await within(pool.apply(later, [1])), 2);
});

Deno.test("Pool.apply() rejects for what is no function, and does not throw", async () => {
  await using pool = new Pool(1);
  for (const target of [undefined, null, 5, "f", {}]) {
    await assertRejects(
      () => pool.apply(target as unknown as () => void),
      TypeError,
    );
    await assertRejects(
      () => pool.map(target as unknown as () => void, []),
      TypeError,
    );
  }
  for (
    const target of [Math.max, (() => 1).bind(null), function* () {
      yield 1;
    }]
  ) {
    await assertRejects(() => pool.apply(target as () => number), TypeError);
  }
  assertEquals(await within(pool.apply(square, [3])), 9);
});

Deno.test("Pool.apply() rejects for args that are no array", async () => {
  await using pool = new Pool(1);
  await assertRejects(
    () => pool.apply(square, 5 as unknown as [number]),
    TypeError,
  );
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

// -- map and starmap -------------------------------------------------------------

Deno.test("Pool.map() keeps the order of the input, however uneven its tasks", async () => {
  await using pool = new Pool(3);
  const uneven = async (n: number) => {
    await new Promise((resolve) => setTimeout(resolve, (n * 7) % 13));
    return n;
  };
  for (const chunkSize of [undefined, 1, 3, 100]) {
    assertEquals(
      await within(pool.map(uneven, range(20), { chunkSize })),
      range(20),
    );
  }
});

Deno.test("Pool.map() takes any iterable", async () => {
  await using pool = new Pool(2);
  function* some() {
    yield 1;
    yield 2;
  }
  async function* later() {
    yield 3;
    await new Promise((resolve) => setTimeout(resolve, 2));
    yield 4;
  }
  assertEquals(await within(pool.map(square, some())), [1, 4]);
  assertEquals(await within(pool.map(square, later())), [9, 16]);
  assertEquals(await within(pool.map(square, new Set([5, 6]))), [25, 36]);
  assertEquals(await within(pool.map(square, new Uint8Array([7]))), [49]);
  assertEquals(await within(pool.map((s: string) => s + s, "ab")), [
    "aa",
    "bb",
  ]);
  const entries = new Map([["a", 1]]);
  assertEquals(
    await within(pool.map(([k, v]: [string, number]) => k + v, entries)),
    ["a1"],
  );
  // Holes are read as undefined, as by any iteration.
  assertEquals(
    await within(
      pool.map(
        (x: number | undefined) => x === undefined,
        [1, , 2] as number[],
      ),
    ),
    [false, true, false],
  );
});

Deno.test("Pool.map() of nothing is an empty array", async () => {
  await using pool = new Pool(1);
  assertEquals(await within(pool.map(square, [])), []);
  assertEquals(await within(pool.map(square, (async function* () {})())), []);
  assertEquals(await within(pool.starmap(square, [])), []);
});

Deno.test("Pool.map() refuses what is not iterable", async () => {
  await using pool = new Pool(1);
  for (const items of [undefined, null, 5, {}]) {
    await assertRejects(
      () => pool.map(square, items as unknown as number[]),
      TypeError,
    );
  }
});

Deno.test("Pool.map() refuses a bad chunkSize", async () => {
  await using pool = new Pool(1);
  for (const chunkSize of [0, -1, 1.5, NaN]) {
    await assertRejects(
      () => pool.map(square, [1], { chunkSize }),
      RangeError,
      "chunkSize",
    );
  }
  const chunkSize = "2" as unknown as number;
  await assertRejects(() => pool.map(square, [1], { chunkSize }), TypeError);
});

Deno.test("Pool.map() does not mind what happens to the array afterwards", async () => {
  await using pool = new Pool(2);
  const items = range(5000);
  const mapped = pool.map(square, items, { chunkSize: 1 });
  items.fill(-1);
  items.length = 3;
  assertEquals(await within(mapped), range(5000).map(square));
});

Deno.test("Pool.map() takes very many items, in chunks and one by one", async () => {
  await using pool = new Pool(2);
  const many = range(200_000);
  const values = await within(pool.map((n: number) => n + 1, many));
  assertEquals(values.length, many.length);
  assert(values.every((value, index) => value === index + 1));
  const single = await within(
    pool.map((n: number) => n, range(20_000), { chunkSize: 1 }),
  );
  assert(single.every((value, index) => value === index));
  assertEquals(single.length, 20_000);
});

Deno.test("Pool.map() passes arguments and results of many megabytes", async () => {
  await using pool = new Pool(2);
  const big = [0, 1, 2].map((n) => new Uint8Array(24 << 20).fill(n + 1));
  const back = await within(
    pool.map((bytes: Uint8Array) => bytes.map((byte) => byte + 1), big),
  );
  for (const [index, bytes] of back.entries()) {
    assertEquals(bytes.length, 24 << 20);
    assertEquals([bytes[0], bytes.at(-1)], [index + 2, index + 2]);
  }
});

Deno.test("Pool.map() gives the function the item only", async () => {
  await using pool = new Pool(1);
  const count = function () {
    return arguments.length;
  };
  assertEquals(await within(pool.map(count, [1, 2])), [1, 1]);
});

Deno.test("Pool.map() rejects if its input does, and closes it", async () => {
  await using pool = new Pool(1);
  function* failing() {
    yield 1;
    throw new RangeError("no more");
  }
  async function* failingLater() {
    yield 1;
    throw new RangeError("no more");
  }
  for (const items of [failing(), failingLater()]) {
    const error = await rejection(pool.map(square, items));
    assertInstanceOf(error, RangeError);
    assertEquals(error.message, "no more");
  }
  assertEquals(await within(pool.map(square, [2])), [4]);
});

Deno.test("Pool.starmap() spreads tuples", async () => {
  await using pool = new Pool(2);
  const join = (a: number, b: string) => a + b;
  assertEquals(
    await within(pool.starmap(join, [[1, "a"], [2, "b"]])),
    ["1a", "2b"],
  );
  async function* tuples(): AsyncGenerator<[number, string]> {
    yield [3, "c"];
  }
  assertEquals(await within(pool.starmap(join, tuples())), ["3c"]);
  await assertRejects(
    () => pool.starmap(join, [1] as unknown as [number, string][]),
    TypeError,
  );
});

Deno.test("The first failure rejects map, cancels what has not started, and the pool stays usable", async () => {
  await using pool = new Pool(1);
  const words = sharedWords();
  const target = (words: Int32Array, n: number) => {
    Atomics.add(words, 0, 1);
    if (n === 2) throw new RangeError("two");
    while (n > 2 && Atomics.load(words, 1) === 0) Atomics.wait(words, 1, 0, 5);
    return n;
  };
  const items = range(1000).map((n): [Int32Array, number] => [words, n]);
  const error = await rejection(pool.starmap(target, items, { chunkSize: 1 }));
  assertInstanceOf(error, RangeError);
  assertEquals(error.message, "two");
  free(words);
  assertEquals(await within(pool.apply(square, [3])), 9);
  assert(words[0]! <= 4, `${words[0]} calls were made`);
  assertEquals(pool.stats.queued, 0);
});

Deno.test("A failing map stops reading an async input and calls its return()", async () => {
  await using pool = new Pool(1);
  let closed = false;
  async function* endless() {
    try {
      for (let n = 0;; n++) {
        yield n;
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    } finally {
      closed = true;
    }
  }
  const error = await rejection(
    pool.map((n: number) => {
      if (n === 3) throw new Error("three");
    }, endless()),
  );
  assertEquals(error.message, "three");
  await until(() => closed); // return() was called
});

Deno.test("chunks get smaller towards the end, unless chunkSize says how large they are", async () => {
  await using pool = new Pool(1);
  async function sizes(options: TaskOptions): Promise<number[]> {
    const sizes: number[] = [];
    let before = 0;
    const onProgress = ({ completed }: Progress) => {
      sizes.push(completed - before);
      before = completed;
    };
    const items = range(64);
    const squares = await within(
      pool.map(square, items, { ...options, onProgress }),
    );
    assertEquals(squares, items.map(square));
    return sizes;
  }
  const chosen = await sizes({});
  assertEquals(chosen[0], 16);
  assertEquals(chosen, chosen.toSorted((a, b) => b - a));
  assert(chosen.at(-1)! <= 2, `the last chunk has ${chosen.at(-1)} items`);
  assertEquals(await sizes({ chunkSize: 20 }), [20, 20, 20, 4]);
});

Deno.test("onProgress tells how many items are done, of how many", async () => {
  await using pool = new Pool(2);
  const seen: Progress[] = [];
  const onProgress = (progress: Progress) => void seen.push(progress);
  await within(pool.map(square, range(10), { chunkSize: 3, onProgress }));
  assertEquals(seen.length, 4);
  assertEquals(seen.at(-1), { completed: 10, total: 10 });
  assert(seen.every(({ total }) => total === 10));
  const counts = seen.map(({ completed }) => completed);
  assertEquals(counts, counts.toSorted((a, b) => a - b));

  seen.length = 0;
  async function* later() {
    yield* [1, 2, 3];
    while (seen.length < 3) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
  await within(pool.map(square, later(), { onProgress }));
  assertEquals(
    seen,
    [1, 2, 3].map((completed) => ({
      completed,
      total: undefined,
    })),
  );
});

Deno.test("An error in onProgress rejects the call", async () => {
  await using pool = new Pool(1);
  const onProgress = () => {
    throw new RangeError("not interested");
  };
  for (
    const call of [
      pool.map(square, [1, 2], { onProgress }),
      pool.apply(square, [1], { onProgress }),
    ]
  ) assertInstanceOf(await rejection(call), RangeError);
  assertEquals(await within(pool.apply(square, [3])), 9);
});

// -- Sharing ----------------------------------------------------------------------

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

Deno.test("The initializer runs in each worker before its first task", async () => {
  for (const initializer of [prepare, prepareLater]) {
    await using pool = new Pool({
      processes: 2,
      initializer,
      initArgs: [{ deep: [1] }],
    });
    const seen = await within(
      pool.map(readPrepared, range(10), { chunkSize: 1 }),
    );
    assertEquals(seen, range(10).map(() => ({ deep: [1] })));
  }
});

Deno.test("Handles nested in initArgs are the same objects in all workers", async () => {
  const words = sharedWords();
  await using pool = new Pool({
    processes: 2,
    initializer: prepareShared,
    initArgs: [
      new Map<string, unknown>([["lock", new Lock()], ["words", words]]),
    ],
  });
  const results = await within(
    pool.map(addUnderLock, range(10).map(() => 100), { chunkSize: 1 }),
  );
  assertEquals(results, range(10).map(() => true));
  assertEquals(words[0], 1000);
});

Deno.test("A failing initializer rejects pending and later work with its error", async () => {
  const pool = new Pool({
    processes: 2,
    initializer: (text: string) => {
      throw new RangeError(text);
    },
    initArgs: ["no database"],
  });
  const pending = [
    pool.apply(square, [1]),
    pool.map(square, [1, 2]),
    pool.imap(square, [1, 2]).next(),
  ];
  for (const call of pending) {
    const error = await rejection(call);
    assertInstanceOf(error, RangeError);
    assertEquals(error.message, "no database");
  }
  const later = [
    pool.apply(square, [1]),
    pool.map(square, [1]),
    pool.imap(square, [1]).next(),
  ];
  for (const call of later) assertInstanceOf(await rejection(call), RangeError);
  pool.close();
  await within(pool.join());
});

Deno.test("A failing initializer rejects the work of a pool that is closed already", async () => {
  const pool = new Pool({
    processes: 1,
    initializer: () => {
      throw new RangeError("no database");
    },
  });
  const call = pool.apply(square, [1]);
  pool.close();
  assertInstanceOf(await rejection(call), RangeError);
  await within(pool.join());
});

Deno.test("An initializer that ends its worker rejects the work, and does not restart forever", async () => {
  await using pool = new Pool({
    processes: 1,
    initializer: () => Deno.exit(5),
  });
  const error = await rejection(pool.apply(square, [1]));
  assertInstanceOf(error, WorkerError);
  assertEquals(error.exitCode, 5);
  assertInstanceOf(await rejection(pool.apply(square, [1])), WorkerError);
});

Deno.test("Workers that die at once, again and again, stop with the cause", async () => {
  await using pool = new Pool({
    processes: 1,
    initializer: () => {
      setTimeout(() => {
        throw new RangeError("expected: crash loop");
      });
    },
  });
  const deadline = performance.now() + DEADLINE;
  let error: unknown;
  let restarted = 0;
  while (error === undefined) {
    // What dies must never have had work: none until the pool has given up.
    let since = performance.now();
    while (restarted < 2 || performance.now() - since < 300) {
      assert(performance.now() < deadline, "still restarting");
      await new Promise((resolve) => setTimeout(resolve, 20));
      if (pool.stats.restarted === restarted) continue;
      restarted = pool.stats.restarted;
      since = performance.now();
    }
    // A worker that only took long to come up may do it: then again.
    error = await pool.apply(() => {}).then(() => undefined, (error) => error);
  }
  assertInstanceOf(error, WorkerError);
  if (error.cause !== undefined) assertInstanceOf(error.cause, RangeError);
});

Deno.test("After close() a worker that retires is replaced while input is still to come", async () => {
  await using pool = new Pool({ processes: 1, maxTasksPerChild: 1 });
  const closed = Promise.withResolvers<void>();
  async function* input(): AsyncGenerator<number> {
    yield 1;
    await closed.promise;
    // The first worker retires after its task. Where it takes longer than this to
    // end, the test shows nothing.
    await new Promise((resolve) => setTimeout(resolve, 150));
    yield 2;
    yield 3;
  }
  const values = pool.map((n: number) => 10 * n, input(), { chunkSize: 1 });
  pool.close();
  closed.resolve();
  assertEquals(await within(values), [10, 20, 30]);
});

Deno.test("A call that is aborted in onProgress stops no worker that has gone on to other work", async () => {
  await using pool = new Pool(2);
  const block = (ms: number) => {
    const end = performance.now() + ms;
    while (performance.now() < end);
    return ms;
  };
  await Promise.all([pool.apply(block, [1]), pool.apply(block, [1])]);
  const abort = new AbortController();
  const reason = new Error("enough");
  const aborted = assertRejects(
    () =>
      pool.map(block, [20, 20], {
        chunkSize: 1,
        signal: abort.signal,
        onProgress: () => abort.abort(reason),
      }),
    Error,
    "enough",
  );
  const words = sharedWords();
  const others = [pool.apply(occupy, [words]), pool.apply(occupy, [words])];
  // Both replies are there when main looks, and the workers are at the others.
  const deadline = performance.now() + DEADLINE;
  while (Atomics.load(words, 0) < 2 && performance.now() < deadline);
  await within(aborted);
  free(words);
  assertEquals((await within(Promise.all(others))).sort(), [1, 2]);
  assertEquals(pool.stats.restarted, 0);
});

Deno.test("Options of a call that are none are refused, and say what was wanted", async () => {
  await using pool = new Pool(1);
  const bad: [TaskOptions, string][] = [
    [null, "options must be an object"],
    [5, "options must be an object"],
    [{ onProgress: 5 }, "onProgress must be a function, received number"],
    [{ signal: 5 }, "signal must be an AbortSignal, received number"],
    [{ transfer: 5 }, "transfer must be an array, received number"],
    [{ transfer: new Set() }, "transfer must be an array, received object"],
    [{ transfer: null }, "transfer must be an array, received null"],
    [{ timeout: "5" }, "timeout must be a number"],
    [{ chunkSize: null }, "chunkSize must be a number, received null"],
  ] as unknown as [TaskOptions, string][];
  for (const [options, message] of bad) {
    const calls: [string, () => unknown][] = [
      ["apply", () => pool.apply(square, [1], options)],
      ["map", () => pool.map(square, [1], options)],
      ["starmap", () => pool.starmap(square, [[1]], options)],
      ["imap", () => pool.imap(square, [1], options).next()],
      ["imapUnordered", () => pool.imapUnordered(square, [1], options).next()],
      ["pmap", () => pmap(square, [1], options)],
      ["preduce", () => preduce((a: number, b) => a + b, [1, 2], 0, options)],
    ];
    for (const [what, call] of calls) {
      const error = await assertRejects(
        async () => await within(Promise.resolve(call())),
        TypeError,
        message,
      );
      assertStringIncludes(error.message, `Cannot ${what}: `);
    }
  }
  assertEquals(pool.stats.completed, 0);
});

Deno.test("Pool.starmap() refuses items that are no arguments", async () => {
  await using pool = new Pool(1);
  const add = (a: number, b: number) => a + b;
  for (const item of [5, null, undefined, {}]) {
    await assertRejects(
      () => within(pool.starmap(add, [[1, 2], item as never])),
      TypeError,
      "Cannot starmap: item 1 must be an array of arguments, received",
    );
  }
});

Deno.test("new Pool() refuses options that are none", () => {
  for (
    const options of [[], "2", { name: 5 }, { processes: "2" }] as never[]
  ) {
    assertThrows(() => new Pool(options), TypeError, "Cannot create pool: ");
  }
  // As Python's None.
  for (const options of [null, { processes: null }] as never[]) {
    using pool = new Pool(options);
    assertEquals(pool.processes, cpuCount());
  }
});

Deno.test("Pool.map() takes an input whose reading closes the pool", async () => {
  const pool = new Pool(1);
  function* closing() {
    yield 1;
    pool.close();
    yield 2;
  }
  assertEquals(await within(pool.map(square, closing())), [1, 4]);
  await within(pool.join());
  const other = new Pool(1);
  const item = {
    get value() {
      other.close();
      return 1;
    },
  };
  const error = await rejection(other.apply((_: unknown) => 1, [item]));
  assertStringIncludes(error.message, "the pool is closed");
  await within(other.join());
});

Deno.test("Pool.map() of an async input that is closed meanwhile finishes its last chunk", async () => {
  const pool = new Pool(1);
  async function* later() {
    for (let n = 0; n < 5; n++) {
      yield n;
      if (n === 2) pool.close();
      await new Promise((resolve) => setTimeout(resolve));
    }
  }
  const values = pool.map(square, later(), { chunkSize: 10 });
  assertEquals(await within(values), range(5).map(square));
  await within(pool.join());
});

Deno.test("A task that settles and then throws in the same turn has failed", async () => {
  await using pool = new Pool(1);
  const target = () =>
    new Promise((resolve) => {
      setTimeout(() => {
        resolve(1);
        throw new RangeError("expected: settled, and thrown");
      });
    });
  const error = await rejection(pool.apply(target));
  assertInstanceOf(error, WorkerError);
  assertInstanceOf(error.cause, RangeError);
});

Deno.test("Pool.map() stops reading an endless input when it is given up", async () => {
  const naturals = function* (at: (n: number) => void) {
    for (let n = 0;; n++) {
      at(n);
      yield n;
    }
  };
  {
    await using pool = new Pool(1);
    const controller = new AbortController();
    const { signal } = controller;
    const aborting = naturals((n) => {
      if (n === 5000) controller.abort();
    });
    const aborted = await rejection(pool.map(square, aborting, { signal }));
    assertEquals(aborted.name, "AbortError");
    const late = pool.map(square, naturals(() => {}), { timeout: 5 });
    assertEquals((await rejection(late)).name, "TimeoutError");
    assertEquals(await within(pool.map(square, [2])), [4]);
  }
  const pool = new Pool(1);
  const terminating = naturals((n) => {
    if (n === 5000) pool.terminate();
  });
  const terminated = await rejection(pool.map(square, terminating));
  assertEquals(terminated.name, "AbortError");
});

Deno.test("A pool that is its own target is refused like any other that is no function", async () => {
  await using pool = new Pool(1);
  await assertRejects(
    () => pool.apply(pool as never),
    TypeError,
    "the target must be a function or a task, received object",
  );
});

// -- Errors --------------------------------------------------------------------------

Deno.test("An error arrives with class, data, cause, and the stacks of worker and caller", async () => {
  await using pool = new Pool(1);
  function inWorker() {
    throw Object.assign(
      new SyntaxError("bad", { cause: new URIError("root") }),
      { line: 7 },
    );
  }
  function inCaller() {
    return pool.apply(inWorker);
  }
  const error = await rejection(inCaller()) as Error & { line: number };
  assertInstanceOf(error, SyntaxError);
  assertEquals([error.message, error.line], ["bad", 7]);
  assertInstanceOf(error.cause, URIError);
  assertStringIncludes(error.stack!, "inWorker");
  assertStringIncludes(error.stack!, "inCaller");
  const mapped = await rejection(pool.map(inWorker, [1]));
  assertStringIncludes(mapped.stack!, "inWorker");
  assertStringIncludes(mapped.stack!, "pool_test.ts");
});

Deno.test("The error of a worker that has died names it and shows where the work was asked for", async () => {
  function inCaller(options: PoolOptions, target: () => unknown) {
    const pool = new Pool(options);
    return rejection(pool.apply(target)).finally(() => pool.terminate());
  }
  const died = await inCaller(
    { name: "Crew", processes: 1 },
    () => Deno.exit(3),
  );
  assertMatch(died.message, /worker "Crew-\d+" ended while running it/);
  assertStringIncludes(died.stack!, "inCaller");
  assertStringIncludes(died.stack!, died.message);
  const initializer = () => {
    throw new RangeError("expected: initializer");
  };
  const failed = await inCaller({ initializer }, () => 5);
  assertInstanceOf(failed, RangeError);
  assertStringIncludes(failed.stack!, "inCaller");
  const ended = await inCaller({ initializer: () => Deno.exit(4) }, () => 5);
  assertInstanceOf(ended, WorkerError);
  assertStringIncludes(ended.stack!, "inCaller");
});

Deno.test("Work fails with its error whatever Error.prepareStackTrace makes of stacks", async () => {
  await using pool = new Pool(1);
  const target = () => {
    throw new RangeError("expected");
  };
  for (
    const prepare of [
      () => [],
      () => undefined,
      () => {
        throw new SyntaxError("no stack");
      },
    ]
  ) {
    // V8 has it, TypeScript does not know.
    const global = Error as { prepareStackTrace?: unknown };
    const before = global.prepareStackTrace;
    global.prepareStackTrace = prepare;
    let errors: unknown[];
    try {
      const process = new Process({ target: () => Deno.exit(3) }).start();
      errors = await within(Promise.all(
        [
          pool.apply(target),
          pool.map(target, [1]),
          pool.apply(() => Deno.exit(3)),
          process.result,
        ].map((call) => call.catch((error: unknown) => error)),
      ));
    } finally {
      global.prepareStackTrace = before;
    }
    assertInstanceOf(errors[0], RangeError);
    assertInstanceOf(errors[1], RangeError);
    assertInstanceOf(errors[2], WorkerError);
    assertInstanceOf(errors[3], WorkerError);
  }
});

Deno.test("Pool errors keep their classes; a user's class becomes its built-in ancestor", async () => {
  await using pool = new Pool(1);
  const stock = await rejection(pool.map(failStock, ["bolts"])) as Error & {
    item: string;
  };
  assertInstanceOf(stock, TypeError);
  assertEquals([stock.name, stock.message, stock.item], [
    "StockError",
    "none left",
    "bolts",
  ]);
  const aggregate = await rejection(
    pool.apply(() => Promise.any([Promise.reject(new RangeError("one"))])),
  );
  assertInstanceOf(aggregate, AggregateError);
  assertInstanceOf(aggregate.errors[0], RangeError);
  const missing = await rejection(
    pool.apply(() => Deno.readTextFileSync("/no/such")),
  );
  assertInstanceOf(missing, Deno.errors.NotFound);
  const exception = await rejection(pool.apply(() => {
    throw new DOMException("gone", "InvalidStateError");
  }));
  assertInstanceOf(exception, DOMException);
  assertEquals(exception.name, "InvalidStateError");
});

Deno.test("A revoked proxy that is thrown arrives as a WorkerError, and the worker goes on", async () => {
  await using pool = new Pool(1);
  const target = () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    throw proxy;
  };
  assertInstanceOf(await rejection(pool.apply(target)), WorkerError);
  assertEquals(pool.stats.restarted, 0);
  const process = new Process({ target }).start();
  assertInstanceOf(await rejection(process.result), WorkerError);
});

Deno.test("A task that throws a non-error rejects with a WorkerError around it", async () => {
  await using pool = new Pool(1);
  for (const value of [5, "x", null, undefined, { a: [1] }]) {
    const error = await rejection(pool.apply((value: unknown) => {
      throw value;
    }, [value]));
    assertInstanceOf(error, WorkerError);
    assertEquals(error.cause, value);
    assertStrictEquals(error.exitCode, undefined);
  }
  assertInstanceOf(
    await rejection(pool.apply(() => Promise.reject(7))),
    WorkerError,
  );
});

// -- Statistics -------------------------------------------------------------------------

Deno.test("Aborting a task about as it ends fails no other", async () => {
  await using pool = new Pool(1);
  const spin = (us: number) => {
    const begin = performance.now();
    while (performance.now() - begin < us / 1000);
    return us;
  };
  await pool.apply(spin, [10]);
  for (let n = 0; n < 150; n++) {
    const stopping = new AbortController();
    const { signal } = stopping;
    const first = pool.apply(spin, [300], { signal }).catch(() => {});
    const others = range(3).map(() => pool.apply(spin, [300]));
    spin(250 + n); // until about its end
    stopping.abort();
    assertEquals(await within(Promise.all(others)), [300, 300, 300]);
    await within(first);
  }
});

Deno.test("Aborting a task loses no answer that its worker has sent in a message", async () => {
  await using pool = new Pool(1);
  const share = () => new Int32Array(new SharedArrayBuffer(8));
  for (let n = 0; n < 5; n++) {
    await within(pool.apply(share)); // there is a worker
    const words = sharedWords();
    const stopping = new AbortController();
    const { signal } = stopping;
    const answered = pool.apply(share);
    const aborted = rejection(pool.apply(occupy, [words], { signal }));
    // No message is read before the other has begun.
    while (Atomics.load(words, 0) === 0);
    stopping.abort(new Error("enough"));
    try {
      assertEquals((await within(answered)).length, 2);
      assertEquals((await within(aborted)).message, "enough");
    } finally {
      free(words);
    }
  }
});

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

Deno.test("Pool.stats counts as completed what came before the one that failed, also of async functions", async () => {
  const failing = [
    (n: number) => {
      if (n === 3) throw new Error("no");
      return n;
    },
    async (n: number) => {
      await undefined;
      if (n === 3) throw new Error("no");
      return n;
    },
    (n: number) => n === 3 ? Promise.reject(new Error("no")) : n,
  ];
  for (const fail of failing) {
    await using pool = new Pool(1);
    await rejection(pool.map(fail, [3]));
    assertEquals(pool.stats.completed, 0);
    await rejection(pool.starmap(fail, [[1], [2], [3], [4]], { chunkSize: 4 }));
    assertEquals(pool.stats.completed, 2);
    await rejection(pool.imap(fail, [3]).next());
    const { completed, failed } = pool.stats;
    assertEquals({ completed, failed }, { completed: 2, failed: 3 });
  }
});

Deno.test("Pool.stats counts calls", async () => {
  await using pool = new Pool(1);
  assertEquals(pool.stats, {
    queued: 0,
    running: 0,
    completed: 0,
    failed: 0,
    restarted: 0,
  });
  const words = sharedWords();
  const first = pool.apply(occupy, [words]);
  const others = pool.map(square, range(6), { chunkSize: 2 });
  await reaches(words, 0, 1);
  assertEquals(pool.stats, {
    queued: 6,
    running: 1,
    completed: 0,
    failed: 0,
    restarted: 0,
  });
  free(words);
  await within(Promise.all([first, others]));
  assertEquals(pool.stats.completed, 7);
  await rejection(pool.apply(() => {
    throw new Error("no");
  }));
  assertEquals(pool.stats, {
    queued: 0,
    running: 0,
    completed: 7,
    failed: 1,
    restarted: 0,
  });
  assertNotStrictEquals(pool.stats, pool.stats);
});

// -- Distribution -------------------------------------------------------------------------

Deno.test("Work is taken by whichever worker is free", async () => {
  await using pool = new Pool(2);
  const words = sharedWords();
  const blocked = pool.apply(occupy, [words]);
  await reaches(words, 0, 1);
  assertEquals(
    await within(pool.map(square, range(50), { chunkSize: 1 })),
    range(50).map(square),
  );
  free(words);
  await within(blocked);
});

Deno.test("A pool in a worker of a pool works", async () => {
  await using pool = new Pool(1);
  assertEquals(await within(pool.apply(squareInPool, [[1, 2, 3]])), [1, 4, 9]);
});

Deno.test("Timers and I/O that tasks leave running go on between tasks", async () => {
  await using pool = new Pool(1);
  const words = sharedWords();
  await within(pool.apply((words: Int32Array) => {
    setTimeout(() => Atomics.store(words, 0, 1), 5);
  }, [words]));
  await reaches(words, 0, 1);
  await within(pool.apply((words: Int32Array) => {
    setTimeout(() => Atomics.store(words, 1, 1), 5);
  }, [words]));
  for (let i = 0; i < 5000 && words[1] === 0; i++) {
    await within(pool.apply(() => 1));
  }
  assertEquals(words[1], 1);
});

Deno.test("What a task posts by itself does not disturb the pool", async () => {
  await using pool = new Pool(1);
  await within(pool.apply(() => {
    const scope = self as unknown as Worker;
    for (
      const message of [
        null,
        1,
        "x",
        {},
        { type: "role", body: null },
        { type: "role", body: { slot: 0, generation: 0, status: 0 } },
        { type: "result", value: 1 },
      ]
    ) scope.postMessage(message);
  }));
  assertEquals(
    await within(pool.map(square, range(10))),
    range(10).map(square),
  );
});

Deno.test("A lock held by a pool worker that dies goes on as abandoned", async () => {
  await using pool = new Pool(1);
  const lock = new Lock();
  const words = sharedWords();
  const call = rejection(pool.apply((lock: Lock, words: Int32Array) => {
    lock.acquireSync();
    Atomics.store(words, 0, 1);
    Deno.exit(1);
  }, [lock, words]));
  await reaches(words, 0, 1);
  using guard = await within(lock.acquire());
  assertEquals(guard.abandoned, true);
  assertInstanceOf(await call, WorkerError);
});

// -- Types -----------------------------------------------------------------------------------

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends
  (<T>() => T extends B ? 1 : 2) ? true : false;

/** Compiles only if the type argument is `true`. */
function assertType<_ extends true>(): void {}

Deno.test("Items, arguments and results have inferred types", async () => {
  await using pool = new Pool(1);
  const url = new URL("./testdata/pool_functions.ts", import.meta.url);
  const mapped = await within(pool.map((n) => `${n + 1}`, [1, 2]));
  assertType<Equal<typeof mapped, string[]>>();
  const later = await within(
    pool.map(async (s: string) => await s.length, ["ab"]),
  );
  assertType<Equal<typeof later, number[]>>();
  const tuples = await within(
    pool.starmap((n: number, s: string) => s + n, [[1, "x"]]),
  );
  assertType<Equal<typeof tuples, string[]>>();
  const applied = await within(
    pool.apply(task<typeof processName>(url, "processName")),
  );
  assertType<Equal<typeof applied, string>>();
  for await (const value of pool.imap(({ a }) => a, [{ a: true }])) {
    assertType<Equal<typeof value, boolean>>();
  }
  assertEquals([mapped, later, tuples], [["2", "3"], [2], ["x1"]]);
  const neverCalled = () => {
    // @ts-expect-error: an item of a wrong type
    pool.map(square, ["x"]);
    // @ts-expect-error: an argument of a wrong type
    pool.apply(square, ["x"]);
    // @ts-expect-error: a tuple of wrong types
    pool.starmap((n: number, s: string) => s + n, [["x", 1]]);
  };
  assertEquals(typeof neverCalled, "function");
});

Deno.test("A program ends by itself after its last result came in a message", async () => {
  const result = await runSource(
    `
    import { Lock, Pool } from "@parallel/multiprocessing";
    const pool = new Pool(1);
    const lock = new Lock();
    console.log(await pool.apply((lock: Lock) => ({ lock }), [lock]).then((r) => r.lock === lock));
    const controller = new AbortController();
    const { signal } = controller;
    const call = pool.apply(() => new Promise(() => {}), [], { signal });
    setTimeout(() => controller.abort(), 100);
    console.log(await call.catch((error) => error.name));
    `,
  );
  assert(!result.timedOut, describe(result));
  assertEquals(result.stdout, "true\nAbortError\n", describe(result));
});

Deno.test("The stack of a task's error shows where that very call was made", async () => {
  await using pool = new Pool(1);
  const target = (n: number) => {
    if (n === 0) throw new Error("zero");
    return n;
  };
  const siteA = () => pool.apply(target, [1]);
  const siteB = () => pool.apply(target, [0]);
  for (let round = 0; round < 3; round++) {
    await within(siteA());
    const error = await assertRejects(() => within(siteB()), Error, "zero");
    assertEquals(error.stack!.match(/site\w/g), ["siteB"]);
  }
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
