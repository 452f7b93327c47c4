// Whether a program ends by itself, and when: each one runs as a child process.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { type ChildOptions, describe, runFile, runSource } from "./_child.ts";

/** What a program that has nothing left to do has printed, and ends with. */
interface Expected {
  stdout?: string;
  code?: number;
  stderr?: string;
  flags?: string[];
}

/** Declares a test that runs a program and expects it to end by itself. */
function ends(name: string, source: string, expected: Expected = {}): void {
  Deno.test(name, async () => {
    const options: ChildOptions = {};
    if (expected.flags !== undefined) options.flags = expected.flags;
    const result = await runSource(
      `import * as mp from "@parallel/multiprocessing";\n${source}`,
      options,
    );
    assert(!result.timedOut, describe(result));
    assertEquals(result.code, expected.code ?? 0, describe(result));
    assertEquals(result.stdout, expected.stdout ?? "", describe(result));
    if (expected.stderr !== undefined) {
      assertStringIncludes(result.stderr, expected.stderr);
    }
  });
}

// -- Idle things do not keep a program alive --------------------------------------

ends(
  "A program with idle pools ends by itself",
  `
  const used = new mp.Pool(2);
  new mp.Pool({ processes: 1, worker: "node" });
  new mp.Pool(1);
  console.log(await used.map((n: number) => n * n, [1, 2]));
  `,
  { stdout: "[ 1, 4 ]\n" },
);

ends(
  "A program with an imap that nobody consumes ends by itself",
  `
  const pool = new mp.Pool(1);
  const stream = pool.imap((n: number) => n, function* () {
    for (let n = 0;; n++) yield n;
  }());
  console.log((await stream.next()).value);
  `,
  { stdout: "0\n" },
);

ends(
  "A program that waits for what cannot come ends with Deno's error",
  `
  const lock = new mp.Lock();
  using _ = await lock.acquire();
  await lock.acquire({ timeout: 60 }).catch((error) => console.log(error.name));
  console.log(await new mp.Process({ target: () => 5 }).start().result);
  await new Promise(() => {});
  `,
  {
    code: 1,
    stdout: "TimeoutError\n5\n",
    stderr: "Top-level await promise never resolved",
  },
);

ends(
  "A daemon does not keep the program alive",
  `
  const target = async () => {
    setInterval(() => {}, 1000);
    await new Promise(() => {});
  };
  for (const worker of ["web", "node"] as const) {
    const p = new mp.Process({ target, daemon: true, worker }).start();
    console.log(p.daemon, p.isAlive());
  }
  `,
  { stdout: "true true\ntrue true\n" },
);

ends(
  "A process that is terminated while it spins does not keep the program alive",
  `
  const words = new Int32Array(new SharedArrayBuffer(8));
  const process = new mp.Process({
    target: (words: Int32Array) => {
      Atomics.store(words, 0, 1);
      Atomics.notify(words, 0);
      while (true);
    },
    args: [words],
  }).start();
  Atomics.wait(words, 0, 0, 60_000);
  process.terminate();
  await process.join();
  console.log(process.exitCode);
  `,
  { stdout: "-15\n" },
);

ends(
  "Tasks that timed out while they spin do not keep the program alive",
  `
  const pool = new mp.Pool(1);
  for (let i = 0; i < 2; i++) {
    const call = pool.apply(() => { while (true); }, [], { timeout: 100 });
    console.log(await call.catch((error) => error.name));
  }
  `,
  { stdout: "TimeoutError\nTimeoutError\n" },
);

ends(
  "Waiting for the lock of a stopped, spinning process does not keep the program alive",
  `
  const lock = new mp.Lock();
  const words = new Int32Array(new SharedArrayBuffer(8));
  const process = new mp.Process({
    target: (lock: mp.Lock, words: Int32Array) => {
      lock.acquireSync();
      Atomics.store(words, 0, 1);
      Atomics.notify(words, 0);
      while (true);
    },
    args: [lock, words],
  }).start();
  Atomics.wait(words, 0, 0, 60_000);
  process.terminate();
  lock.acquire().then(() => console.log("never"));
  `,
);

// -- Work keeps it alive ------------------------------------------------------------

