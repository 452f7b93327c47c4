import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  activeChildren,
  cpuCount,
  currentProcess,
  parentProcess,
  Process,
  type ProcessOptions,
} from "../process.ts";
import { startEndless } from "./_endless.ts";
import { DEADLINE, rejection, within } from "./_within.ts";
import { sharedWords } from "./_words.ts";
import { introduce, waitForWord } from "./testdata/process_functions.ts";

// deno-lint-ignore no-explicit-any
type Options = ProcessOptions<any[], any>;

// -- Describing a process -------------------------------------------------------------

Deno.test("Process() refuses a target that is no function", () => {
  for (const target of [undefined, null, 1, "f", {}, []]) {
    assertThrows(
      () => new Process({ target } as unknown as Options),
      TypeError,
      "target",
    );
  }
  for (const options of [undefined, null, () => 1]) {
    assertThrows(() => new Process(options as unknown as Options), TypeError);
  }
});

Deno.test("Process() refuses options of wrong types", () => {
  const target = () => 1;
  const wrong: [Record<string, unknown>, typeof TypeError | RangeError][] = [
    [{ args: 1 }, TypeError],
    [{ args: "ab" }, TypeError],
    [{ args: null }, TypeError],
    [{ name: 1 }, TypeError],
    [{ daemon: "false" }, TypeError],
    [{ transfer: new ArrayBuffer(1) }, TypeError],
    [{ worker: "thread" }, TypeError],
    [{ worker: "node", memoryLimit: "10" }, TypeError],
    [{ memoryLimit: 10 }, TypeError],
    [{ worker: "node", permissions: "none" }, TypeError],
    [{ permissions: null }, TypeError],
    [{ permissions: "read" }, TypeError],
  ];
  for (const [options, errorClass] of wrong) {
    assertThrows(
      () => new Process({ target, ...options } as unknown as Options),
      errorClass as typeof TypeError,
    );
  }
});

Deno.test("Process() refuses a memoryLimit out of range", () => {
  for (const memoryLimit of [0, -1, NaN, Infinity, 7.5]) {
    assertThrows(
      () => new Process({ target: () => 1, worker: "node", memoryLimit }),
      RangeError,
      "memoryLimit",
    );
  }
});

Deno.test("Process.name counts up, and Process.id is unique before and after start()", async () => {
  const [a, b] = [0, 1].map(() => new Process({ target: () => 1 })) as [
    Process,
    Process,
  ];
  assertMatch(a.name, /^Process-\d+$/);
  const number = Number(a.name.slice("Process-".length));
  assertEquals(b.name, `Process-${number + 1}`);
  assertNotEquals(a.id, b.id);
  const { id } = b;
  assert(Number.isInteger(id) && id > 0);
  b.start();
  assertEquals(b.id, id);
  await within(b.join());
  assertEquals(b.id, id);
});

Deno.test("Process.name and Process.daemon are what was asked for", () => {
  const named = new Process({ target: () => 1, name: "reader", daemon: true });
  assertEquals([named.name, named.daemon], ["reader", true]);
  assertEquals(new Process({ target: () => 1 }).daemon, false);
});

Deno.test("A process that was not started has no exit code and is not alive", () => {
  const process = new Process({ target: () => 1 });
  assertStrictEquals(process.exitCode, null);
  assertEquals(process.isAlive(), false);
  assert(!activeChildren().includes(process));
});

// -- Starting and joining -------------------------------------------------------------

Deno.test("Process.start() returns the process, whose result is the target's value", async () => {
  const process = new Process({
    target: (a: number, b: string) => ({ a, b }),
    args: [1, "two"],
  });
  assertStrictEquals(process.start(), process);
  assertEquals(await within(process.result), { a: 1, b: "two" });
});

Deno.test("Process.exitCode is null while it runs, and 0 right after `await result`", async () => {
  const words = sharedWords();
  const process = new Process({ target: waitForWord, args: [words] }).start();
  assertStrictEquals(process.exitCode, null);
  assertEquals(process.isAlive(), true);
  assert(activeChildren().includes(process));
  Atomics.store(words, 0, 1);
  assertStrictEquals(await within(process.result), undefined);
  assertStrictEquals(process.exitCode, 0);
  assertEquals(process.isAlive(), false);
  assert(!activeChildren().includes(process));
});

Deno.test("Process.start() twice is a TypeError, while it runs and when it has ended", async () => {
  const process = new Process({ target: () => 1 }).start();
  assertThrows(() => process.start(), TypeError, "already been started");
  await within(process.join());
  assertThrows(() => process.start(), TypeError, "already been started");
  assertEquals(await within(process.result), 1);
});

Deno.test("Process.join() before start() is a TypeError that names the state", async () => {
  const process = new Process({ target: () => 1, name: "late" });
  await assertRejects(() => process.join(), TypeError, "not been started");
  assertThrows(() => process.joinSync(), TypeError, '"late"');
  assertThrows(() => process.terminate(), TypeError, "not been started");
  assertThrows(() => process.kill(), TypeError, "not been started");
});

Deno.test("Process.join() resolves to nothing, also when it is called again", async () => {
  const process = new Process({ target: () => 1 }).start();
  assertStrictEquals(await within(process.join()), undefined);
  assertStrictEquals(await within(process.join()), undefined);
  assertStrictEquals(process.joinSync(), undefined);
  assertEquals(process.exitCode, 0);
});

