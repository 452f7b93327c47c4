// How workers and pools end before their time or at it.

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { WorkerError } from "../errors.ts";
import { Pool } from "../pool.ts";
import { describe, runSource } from "./_child.ts";
import { range, square } from "./_numbers.ts";
import { free, occupy } from "./_occupy.ts";
import { DEADLINE, reaches, rejection, within } from "./_within.ts";
import { sharedWords } from "./_words.ts";
import { processName } from "./testdata/pool_functions.ts";

// -- Workers that die -----------------------------------------------------------------

for (
  const [how, target, exitCode] of [
    ["calls Deno.exit(3)", () => Deno.exit(3), 3],
    ["calls Deno.exit(0)", () => Deno.exit(0), 0],
    ["closes itself", async () => {
      self.close();
      await new Promise(() => {});
    }, 0],
    ["fails in a timer", async () => {
      setTimeout(() => {
        throw new RangeError("expected: in a timer");
      });
      await new Promise(() => {});
    }, 1],
    ["leaves a rejection unhandled", async () => {
      Promise.reject(new RangeError("expected: unhandled"));
      await new Promise(() => {});
    }, 1],
  ] as [string, () => unknown, number][]
) {
  Deno.test(`A worker that ${how} fails its task only, and is replaced`, async () => {
    await using pool = new Pool(2);
    const others = pool.map(
      async (n: number) => {
        await new Promise((resolve) => setTimeout(resolve, 5));
        return n;
      },
      range(10),
      { chunkSize: 1 },
    );
    const error = await rejection(pool.apply(target));
    assertInstanceOf(error, WorkerError);
    assertEquals(error.exitCode, exitCode);
    if (exitCode === 1) assertInstanceOf(error.cause, RangeError);
    assertEquals(await within(others), range(10));
    assertEquals(await within(pool.map(square, [1, 2, 3])), [1, 4, 9]);
    assertEquals(pool.stats.restarted, 1);
  });
}

Deno.test("A pool survives many deaths in a row", async () => {
  await using pool = new Pool(2);
  const calls = range(12).map((n) =>
    pool.apply((n: number) => n % 2 === 0 ? Deno.exit(9) : n, [n])
  );
  const settled = await within(Promise.allSettled(calls));
  assertEquals(
    settled.map((one) => one.status === "fulfilled" ? one.value : "died"),
    range(12).map((n) => n % 2 === 0 ? "died" : n),
  );
  assertEquals(await within(pool.apply(square, [5])), 25);
  assertEquals(pool.stats.restarted, 6);
});

Deno.test("A worker that dies in the middle of a map rejects it with a WorkerError", async () => {
  await using pool = new Pool(2);
  const error = await rejection(
    pool.map((n: number) => n === 5 ? Deno.exit(4) : n, range(10)),
  );
  assertInstanceOf(error, WorkerError);
  assertEquals(error.exitCode, 4);
  assertEquals(await within(pool.map(square, range(4))), [0, 1, 4, 9]);
});

// -- Workers that retire --------------------------------------------------------------

Deno.test("maxTasksPerChild replaces workers, which is no repair", async () => {
  await using pool = new Pool({ processes: 1, maxTasksPerChild: 2 });
  const names: string[] = [];
  for (let i = 0; i < 6; i++) names.push(await within(pool.apply(processName)));
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  assertEquals([...counts.values()], [2, 2, 2]);
  assertEquals(pool.stats.restarted, 0);
  assertEquals(pool.stats.completed, 6);
});

Deno.test("maxTasksPerChild counts chunks, and results are complete", async () => {
  await using pool = new Pool({ processes: 2, maxTasksPerChild: 1 });
  assertEquals(
    await within(pool.map(square, range(12), { chunkSize: 2 })),
    range(12).map(square),
  );
});

Deno.test("A result that travels in a message is there though its worker has ended", async () => {
  await using pool = new Pool({ processes: 2, maxTasksPerChild: 1 });
  const words = sharedWords();
  const same = (words: Int32Array) => words;
  const results = Promise.all(
    Array.from({ length: 12 }, () => pool.apply(same, [words])),
  );
  for (const result of await within(results)) {
    assertStrictEquals(result.buffer, words.buffer);
  }
  assertEquals(pool.stats.failed, 0);
});

// -- The end of a pool ----------------------------------------------------------------

Deno.test("After close() accepted work finishes, and new work is a TypeError", async () => {
  const pool = new Pool(1);
  const words = sharedWords();
  const accepted = [pool.apply(occupy, [words]), pool.apply(square, [7])];
  const mapped = pool.map(square, range(100), { chunkSize: 1 });
  pool.close();
  pool.close();
  for (
    const refused of [
      () => pool.apply(square, [1]),
      () => pool.map(square, [1]),
      () => pool.starmap(square, [[1]]),
    ]
  ) await assertRejects(refused, TypeError, "closed");
  await assertRejects(
    async () => {
      for await (const _ of pool.imap(square, [1])) { /* never */ }
    },
    TypeError,
    "closed",
  );
  await assertRejects(
    async () => {
      for await (const _ of pool.imapUnordered(square, [1])) { /* never */ }
    },
    TypeError,
    "closed",
  );
  free(words);
  assertEquals(await within(Promise.all(accepted)), [1, 49]);
  assertEquals(await within(mapped), range(100).map(square));
  assertStrictEquals(await within(pool.join()), undefined);
  await within(pool.join());
});

Deno.test("join() of an open pool is a TypeError", async () => {
  using pool = new Pool(1);
  await assertRejects(() => pool.join(), TypeError, "open");
});

