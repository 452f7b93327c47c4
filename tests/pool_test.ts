import {
  assertEquals,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { pmap, preduce } from "../parallel.ts";
import { Pool, type PoolOptions, type TaskOptions } from "../pool.ts";
import { cpuCount } from "../process.ts";
import { task } from "../task.ts";
import { range, square } from "./_numbers.ts";
import { free, occupy } from "./_occupy.ts";
import { reaches, within } from "./_within.ts";
import { sharedWords } from "./_words.ts";
import { processName, squareInPool } from "./testdata/pool_functions.ts";

// -- Making a pool --------------------------------------------------------------------

Deno.test("Pool() refuses a number of processes out of range", () => {
  for (const processes of [0, -1, 1.5, NaN, Infinity, -Infinity]) {
    assertThrows(() => new Pool(processes), RangeError, "processes");
    assertThrows(() => new Pool({ processes }), RangeError, "processes");
  }
});

Deno.test("What a pool is cannot be changed", () => {
  using pool = new Pool(1);
  for (const key of ["processes", "stats"] as const) {
    assertThrows(() => Object.assign(pool, { [key]: 2 }), TypeError);
  }
  assertEquals(pool.processes, 1);
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
    { permissions: null },
    { permissions: true },
  ];
  for (const options of types) {
    assertThrows(
      () => new Pool({ processes: 1, ...options as PoolOptions }),
      TypeError,
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

// -- apply, and the options of all calls ----------------------------------------------

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

Deno.test("A pool that is its own target is refused like any other that is no function", async () => {
  await using pool = new Pool(1);
  await assertRejects(
    () => pool.apply(pool as never),
    TypeError,
    "the target must be a function or a task, received object",
  );
});

Deno.test("Pool.apply() rejects for args that are no array", async () => {
  await using pool = new Pool(1);
  await assertRejects(
    () => pool.apply(square, 5 as unknown as [number]),
    TypeError,
  );
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

// -- Distribution ---------------------------------------------------------------------

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

// -- Types ----------------------------------------------------------------------------

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