Deno.test("Process.join() rejects with a TimeoutError when its time is up, and the process goes on", async () => {
  const words = sharedWords();
  const process = new Process({ target: waitForWord, args: [words] }).start();
  for (const timeout of [0, 20]) {
    const error = await rejection(process.join({ timeout }));
    assertInstanceOf(error, DOMException);
    assertEquals(error.name, "TimeoutError");
    const thrown = assertThrows(() => process.joinSync({ timeout }));
    assertInstanceOf(thrown, DOMException);
    assertEquals(thrown.name, "TimeoutError");
  }
  assertEquals(process.isAlive(), true);
  Atomics.store(words, 0, 1);
  await within(process.join({ timeout: DEADLINE }));
  assertEquals(process.exitCode, 0);
  await process.join({ timeout: 0 });
});

Deno.test("Process.join() refuses a bad timeout", async () => {
  const process = new Process({ target: () => 1 }).start();
  for (const timeout of [-1, NaN]) {
    await assertRejects(() => process.join({ timeout }), RangeError);
    assertThrows(() => process.joinSync({ timeout }), RangeError);
  }
  const timeout = "5" as unknown as number;
  await assertRejects(() => process.join({ timeout }), TypeError);
  await within(process.join());
});

Deno.test("Process.join() rejects with the signal's reason", async () => {
  const process = startEndless();
  const controller = new AbortController();
  const joined = process.join({ signal: controller.signal });
  const reason = new Error("enough");
  controller.abort(reason);
  assertStrictEquals(await rejection(joined), reason);
  assertEquals(process.isAlive(), true);
  process.kill();
  await within(process.join());
  // Even though nothing has to be waited for.
  const late = process.join({ signal: AbortSignal.abort(reason) });
  assertStrictEquals(await rejection(late), reason);
});

Deno.test("Process.joinSync() right after start() waits for the end, and exitCode is known", async () => {
  const words = sharedWords();
  const process = new Process({
    target: (words: Int32Array) => {
      Atomics.store(words, 0, 7);
      return "done";
    },
    args: [words],
  });
  process.start();
  process.joinSync({ timeout: DEADLINE });
  assertEquals(Atomics.load(words, 0), 7);
  assertEquals(process.exitCode, 0);
  assertEquals(process.isAlive(), false);
  assert(!activeChildren().includes(process));
  assertEquals(await within(process.result), "done");
});

// -- Closing and disposal -------------------------------------------------------------

Deno.test("Process.close() on a running process is a TypeError", async () => {
  const process = startEndless();
  assertThrows(() => process.close(), TypeError, "running");
  process.kill();
  process.close();
  process.close();
  await assertRejects(() => process.join(), TypeError, "closed");
});

Deno.test("Process.close() before start() makes start() and the result a TypeError", async () => {
  const process = new Process({ target: () => 1 });
  process.close();
  assertThrows(() => process.start(), TypeError, "closed");
  const error = await rejection(process.result);
  assertInstanceOf(error, TypeError);
  assertMatch(error.message, /"Process-\d+": it was closed before/);
});

Deno.test("What a process is cannot be changed", () => {
  const process = new Process({ target: () => 1 });
  for (const key of ["id", "name", "daemon", "result", "exitCode"] as const) {
    const before = process[key];
    assertThrows(() => Object.assign(process, { [key]: 1 }), TypeError);
    assertStrictEquals(process[key], before);
  }
});

Deno.test("`await using` waits for the end of a process", async () => {
  const words = sharedWords();
  let process: Process;
  {
    await using started = new Process({
      target: async (words: Int32Array) => {
        await new Promise((resolve) => setTimeout(resolve, 20));
        Atomics.store(words, 0, 1);
      },
      args: [words],
    }).start();
    process = started;
  }
  assertEquals(Atomics.load(words, 0), 1);
  assertEquals(process.exitCode, 0);
  await process[Symbol.asyncDispose]();
  await using _never = new Process({ target: () => 1 });
});

Deno.test("`await using` of a process that fails does not throw", async () => {
  await using process = new Process({
    target: () => Deno.exit(2),
  }).start();
  await within(process.join());
  assertEquals(process.exitCode, 2);
});

// -- Names, and what is shown ---------------------------------------------------------

Deno.test("The program's own process is MainProcess and has no parent", () => {
  const { name, id, daemon } = currentProcess();
  assertEquals({ name, daemon }, { name: "MainProcess", daemon: false });
  assertEquals(typeof id, "number");
  assertStrictEquals(parentProcess(), null);
  assertEquals(Object.keys(currentProcess()).sort(), ["daemon", "id", "name"]);
});

Deno.test("A process knows its name, id and daemon, and those of its parent", async () => {
  const process = new Process({ target: introduce, daemon: true }).start();
  const { current, parent } = await within(process.result);
  const { name, id } = process;
  assertEquals(current, { name, id, daemon: true });
  assertEquals(parent, currentProcess());
});

Deno.test("Deno.inspect() of a process tells its name and state", async () => {
  const process = new Process({ target: () => 1, name: "shown" });
  assertStringIncludes(Deno.inspect(process), 'Process "shown"');
  process.start();
  await within(process.join());
  assertEquals(Deno.inspect(process), 'Process "shown" { exitCode: 0 }');
});

Deno.test("cpuCount() is a whole number, at least 1", () => {
  assert(Number.isInteger(cpuCount()) && cpuCount() >= 1);
  assertEquals(cpuCount(), navigator.hardwareConcurrency);
});
