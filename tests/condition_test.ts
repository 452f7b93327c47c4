import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { reviveHandle } from "../_handle.ts";
import { bury, claimToken } from "../_life.ts";
import { Condition } from "../condition.ts";
import { Lock, RLock } from "../lock.ts";
import { Process } from "../process.ts";
import { pack, runThreads, Thread, unpack, wordsOf } from "./_threads.ts";
import { DEADLINE, reaches, takesLess, until, within } from "./_within.ts";
import { seeded, sharedWords } from "./_words.ts";

/** Word indexes in the table of waiters, see `_waiters.ts`. */
const FIRST_PLACE = 8;
const TOKEN = 3;

/** Starts `count` async waits, each with the lock held, and returns their outcomes. */
function startWaits(
  condition: Condition,
  count: number,
  options: { timeout?: number; signal?: AbortSignal } = {},
): { waits: Promise<string>[]; woken: number[] } {
  const woken: number[] = [];
  const waits = Array.from({ length: count }, async (_, index) => {
    using _guard = await condition.acquire();
    try {
      await condition.wait(options);
    } catch (error) {
      return (error as Error).name;
    } finally {
      assert(condition.locked);
    }
    woken.push(index);
    return "notified";
  });
  return { waits, woken };
}

/** Waits until so many wait at the condition. */
function waiting(condition: Condition, count: number): Promise<void> {
  return until(() => Deno.inspect(condition).includes(`waiting: ${count} `));
}

// -- In one thread ------------------------------------------------------------

Deno.test("Condition wants its lock held", async () => {
  for (const condition of [new Condition(), new Condition(new Lock())]) {
    assertThrows(() => condition.notify(), TypeError, "does not hold");
    assertThrows(() => condition.notifyAll(), TypeError, "does not hold");
    assertThrows(
      () => condition.waitSync({ timeout: 0 }),
      TypeError,
      "does not hold",
    );
    assertThrows(
      () => condition.waitForSync(() => true),
      TypeError,
      "does not hold",
    );
    await assertRejects(() => condition.wait(), TypeError, "does not hold");
    await assertRejects(
      () => condition.waitFor(() => true),
      TypeError,
      "does not hold",
    );
    assertThrows(() => condition.release(), TypeError);
    assertEquals(condition.locked, false);
  }
});

Deno.test("Condition refuses bad arguments", async () => {
  assertThrows(
    () => new Condition({} as Lock),
    TypeError,
    "must be a Lock or an RLock",
  );
  assertThrows(
    () => new Condition(null as unknown as Lock),
    TypeError,
    "received null",
  );
  const condition = new Condition();
  using _ = condition.acquireSync();
  for (const n of [-1, 0.5, NaN]) {
    assertThrows(() => condition.notify(n), RangeError);
  }
  assertThrows(() => condition.notify("1" as unknown as number), TypeError);
  for (const timeout of [-1, NaN]) {
    await assertRejects(() => condition.wait({ timeout }), RangeError);
    assertThrows(() => condition.waitSync({ timeout }), RangeError);
    await assertRejects(
      () => condition.waitFor(() => true, { timeout }),
      RangeError,
    );
    assertThrows(
      () => condition.waitForSync(() => true, { timeout }),
      RangeError,
    );
  }
  const text = "x" as unknown as () => boolean;
  await assertRejects(
    () => condition.waitFor(text),
    TypeError,
    "must be a function",
  );
  assert(condition.locked);
});

Deno.test("Condition.wait() gives up exactly one level and takes it back", async () => {
  const reason = new Error("No longer needed");
  for (const level of [1, 2]) {
    const lock = new RLock();
    const condition = new Condition(lock);
    for (let i = 0; i < level; i++) lock.acquireSync();
    const controller = new AbortController();
    const wait = condition.wait({ signal: controller.signal });
    assertEquals(lock.locked, level > 1);
    controller.abort(reason);
    assertStrictEquals(await assertRejects(() => wait, Error), reason);
    await assertRejects(
      () => condition.wait({ timeout: 5 }),
      DOMException,
      "timed out",
    );
    await assertRejects(
      () => condition.wait({ timeout: 0 }),
      DOMException,
      "timed out",
    );
    assertThrows(
      () => condition.waitSync({ timeout: 5 }),
      DOMException,
      "timed out",
    );
    assertThrows(
      () => condition.waitSync({ timeout: 0 }),
      DOMException,
      "timed out",
    );
    for (let i = 0; i < level; i++) lock.release();
    assertEquals(lock.locked, false);
    assertThrows(() => lock.release(), TypeError);
  }
});