Deno.test("join() waits with timeout and signal", async () => {
  const pool = new Pool(1);
  const words = sharedWords();
  const call = pool.apply(occupy, [words]);
  pool.close();
  await reaches(words, 0, 1);
  for (const timeout of [0, 20]) {
    assertEquals(
      (await rejection(pool.join({ timeout }))).name,
      "TimeoutError",
    );
  }
  const reason = new Error("no time");
  assertStrictEquals(
    await rejection(pool.join({ signal: AbortSignal.abort(reason) })),
    reason,
  );
  await assertRejects(() => pool.join({ timeout: -1 }), RangeError);
  free(words);
  assertEquals(await within(call), 1);
  await within(pool.join({ timeout: DEADLINE }));
});

Deno.test("After close() a worker that retires is replaced while input is still to come", async () => {
  const words = sharedWords();
  await using pool = new Pool({
    processes: 1,
    maxTasksPerChild: 1,
    initializer: (words: Int32Array) => Atomics.add(words, 0, 1),
    initArgs: [words],
  });
  const closed = Promise.withResolvers<void>();
  async function* input(): AsyncGenerator<number> {
    yield 1;
    await closed.promise;
    // The first worker retires after its task; this is the next one.
    await reaches(words, 0, 2);
    yield 2;
    yield 3;
  }
  const values = pool.map((n: number) => 10 * n, input(), { chunkSize: 1 });
  pool.close();
  closed.resolve();
  assertEquals(await within(values), [10, 20, 30]);
});

Deno.test("After terminate() pending work rejects with an AbortError, and join() resolves", async () => {
  const pool = new Pool(1);
  const words = sharedWords();
  async function* slow() {
    yield 1;
    await new Promise(() => {});
  }
  const idleStream = pool.imap(square, slow());
  assertEquals(await within(idleStream.next()), { done: false, value: 1 });
  const running = pool.apply(occupy, [words]);
  const pending = [
    running,
    pool.apply(square, [1]),
    pool.map(square, [1, 2]),
    pool.map(square, slow()),
    pool.imap(square, [1]).next(),
    idleStream.next(),
  ];
  await reaches(words, 0, 1);
  const settled = Promise.all(pending.map(rejection));
  pool.terminate();
  pool.terminate();
  for (const error of await within(settled)) {
    assertInstanceOf(error, DOMException);
    assertEquals(error.name, "AbortError");
  }
  await within(pool.join());
  await assertRejects(() => pool.apply(square, [1]), TypeError, "terminated");
  pool.close();
  await within(pool.join());
  free(words);
  assertEquals(pool.stats.restarted, 0);
});

Deno.test("terminate() does not start workers again for a stream that goes on", async () => {
  const pool = new Pool(1);
  const stream = pool.imap(square, range(100));
  assertEquals(await within(stream.next()), { done: false, value: 0 });
  pool.terminate();
  await within(pool.join());
  const last = await within((async () => {
    try {
      for await (const _ of stream) { /* what is there already */ }
    } catch (error) {
      return (error as Error).name;
    }
  })());
  assertEquals(last, "AbortError");
  assertEquals(pool.stats.restarted, 0);
});

// -- Disposal, and the end of the program ---------------------------------------------

Deno.test("`await using` finishes accepted work and ends the workers", async () => {
  let call: Promise<number>;
  let ended: Pool;
  {
    await using pool = new Pool(2);
    ended = pool;
    call = pool.apply(async (n: number) => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      return n;
    }, [5]);
  }
  assertEquals(await Promise.race([call, Promise.resolve("pending")]), 5);
  await ended[Symbol.asyncDispose]();
  ended[Symbol.dispose]();
  ended.close();
  await within(ended.join());
  await assertRejects(() => ended.apply(square, [1]), TypeError);
});

Deno.test("`using` terminates", async () => {
  let call: Promise<number>;
  const words = sharedWords();
  {
    using pool = new Pool(1);
    call = pool.apply(occupy, [words]);
    call.catch(() => {});
    await reaches(words, 0, 1);
  }
  assertEquals((await rejection(call)).name, "AbortError");
  free(words);
});

Deno.test("What terminate() rejects need not be looked at, but what goes on with it", async () => {
  const result = await runSource(`
    import { Pool } from "@parallel/multiprocessing";
    const later = () => new Promise((resolve) => setTimeout(resolve, 10_000));
    try {
      using pool = new Pool(2);
      pool.apply(later);
      pool.map(later, [1, 2, 3]);
      pool.imap(later, [1]).next();
      throw new Error("mine");
    } catch (error) {
      console.log(error.message);
    }
    setTimeout(async () => {
      console.log("goes on");
      const pool = new Pool(1);
      const given = pool.apply(later);
      const waiting = given.then(() => {});
      pool.terminate();
      addEventListener("unhandledrejection", ({ promise, reason }) => {
        console.log(promise === waiting, reason.name);
        Deno.exit();
      });
    });
  `);
  assertEquals(
    result.stdout,
    "mine\ngoes on\ntrue AbortError\n",
    describe(result),
  );
  assertEquals(result.stderr, "");
});

Deno.test("Disposal of a pool that was terminated, or whose task failed, does not throw", async () => {
  const terminated = new Pool(1);
  terminated.terminate();
  await within(terminated[Symbol.asyncDispose]());
  const failed = new Pool(1);
  await rejection(failed.apply(() => {
    throw new Error("no");
  }));
  await within(failed[Symbol.asyncDispose]());
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
