// What `map()` and `starmap()` make of inputs, and how they fail.

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { delay } from "@std/async";
import { Pool, type Progress, type TaskOptions } from "../pool.ts";
import { range, square } from "./_numbers.ts";
import { free } from "./_occupy.ts";
import { rejection, until, within } from "./_within.ts";
import { sharedWords } from "./_words.ts";

// -- Items and results ----------------------------------------------------------------

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
    await delay(2);
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

// -- Tuples ---------------------------------------------------------------------------

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

// -- Failures -------------------------------------------------------------------------

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
        await delay(1);
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

// -- A pool that is closed meanwhile --------------------------------------------------

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
      await delay(0);
    }
  }
  const values = pool.map(square, later(), { chunkSize: 10 });
  assertEquals(await within(values), range(5).map(square));
  await within(pool.join());
});