ends(
  "Waiting for the lock of a worker that was stopped keeps the program alive until it is had",
  `
  async function main() {
    for (const worker of ["web", "node"] as const) {
      for (const way of ["terminate", "kill"] as const) {
        const lock = new mp.Lock();
        const ready = new mp.Event();
        const process = new mp.Process({
          target: async (lock: mp.Lock, ready: mp.Event) => {
            lock.acquireSync();
            ready.set();
            await new Promise(() => {});
          },
          args: [lock, ready],
          worker,
        }).start();
        await ready.wait();
        process[way]();
        await process.join();
        console.log(worker, way, (await lock.acquire()).abandoned);
      }
    }
    const lock = new mp.RLock();
    {
      using pool = new mp.Pool(1);
      await pool.apply((lock: mp.RLock) => void lock.acquireSync(), [lock]);
    }
    console.log("pool", (await lock.acquire()).abandoned);
  }
  main();
  `,
  {
    stdout: "web terminate true\nweb kill true\nnode terminate true\n" +
      "node kill true\npool true\n",
  },
);

ends(
  "A running process keeps the program alive until it is done",
  `
  const kinds = ["web", "node"] as const;
  const words = new Int32Array(new SharedArrayBuffer(4));
  for (const [turn, worker] of kinds.entries()) {
    new mp.Process({
      target: async (turn: number, worker: string, words: Int32Array) => {
        do {
          await new Promise((resolve) => setTimeout(resolve, 50));
        } while (Atomics.load(words, 0) < turn);
        console.log(worker);
        Atomics.add(words, 0, 1);
      },
      args: [turn, worker, words],
      worker,
    }).start();
  }
  `,
  { stdout: "web\nnode\n" },
);

ends(
  "Accepted work keeps the program alive until it is done",
  `
  const pool = new mp.Pool(1);
  const later = async (n: number) => {
    await new Promise((resolve) => setTimeout(resolve, 50));
    return n;
  };
  const calls = [pool.apply(later, [1]), pool.map(later, [2, 3])];
  const closed = new mp.Pool(1);
  calls.push(closed.apply(later, [4]));
  closed.close();
  Promise.all<unknown>(calls).then(console.log);
  `,
  { stdout: "[ 1, [ 2, 3 ], 4 ]\n" },
);

ends(
  "A pending join of a daemon keeps the program alive",
  `
  const process = new mp.Process({
    target: () => new Promise((resolve) => setTimeout(resolve, 100)),
    daemon: true,
  }).start();
  process.join().then(() => console.log(process.exitCode));
  `,
  { stdout: "0\n" },
);

ends(
  "`await using` at the top level ends the pool and then the program",
  `
  await using pool = new mp.Pool(2);
  pool.map(async (n: number) => {
    await new Promise((resolve) => setTimeout(resolve, 20));
    return n;
  }, [1, 2, 3]).then(console.log);
  `,
  { stdout: "[ 1, 2, 3 ]\n" },
);

// -- Failures -------------------------------------------------------------------------

ends(
  "A process that fails does not take the program down, nor its unread result",
  `
  const targets = [
    () => { throw new Error("thrown"); },
    async () => { Promise.reject(new Error("unhandled")); await new Promise(() => {}); },
    async () => { setTimeout(() => { throw new Error("timed"); }); await new Promise(() => {}); },
    () => Deno.exit(5),
    () => () => 1,
  ];
  for (const worker of ["web", "node"] as const) {
    const codes = [];
    for (const target of targets) {
      const process = new mp.Process({ target, worker }).start();
      await process.join();
      codes.push(process.exitCode);
    }
    console.log(...codes);
  }
  `,
  { stdout: "1 1 1 5 1\n1 1 1 5 1\n", stderr: "unhandled" },
);

ends(
  "A pool worker's stray error does not take the program down",
  `
  const pool = new mp.Pool(1);
  await pool.apply(() => { setTimeout(() => { throw new Error("stray"); }, 10); });
  while (pool.stats.restarted === 0) await new Promise((r) => setTimeout(r, 5));
  console.log(await pool.apply(() => "goes on"));
  `,
  { stdout: "goes on\n", stderr: "stray" },
);

ends(
  "Deno.exit() and an uncaught error in main end the program, whatever runs",
  `
  new mp.Process({ target: () => { while (true); } }).start();
  new mp.Process({ target: () => new Promise(() => {}) }).start();
  new mp.Pool(1).apply(() => { while (true); });
  if (Deno.args.length === 0) throw new Error("main fails");
  `,
  { code: 1, stderr: "main fails" },
);

