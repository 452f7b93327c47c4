// What a pool's workers do before their first task.

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertThrows,
} from "@std/assert";
import { delay } from "@std/async";
import { WorkerError } from "../errors.ts";
import { Lock } from "../lock.ts";
import { Pool } from "../pool.ts";
import { range, square } from "./_numbers.ts";
import { DEADLINE, rejection, within } from "./_within.ts";
import { sharedWords } from "./_words.ts";
import {
  addUnderLock,
  prepare,
  prepareLater,
  prepareShared,
  readPrepared,
} from "./testdata/pool_functions.ts";

Deno.test("Pool() throws a DataCloneError for initArgs that cannot be sent", () => {
  const error = assertThrows(() =>
    new Pool({ processes: 1, initializer: prepare, initArgs: [() => 1] })
  );
  assertInstanceOf(error, DOMException);
  assertEquals(error.name, "DataCloneError");
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
      await delay(20);
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
