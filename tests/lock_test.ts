import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { reviveHandle } from "../_handle.ts";
import { bury, claimToken, markStopping, selfToken } from "../_life.ts";
import { Condition } from "../condition.ts";
import { Event } from "../event.ts";
import { Lock, type LockGuard, RLock } from "../lock.ts";
import { Queue } from "../queue.ts";
import { Semaphore } from "../semaphore.ts";
import { describe, runSource } from "./_child.ts";
import { pack, runThreads, Thread, unpack, wordsOf } from "./_threads.ts";
import { DEADLINE, reaches, takesLess, within } from "./_within.ts";
import { sharedWords } from "./_words.ts";

const OWNER = 0;

// -- In one thread ------------------------------------------------------------

Deno.test("Lock.acquireSync() takes the lock and its guard releases it once", () => {
  const lock = new Lock();
  assertEquals(lock.locked, false);
  const guard = lock.acquireSync();
  assertEquals(lock.locked, true);
  assertEquals(guard.abandoned, false);
  guard.release();
  assertEquals(lock.locked, false);
  using _ = lock.acquireSync();
  guard.release();
  guard[Symbol.dispose]();
  assertEquals(lock.locked, true);
});

Deno.test("Lock guards that are stale release nothing", () => {
  for (const make of [() => new Lock(), () => new RLock()]) {
    const lock = make();
    const stale = lock.acquireSync();
    lock.release();
    const fresh = lock.acquireSync();
    stale.release();
    assertEquals(lock.locked, true);
    fresh.release();
    assertEquals(lock.locked, false);
  }
});

Deno.test("Lock.release() throws if the lock is not held", () => {
  for (const lock of [new Lock(), new RLock()]) {
    assertThrows(() => lock.release(), TypeError, "Cannot release");
    lock.acquireSync();
    lock.release();
    assertThrows(() => lock.release(), TypeError, "Cannot release");
    assertEquals(lock.locked, false);
  }
});

Deno.test("Lock.tryAcquire() returns undefined while the lock is held", () => {
  const lock = new Lock();
  using guard = lock.tryAcquire();
  assert(guard !== undefined);
  assertEquals(lock.tryAcquire(), undefined);
});

Deno.test("Lock waits time out and are aborted without taking anything", async () => {
  const lock = new Lock();
  const guard = lock.acquireSync();
  assertThrows(
    () => lock.acquireSync({ timeout: 0 }),
    DOMException,
    "timed out",
  );
  const error = assertThrows(
    () => lock.acquireSync({ timeout: 5 }),
    DOMException,
  );
  assertEquals(error.name, "TimeoutError");
  await assertRejects(
    () => lock.acquire({ timeout: 0 }),
    DOMException,
    "timed out",
  );
  await assertRejects(
    () => lock.acquire({ timeout: 5 }),
    DOMException,
    "timed out",
  );
  const controller = new AbortController();
  const aborted = lock.acquire({ signal: controller.signal });
  const after = lock.acquire();
  const reason = new Error("No longer needed");
  controller.abort(reason);
  assertStrictEquals(await assertRejects(() => aborted, Error), reason);
  guard.release();
  (await within(after)).release();
  assertEquals(lock.locked, false);
});

Deno.test("Lock.acquire() rejects if the signal is aborted already", async () => {
  const reason = new Error("Too late");
  for (const lock of [new Lock(), new RLock()]) {
    const signal = AbortSignal.abort(reason);
    assertStrictEquals(
      await assertRejects(() => lock.acquire({ signal }), Error),
      reason,
    );
    assertEquals(lock.locked, false);
  }
});

Deno.test("Lock refuses bad timeouts, free or not", async () => {
  const lock = new Lock();
  for (let i = 0; i < 2; i++) {
    for (const timeout of [-1, NaN, -Infinity]) {
      await assertRejects(() => lock.acquire({ timeout }), RangeError);
      assertThrows(() => lock.acquireSync({ timeout }), RangeError);
    }
    const timeout = "5" as unknown as number;
    await assertRejects(() => lock.acquire({ timeout }), TypeError);
    assertThrows(() => lock.acquireSync({ timeout }), TypeError);
    lock.tryAcquire();
  }
});