Deno.test("Condition.waitSync() and waitForSync() give up all levels, and take them back", async () => {
  const condition = new Condition();
  const words = sharedWords(2);
  const notifying = new Process({
    target: (condition: Condition, words: Int32Array) => {
      for (let n = 1; n <= 2; n++) {
        using _ = condition.acquireSync();
        Atomics.store(words, 0, n);
        condition.notify();
      }
    },
    args: [condition, words],
  });
  const guards = [1, 2, 3].map(() => condition.acquireSync());
  notifying.start();
  condition.waitForSync(() => Atomics.load(words, 0) > 0, {
    timeout: DEADLINE,
  });
  if (Atomics.load(words, 0) < 2) condition.waitSync({ timeout: DEADLINE });
  assertEquals(Atomics.load(words, 0), 2);
  assertThrows(() => condition.waitSync({ timeout: 1 }), DOMException);
  await within(notifying.join());
  for (const guard of guards) {
    assertEquals(condition.locked, true);
    guard.release();
  }
  assertEquals(condition.locked, false);
});

Deno.test("Condition keeps guards valid across waits", async () => {
  for (const lock of [new Lock(), new RLock()]) {
    const condition = new Condition(lock);
    const guard = await condition.acquire();
    for (let round = 0; round < 3; round++) {
      await assertRejects(() => condition.wait({ timeout: 1 }), DOMException);
      assert(lock.locked);
    }
    guard.release();
    assertEquals(lock.locked, false);
    using _ = lock.acquireSync();
    guard.release();
    assert(lock.locked);
  }
});

Deno.test("Condition keeps the guards of several tasks on an RLock valid", async () => {
  const condition = new Condition();
  const { waits } = startWaits(condition, 3);
  const guard = await condition.acquire();
  condition.notifyAll();
  await within(Promise.all(waits));
  assert(condition.locked);
  guard.release();
  assertEquals(condition.locked, false);
});

Deno.test("Condition.wait() rejects at once if the signal is aborted already", async () => {
  const condition = new Condition();
  using _ = condition.acquireSync();
  const signal = AbortSignal.abort(new Error("Too late"));
  await assertRejects(() => condition.wait({ signal }), Error, "Too late");
  await assertRejects(
    () => condition.waitFor(() => true, { signal }),
    Error,
    "Too late",
  );
  assert(condition.locked);
});

Deno.test("Condition.notify() wakes the oldest, and never a later one", async () => {
  const condition = new Condition(new Lock());
  const { waits, woken } = startWaits(condition, 5);
  await waiting(condition, 5);
  {
    using _ = await condition.acquire();
    condition.notify(2);
    condition.notify(0);
  }
  await within(Promise.all(waits.slice(0, 2)));
  assertEquals(woken, [0, 1]);
  let late: Promise<string>;
  {
    using _ = await condition.acquire();
    condition.notifyAll();
    late = startWaits(condition, 1, { timeout: 30 }).waits[0]!;
  }
  await within(Promise.all(waits));
  assertEquals(woken, [0, 1, 2, 3, 4]);
  assertEquals(await late, "TimeoutError");
  using _ = await condition.acquire();
  condition.notify();
});

Deno.test("Condition.notify() passes over those who were aborted or timed out", async () => {
  const condition = new Condition(new Lock());
  const controller = new AbortController();
  const aborted = startWaits(condition, 1, { signal: controller.signal })
    .waits[0]!;
  const late = startWaits(condition, 1, { timeout: 5 }).waits[0]!;
  const good = startWaits(condition, 2).waits;
  assertEquals(await within(late), "TimeoutError");
  await waiting(condition, 3);
  {
    using _ = await condition.acquire();
    controller.abort();
    condition.notify();
    await within(Promise.resolve());
  }
  assertEquals(await within(good[0]!), "notified");
  assertEquals(await within(aborted), "AbortError");
  // Notified first, then aborted: it counts as notified.
  const second = new AbortController();
  const both = startWaits(condition, 1, { signal: second.signal }).waits[0]!;
  await waiting(condition, 2);
  {
    using _ = await condition.acquire();
    condition.notify(2);
    second.abort();
  }
  assertEquals(await within(Promise.all([good[1], both])), [
    "notified",
    "notified",
  ]);
});

