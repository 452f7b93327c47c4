import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  addDuty,
  PENDING,
  PENDING_SOON,
  PENDING_WEAK,
  removeDuty,
  waitAsync,
  waitSync,
  wake,
} from "../_park.ts";
import { describe, runSource } from "./_child.ts";
import { Thread } from "./_threads.ts";
import { DEADLINE, reaches, takesLess, within } from "./_within.ts";
import { sharedWords } from "./_words.ts";

const PARK = new URL("../_park.ts", import.meta.url);

/** A counter of permits at word 2, with its spot at words 0 and 1. */
function taker(words: Int32Array): () => number | typeof PENDING {
  return () => {
    const value = Atomics.load(words, 2);
    if (value === 0) return PENDING;
    return Atomics.compareExchange(words, 2, value, value - 1) === value
      ? value
      : PENDING;
  };
}

function give(words: Int32Array, count: number): void {
  Atomics.add(words, 2, count);
  wake(words, 0, count);
}

Deno.test("waitSync() returns at once what the attempt has", () => {
  assertEquals(waitSync("test", sharedWords(), 0, () => 7), 7);
  assertEquals(
    waitSync("test", sharedWords(), 0, () => undefined, { timeout: 0 }),
    undefined,
  );
});

Deno.test("waitSync() times out, and counts no waiter afterwards", () => {
  const words = sharedWords();
  for (const pending of [PENDING, PENDING_WEAK, PENDING_SOON] as const) {
    for (const timeout of [0, 0.5, 20, 70]) {
      const began = performance.now();
      const error = assertThrows(
        () => waitSync("test", words, 0, () => pending, { timeout }),
        DOMException,
        `Cannot test: timed out after ${timeout} ms`,
      );
      assertEquals(error.name, "TimeoutError");
      assert(performance.now() - began >= timeout - 1);
      assertEquals(words[1], 0);
    }
  }
});

Deno.test("waitSync() passes an attempt's error on, and counts no waiter afterwards", () => {
  const words = sharedWords();
  let tries = 0;
  assertThrows(
    () =>
      waitSync("test", words, 0, () => {
        if (++tries === 60) throw new RangeError("Enough");
        return PENDING_SOON;
      }),
    RangeError,
    "Enough",
  );
  assertEquals(words[1], 0);
});

Deno.test("waitSync() tells attempts whether it has slept", () => {
  const seen = new Set<boolean>();
  waitSync("test", sharedWords(), 0, (slept) => {
    seen.add(slept);
    return slept ? 0 : PENDING_SOON;
  });
  assertEquals([...seen], [false, true]);
});

Deno.test("waitSync() does the duties of the thread while it blocks", () => {
  let done = 0;
  function duty(blocked: boolean): void {
    if (blocked) done++;
  }
  addDuty(duty);
  const attempt = () => done > 0 ? done : PENDING;
  try {
    waitSync("test", sharedWords(), 0, attempt, { timeout: DEADLINE });
  } finally {
    removeDuty(duty);
  }
});

Deno.test("waitAsync() validates and refuses like waitSync()", async () => {
  const words = sharedWords();
  const attempt = () => PENDING;
  for (const timeout of [-1, NaN]) {
    await assertRejects(
      () => waitAsync("test", words, 0, attempt, { timeout }),
      RangeError,
    );
    assertThrows(
      () => waitSync("test", words, 0, attempt, { timeout }),
      RangeError,
    );
  }
  const timeout = "1" as unknown as number;
  await assertRejects(
    () => waitAsync("test", words, 0, attempt, { timeout }),
    TypeError,
  );
  assertThrows(
    () => waitSync("test", words, 0, attempt, { timeout }),
    TypeError,
  );
  const reason = new Error("Too late");
  const signal = AbortSignal.abort(reason);
  const error = await assertRejects(() =>
    waitAsync("test", words, 0, () => 1, { signal })
  );
  assertStrictEquals(error, reason);
  assertEquals(words[1], 0);
});

Deno.test("waitAsync() serves waiters in order, each wake-up as many as can go", async () => {
  const words = sharedWords();
  const order: number[] = [];
  const waits = [1, 2, 3, 4].map(async (n) => {
    await waitAsync("test", words, 0, taker(words));
    order.push(n);
  });
  assertEquals(words[1], 1);
  give(words, 1);
  await within(waits[0]!);
  give(words, 3);
  await within(Promise.all(waits));
  assertEquals(order, [1, 2, 3, 4]);
  assertEquals([words[1], words[2]], [0, 0]);
});

