// What `worker: "node"` does as `"web"` does, and what it does better.

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import { delay } from "@std/async";
import { stripTypeScriptTypes } from "node:module";
import { WorkerError } from "../errors.ts";
import { Lock } from "../lock.ts";
import { Pool } from "../pool.ts";
import { Process } from "../process.ts";
import { describe, runSource } from "./_child.ts";
import { startHolding } from "./_holding.ts";
import {
  DEADLINE,
  longEnough,
  reaches,
  rejection,
  until,
  within,
} from "./_within.ts";
import { sharedWords } from "./_words.ts";
import { introduceFamily } from "./testdata/process_functions.ts";

const linux = Deno.build.os === "linux";

/** Index of the word that counts the threads which have left their id after it. */
const THREADS = 8;

/** Which of the threads that left their ids there are still there. */
function running(words: Int32Array): number[] {
  const there = new Set(
    Array.from(Deno.readDirSync("/proc/self/task"), ({ name }) => Number(name)),
  );
  const ids = words.subarray(THREADS + 1, THREADS + 1 + words[THREADS]!);
  return [...ids].filter((id) => there.has(id));
}

/** Waits until none of the threads is left that left their ids. */
async function gone(words: Int32Array): Promise<void> {
  assert(words[THREADS]! > 0, "no thread has left its id");
  await until(
    () => running(words).length === 0,
    () => `${running(words)} are left`,
  );
}

/** Resolves when there is such a file. */
async function exists(path: string): Promise<void> {
  while (true) {
    try {
      await Deno.stat(path);
      return;
    } catch {
      await delay(5);
    }
  }
}

/** Spins for ever. */
function spin(words: Int32Array): void {
  const path = Deno.readLinkSync("/proc/thread-self");
  words[9 + Atomics.add(words, 8, 1)] = Number(path.split("/").at(-1));
  Atomics.store(words, 0, 1);
  while (true);
}

/** Sleeps for ever, in a wait that is none of ours. */
function sleep(words: Int32Array): void {
  const path = Deno.readLinkSync("/proc/thread-self");
  words[9 + Atomics.add(words, 8, 1)] = Number(path.split("/").at(-1));
  Atomics.store(words, 0, 1);
  Atomics.wait(words, 1, 0);
}

// -- The same -------------------------------------------------------------------

for (
  const [title, target, args, exitCode, result] of [
    ["returns", (n: number) => n + 1, [1], 0, 2],
    [
      "resolves",
      async (n: number) => {
        await new Promise((resolve) => setTimeout(resolve, 5));
        return n;
      },
      [1],
      0,
      1,
    ],
    ["exits with 0", () => Deno.exit(0), [], 0, undefined],
    ["exits with 7", () => Deno.exit(7), [], 7, WorkerError],
    [
      "closes itself",
      () => {
        self.close();
        return 1;
      },
      [],
      0,
      undefined,
    ],
    [
      "throws",
      () => {
        throw new RangeError("expected");
      },
      [],
      1,
      RangeError,
    ],
    [
      "throws a non-error",
      () => {
        throw 5;
      },
      [],
      1,
      WorkerError,
    ],
    [
      "fails in a timer",
      async () => {
        setTimeout(() => {
          throw new RangeError("expected: timer");
        });
        await new Promise(() => {});
      },
      [],
      1,
      RangeError,
    ],
    [
      "leaves a rejection unhandled",
      async () => {
        Promise.reject(new RangeError("expected: unhandled"));
        await new Promise(() => {});
      },
      [],
      1,
      RangeError,
    ],
    [
      "finds the same globals",
      () => [
        self === globalThis,
        typeof Deno.exit,
        typeof addEventListener,
      ],
      [],
      0,
      [true, "function", "function"],
    ],
  ] as [
    string,
    (...args: unknown[]) => unknown,
    unknown[],
    number,
    unknown,
  ][]
) {
  Deno.test(`A node process that ${title} ends with ${exitCode}`, async () => {
    const process = new Process({ target, args, worker: "node" }).start();
    if (typeof result === "function") {
      const error = await rejection(process.result);
      assertInstanceOf(error, result as typeof RangeError);
    } else assertEquals(await within(process.result), result);
    assertEquals(process.exitCode, exitCode);
    await within(process.join());
  });
}

