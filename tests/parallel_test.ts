import {
  assertEquals,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import {
  pfilter,
  pforEach,
  pmap,
  preduce,
  type Progress,
} from "../parallel.ts";
import { Process } from "../process.ts";
import { SharedArray } from "../shared.ts";
import { describe, runSource } from "./_child.ts";
import { range } from "./_numbers.ts";
import { takesLess, within } from "./_within.ts";
import { scale, sumOfScaled, twin } from "./testdata/parallel_functions.ts";

async function* slowly<T>(items: Iterable<T>): AsyncGenerator<T> {
  for (const item of items) {
    await null;
    yield item;
  }
}

const concatenated = (a: string, b: string) => a + b;

Deno.test("pmap() keeps the order of its input, sync or async", async () => {
  const items = range(1000);
  const squares = items.map((n) => n * n);
  const square = (n: number) => n * n;
  assertEquals(await within(pmap(square, items)), squares);
  assertEquals(await within(pmap(square, new Set(items))), squares);
  assertEquals(
    await within(pmap(square, slowly(items), { chunkSize: 50 })),
    squares,
  );
  const uneven = async (ms: number) => {
    await new Promise((resolve) => setTimeout(resolve, ms));
    return ms;
  };
  const delays = [9, 1, 5, 0, 3];
  assertEquals(
    await within(pmap(uneven, delays, { chunkSize: 1 })),
    delays,
  );
  assertEquals(await pmap(square, []), []);
  const upper = await pmap((c: string) => c.toUpperCase(), "abc");
  assertEquals(upper, ["A", "B", "C"]);
});

Deno.test("pmap() finds exported functions, also where another has their text", async () => {
  assertEquals(await within(pmap(scale, [1, 2])), [10, 20]);
  assertEquals(await within(pmap(twin, [1])), [11]);
  const FACTOR = 1000;
  const local = {
    twin: function twin(n: number): number {
      return n + FACTOR;
    },
  };
  await assertRejects(() => within(pmap(local.twin, [1])), TypeError, "FACTOR");
});

Deno.test("preduce() tells who called, whichever part of it fails", async () => {
  const add = (a: number, b: number) => {
    if (a + b > 20) throw new RangeError("too much");
    return a + b;
  };
  function caller(items: number[]): Promise<number> {
    return preduce(add, items, undefined, { chunkSize: 2 });
  }
  for (const items of [[20, 20, 1, 1], [1, 2, 3, 4, 5, 6, 7, 8]]) {
    const error = await assertRejects(() => within(caller(items)), RangeError);
    assertStringIncludes(error.stack!, "at caller");
  }
});

Deno.test("pmap() rejects with the first error and the pool goes on", async () => {
  const fail = (n: number) => {
    if (n === 7) throw new RangeError(`No ${n}`);
    return n;
  };
  const error = await assertRejects(
    function caller() {
      return within(pmap(fail, range(100)));
    },
    RangeError,
    "No 7",
  );
  assertStringIncludes(error.stack!, "caller");
  assertEquals(await within(pmap(fail, [1, 2])), [1, 2]);
  await assertRejects(
    () => within(pmap((_: number) => Deno.exit(5), [1])),
    Error,
    "exit code 5",
  );
  assertEquals(await within(pmap(fail, [1, 2])), [1, 2]);
});

Deno.test("pmap() and the others refuse bad arguments before they read any item", async () => {
  const f = (n: number) => n;
  const none = 5 as unknown as number[];
  const text = "f" as unknown as typeof f;
  const unread: Iterable<number> = {
    [Symbol.iterator]() {
      throw new Error("An item was read");
    },
  };
  const all = [pmap, pfilter, pforEach] as unknown as (typeof pforEach)[];
  for (const run of all) {
    await assertRejects(async () => await run(f, none), TypeError, "iterable");
    await assertRejects(async () => await run(text, [1]), TypeError, "string");
    await assertRejects(
      async () => await run(f, unread, { chunkSize: 0 }),
      RangeError,
      "chunkSize",
    );
    await assertRejects(
      async () => await run(f, unread, { timeout: -1 }),
      RangeError,
      "timeout",
    );
    await assertRejects(
      async () => await run(f, [1], { signal: AbortSignal.abort("why") }),
    );
  }
  await assertRejects(
    () => preduce(concatenated, none as unknown as string[]),
    TypeError,
    "iterable",
  );
});

Deno.test("pmap() is given up at its timeout and when aborted", async () => {
  const endless = (_: number) => new Promise<void>(() => {});
  const error = await assertRejects(
    () => within(pmap(endless, [1], { timeout: 30 })),
    DOMException,
  );
  assertEquals(error.name, "TimeoutError");
  const controller = new AbortController();
  const reason = new Error("Changed my mind");
  const aborted = preduce(
    (_a: number, _b: number) => new Promise<number>(() => {}),
    [1, 2, 3],
    0,
    { signal: controller.signal },
  );
  setTimeout(() => controller.abort(reason), 20);
  assertStrictEquals(
    await assertRejects(() => within(aborted), Error),
    reason,
  );
});

Deno.test("pfilter() returns the items themselves, in order", async () => {
  const items = range(100).map((id) => ({ id }));
  const isWanted = ({ id }: { id: number }) => id % 3 === 0 && { of: id };
  const expected = items.filter(({ id }) => id % 3 === 0);
  for (const input of [items, new Set(items), slowly(items)]) {
    const found = await within(pfilter(isWanted, input));
    assertEquals(found.length, expected.length);
    found.forEach((item, i) => assertStrictEquals(item, expected[i]));
  }
  const promised = await within(
    pfilter((n: number) => Promise.resolve(n > 1), [1, 2, 3]),
  );
  assertEquals(promised, [2, 3]);
  const opaque = await within(
    pfilter((n: number) => n > 1 && (() => n), [1, 2, 3]),
  );
  assertEquals(opaque, [2, 3]);
});

Deno.test("pforEach() waits for all calls and drops their values", async () => {
  const marks = new SharedArray("i32", 50);
  const mark = async ([array, i]: [SharedArray<"i32">, number]) => {
    await null;
    Atomics.add(array.view, i, 1);
    return () => {};
  };
  const items = range(50).map((
    i,
  ): [SharedArray<"i32">, number] => [marks, i]);
  const progress: Progress[] = [];
  const result = await within(
    pforEach(mark, items, {
      chunkSize: 20,
      onProgress: (now) => progress.push({ ...now }),
    }),
  );
  assertEquals(result, undefined);
  assertEquals([...marks], Array(50).fill(1));
  assertEquals(progress.at(-1), { completed: 50, total: 50 });
  assertEquals(progress.length, 3);
});

Deno.test("preduce() gives what reduce gives, for associative functions", async () => {
  const words = range(500).map((n) => `${n},`);
  const whole = words.join("");
  assertEquals(await within(preduce(concatenated, words)), whole);
  assertEquals(await within(preduce(concatenated, words, ">")), `>${whole}`);
  assertEquals(
    await within(preduce(concatenated, slowly(words), ">")),
    `>${whole}`,
  );
  for (const chunkSize of [1, 3, 499, 500, 501]) {
    assertEquals(
      await within(preduce(concatenated, words, undefined, { chunkSize })),
      whole,
    );
  }
  const later = (a: number, b: number) => Promise.resolve(a + b);
  assertEquals(await within(preduce(later, range(100), 1)), 4951);
  assertEquals(await within(preduce(later, range(100), 0)), 4950);
});

Deno.test("preduce() of nothing is the initial value or a TypeError", async () => {
  const add = (a: number, b: number) => a + b;
  assertEquals(await within(preduce(add, [], 0)), 0);
  assertEquals(await within(preduce(add, [5])), 5);
  assertEquals(await within(preduce(add, [5], 1)), 6);
  await assertRejects(() => within(preduce(add, [])), TypeError, "is empty");
  await assertRejects(
    () => within(preduce(add, slowly([]))),
    TypeError,
    "empty",
  );
});

Deno.test("preduce() rejects with what its function throws, in the first or the last part", async () => {
  const fail = (a: number, b: number) => {
    if (a === 99) throw new RangeError("Enough");
    return a + b;
  };
  await assertRejects(
    () => within(preduce(fail, [99, 1, 2])),
    RangeError,
    "Enough",
  );
  await assertRejects(
    () => within(preduce(fail, [33, 66, 1], undefined, { chunkSize: 2 })),
    RangeError,
    "Enough",
  );
});

Deno.test("pmap() and preduce() can be used first inside a worker", async () => {
  const worker = new Process({ target: sumOfScaled, args: [100] }).start();
  assertEquals(await within(worker.result), 49500);
  assertEquals(await within(pmap(sumOfScaled, [10])), [450]);
});

Deno.test("pmap() and the others work in an unguarded script, which ends by itself", async () => {
  await takesLess(6000, async () => {
    const result = await runSource(
      `
    import { pfilter, pforEach, pmap, preduce } from "@parallel/multiprocessing/parallel";
    console.log(await pmap((n: number) => n * n, [1, 2, 3]));
    console.log(await pfilter((n: number) => n > 1, [1, 2, 3]));
    await pforEach((n: number) => { if (n > 9) throw n; }, [1, 2, 3]);
    console.log(await preduce((a: number, b: number) => a + b, [1, 2, 3]));
  `,
    );
    assertEquals(
      result.stdout,
      "[ 1, 4, 9 ]\n[ 2, 3 ]\n6\n",
      describe(result),
    );
    assertEquals(result.code, 0, describe(result));
    return result.elapsed;
  });
});

Deno.test("pmap() in an unguarded module that a worker imports is refused", async () => {
  const result = await runSource(
    `
    import { pmap } from "@parallel/multiprocessing/parallel";
    const factor = 2;
    export function scale(n: number) { return n * factor; }
    try {
      console.log(await pmap(scale, [1]));
    } catch (error) {
      console.log((error as Error).message);
    }
  `,
  );
  assertStringIncludes(
    result.stdout,
    "Cannot pmap while",
    describe(result),
  );
});