Deno.test("Lock.acquire() serves the waits of a thread in order", async () => {
  const lock = new Lock();
  const order: number[] = [];
  const first = lock.acquireSync();
  const waits = [1, 2, 3, 4].map(async (n) => {
    using _ = await lock.acquire(n === 2 ? { timeout: DEADLINE } : undefined);
    order.push(n);
    await Promise.resolve();
  });
  first.release();
  await within(Promise.all(waits));
  assertEquals(order, [1, 2, 3, 4]);
});

Deno.test("Lock lets two tasks of a thread alternate", async () => {
  const lock = new Lock();
  const order: string[] = [];
  async function task(name: string): Promise<void> {
    for (let round = 0; round < 50; round++) {
      using _ = await lock.acquire();
      order.push(name);
      await Promise.resolve();
    }
  }
  await within(Promise.all([task("a"), task("b")]));
  assertEquals(order.join("").replaceAll("ab", ""), "");
});

Deno.test("RLock is acquired and released several times", async () => {
  const lock = new RLock();
  const guards: LockGuard[] = [];
  guards.push(lock.acquireSync());
  guards.push(await lock.acquire());
  guards.push(await lock.acquire({ timeout: 0 }));
  guards.push(lock.tryAcquire()!);
  lock.acquireSync();
  lock.release();
  for (const guard of guards) {
    assertEquals(lock.locked, true);
    guard.release();
    guard.release();
  }
  assertEquals(lock.locked, false);
  assertThrows(() => lock.release(), TypeError, "this worker does not hold it");
});

// -- As a handle --------------------------------------------------------------

Deno.test("Lock is one object per thread, and refuses to be cloned", () => {
  for (const lock of [new Lock(), new RLock()]) {
    assertStrictEquals(unpack(pack(lock), reviveHandle), lock);
    assertThrows(() => structuredClone(lock), DOMException);
    assertThrows(() => structuredClone({ deep: [lock] }), DOMException);
  }
});

Deno.test("Lock tells its state when inspected", () => {
  const lock = new Lock();
  assertEquals(Deno.inspect(lock), "Lock { free }");
  lock.acquireSync();
  assertEquals(Deno.inspect(lock), "Lock { locked by MainProcess }");
  const token = claimToken();
  wordsOf(lock)[OWNER] = token;
  assertEquals(Deno.inspect(lock), "Lock { locked by another worker }");
  bury(token);
  assertEquals(Deno.inspect({ lock: new RLock() }), "{ lock: RLock { free } }");
  assert(Deno.inspect(Lock.prototype).includes("Lock"));
});

// -- Between threads ----------------------------------------------------------

for (const Kind of [Lock, RLock]) {
  for (const how of ["sync", "async", "mixed"]) {
    if (Kind === RLock && how !== "sync") continue;
    Deno.test(`${Kind.name} keeps two and four threads apart, ${how}`, async () => {
      for (const threads of [2, 4]) {
        const words = sharedWords();
        const rounds = how === "sync" ? 5000 : 800;
        await runThreads(threads, "lockCount", words, [new Kind()], {
          rounds,
          threads,
          how,
        });
        assertEquals(words[1], threads * rounds);
      }
    });
  }
}

Deno.test("Lock survives timeouts and aborts from four threads", async () => {
  const words = sharedWords();
  const lock = new Lock();
  const results = await runThreads(4, "lockChaos", words, [lock], {
    rounds: 300,
    threads: 4,
  }) as { taken: number; overlaps: number }[];
  for (const { taken, overlaps } of results) {
    // A fifth of the waits, drawn by lot, lasts until the lock is taken.
    assert(taken > 30, `taken ${taken}`);
    assertEquals(overlaps, 0);
  }
  assertEquals(lock.locked, false);
});