Deno.test("A node pool does what a pool does", async () => {
  await using pool = new Pool({ processes: 2, worker: "node" });
  const lock = new Lock();
  const words = sharedWords();
  const items = Array.from({ length: 10 }, (_, n) => ({ lock, words, n }));
  const values = await within(pool.map(({ lock, words, n }) => {
    using _ = lock.acquireSync();
    words[0] = words[0]! + 1;
    return n * n;
  }, items));
  assertEquals(values, items.map(({ n }) => n * n));
  assertEquals(words[0], 10);
  const buffer = new Uint8Array([1, 2]).buffer;
  const moved = pool.apply(
    (buffer: ArrayBuffer) => buffer.byteLength,
    [buffer],
    { transfer: [buffer] },
  );
  assertEquals(buffer.byteLength, 0);
  assertEquals(await within(moved), 2);
  const error = await rejection(pool.apply(() => Deno.exit(4)));
  assertInstanceOf(error, WorkerError);
  assertEquals(error.exitCode, 4);
  assertEquals(await within(pool.apply(() => "repaired")), "repaired");
  assertEquals(pool.stats.restarted, 1);
  const squares: number[] = [];
  for await (const square of pool.imap((n: number) => n * n, [1, 2, 3])) {
    squares.push(square);
  }
  assertEquals(squares, [1, 4, 9]);
});

for (const worker of ["web", "node"] as const) {
  Deno.test(`A ${worker} worker has the program's environment, and changes are seen on both sides`, async () => {
    const names = ["MULTIPROCESSING_TEST_A", "MULTIPROCESSING_TEST_B"] as const;
    Deno.env.set(names[0], "from the program");
    try {
      const target = (a: string, b: string) => {
        const { process } = globalThis as unknown as {
          process: { env: Record<string, string> };
        };
        process.env[b] = "from the worker";
        return [process.env[a], Deno.env.get(a)];
      };
      const started = new Process({ target, args: [...names], worker }).start();
      const expected = ["from the program", "from the program"];
      assertEquals(await within(started.result), expected);
      assertEquals(Deno.env.get(names[1]), "from the worker");
    } finally {
      for (const name of names) Deno.env.delete(name);
    }
  });
}

Deno.test("A node process may start processes, and has their names", async () => {
  const process = new Process({
    target: introduceFamily,
    worker: "node",
  }).start();
  const family = await within(process.result);
  assertEquals(family.own.name, process.name);
  assertEquals(family.names, [`${process.name}:1`, `${process.name}:2`]);
  assertEquals(family.child.parent, family.own);
});

// -- Really stopped ----------------------------------------------------------------

for (const how of ["terminate", "kill"] as const) {
  for (const target of [spin, sleep]) {
    Deno.test({
      name: `${how}() ends the thread of a node process in ${target.name}()`,
      ignore: !linux,
      async fn() {
        const words = sharedWords();
        const process = new Process({
          target,
          args: [words],
          worker: "node",
        }).start();
        await reaches(words, 0, 1);
        assertEquals(running(words).length, 1);
        process[how]();
        assertEquals(process.exitCode, how === "kill" ? -9 : -15);
        await gone(words);
        assertInstanceOf(await rejection(process.result), WorkerError);
      },
    });
  }
}

