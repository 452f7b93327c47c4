// Locks of workers that have ended while they held them, or waited for them.

import { assertEquals, assertInstanceOf } from "@std/assert";
import { WorkerError } from "../errors.ts";
import { Lock } from "../lock.ts";
import { Pool } from "../pool.ts";
import { Process } from "../process.ts";
import { startHolding } from "./_holding.ts";
import { DEADLINE, reaches, rejection, takesLess, within } from "./_within.ts";
import { sharedWords } from "./_words.ts";

for (const how of ["return", "throw", "exit", "close"] as const) {
  Deno.test(`A lock held by a process that ends by ${how} goes on as abandoned`, async () => {
    await takesLess(1000, async () => {
      const { process, lock } = startHolding(how);
      const started = performance.now();
      const guard = await within(lock.acquire());
      assertEquals(guard.abandoned, true);
      const took = performance.now() - started;
      guard.release();
      assertEquals(lock.acquireSync().abandoned, false);
      await within(process.join());
      return took;
    });
  });
}

for (const how of ["terminate", "kill"] as const) {
  for (const worker of ["web", "node"] as const) {
    Deno.test(`A lock held by a ${worker} process goes on as abandoned after ${how}()`, async () => {
      const { process, lock } = startHolding("wait", worker);
      const waiting = lock.acquire();
      process[how]();
      using guard = await within(waiting);
      assertEquals(guard.abandoned, true);
    });
  }
}

Deno.test("The lock of a spinning node process that is killed goes on as abandoned", async () => {
  const { process, lock } = startHolding("spin", "node");
  process.kill();
  using guard = await within(lock.acquire());
  assertEquals(guard.abandoned, true);
});

Deno.test("A lock held by a pool worker that dies goes on as abandoned", async () => {
  await using pool = new Pool(1);
  const lock = new Lock();
  const words = sharedWords();
  const call = rejection(pool.apply((lock: Lock, words: Int32Array) => {
    lock.acquireSync();
    Atomics.store(words, 0, 1);
    Deno.exit(1);
  }, [lock, words]));
  await reaches(words, 0, 1);
  using guard = await within(lock.acquire());
  assertEquals(guard.abandoned, true);
  assertInstanceOf(await call, WorkerError);
});

Deno.test("A blocked main thread gets the lock of a process that has ended", () => {
  const { process, lock } = startHolding("exit");
  using guard = lock.acquireSync({ timeout: DEADLINE });
  assertEquals(guard.abandoned, true);
  process.joinSync({ timeout: DEADLINE });
  assertEquals(process.exitCode, 3);
});

Deno.test("A stopped process that still runs keeps its lock until it has really ended", async () => {
  const { process, lock, words } = startHolding("spin");
  process.terminate();
  await within(process.join());
  const early = await rejection(lock.acquire({ timeout: 300 }));
  assertEquals(early.name, "TimeoutError");
  Atomics.store(words, 1, 1);
  using guard = await within(lock.acquire());
  assertEquals(guard.abandoned, true);
});

Deno.test("A process stopped while it waits for a lock leaves the lock intact", async () => {
  const lock = new Lock();
  const words = sharedWords();
  const guard = lock.acquireSync();
  const process = new Process({
    target: (lock: Lock, words: Int32Array) => {
      Atomics.store(words, 0, 1);
      lock.acquireSync();
    },
    args: [lock, words],
  }).start();
  await reaches(words, 0, 1);
  process.kill();
  guard.release();
  // It may have got it in its last moment, which makes it abandoned, not lost.
  for (let i = 0; i < 3; i++) (await within(lock.acquire())).release();
  await within(process.join());
  assertEquals(process.exitCode, -9);
});