ends(
  "Nothing works without permission to read the module, and the error says which flag",
  `
  try {
    new mp.Pool(1);
  } catch (error) {
    console.log((error as Error).message.includes("--allow-read"));
  }
  const process = new mp.Process({ target: () => 1 });
  try {
    process.start();
  } catch (error) {
    console.log((error as Error).message.includes("--allow-read"));
  }
  console.log(process.isAlive(), mp.activeChildren().length);
  `,
  { stdout: "true\ntrue\nfalse 0\n", flags: [] },
);

Deno.test("Where Deno cannot let go of a worker, idle pools end their workers and start them again on demand", async () => {
  const result = await runSource(
    `
    for (const symbol of Object.getOwnPropertySymbols(Worker.prototype)) {
      if (symbol.description === undefined) delete (Worker.prototype as any)[symbol];
    }
    const { pmap, Pool, Process } = await import("@parallel/multiprocessing");
    const { locks } = navigator as any;
    async function allEnded() {
      while ((await locks.query()).held.length > 0) {
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }
    const unused = new Pool(1);
    const pool = new Pool({
      processes: 2,
      initializer: () => { (globalThis as any).ready = 1; },
    });
    const add = (n: number) => n + (globalThis as any).ready;
    console.log(await pool.map(add, [1, 2, 3]));
    await allEnded();
    console.log(await Promise.all([pool.apply(add, [4]), pool.apply(add, [5])]));
    console.log(pool.stats.restarted, await unused.apply(() => 6));
    await allEnded();
    unused.close();
    await unused.join();
    console.log(await pmap((n: number) => n, [7]));
    // This one starts a watcher.
    const process = new Process({
      target: () => new Promise((resolve) => setTimeout(resolve, 200)),
    }).start();
    process.joinSync();
    console.log(await pool.apply(add, [8]));
    `,
  );
  assert(!result.timedOut, describe(result));
  assertEquals(
    result.stdout,
    "[ 2, 3, 4 ]\n[ 5, 6 ]\n0 6\n[ 7 ]\n9\n",
    describe(result),
  );
  assertEquals(result.code, 0, describe(result));
});

// -- Families ------------------------------------------------------------------------------

Deno.test("The family ends together, and then the program", async () => {
  const result = await runFile("tests/testdata/process_family.ts");
  assert(!result.timedOut, describe(result));
  assertEquals(result.stdout, "parent ends\n0\n", describe(result));
  assertEquals(result.code, 0);
});

// -- The sandbox ---------------------------------------------------------------------------

const SANDBOX = ["-A", "--unstable-worker-options"];

ends(
  'A pool with permissions "none" runs pure functions and refuses the rest',
  `
  await using pool = new mp.Pool({ processes: 2, permissions: "none" });
  console.log(await pool.map((n: number) => n * n, [1, 2, 3]));
  const lock = new mp.Lock();
  console.log(await pool.apply((lock: mp.Lock) => {
    using _ = lock.acquireSync();
    return lock.locked;
  }, [lock]));
  const attempts = [
    () => Deno.readTextFileSync("/etc/hostname"),
    () => Deno.env.get("HOME"),
    () => Deno.writeTextFileSync("mp-sandbox", ""),
    () => new Deno.Command("true").outputSync(),
    () => Deno.connect({ hostname: "127.0.0.1", port: 1 }),
  ];
  for (const attempt of attempts) {
    const name = await pool.apply(attempt as () => unknown).then(() => "allowed", (error) => error.name);
    console.log(name);
  }
  console.log(await pool.apply(() => 1), pool.stats.restarted);
  `,
  {
    flags: SANDBOX,
    stdout: "[ 1, 4, 9 ]\ntrue\n" + "NotCapable\n".repeat(5) + "1 0\n",
  },
);

ends(
  'A process with permissions "none" is refused what is not granted, also through others it starts',
  `
  const process = new mp.Process({
    target: () => Deno.readTextFileSync("/etc/hostname"),
    permissions: "none",
  }).start();
  console.log(await process.result.catch((error) => error.name));
  const url = import.meta.resolve("@parallel/multiprocessing/process");
  const nested = new mp.Process({
    // As Process.start() in a worker does: have the main thread start a worker.
    target: async (url: string) => {
      const scope = self as unknown as Worker;
      const { Process } = await import(url);
      const child = new Process({ target: () => Deno.readTextFileSync("/etc/hostname") });
      return await child.start().result;
    },
    args: [url],
    permissions: "none",
  }).start();
  console.log(await nested.result.then(() => "escaped", () => "held"));
  `,
  { flags: SANDBOX, stdout: "NotCapable\nheld\n" },
);