for (const how of ["timeout", "signal"] as const) {
  Deno.test({
    name: `A ${how} ends the thread of a node pool's spinning task`,
    ignore: !linux,
    fn: () =>
      longEnough(async (timeout) => {
        const words = sharedWords();
        {
          await using pool = new Pool({ processes: 1, worker: "node" });
          const controller = new AbortController();
          await within(pool.apply(() => "its start is not what is limited"));
          const { signal } = controller;
          const options = how === "timeout" ? { timeout } : { signal };
          const call = rejection(pool.apply(spin, [words], options));
          if (how === "signal") {
            await reaches(words, 0, 1);
            controller.abort(new DOMException("not now", "TimeoutError"));
          }
          assertEquals((await call).name, "TimeoutError");
          if (Atomics.load(words, 0) === 0) return false;
          assertEquals(await within(pool.apply(() => "next")), "next");
          assertEquals(pool.stats.restarted, 1);
        }
        await gone(words);
        return true;
      }),
  });
}

Deno.test({
  name: "terminate() of a node pool ends its spinning threads",
  ignore: !linux,
  async fn() {
    const words = sharedWords();
    const pool = new Pool({ processes: 2, worker: "node" });
    const calls = [pool.apply(spin, [words]), pool.apply(sleep, [words])];
    const errors = Promise.all(calls.map(rejection));
    await reaches(words, 0, 1);
    pool.terminate();
    for (const error of await within(errors)) {
      assertEquals(error.name, "AbortError");
    }
    await gone(words);
    await within(pool.join());
  },
});

Deno.test({
  name: "A web process that waits in a lock of ours ends when it is stopped",
  ignore: !linux,
  async fn() {
    const { process, lock, words } = startHolding("block");
    process.terminate();
    await gone(words);
    using guard = await within(lock.acquire());
    assertEquals(guard.abandoned, true);
  },
});

