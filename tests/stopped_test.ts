// What becomes of the code of a web worker that was told to stop, and does not wait for
// anything: it is to end with its next call, and that call takes and puts nothing.

import { assert, assertEquals } from "@std/assert";
import { Event } from "../event.ts";
import { Lock, RLock } from "../lock.ts";
import { Process } from "../process.ts";
import { Queue } from "../queue.ts";
import { Semaphore } from "../semaphore.ts";
import { DEADLINE, reaches, within } from "./_within.ts";
import { sharedWords } from "./_words.ts";

/** Starts a process that has a lock; returns when it has told so by word 0. */
async function startHolding<H>(
  handle: H,
  target: (handle: H, words: Int32Array, lock: Lock, call: string) => unknown,
  call = "",
): Promise<{ process: Process; lock: Lock; words: Int32Array }> {
  const lock = new Lock();
  const words = sharedWords();
  const args = [handle, words, lock, call] as const;
  const process = new Process({ target, args: [...args] }).start();
  await reaches(words, 0, 1);
  return { process, lock, words };
}

/** Waits until the thread has really ended, which alone frees what it held. */
async function hasEnded(lock: Lock): Promise<void> {
  using guard = await lock.acquire({ timeout: DEADLINE });
  assert(guard.abandoned);
}

// -- One that catches everything -------------------------------------------------------

/** Calls something without end, whatever that throws. */
function callAgain(
  handle: object,
  words: Int32Array,
  lock: Lock,
  call: string,
): void {
  lock.acquireSync();
  const methods = handle as Record<string, () => { release?(): void }>;
  while (true) {
    Atomics.store(words, 0, 1);
    try {
      methods[call]!()?.release?.();
    } catch {
      // again
    }
  }
}

const set = new Event();
set.set();

const CALLS: [handle: object, calls: string[]][] = [
  [new Queue(1), ["putSync", "getSync", "tryPut", "tryGet"]],
  [new Lock(), ["acquireSync", "tryAcquire"]],
  [new RLock(), ["acquireSync", "tryAcquire"]],
  [new Semaphore(1), ["acquireSync", "tryAcquire"]],
  [set, ["waitSync"]],
  [new Event(), ["waitSync"]],
];

for (const [handle, calls] of CALLS) {
  for (const call of calls) {
    Deno.test(`A killed worker ends that calls ${call}() of a ${Deno.inspect(handle)} again and again`, async () => {
      const { process, lock } = await startHolding(handle, callAgain, call);
      process.kill();
      await within(process.join());
      assertEquals(process.exitCode, -9);
      await hasEnded(lock);
    });
  }
}

// -- What its calls do ---------------------------------------------------------------

Deno.test("A killed worker takes nothing more from a queue", async () => {
  const queue = new Queue<string>();
  const { process, lock, words } = await startHolding(
    queue,
    (queue, words, lock) => {
      lock.acquireSync();
      words[0] = 1;
      while (Atomics.load(words, 1) === 0) Atomics.wait(words, 1, 0, 1);
      queue.tryGet();
      words[2] = 1;
    },
  );
  queue.putSync("kept");
  process.kill();
  Atomics.store(words, 1, 1);
  await hasEnded(lock);
  assertEquals([queue.getSync({ timeout: 0 }), words[2]], ["kept", 0]);
});

Deno.test("A killed worker puts nothing more into a queue", async () => {
  const queue = new Queue<string>();
  const { process, lock, words } = await startHolding(
    queue,
    (queue, words, lock) => {
      lock.acquireSync();
      words[0] = 1;
      while (Atomics.load(words, 1) === 0) Atomics.wait(words, 1, 0, 1);
      queue.putSync("late");
      words[2] = 1;
    },
  );
  process.kill();
  Atomics.store(words, 1, 1);
  await hasEnded(lock);
  assertEquals([queue.size, words[2]], [0, 0]);
});
