// What a pool tells about its work: `stats` and `onProgress`.

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertNotStrictEquals,
} from "@std/assert";
import { Pool, type Progress } from "../pool.ts";
import { range, square } from "./_numbers.ts";
import { free, occupy } from "./_occupy.ts";
import { reaches, rejection, until, within } from "./_within.ts";
import { sharedWords } from "./_words.ts";

// -- stats ----------------------------------------------------------------------------

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

// -- onProgress -----------------------------------------------------------------------

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
    await until(() => seen.length >= 3);
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
