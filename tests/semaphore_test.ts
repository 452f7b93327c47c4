import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { reviveHandle } from "../_handle.ts";
import { BoundedSemaphore, Semaphore } from "../semaphore.ts";
import { pack, runThreads, Thread, unpack, wordsOf } from "./_threads.ts";
import { DEADLINE, reaches, takesLess, within } from "./_within.ts";
import { sharedWords } from "./_words.ts";

const TURN = 4;
const TURN_AT = 5;

// -- In one thread ------------------------------------------------------------

Deno.test("Semaphore counts permits", async () => {
  const semaphore = new Semaphore(3);
  const first = semaphore.acquireSync();
  const second = await semaphore.acquire();
  const third = semaphore.tryAcquire()!;
  assertEquals(semaphore.value, 0);
  assertEquals(semaphore.tryAcquire(), undefined);
  first.release();
  first.release();
  first[Symbol.dispose]();
  assertEquals(semaphore.value, 1);
  second.release();
  third.release();
  assertEquals(semaphore.value, 3);
  semaphore.release(4);
  assertEquals(semaphore.value, 7);
  assertEquals(new Semaphore().value, 1);
  assertEquals(new Semaphore(0).tryAcquire(), undefined);
});

Deno.test("Semaphore refuses bad numbers", async () => {
  for (const bad of [-1, 0.5, NaN, Infinity, 2 ** 31]) {
    assertThrows(() => new Semaphore(bad), RangeError);
    assertThrows(() => new BoundedSemaphore(bad), RangeError);
    assertThrows(() => new Semaphore().release(bad), RangeError);
    const options = { permits: bad };
    assertThrows(() => new Semaphore().tryAcquire(options), RangeError);
    assertThrows(() => new Semaphore().acquireSync(options), RangeError);
    await assertRejects(() => new Semaphore().acquire(options), RangeError);
  }
  assertThrows(() => new Semaphore().release(0), RangeError);
  const text = "1" as unknown as number;
  assertThrows(() => new Semaphore(text), TypeError);
  assertThrows(() => new Semaphore().release(text), TypeError);
  await assertRejects(
    () => new Semaphore().acquire({ permits: text }),
    TypeError,
  );
  for (const timeout of [-1, NaN]) {
    assertThrows(() => new Semaphore().acquireSync({ timeout }), RangeError);
    await assertRejects(() => new Semaphore().acquire({ timeout }), RangeError);
  }
  assertThrows(() => new Semaphore(2 ** 31 - 1).release(), RangeError);
});

Deno.test("BoundedSemaphore refuses to be released too often", () => {
  const semaphore = new BoundedSemaphore(2);
  assertThrows(() => semaphore.release(), RangeError, "must be <= 2");
  semaphore.acquireSync();
  assertThrows(() => semaphore.release(2), RangeError, "must be <= 2");
  semaphore.release();
  assertEquals(semaphore.value, 2);
  assertThrows(() => semaphore.tryAcquire({ permits: 3 }), RangeError);
});

Deno.test("Semaphore waits time out and are aborted without taking anything", async () => {
  const semaphore = new Semaphore(0);
  assertThrows(
    () => semaphore.acquireSync({ timeout: 0 }),
    DOMException,
    "timed out",
  );
  assertThrows(
    () => semaphore.acquireSync({ timeout: 5 }),
    DOMException,
    "timed out",
  );
  await assertRejects(
    () => semaphore.acquire({ timeout: 0 }),
    DOMException,
    "timed out",
  );
  await assertRejects(
    () => semaphore.acquire({ timeout: 5 }),
    DOMException,
    "timed out",
  );
  const controller = new AbortController();
  const { signal } = controller;
  const aborted = semaphore.acquire({ signal });
  const next = semaphore.acquire();
  const reason = new Error("No longer needed");
  semaphore.release();
  controller.abort(reason);
  // The permit went to one of the two, and whoever lost did not keep it.
  const outcome = await aborted.then(
    (guard) => guard.release(),
    (error) => error,
  );
  assert(outcome === undefined || outcome === reason);
  await within(next);
  assertEquals(semaphore.value, 0);
  await assertRejects(
    () => semaphore.acquire({ signal }),
    Error,
    "No longer needed",
  );
});