Deno.test("waitAsync() that gives up says so at that moment, and only then", async () => {
  const words = sharedWords();
  const events: string[] = [];
  function begin(
    name: string,
    options: { timeout?: number; signal?: AbortSignal },
  ) {
    return waitAsync(
      "test",
      words,
      0,
      taker(words),
      options,
      () => events.push(name),
    )
      .then(() => `${name} got it`, (error) => `${name} ${error.name}`);
  }
  const controller = new AbortController();
  const zero = begin("zero", { timeout: 0 });
  const aborted = begin("aborted", { signal: controller.signal });
  const timed = begin("timed", { timeout: 5 });
  const good = begin("good", { timeout: DEADLINE });
  controller.abort();
  assertEquals(events, ["zero", "aborted"]);
  assertEquals(await within(timed), "timed TimeoutError");
  give(words, 1);
  assertEquals(await within(Promise.all([zero, aborted, good])), [
    "zero TimeoutError",
    "aborted AbortError",
    "good got it",
  ]);
  assertEquals(events, ["zero", "aborted", "timed"]);
  assertEquals(words[1], 0);
});

Deno.test("waitAsync() waits at least as long as asked for, fractions included", async () => {
  const words = sharedWords();
  for (const timeout of [0.5, 2.9, 7.5]) {
    for (let round = 0; round < 8; round++) {
      const began = performance.now();
      await assertRejects(
        () => waitAsync("test", words, 0, () => PENDING, { timeout }),
        DOMException,
        `timed out after ${timeout} ms`,
      );
      const took = performance.now() - began;
      assert(took >= timeout, `${took} ms of ${timeout}`);
    }
  }
});

Deno.test("waitAsync() takes what came while the event loop was busy past the timeout", async () => {
  const words = sharedWords();
  const got = waitAsync("test", words, 0, taker(words), { timeout: 5 });
  Atomics.add(words, 2, 1); // the wake-up is still on its way
  const until = performance.now() + 20;
  while (performance.now() < until);
  assertEquals(await within(got), 1);
  assertEquals([words[1], words[2]], [0, 0]);
});

Deno.test("waitAsync() attempts those behind one that gives up", async () => {
  const words = sharedWords();
  const controller = new AbortController();
  const first = waitAsync("test", words, 0, () => PENDING, {
    signal: controller.signal,
  });
  const second = waitAsync("test", words, 0, taker(words));
  give(words, 1);
  controller.abort();
  await assertRejects(() => first, DOMException);
  await within(second);
});

Deno.test("waitAsync() rejects with an attempt's error and goes on with the next", async () => {
  const words = sharedWords();
  let mayThrow = false;
  const first = waitAsync("test", words, 0, () => {
    if (mayThrow) throw new RangeError("Enough");
    return PENDING;
  });
  const second = waitAsync("test", words, 0, taker(words));
  mayThrow = true;
  give(words, 1);
  await assertRejects(() => first, RangeError);
  await within(second);
});

Deno.test("waitAsync() looks again by itself when a wake-up was lost", async () => {
  const words = sharedWords();
  const wait = waitAsync("test", words, 0, taker(words));
  Atomics.store(words, 2, 1);
  await within(wait);
});

Deno.test("waitAsync() that withdrew passes its wake-up on to a blocked thread", async () => {
  for (let round = 0; round < 5; round++) {
    const words = sharedWords();
    const controller = new AbortController();
    const wait = waitAsync("test", words, 0, taker(words), {
      signal: controller.signal,
    });
    using thread = new Thread("parkTake", words, []);
    await reaches(words, 1, 2);
    give(words, 1);
    controller.abort();
    await assertRejects(() => wait, DOMException);
    assertEquals(await within(thread.done, words), 1);
  }
});

Deno.test("waitSync() leaves a thread that is told to stop within two slices", async () => {
  await takesLess(1000, async () => {
    const words = sharedWords();
    using thread = new Thread("parkTake", words, []);
    await reaches(words, 1, 1);
    const told = performance.now();
    thread.stop();
    await assertRejects(() => within(thread.done), Error, "told to stop");
    assertEquals(words[1], 0);
    return performance.now() - told;
  });
});

Deno.test("wake() loses no wake-up between a blocked thread and an async one", async () => {
  const words = sharedWords();
  const rounds = 1500;
  using thread = new Thread("parkPong", words, [], { rounds });
  for (let round = 0; round < rounds; round++) {
    give(words, 1);
    await waitAsync("test", words, 4, () => {
      return Atomics.load(words, 6) > round ? undefined : PENDING;
    }, { timeout: DEADLINE });
  }
  assertEquals(await within(thread.done), rounds);
});

Deno.test("waitAsync() keeps the program alive only while it is worth it", async () => {
  const result = await runSource(
    `
    import { PENDING, PENDING_WEAK, waitAsync, waitSync } from "${PARK}";
    const words = new Int32Array(new SharedArrayBuffer(64));
    waitAsync("test", words, 0, () => PENDING_WEAK);
    let ready = false;
    waitAsync("test", words, 4, () => ready ? 1 : PENDING)
      .then(() => console.log("strong"));
    Deno.unrefTimer(setTimeout(() => ready = true, 100));
    `,
  );
  assertEquals(result.stdout, "strong\n", describe(result));
  assertEquals(result.code, 0);
});