for (const how of ["acquire", "acquireSync"] as const) {
  Deno.test(`${how}() gets the lock of a killed node process when the call it was in has returned`, async () => {
    const folder = await Deno.makeTempDir({ prefix: "multiprocessing_" });
    try {
      const lock = new Lock();
      const process = new Process({
        target: (lock: Lock, folder: string) => {
          lock.acquireSync();
          // Deno cannot interrupt this.
          new Deno.Command(Deno.execPath(), {
            args: [
              "eval",
              `const folder = ${JSON.stringify(folder)};
              Deno.writeTextFileSync(folder + "/begun", "");
              setTimeout(() => Deno.writeTextFileSync(folder + "/over", ""), 250);`,
            ],
          }).outputSync();
        },
        args: [lock, folder],
        worker: "node",
      }).start();
      await within(exists(`${folder}/begun`));
      process.kill();
      await within(process.join());
      using guard = how === "acquire"
        ? await within(lock.acquire())
        : lock.acquireSync({ timeout: DEADLINE });
      assertEquals(guard.abandoned, true);
      Deno.statSync(`${folder}/over`);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

// -- Memory --------------------------------------------------------------------------

for (
  const [title, target] of [
    ["big arrays", () => {
      const all: number[][] = [];
      while (true) all.push(new Array(1e5).fill(1.5));
    }],
    ["small objects", () => {
      const all: unknown[] = [];
      while (true) all.push({ index: all.length, list: [1] });
    }],
    ["big arrays after an await", async () => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      const all: number[][] = [];
      while (true) all.push(new Array(1e5).fill(1.5));
    }],
    ["big arrays in a timer", async () => {
      setTimeout(() => {
        const all: number[][] = [];
        while (true) all.push(new Array(1e5).fill(1.5));
      });
      await new Promise(() => {});
    }],
  ] as [string, () => unknown][]
) {
  Deno.test(`A process that fills its memoryLimit with ${title} fails, and the program goes on`, async () => {
    const process = new Process({
      target,
      worker: "node",
      memoryLimit: 24,
    }).start();
    await process.join({ timeout: DEADLINE });
    assertEquals(process.exitCode, -9);
    const error = await rejection(process.result);
    assertInstanceOf(error, WorkerError);
    assertEquals(error.exitCode, -9);
  });
}

Deno.test("A pool task that fills the memoryLimit fails alone, and the pool is repaired", async () => {
  await using pool = new Pool({
    processes: 2,
    worker: "node",
    memoryLimit: 32,
  });
  const greedy = pool.apply(() => {
    const all: number[][] = [];
    while (true) all.push(new Array(1e5).fill(1.5));
  });
  const modest = pool.map(
    async (n: number) => {
      await new Promise((resolve) => setTimeout(resolve, 10));
      return n;
    },
    [1, 2, 3, 4],
    { chunkSize: 1 },
  );
  const error = await greedy.then(() => undefined, (error) => error);
  assertInstanceOf(error, WorkerError);
  assertEquals(error.exitCode, -9);
  assertEquals(await within(modest), [1, 2, 3, 4]);
  assertEquals(await within(pool.apply(() => "repaired")), "repaired");
  assertEquals(pool.stats.restarted, 1);
});

Deno.test("A memoryLimit that is enough changes nothing", async () => {
  const process = new Process({
    target: () => new Array(1e5).fill(1.5).length,
    worker: "node",
    memoryLimit: 64,
  }).start();
  assertEquals(await within(process.result), 1e5);
});

Deno.test("A node worker that imports an unguarded module is told so, and starts nothing", async () => {
  const result = await runSource(
    `
    import { Process } from "@parallel/multiprocessing";
    const factor = 2;
    export function scale(n: number) { return n * factor; }
    const process = new Process({ target: scale, args: [1], worker: "node" }).start();
    console.log(await process.result.catch((error) => error.message));
    `,
  );
  assertStringIncludes(
    result.stdout,
    "Cannot start process",
    describe(result),
  );
  assertStringIncludes(result.stdout, "if (import.meta.main)");
});

// -- A start that gets nowhere ------------------------------------------------------------

Deno.test("A node worker whose modules load slowly loses no message of its start", async () => {
  const result = await runSource(
    `
    import { Pool, Process } from "@parallel/multiprocessing";
    const threads = process.getBuiltinModule("node:worker_threads");
    // Deno drops what comes before anybody listens: time for it to come, while an
    // import is under way that was not foreseen.
    const slowly = "await (async (url) => { await import('data:text/javascript,0');" +
      "await new Promise((resolve) => setTimeout(resolve, 100));" +
      "return await import(url); })(";
    (threads as any).Worker = class extends (threads.Worker as any) {
      constructor(boot: URL, options: unknown) {
        const code = decodeURIComponent(boot.href);
        super(new URL(code.replace(/,.*/s, ",") +
          encodeURIComponent(code.slice(code.indexOf(",") + 1).replaceAll("await import(", slowly))), options);
      }
    };
    const wait = { timeout: 60_000 };
    const started = new Process({ target: () => 1, worker: "node" }).start();
    await started.join(wait);
    console.log(await started.result);
    await using pool = new Pool({ processes: 2, worker: "node" });
    console.log(await pool.map((n: number) => n + 1, [1, 2], wait));
    `,
  );
  assertEquals(result.stdout, "1\n[ 2, 3 ]\n", describe(result));
  assertEquals(result.code, 0, describe(result));
});

for (const kind of ["web", "node"] as const) {
  Deno.test(`A ${kind} worker whose thread ends while it starts fails its process and its pool`, async () => {
    const result = await runSource(
      `
      import { Pool, Process } from "@parallel/multiprocessing";
      // The thread ends before it has run anything of the library.
      const threads = process.getBuiltinModule("node:worker_threads");
      const { Worker } = ${kind === "web" ? "globalThis" : "threads"};
      (${kind === "web" ? "globalThis" : "threads"} as any).Worker =
        class extends (Worker as any) {
          constructor(root: string | URL, options: unknown) {
            const code = "${
        kind === "web" ? "self.close()" : "process.exit(3)"
      }";
            super(
              String(root).includes("_watcher")
                ? root
                : new URL("data:application/javascript," + code),
              options,
            );
          }
        };
      const worker: "web" | "node" = ${JSON.stringify(kind)} as never;
      const target = () => 1;
      const wait = { timeout: 60_000 };
      const joined = new Process({ target, worker }).start();
      await joined.join(wait);
      console.log(joined.exitCode, await joined.result.catch(String));
      if (worker === "node") {
        const blocking = new Process({ target, worker }).start();
        blocking.joinSync(wait);
        console.log(blocking.exitCode);
      }
      const pool = new Pool({ processes: 2, worker });
      console.log(await pool.apply(target, [], wait).catch(String));
      pool.terminate();
      await pool.join(wait);
      `,
    );
    assert(!result.timedOut, describe(result));
    const error =
      "WorkerError: Cannot start worker: its thread ended before it began";
    assertEquals(
      result.stdout,
      `-9 ${error}\n${kind === "node" ? "-9\n" : ""}${error}\n`,
      describe(result),
    );
    assertEquals(result.code, 0, describe(result));
    assertEquals(result.stderr, "");
  });
}

// -- A blocked main thread -----------------------------------------------------------------

Deno.test("joinSync() sees a process that goes without a word", () => {
  const process = new Process({
    target: async () => {
      // In a timer Deno ends the thread itself.
      setTimeout(() => {
        const all: number[][] = [];
        while (true) all.push(new Array(1e5).fill(1.5));
      });
      await new Promise(() => {});
    },
    worker: "node",
    memoryLimit: 24,
  }).start();
  process.joinSync({ timeout: DEADLINE });
  assertEquals(process.exitCode, -9);
  assertStrictEquals(process.isAlive(), false);
});

Deno.test("joinSync() and acquireSync() see the end of a killed node process", () => {
  const { process, lock } = startHolding("spin", "node");
  process.kill();
  process.joinSync({ timeout: DEADLINE });
  assertEquals(process.exitCode, -9);
  using guard = lock.acquireSync({ timeout: DEADLINE });
  assertEquals(guard.abandoned, true);
});

// -- Starting ---------------------------------------------------------------------------------

/** The modules that one of the library's imports when it is loaded. */
async function importsOf(module: string): Promise<string[]> {
  const text = await Deno.readTextFile(
    new URL(`../${module}`, import.meta.url),
  );
  const code = stripTypeScriptTypes(text, { mode: "transform" });
  const found = code.matchAll(/^(?:import|export)\b[^;"]*"\.\/(\w+\.ts)"/gm);
  return Array.from(found, (match) => match[1]!);
}

Deno.test("The root of a worker names all modules that it loads, which are found at once then", async () => {
  for (const root of ["_pool_worker.ts", "_process_worker.ts"]) {
    const named = await importsOf(root);
    const loaded = new Set(named);
    for (const module of loaded) {
      for (const other of await importsOf(module)) loaded.add(other);
    }
    assert(loaded.size > 10, `${root} loads ${[...loaded]}`);
    assertEquals(named.toSorted(), [...loaded].toSorted(), root);
  }
});

// -- Together ---------------------------------------------------------------------------------

Deno.test("A program of both kinds ends by itself after its spinning workers were stopped", async () => {
  const result = await runSource(
    `
    import { Pool, Process } from "@parallel/multiprocessing";
    for (const worker of ["web", "node"] as const) {
      const words = new Int32Array(new SharedArrayBuffer(8));
      const target = (words: Int32Array) => {
        Atomics.add(words, 0, 1);
        while (true);
      };
      const process = new Process({ target, args: [words], worker }).start();
      const pool = new Pool({ processes: 1, worker });
      const call = pool.apply(target, [words]).catch((error) => error.name);
      while (Atomics.load(words, 0) < 2) await new Promise((r) => setTimeout(r, 2));
      process.kill();
      pool.terminate();
      console.log(worker, process.exitCode, await call);
    }
    `,
  );
  assert(!result.timedOut, describe(result));
  assertEquals(result.stdout, "web -9 AbortError\nnode -9 AbortError\n");
  assertEquals(result.code, 0, describe(result));
});
