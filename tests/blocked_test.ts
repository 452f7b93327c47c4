// What is still seen to while the main thread is blocked: each of these is a program, for
// a main thread that waits in vain cannot end the test itself.

import { assert, assertEquals } from "@std/assert";
import { describe, runSource } from "./_child.ts";

/** Declares a test that runs a program and compares what it prints. */
function prints(name: string, source: string, stdout: string): void {
  Deno.test(name, async () => {
    const result = await runSource(
      `import * as mp from "@parallel/multiprocessing";\n${source}`,
    );
    assert(!result.timedOut, describe(result));
    assertEquals(result.stdout, stdout, describe(result));
    assertEquals(result.code, 0, describe(result));
  });
}

/** A process whose own process holds a lock, and dies with it once it is told to end. */
const FAMILY = `
  export async function parent(lock: mp.Lock, words: Int32Array) {
    const target = async (lock: mp.Lock, words: Int32Array) => {
      lock.acquireSync();
      Atomics.store(words, 0, 1);
      Atomics.notify(words, 0);
      await new Promise(() => {});
    };
    new mp.Process({ target, args: [lock, words] }).start();
    while (Atomics.load(words, 1) === 0) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    Deno.exit(3);
  }
`;

prints(
  "A blocked main thread gets the lock of a process that died with its parent",
  `${FAMILY}
  if (import.meta.main) {
    const lock = new mp.Lock();
    const words = new Int32Array(new SharedArrayBuffer(8));
    const process = new mp.Process({ target: parent, args: [lock, words] });
    process.start();
    Atomics.wait(words, 0, 0);
    Atomics.store(words, 1, 1);
    console.log(lock.acquireSync().abandoned);
    process.joinSync();
    console.log(process.exitCode);
  }
  `,
  "true\n3\n",
);

prints(
  "A worker gets the lock of a process that died with its parent while main is blocked",
  `${FAMILY}
  if (import.meta.main) {
    const lock = new mp.Lock();
    const words = new Int32Array(new SharedArrayBuffer(8));
    new mp.Process({ target: parent, args: [lock, words] }).start();
    const target = (lock: mp.Lock, words: Int32Array) => {
      Atomics.wait(words, 0, 0);
      Atomics.store(words, 1, 1);
      return lock.acquireSync().abandoned;
    };
    const waiting = new mp.Process({ target, args: [lock, words] }).start();
    waiting.joinSync();
    console.log(await waiting.result);
  }
  `,
  "true\n",
);

prints(
  "A main thread that blocks for moments only learns that the owner of a lock has ended",
  `
  const lock = new mp.Lock();
  const ticks = new mp.Queue<number>(1);
  const ticking = new mp.Process({
    target: async (ticks: mp.Queue<number>) => {
      for (let n = 0; !ticks.closed; n++) {
        await new Promise((resolve) => setTimeout(resolve, 10));
        if (!ticks.closed) ticks.tryPut(n);
      }
    },
    args: [ticks],
  }).start();
  const process = new mp.Process({
    target: (lock: mp.Lock, ticks: mp.Queue<number>) => {
      lock.acquireSync();
      ticks.putSync(-1);
      Deno.exit(3);
    },
    args: [lock, ticks],
  }).start();
  while (ticks.getSync() !== -1);
  let guard: mp.LockGuard | undefined;
  while (guard === undefined) {
    ticks.getSync();
    guard = lock.tryAcquire();
  }
  console.log(guard.abandoned);
  ticks.close();
  await ticking.join();
  `,
  "true\n",
);

/** Ways to ask for a lock that do not wait for it. */
const ASKS = {
  "tryAcquire()": "lock.tryAcquire()",
  "acquireSync({ timeout: 0 })":
    "asked(() => lock.acquireSync({ timeout: 0 }))",
};

for (const kind of ["Lock", "RLock"]) {
  for (const [call, code] of Object.entries(ASKS)) {
    prints(
      `A main thread that only asks by ${call} gets the ${kind} of a process that has ended`,
      `
      function asked<T>(call: () => T): T | undefined {
        try {
          return call();
        } catch (error) {
          if ((error as Error).name !== "TimeoutError") throw error;
        }
      }
      const lock = new mp.${kind}();
      const words = new Int32Array(new SharedArrayBuffer(4));
      new mp.Process({
        target: (lock: mp.${kind}, words: Int32Array) => {
          lock.acquireSync();
          Atomics.store(words, 0, 1);
          Atomics.notify(words, 0);
          Deno.exit(3);
        },
        args: [lock, words],
      }).start();
      Atomics.wait(words, 0, 0);
      let guard: mp.LockGuard | undefined;
      while (guard === undefined) guard = ${code};
      console.log(guard.abandoned);
      `,
      "true\n",
    );
  }
}

prints(
  "A pool in a worker gets handles among its arguments while main is blocked",
  `
  export async function work() {
    await using pool = new mp.Pool(1);
    const lock = new mp.Lock();
    const counter = new mp.SharedValue("i32", 1);
    const task = (lock: mp.Lock, counter: mp.SharedValue) => {
      using _ = lock.acquireSync();
      return ++counter.value;
    };
    return await pool.apply(task, [lock, counter]);
  }
  if (import.meta.main) {
    const process = new mp.Process({ target: work }).start();
    process.joinSync();
    console.log(await process.result);
  }
  `,
  "2\n",
);

prints(
  "A worker kills a process that the main thread hosts while that is blocked",
  `
  export async function work(words: Int32Array) {
    const target = async (words: Int32Array) => {
      setInterval(() => Atomics.add(words, 0, 1), 1);
      await new Promise(() => {});
    };
    const process = new mp.Process({ target, args: [words] }).start();
    const turn = () => new Promise((resolve) => setTimeout(resolve, 20));
    while (Atomics.load(words, 0) === 0) await turn();
    Atomics.store(words, 1, 1);
    while (Atomics.load(words, 1) === 1) await turn();
    process.kill();
    let seen;
    do {
      seen = Atomics.load(words, 0);
      await turn();
    } while (Atomics.load(words, 0) !== seen);
    return process.exitCode;
  }
  if (import.meta.main) {
    const words = new Int32Array(new SharedArrayBuffer(8));
    const process = new mp.Process({ target: work, args: [words] }).start();
    while (Atomics.load(words, 1) === 0) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    Atomics.store(words, 1, 2);
    process.joinSync();
    console.log(await process.result);
  }
  `,
  "-9\n",
);