Deno.test("Condition.waitFor() asks with the lock held until the predicate holds", async () => {
  const condition = new Condition(new Lock());
  let value = 0;
  let asked = 0;
  async function consumer(): Promise<number> {
    using _ = await condition.acquire();
    await condition.waitFor(() => {
      asked++;
      assert(condition.locked);
      return Promise.resolve(value === 2);
    }, { timeout: DEADLINE });
    return value;
  }
  const result = consumer();
  for (let i = 0; i < 2; i++) {
    await waiting(condition, 1);
    using _ = await condition.acquire();
    value++;
    condition.notify();
  }
  assertEquals(await within(result), 2);
  assertEquals(asked, 3);
});

Deno.test("Condition.waitFor() has one deadline for all its waits", async () => {
  await takesLess(1000, async () => {
    const condition = new Condition(new Lock());
    const began = performance.now();
    let asked = 0;
    async function consumer(): Promise<void> {
      using _ = await condition.acquire();
      await condition.waitFor(() => ++asked < 0, { timeout: 60 });
    }
    const result = assertRejects(
      consumer,
      DOMException,
      "timed out after 60 ms",
    );
    const timer = setInterval(async () => {
      using _ = await condition.acquire();
      condition.notify();
    }, 5);
    await within(result);
    clearInterval(timer);
    const took = performance.now() - began;
    return asked > 2 ? took : Infinity;
  });
  const condition = new Condition(new Lock());
  using _ = await condition.acquire();
  assertThrows(
    () => condition.waitForSync(() => false, { timeout: 5 }),
    DOMException,
  );
  await assertRejects(
    () => condition.waitFor(() => false, { timeout: 0 }),
    DOMException,
  );
  await condition.waitFor(() => true, { timeout: 0 });
  condition.waitForSync(() => true, { timeout: 0 });
  let calls = 0;
  condition.waitForSync(() => ++calls === 2, { timeout: 5 });
  assertThrows(
    () => condition.waitForSync((async () => {}) as () => never),
    TypeError,
    "the predicate returned a promise",
  );
});

Deno.test("Condition.waitFor() keeps the lock when the predicate throws or is aborted", async () => {
  const condition = new Condition();
  using _ = condition.acquireSync();
  await assertRejects(
    () =>
      condition.waitFor(() => {
        throw new RangeError("Bad predicate");
      }),
    RangeError,
  );
  const reason = AbortSignal.timeout(10);
  const error = await assertRejects(() =>
    condition.waitFor(() => false, { signal: reason })
  );
  assertStrictEquals(error, reason.reason);
  assert(condition.locked);
});

Deno.test("Condition behaves like its twin in random sequences", async () => {
  for (let seed = 1; seed <= 20; seed++) {
    const below = seeded(seed);
    const condition = new Condition(new Lock());
    const twin: number[] = [];
    const outcomes: string[] = [];
    const twinOutcomes: string[] = [];
    const controllers = new Map<number, AbortController>();
    const all: Promise<void>[] = [];
    for (let step = 0; step < 60; step++) {
      const guard = await within(condition.acquire());
      switch (below(4)) {
        case 0: {
          const n = below(3);
          condition.notify(n);
          for (const id of twin.splice(0, n)) {
            twinOutcomes.push(`${id} notified`);
          }
          break;
        }
        case 1: {
          const id = twin.splice(below(twin.length || 1), 1)[0];
          if (id === undefined) break;
          controllers.get(id)!.abort();
          twinOutcomes.push(`${id} AbortError`);
          break;
        }
        default: {
          const controller = new AbortController();
          controllers.set(step, controller);
          twin.push(step);
          const { signal } = controller;
          all.push(
            condition.wait({ signal }).then(
              () => "notified",
              (error) => error.name,
            )
              .then((outcome) => {
                outcomes.push(`${step} ${outcome}`);
                condition.release();
              }),
          );
          continue;
        }
      }
      guard.release();
    }
    using _ = await within(condition.acquire());
    condition.notifyAll();
    for (const id of twin) twinOutcomes.push(`${id} notified`);
    condition.release();
    await within(Promise.all(all));
    assertEquals(outcomes.sort(), twinOutcomes.sort(), `seed ${seed}`);
  }
});

Deno.test("Condition serves many waits at once", async () => {
  const condition = new Condition(new Lock());
  const { waits } = startWaits(condition, 3000);
  await waiting(condition, 3000);
  {
    using _ = await condition.acquire();
    condition.notifyAll();
  }
  const outcomes = await within(Promise.all(waits));
  assertEquals(new Set(outcomes), new Set(["notified"]));
});

