// How processes end, and what is seen of it.

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import { WorkerError } from "../errors.ts";
import { Lock } from "../lock.ts";
import { activeChildren, Process } from "../process.ts";
import { describe, runSource } from "./_child.ts";
import { startEndless } from "./_endless.ts";
import { DEADLINE, reaches, rejection, within } from "./_within.ts";
import { sharedWords } from "./_words.ts";

// -- By themselves --------------------------------------------------------------------

Deno.test("A process ends when its target settles, not when its event loop is empty", async () => {
  const process = new Process({
    target: () => {
      setInterval(() => {}, 1);
      return 1;
    },
  }).start();
  assertEquals(await within(process.result), 1);
  await within(process.join());
  assertEquals(process.exitCode, 0);
});

Deno.test("A process waits for the promise its target returns", async () => {
  const process = new Process({
    target: async (n: number) => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      return n + 1;
    },
    args: [1],
  }).start();
  assertEquals(await within(process.result), 2);
});

Deno.test("Process.joinSync() knows the exit code of one that failed or exited", async () => {
  const thrower = new Process({
    target: () => {
      throw new Error("expected by a test");
    },
  }).start();
  thrower.joinSync({ timeout: DEADLINE });
  assertEquals(thrower.exitCode, 1);
  assertEquals((await rejection(thrower.result)).message, "expected by a test");
  const leaver = new Process({ target: () => Deno.exit(4) }).start();
  leaver.joinSync({ timeout: DEADLINE });
  assertEquals(leaver.exitCode, 4);
});

for (
  const [title, target, exitCode] of [
    ["Deno.exit(0)", () => Deno.exit(0), 0],
    ["Deno.exit()", () => Deno.exit(), 0],
    ["Deno.exit(7)", () => Deno.exit(7), 7],
    ["Deno.exit(255)", () => Deno.exit(255), 255],
    ["self.close()", () => self.close(), 0],
    ["close()", () => close(), 0],
    ["self.close() before it returns", () => {
      self.close();
      return 5;
    }, 0],
    ["self.close() before it throws", () => {
      self.close();
      throw new Error("too late");
    }, 0],
    ["Deno.exit(3) in a finally", () => {
      try {
        throw new Error("lost");
      } finally {
        // deno-lint-ignore no-unsafe-finally
        return Deno.exit(3);
      }
    }, 3],
    ["Deno.exit(6) in a timer", async () => {
      setTimeout(() => Deno.exit(6));
      await new Promise(() => {});
    }, 6],
  ] as [string, () => unknown, number][]
) {
  Deno.test(`${title} ends the process with ${exitCode}`, async () => {
    const process = new Process({ target }).start();
    await within(process.join());
    assertEquals(process.exitCode, exitCode);
    assertEquals(process.isAlive(), false);
    if (exitCode === 0) {
      assertStrictEquals(await within(process.result), undefined);
    } else {
      const error = await rejection(process.result);
      assertInstanceOf(error, WorkerError);
      assertEquals(error.exitCode, exitCode);
      assertStringIncludes(error.message, process.name);
    }
  });
}

Deno.test("What fails after Deno.exit() is not printed", async () => {
  const result = await runSource(`
    import { Pool, Process } from "@parallel/multiprocessing";
    const leave = async () => {
      Deno.exit(7);
      throw new Error("never reached");
    };
    for (const worker of ["web", "node"] as const) {
      using pool = new Pool({ processes: 1, worker });
      const error = await pool.apply(leave).catch((error) => error);
      const p = new Process({ target: leave, worker }).start();
      await p.join();
      console.log(error.exitCode, p.exitCode);
    }
  `);
  assertEquals(result.stdout, "7 7\n7 7\n", describe(result));
  assertEquals(result.stderr, "");
});

// -- Stopped --------------------------------------------------------------------------

for (const [how, exitCode] of [["terminate", -15], ["kill", -9]] as const) {
  Deno.test(`Process.${how}() ends it with ${exitCode} at once, and is idempotent`, async () => {
    const process = startEndless();
    process[how]();
    process[how]();
    assertEquals(process.exitCode, exitCode);
    assertEquals(process.isAlive(), false);
    assert(!activeChildren().includes(process));
    await within(process.join());
    process.joinSync();
    const error = await rejection(process.result);
    assertInstanceOf(error, WorkerError);
    assertEquals(error.exitCode, exitCode);
  });
}

Deno.test("Process.kill() after terminate(), or after the end, changes nothing", async () => {
  const process = startEndless();
  process.terminate();
  process.kill();
  assertEquals(process.exitCode, -15);
  const ended = new Process({ target: () => 1 }).start();
  await within(ended.join());
  ended.terminate();
  ended.kill();
  assertEquals(ended.exitCode, 0);
  assertEquals(await within(ended.result), 1);
});

Deno.test("Process.terminate() reaches a process that spins, and one that waits in a lock", async () => {
  const words = sharedWords();
  const spinner = new Process({
    target: (words: Int32Array) => {
      Atomics.store(words, 0, 1);
      while (Atomics.load(words, 1) === 0);
    },
    args: [words],
  }).start();
  await reaches(words, 0, 1);
  spinner.terminate();
  await within(spinner.join());
  assertEquals(spinner.exitCode, -15);
  Atomics.store(words, 1, 1); // else it would burn on for the rest of the tests

  const lock = new Lock();
  using _ = lock.acquireSync();
  const blocked = new Process({
    target: (lock: Lock, words: Int32Array) => {
      Atomics.store(words, 2, 1);
      lock.acquireSync();
    },
    args: [lock, words],
  }).start();
  await reaches(words, 2, 1);
  blocked.kill();
  await within(blocked.join());
  assertEquals(blocked.exitCode, -9);
});

