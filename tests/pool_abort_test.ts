// Calls of a pool that are given up: timeouts and signals.

import {
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { Pool } from "../pool.ts";
import { range, square } from "./_numbers.ts";
import { free, occupy } from "./_occupy.ts";
import { DEADLINE, longEnough, reaches, rejection, within } from "./_within.ts";
import { sharedWords } from "./_words.ts";

// -- Timeouts -------------------------------------------------------------------------

Deno.test("timeout drops a queued task, which never runs", async () => {
  await using pool = new Pool(1);
  const words = sharedWords();
  const first = pool.apply(occupy, [words]);
  await reaches(words, 0, 1);
  const error = await rejection(
    pool.apply((words: Int32Array) => Atomics.store(words, 5, 1), [words], {
      timeout: 10,
    }),
  );
  assertInstanceOf(error, DOMException);
  assertEquals(error.name, "TimeoutError");
  free(words);
  assertEquals(await within(first), 1);
  assertEquals(await within(pool.apply(square, [2])), 4);
  assertEquals(words[5], 0);
  assertEquals(pool.stats.restarted, 0);
});

Deno.test("timeout abandons a running task, and its worker is replaced", async () => {
  await longEnough(async (timeout) => {
    await using pool = new Pool(1);
    const words = sharedWords();
    await within(pool.apply(square, [1])); // its start is not what is limited
    const error = await rejection(pool.apply(occupy, [words], { timeout }));
    assertEquals(error.name, "TimeoutError");
    const hadBegun = Atomics.load(words, 0) === 1;
    if (hadBegun) {
      assertEquals(await within(pool.apply(square, [2])), 4);
      assertEquals(pool.stats.restarted, 1);
    }
    free(words);
    return hadBegun;
  });
});

Deno.test("What is done in time has come in time, however busy the main thread was", async () => {
  await using pool = new Pool(2);
  const repeat = (n: number) => Array.from({ length: 30 }, () => n);
  const items = range(10_000);
  const timeout = 300;
  const calls = [
    () => pool.map(repeat, items, { timeout, chunkSize: 1 }),
    () => Promise.all(items.map((n) => pool.apply(repeat, [n], { timeout }))),
  ];
  for (const call of calls) {
    const words = sharedWords();
    const began = performance.now();
    const results = call();
    const others = [pool.apply(occupy, [words]), pool.apply(occupy, [words])];
    // Reading the results takes longer than the event loop is kept waiting. They are
    // all there when both workers are at the others.
    while (performance.now() - began < DEADLINE) {
      const isDone = Atomics.load(words, 0) === 2;
      if (isDone && performance.now() - began > timeout) break;
    }
    free(words);
    const firsts = (await within(results)).map(([n]) => n);
    assertEquals(firsts, items);
    await within(Promise.all(others));
  }
});

Deno.test("A map that times out leaves the tasks of others alone", async () => {
  await using pool = new Pool(2);
  const words = sharedWords();
  const endless = sharedWords();
  const other = pool.apply(occupy, [words]);
  await reaches(words, 0, 1);
  const error = await rejection(
    pool.map(occupy, [endless, endless], { timeout: 100, chunkSize: 1 }),
  );
  assertEquals(error.name, "TimeoutError");
  free(words);
  assertEquals(await within(other), 1);
  free(endless);
});

Deno.test("timeout 0 is a TimeoutError; a bad timeout is refused", async () => {
  await using pool = new Pool(1);
  for (
    const call of [
      pool.apply(square, [1], { timeout: 0 }),
      pool.map(square, [1], { timeout: 0 }),
      pool.imap(square, [1], { timeout: 0 }).next(),
    ]
  ) assertEquals((await rejection(call)).name, "TimeoutError");
  for (const timeout of [-1, NaN]) {
    await assertRejects(
      () => pool.apply(square, [1], { timeout }),
      RangeError,
    );
    await assertRejects(() => pool.map(square, [1], { timeout }), RangeError);
  }
  assertEquals(await within(pool.apply(square, [2], { timeout: DEADLINE })), 4);
});

// -- Signals --------------------------------------------------------------------------

Deno.test("A signal drops queued work and abandons running work, with its reason", async () => {
  await using pool = new Pool(1);
  const words = sharedWords();
  const reason = new Error("changed my mind");
  const controller = new AbortController();
  const { signal } = controller;
  const running = pool.apply(occupy, [words], { signal });
  const queued = pool.map(occupy, [words, words], { signal });
  await reaches(words, 0, 1);
  controller.abort(reason);
  assertStrictEquals(await rejection(running), reason);
  assertStrictEquals(await rejection(queued), reason);
  assertEquals(await within(pool.apply(square, [3])), 9);
  assertEquals(words[0], 1);
  free(words);
});

Deno.test("An aborted signal rejects with its reason, and nothing runs", async () => {
  await using pool = new Pool(1);
  const words = sharedWords();
  const reason = new RangeError("never mind");
  const signal = AbortSignal.abort(reason);
  const touch = (words: Int32Array) => Atomics.store(words, 0, 1);
  const calls = [
    pool.apply(touch, [words], { signal }),
    pool.map(touch, [words], { signal }),
    pool.starmap(touch, [[words]], { signal }),
    pool.imap(touch, [words], { signal }).next(),
    pool.imapUnordered(touch, [words], { signal }).next(),
  ];
  for (const call of calls) assertStrictEquals(await rejection(call), reason);
  assertEquals(await within(pool.apply(square, [2])), 4);
  assertEquals(words[0], 0);
});

Deno.test("A signal that aborts after the end does nothing", async () => {
  await using pool = new Pool(1);
  const controller = new AbortController();
  const { signal } = controller;
  assertEquals(await within(pool.apply(square, [2], { signal })), 4);
  assertEquals(await within(pool.map(square, [2], { signal })), [4]);
  controller.abort();
  assertEquals(await within(pool.apply(square, [3])), 9);
  assertEquals(pool.stats.restarted, 0);
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

// -- An endless input -----------------------------------------------------------------

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

Deno.test("A worker that is still to be stopped takes no task in the slot of the one given up", async () => {
  await using pool = new Pool(1);
  await within(pool.apply(square, [1]));
  const words = sharedWords();
  const answered = pool.apply(() => new Uint8Array(new SharedArrayBuffer(8)));
  const controller = new AbortController();
  const given = pool.apply(occupy, [words], { signal: controller.signal });
  // Blocked, so that the answer before it, a message, is unread and delays the stop.
  while (Atomics.load(words, 0) === 0) Atomics.wait(words, 0, 0, 5);
  controller.abort(new Error("given up"));
  const next = pool.apply((words: Int32Array) => {
    Atomics.store(words, 5, 1);
    Atomics.notify(words, 5);
    while (Atomics.load(words, 6) === 0) Atomics.wait(words, 6, 0, 5);
    return "next";
  }, [words]);
  free(words);
  assertEquals(Atomics.wait(words, 5, 0, 200), "timed-out");
  Atomics.store(words, 6, 1);
  assertEquals((await rejection(given)).message, "given up");
  assertEquals((await within(answered)).length, 8);
  assertEquals(await within(next), "next");
});

Deno.test("What a getter among the values gives up does not run", async () => {
  await using pool = new Pool(1);
  const words = sharedWords();
  const first = pool.apply(occupy, [words]);
  await reaches(words, 0, 1);
  for (const method of ["apply", "map", "imap"] as const) {
    const controller = new AbortController();
    const { signal } = controller;
    const item = {
      words,
      get aborts() {
        controller.abort(new Error(method));
        return true;
      },
    };
    const run = (item: { words: Int32Array }) => Atomics.add(item.words, 5, 1);
    const over: Promise<unknown> = method === "apply"
      ? pool.apply(run, [item], { signal })
      : method === "map"
      ? pool.map(run, [item], { signal })
      : pool.imap(run, [item], { signal }).next();
    assertEquals((await rejection(over)).message, method);
  }
  free(words);
  await within(first);
  assertEquals(await within(pool.apply(square, [2])), 4);
  assertEquals(words[5], 0);
  assertEquals(pool.stats.restarted, 0);
});