// -- As a handle --------------------------------------------------------------

Deno.test("Condition is a handle with its lock, and tells its state", () => {
  const lock = new Lock();
  const condition = new Condition(lock);
  assertStrictEquals(unpack(pack(condition), reviveHandle), condition);
  assertEquals(pack(condition).parts[1]!.packed!.kind, "Lock");
  assertThrows(() => structuredClone([condition]), DOMException);
  assertEquals(Deno.inspect(condition), "Condition { free, waiting: 0 }");
  lock.acquireSync();
  assertEquals(
    Deno.inspect(condition),
    "Condition { locked by MainProcess, waiting: 0 }",
  );
});

// -- Between threads ----------------------------------------------------------

for (const how of ["sync", "async", "mixed"]) {
  Deno.test(`Condition hands every item to one of several consumers, ${how}`, async () => {
    const items = 400;
    for (const threads of [1, 3]) {
      const words = sharedWords();
      const condition = new Condition(new Lock());
      const consumers = runThreads(threads, "conditionConsume", words, [
        condition,
      ], { how });
      await reaches(words, 0, threads);
      for (let item = 0; item < items; item++) {
        using _ = await within(condition.acquire(), words);
        words[1] = words[1]! + 1;
        condition.notify();
      }
      {
        using _ = condition.acquireSync({ timeout: DEADLINE });
        words[2] = 1;
        condition.notifyAll();
      }
      const got = await consumers as number[];
      assertEquals(got.reduce((sum, n) => sum + n), items);
      assertEquals(words[1], 0);
    }
  });
}

Deno.test("Condition.notify(n) wakes n of the threads", async () => {
  const words = sharedWords();
  const condition = new Condition(new Lock());
  const threads = ["sync", "async", "sync", "async"].map((how) =>
    new Thread("conditionWaitOnce", words, [condition], { how })
  );
  await waiting(condition, 4);
  for (const [n, total] of [[1, 1], [2, 3], [5, 4]] as const) {
    using _ = condition.acquireSync({ timeout: DEADLINE });
    condition.notify(n);
    condition.release();
    await reaches(words, 1, total);
    using _again = condition.acquireSync({ timeout: DEADLINE });
    assertEquals(words[1], total);
  }
  for (const thread of threads) {
    assertEquals(await within(thread.done), "notified");
    thread.kill();
  }
});

Deno.test("Condition passes over a waiter whose thread has ended", async () => {
  const words = sharedWords();
  const condition = new Condition(new Lock());
  const dying = new Thread("conditionWaitOnce", words, [condition], {
    how: "async",
  });
  await waiting(condition, 1);
  using alive = new Thread("conditionWaitOnce", words, [condition], {
    how: "sync",
  });
  await waiting(condition, 2);
  dying.kill();
  {
    using _ = condition.acquireSync({ timeout: DEADLINE });
    condition.notify();
  }
  assertEquals(await within(alive.done), "notified");
});

Deno.test("Condition passes a dead thread's notification to the next waiter", async () => {
  const condition = new Condition(new Lock());
  const words = wordsOf(condition);
  const token = claimToken();
  // A place as a thread leaves it that is killed right after it was notified:
  // ticket 1, CHOSEN; given when ticket 2 was the youngest.
  const { waits } = startWaits(condition, 1);
  await waiting(condition, 1);
  const at = FIRST_PLACE + 8;
  words[0] = 2;
  words[1] = 2;
  words[at + TOKEN] = token;
  words[at + 4] = 2;
  words[at + 2] = 1 << 2 | 2;
  words[2] = 2;
  const controller = new AbortController();
  const late = startWaits(condition, 1, { signal: controller.signal });
  await waiting(condition, 2);
  bury(token);
  assertEquals(await within(waits[0]!), "notified");
  controller.abort();
  assertEquals(await within(late.waits[0]!), "AbortError");
});

Deno.test("Condition.wait() takes back a lock whose owner has ended, and says so", async () => {
  for (const lock of [new Lock(), new RLock()]) {
    const condition = new Condition(lock);
    const guard = await condition.acquire();
    const wait = condition.wait();
    const token = claimToken();
    condition.acquireSync();
    condition.notify();
    wordsOf(lock)[0] = token;
    bury(token);
    await within(wait);
    assertEquals(guard.abandoned, true);
    guard.release();
    assertEquals(lock.locked, false);
  }
});