// -- With an error that nobody caught -------------------------------------------------

Deno.test("An unhandled rejection and an error in a timer count as uncaught", async () => {
  const targets = [
    async () => {
      Promise.reject(new TypeError("expected: nobody handles it"));
      await new Promise(() => {});
    },
    async () => {
      setTimeout(() => {
        throw new TypeError("expected: in a timer");
      });
      await new Promise(() => {});
    },
    async () => {
      queueMicrotask(() => {
        throw new TypeError("expected: in a microtask");
      });
      await new Promise(() => {});
    },
  ];
  for (const target of targets) {
    const process = new Process({ target }).start();
    const error = await rejection(process.result);
    assertInstanceOf(error, TypeError);
    assertStringIncludes(error.message, "expected");
    assertEquals(process.exitCode, 1);
  }
});

Deno.test("A rejection that nobody handles counts, also if the target returns at once", async () => {
  const process = new Process({
    target: () => {
      Promise.reject(new RangeError("nobody"));
      return 1;
    },
  }).start();
  await within(process.join());
  assertEquals(process.exitCode, 1);
  await assertRejects(() => process.result, RangeError, "nobody");
});

Deno.test("What a listener in the worker prevents from counting as uncaught does not", async () => {
  function target(kind: "error" | "unhandledrejection"): Promise<string> {
    return new Promise((resolve) => {
      globalThis.addEventListener(kind, (event) => {
        event.preventDefault();
        setTimeout(() => resolve(event.type));
      });
      if (kind === "unhandledrejection") Promise.reject(new Error("unwanted"));
      else {
        setTimeout(() => {
          throw new Error("unwanted");
        });
      }
    });
  }
  for (const worker of ["web", "node"] as const) {
    for (const kind of ["error", "unhandledrejection"] as const) {
      const process = new Process({ target, args: [kind], worker }).start();
      assertEquals(await within(process.result), kind);
      await within(process.join());
      assertEquals(process.exitCode, 0);
    }
  }
});

Deno.test("A timer that throws nothing at all rejects with that as cause", async () => {
  const process = new Process({
    target: () => {
      setTimeout(() => {
        throw undefined;
      });
      return new Promise(() => {});
    },
  }).start();
  const error = await assertRejects(() => within(process.result), WorkerError);
  assertEquals(error.cause, undefined);
});

Deno.test("An error thrown in a finally replaces the one before", async () => {
  const process = new Process({
    target: () => {
      try {
        throw new Error("first");
      } finally {
        // deno-lint-ignore no-unsafe-finally
        throw new RangeError("second");
      }
    },
  }).start();
  const error = await rejection(process.result);
  assertInstanceOf(error, RangeError);
  assertEquals(error.message, "second");
});

// -- What is printed and posted -------------------------------------------------------

Deno.test("An uncaught error is on stderr with the process's name and stack, console.log on stdout", async () => {
  const result = await runSource(`
    import { Process } from "@parallel/multiprocessing";
    const failing = new Process({
      name: "reader-7",
      target: function readAll() {
        console.log("reading");
        throw new RangeError("bad record", { cause: new Error("the disk") });
      },
    }).start();
    await failing.join();
    const odd = new Process({ target: () => { throw 5; } }).start();
    await odd.join();
    console.log(failing.exitCode, odd.exitCode);
  `);
  assertEquals(result.code, 0, describe(result));
  assertEquals(result.stdout, "reading\n1 1\n");
  assertStringIncludes(result.stderr, "reader-7");
  assertStringIncludes(result.stderr, "RangeError: bad record");
  assertStringIncludes(result.stderr, "readAll");
  assertStringIncludes(result.stderr, "the disk");
  assertMatch(result.stderr, /Process-2: Uncaught 5\n/);
});

Deno.test("console.log() lines of concurrent processes are never torn", async () => {
  const result = await runSource(`
    import { Process } from "@parallel/multiprocessing";
    const processes = ["a", "b", "c"].map((letter) =>
      new Process({
        target: (letter: string) => {
          for (let i = 0; i < 300; i++) console.log(letter.repeat(200));
        },
        args: [letter],
      }).start()
    );
    for (const process of processes) await process.join();
  `);
  assertEquals(result.code, 0, describe(result));
  const lines = result.stdout.trimEnd().split("\n");
  assertEquals(lines.length, 900);
  for (const line of lines) assertMatch(line, /^(?:a{200}|b{200}|c{200})$/);
});

Deno.test("What a target posts in our name is no result, and its end settles the process", async () => {
  const process = new Process({
    target: async (life: string) => {
      const { self: who } = await import(life);
      const { program } = who();
      const scope = self as unknown as Worker;
      scope.postMessage({ program, type: "role", body: null });
      scope.postMessage({ program, type: "nonsense" });
      await new Promise((resolve) => setTimeout(resolve, 20));
      Deno.exit(3);
    },
    args: [import.meta.resolve("../_life.ts")],
  }).start();
  const error = await assertRejects(() => within(process.result), WorkerError);
  assertEquals(error.exitCode, 3);
});