Deno.test("Lock does not let a busy thread starve a blocked one", async () => {
  await takesLess(1000, async () => {
    const worst = await runThreads(2, "lockCount", sharedWords(), [
      new Lock(),
    ], {
      rounds: 100_000,
      threads: 2,
      how: "timed",
    }) as number[];
    return Math.max(...worst);
  });
});

Deno.test("Lock lets a busy thread not starve an async wait of main", async () => {
  const words = sharedWords();
  const lock = new Lock();
  using thread = new Thread("lockCount", words, [lock], {
    rounds: Infinity,
    threads: 1,
    how: "sync",
  });
  await reaches(words, 1, 1);
  for (let round = 0; round < 5; round++) {
    using _ = await within(lock.acquire(), wordsOf(lock));
  }
  using _ = await within(lock.acquire(), wordsOf(lock));
  thread.stop(); // it waits for the lock
  await assertRejects(() => within(thread.done), Error, "told to stop");
});

Deno.test("Lock.release() works from another thread, RLock.release() does not", async () => {
  for (
    const [lock, expected] of [[new Lock(), "released"], [
      new RLock(),
      "TypeError",
    ]] as const
  ) {
    const guard = lock.acquireSync();
    using thread = new Thread("lockRelease", sharedWords(), [lock]);
    assertEquals(await within(thread.done), expected);
    assertEquals(lock.locked, expected === "TypeError");
    guard.release();
    assertEquals(lock.locked, false);
  }
});

Deno.test("Lock wakes blocked threads one after the other", async () => {
  const words = sharedWords();
  const lock = new Lock();
  const guard = await lock.acquire();
  const all = runThreads(3, "lockOnce", words, [lock]);
  await reaches(words, 0, 3);
  guard.release();
  assertEquals(await all, [false, false, false]);
});

Deno.test("Lock passes a wake-up on when the woken wait is aborted", async () => {
  const words = sharedWords();
  const lock = new Lock();
  for (let round = 0; round < 5; round++) {
    const guard = await lock.acquire();
    const controller = new AbortController();
    const aborted = lock.acquire({ signal: controller.signal });
    using thread = new Thread("lockOnce", words, [lock]);
    await reaches(words, 0, round + 1);
    guard.release();
    controller.abort();
    await assertRejects(() => aborted, DOMException);
    assertEquals(await within(thread.done, wordsOf(lock)), false);
  }
});

// -- Owner death --------------------------------------------------------------

Deno.test("Lock of a dead owner is handed on as abandoned", async () => {
  for (const make of [() => new Lock(), () => new RLock()]) {
    for (const how of ["acquire", "acquireSync", "tryAcquire"] as const) {
      const lock = make();
      const token = claimToken();
      wordsOf(lock)[OWNER] = token;
      assertEquals(lock.tryAcquire(), undefined);
      bury(token);
      const guard = (await lock[how]())!;
      assertEquals(guard.abandoned, true);
      guard.release();
      assertEquals(lock.locked, false);
      using again = lock.acquireSync();
      assertEquals(again.abandoned, false);
    }
  }
});

Deno.test("Lock waits notice the owner's death within about 100 ms", async () => {
  for (const how of ["acquire", "acquireSync"] as const) {
    await takesLess(400, async () => {
      const lock = new Lock();
      const words = sharedWords();
      using owner = new Thread("lockAndStay", words, [lock], { how: "await" });
      await reaches(words, 0, 1);
      const waiter = how === "acquire"
        ? lock.acquire().then((guard) => guard.abandoned)
        : new Thread("lockOnce", words, [lock]).done;
      if (how === "acquireSync") await reaches(words, 0, 2);
      const died = performance.now();
      owner.kill();
      assertEquals(await within(waiter), true);
      return performance.now() - died;
    });
  }
});