Deno.test("Semaphore gives the permit of an aborted wait to the next", async () => {
  const semaphore = new Semaphore(0);
  const controller = new AbortController();
  const first = semaphore.acquire({ permits: 2, signal: controller.signal });
  const second = semaphore.acquire();
  semaphore.release();
  controller.abort();
  await assertRejects(() => first, DOMException);
  await within(second);
  assertEquals(semaphore.value, 0);
});

Deno.test("Semaphore serves the waits of a thread in order, big ones too", async () => {
  const semaphore = new Semaphore(1);
  const order: string[] = [];
  async function take(name: string, permits: number): Promise<void> {
    using _ = await semaphore.acquire({ permits });
    order.push(name);
  }
  const all = [take("a", 1), take("b", 3), take("c", 1), take("d", 2)];
  semaphore.release(2);
  await within(Promise.all(all));
  assertEquals(order, ["a", "b", "c", "d"]);
  assertEquals(semaphore.value, 3);
});

// -- As a handle --------------------------------------------------------------

Deno.test("Semaphore is a handle that tells its state", () => {
  const semaphore = new Semaphore(2);
  const bounded = new BoundedSemaphore(3);
  assertStrictEquals(unpack(pack(semaphore), reviveHandle), semaphore);
  assertStrictEquals(unpack(pack(bounded), reviveHandle), bounded);
  assertEquals(pack(bounded).kind, "BoundedSemaphore");
  assertThrows(() => structuredClone([semaphore]), DOMException);
  assertEquals(Deno.inspect(semaphore), "Semaphore { value: 2 }");
  assertEquals(
    Deno.inspect(bounded),
    "BoundedSemaphore { value: 3, limit: 3 }",
  );
});

// -- Between threads ----------------------------------------------------------

Deno.test("Semaphore is never overdrawn by two or four threads", async () => {
  for (const threads of [2, 4]) {
    const semaphore = new BoundedSemaphore(4);
    const words = sharedWords();
    const results = await runThreads(threads, "semaphoreChaos", words, [
      semaphore,
    ], {
      rounds: 300,
      threads,
      permits: 4,
    }) as { taken: number; overdrawn: number }[];
    for (const { taken, overdrawn } of results) {
      assert(taken > 60, `taken ${taken}`);
      assertEquals(overdrawn, 0);
    }
    assertEquals(semaphore.value, 4);
  }
});

Deno.test("Semaphore lets a wait for many permits through the crowd", async () => {
  const semaphore = new Semaphore(3);
  const words = sharedWords();
  const hogs = [1, 2, 3].map(() =>
    new Thread("semaphoreHog", words, [semaphore])
  );
  await reaches(words, 0, 3);
  for (let round = 0; round < 5; round++) {
    using _ = await within(
      semaphore.acquire({ permits: 3 }),
      wordsOf(semaphore),
    );
  }
  semaphore.acquireSync({ permits: 3, timeout: DEADLINE }).release();
  Atomics.store(words, 3, 1);
  for (const hog of hogs) {
    assert(await within(hog.done) as number > 0);
    hog.kill();
  }
  assertEquals(semaphore.value, 3);
});

Deno.test("Semaphore takes the turn from a waiter that has died", async () => {
  const semaphore = new Semaphore(1);
  const words = wordsOf(semaphore);
  // A turn is another's for 80 ms.
  await takesLess(80, () => {
    const began = Date.now();
    words[TURN] = 77;
    words[TURN_AT] = began | 0;
    using guard = semaphore.tryAcquire();
    const took = Date.now() - began;
    if (took < 80) assertEquals(guard, undefined);
    return took;
  });
  (await within(semaphore.acquire())).release();
  assertEquals(words[TURN], 0);
  words[TURN] = 78;
  words[TURN_AT] = Date.now() | 0;
  semaphore.acquireSync({ timeout: DEADLINE }).release();
  words[TURN] = 79;
  words[TURN_AT] = Date.now() - 1000 | 0;
  semaphore.tryAcquire()!.release();
});