Deno.test("Lock stays with an owner that was told to stop but still runs", async () => {
  const lock = new Lock();
  const token = claimToken();
  wordsOf(lock)[OWNER] = token;
  markStopping(token);
  assertEquals(lock.tryAcquire(), undefined);
  assertThrows(() => lock.acquireSync({ timeout: 60 }), DOMException);
  await assertRejects(() => lock.acquire({ timeout: 60 }), DOMException);
  const wait = lock.acquire();
  bury(token);
  assertEquals((await within(wait)).abandoned, true);
});

Deno.test("RLock of a dead owner is held once, however often that held it", () => {
  const lock = new RLock();
  const words = wordsOf(lock);
  lock.acquireSync();
  lock.acquireSync();
  lock.acquireSync();
  const token = claimToken();
  words[OWNER] = token;
  bury(token);
  assertEquals(lock.acquireSync().abandoned, true);
  lock.release();
  assertEquals(lock.locked, false);
});

Deno.test("Lock that was handed to nobody is free for others soon", async () => {
  const STARVING = 4;
  const lock = new Lock();
  const words = wordsOf(lock);
  // A waiter that asked and then died: its wait is still counted.
  words[3] = 1;
  for (const how of ["acquire", "acquireSync"] as const) {
    lock.acquireSync();
    words[STARVING] = 1;
    lock.release();
    assertEquals(lock.locked, false);
    (await within(Promise.resolve(lock[how]()))).release();
    // And one that was handed over just before its thread died.
    words[OWNER] = -1;
    words[5] = Date.now() | 0;
    assertEquals(lock.locked, false);
    (await within(Promise.resolve(lock[how]()))).release();
    words[OWNER] = -1;
    words[5] = Date.now() - 1000 | 0;
    lock.tryAcquire()!.release();
  }
});

Deno.test("Lock.acquire() keeps the program alive, a lock of a stopping owner does not", async () => {
  const source = `
    import { Lock } from "@parallel/multiprocessing/lock";
    import { claimToken, markStopping } from "${new URL(
    "../_life.ts",
    import.meta.url,
  )}";
    import { HANDLE } from "${new URL("../_handle.ts", import.meta.url)}";
    const lock = new Lock();
    lock.acquireSync();
    setTimeout(() => {}, 20);
    const timer = setTimeout(() => lock.release(), 200);
    Deno.unrefTimer(timer);
    lock.acquire().then(() => {
      console.log("acquired");
      const weak = new Lock();
      const token = claimToken();
      new Int32Array(weak[HANDLE]().parts[0])[0] = token;
      weak.acquire().then(() => console.log("never"));
      markStopping(token);
    });
  `;
  const result = await runSource(source);
  assertEquals(result.stdout, "acquired\n", describe(result));
  assertEquals(result.code, 0, describe(result));
});

Deno.test("Lock guards know their own acquisition only", () => {
  const lock = new Lock();
  const guard = lock.acquireSync();
  wordsOf(lock)[OWNER] = claimToken();
  guard.release();
  assertEquals(lock.locked, true);
  wordsOf(lock)[OWNER] = selfToken();
  lock.release();
  assertInstanceOf(lock, Lock);
});

Deno.test("A loop that waits for nothing but what is there lets timers run", async () => {
  const lock = new Lock();
  const reentrant = new RLock();
  const semaphore = new Semaphore(1);
  const event = new Event();
  event.set();
  const queue = new Queue<number>();
  const condition = new Condition();
  using _ = condition.acquireSync();
  const waits: (() => Promise<unknown>)[] = [
    async () => (await lock.acquire()).release(),
    async () => (await lock.acquire({ timeout: 1000 })).release(),
    async () => (await reentrant.acquire()).release(),
    async () => (await semaphore.acquire()).release(),
    () => event.wait(),
    () => event.wait({ timeout: DEADLINE }),
    () => queue.get({ timeout: 0 }).catch(() => {}),
    () => condition.waitFor(() => true),
  ];
  for (const wait of waits) {
    let over = false;
    setTimeout(() => over = true, 1);
    const deadline = performance.now() + DEADLINE;
    while (!over) {
      assert(performance.now() < deadline, `${wait} kept the timer waiting`);
      await wait();
    }
  }
});
