import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertNotEquals,
  assertNotStrictEquals,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { Barrier } from "../barrier.ts";
import { WorkerError } from "../errors.ts";
import { Event } from "../event.ts";
import { Lock } from "../lock.ts";
import {
  activeChildren,
  cpuCount,
  currentProcess,
  parentProcess,
  Process,
  type ProcessOptions,
} from "../process.ts";
import { Semaphore } from "../semaphore.ts";
import { task } from "../task.ts";
import { describe, runSource } from "./_child.ts";
import { DEADLINE, reaches, rejection, takesLess, within } from "./_within.ts";
import { sharedWords } from "./_words.ts";
import {
  doubleInChild,
  endHolding,
  failOrder,
  introduce,
  introduceFamily,
  leaveChild,
  makeBarrier,
  moveToChild,
  waitForWord,
} from "./testdata/process_functions.ts";

// deno-lint-ignore no-explicit-any
type Options = ProcessOptions<any[], any>;

/** Starts a process that never ends by itself. */
function startEndless(options: Partial<Options> = {}): Process {
  return new Process({
    target: async () => {
      setInterval(() => {}, 1000);
      await new Promise(() => {});
    },
    ...options,
  }).start();
}

// -- Describing a process -------------------------------------------------------

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

// -- Starting and ending ----------------------------------------------------------

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

Deno.test("Process.close() on a running process is a TypeError", async () => {
  const process = startEndless();
  assertThrows(() => process.close(), TypeError, "running");
  process.kill();
  process.close();
  process.close();
  await assertRejects(() => process.join(), TypeError, "closed");
});

Deno.test("Process.close() before start() makes start() a TypeError", () => {
  const process = new Process({ target: () => 1 });
  process.close();
  assertThrows(() => process.start(), TypeError, "closed");
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

// -- Names ------------------------------------------------------------------------

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

Deno.test("Children are named after their parent, and each thread lists its own", async () => {
  const process = new Process({ target: introduceFamily }).start();
  const family = await within(process.result);
  const { name } = process;
  assertEquals(family.own.name, name);
  assertEquals(family.names, [`${name}:1`, `${name}:2`]);
  assertEquals(family.before, [`${name}:2`, `${name}:1`]);
  assertEquals(family.alive, true);
  assertEquals(family.after, []);
  assertEquals(family.child.current.name, `${name}:1`);
  assertEquals(family.child.parent, family.own);
  const ids = [currentProcess().id, process.id, family.child.current.id];
  assertEquals(new Set(ids).size, 3);
});

Deno.test("activeChildren() lists started, unfinished processes in a new array", async () => {
  const before = activeChildren();
  const first = startEndless();
  const second = startEndless({ daemon: true });
  assertEquals(activeChildren(), [...before, first, second]);
  assertNotStrictEquals(activeChildren(), activeChildren());
  first.kill();
  assertEquals(activeChildren(), [...before, second]);
  second.kill();
  await within(Promise.all([first.join(), second.join()]));
  assertEquals(activeChildren(), before);
});

Deno.test("cpuCount() is a whole number, at least 1", () => {
  assert(Number.isInteger(cpuCount()) && cpuCount() >= 1);
  assertEquals(cpuCount(), navigator.hardwareConcurrency);
});

// -- Arguments and results ----------------------------------------------------------

Deno.test("Process.start() throws a DataCloneError and starts nothing for what cannot be sent", async () => {
  const before = activeChildren();
  for (
    const value of [() => 1, Symbol("s"), new WeakMap(), Promise.resolve()]
  ) {
    const process = new Process({
      target: (_: unknown) => 1,
      args: [{ deep: [value] }],
    });
    const error = assertThrows(() => process.start());
    assertInstanceOf(error, DOMException);
    assertEquals(error.name, "DataCloneError");
    assertEquals(process.isAlive(), false);
    assertStrictEquals(process.exitCode, null);
    await assertRejects(() => process.join(), TypeError);
  }
  assertEquals(activeChildren(), before);
});

Deno.test("Process.start() throws for a transfer list that cannot be moved, and starts nothing", async () => {
  const buffer = new ArrayBuffer(8);
  structuredClone(buffer, { transfer: [buffer] });
  const lists = [
    [buffer],
    [{}],
    [new ArrayBuffer(1)].flatMap((one) => [one, one]),
  ];
  for (const transfer of lists) {
    const process = new Process({
      target: () => 1,
      transfer: transfer as Transferable[],
    });
    let thrown = false;
    try {
      process.start();
    } catch {
      thrown = true;
    }
    if (!thrown) await within(process.join()); // a doubled one may count once
    else assertEquals([process.isAlive(), process.exitCode], [false, null]);
  }
  const process = new Process({
    target: () => 1,
    transfer: [buffer] as Transferable[],
  });
  assertThrows(() => process.start());
});

Deno.test("Arguments arrive as structured clone would deliver them", async () => {
  const cycle: { self?: unknown; list: number[] } = {
    list: [1, , 3] as number[],
  };
  cycle.self = cycle;
  const args = [
    undefined,
    null,
    NaN,
    -0,
    10n ** 30n,
    new Date(5),
    /a/gi,
    new Map<unknown, unknown>([[1, new Set([2])]]),
    new Uint8Array([1, 2, 3]).subarray(1),
    "\ud800",
    JSON.parse('{"__proto__":1}'),
    new RangeError("r"),
    cycle,
  ];
  const process = new Process({
    // deno-lint-ignore no-explicit-any
    target: (...received: any[]) => {
      const last = received.at(-1);
      return {
        received,
        checks: [
          Object.is(received[3], -0),
          received[8] instanceof Uint8Array,
          Object.hasOwn(received[10], "__proto__"),
          received[11] instanceof RangeError,
          last.self === last,
          1 in last.list,
        ],
      };
    },
    args,
  }).start();
  const { received, checks } = await within(process.result);
  assertEquals(checks, [true, true, true, true, true, false]);
  const last = received.pop();
  const sent = args.slice(0, -1);
  assertEquals(received, structuredClone(sent));
  assertStrictEquals(last.self, last);
});

Deno.test("A typed array over a SharedArrayBuffer is shared, nested in a Map and as result", async () => {
  const words = sharedWords();
  const process = new Process({
    target: (map: Map<string, { words: Int32Array }[]>) => {
      const [{ words }] = map.get("list") as [{ words: Int32Array }];
      Atomics.store(words, 3, 33);
      return { back: [words] };
    },
    args: [new Map([["list", [{ words }]]])],
  }).start();
  const { back: [received] } = await within(process.result);
  assertEquals(words[3], 33);
  assertStrictEquals((received as Int32Array).buffer, words.buffer);
});

Deno.test("A Lock in args is the same lock, and comes back as the same object", async () => {
  const lock = new Lock();
  const guard = lock.acquireSync();
  const words = sharedWords();
  const process = new Process({
    target: (
      { locks, words }: { locks: Map<string, Lock>; words: Int32Array },
    ) => {
      const lock = locks.get("it")!;
      const wasLocked = lock.locked;
      Atomics.store(words, 0, 1);
      lock.acquireSync().release();
      return { lock, wasLocked };
    },
    args: [{ locks: new Map([["it", lock]]), words }],
  }).start();
  await reaches(words, 0, 1);
  assertEquals(process.isAlive(), true);
  guard.release();
  const result = await within(process.result);
  assertEquals(result.wasLocked, true);
  assertStrictEquals(result.lock, lock);
});

Deno.test("transfer moves a buffer, and a view of it, to the process", async () => {
  const buffer = new Uint8Array([1, 2, 3, 4]).buffer;
  const view = new Uint8Array(buffer, 1, 2);
  const process = new Process({
    target: (options: { buffer: ArrayBuffer; view: Uint8Array }) => [
      options.buffer.byteLength,
      [...options.view],
      options.view.buffer === options.buffer,
    ],
    args: [{ buffer, view }],
    transfer: [buffer],
  }).start();
  assertEquals(buffer.byteLength, 0);
  assertEquals(await within(process.result), [4, [2, 3], true]);
});

Deno.test("transfer moves a MessagePort that the process can answer through", async () => {
  const { port1, port2 } = new MessageChannel();
  const answered = new Promise((resolve) => {
    port1.onmessage = (event) => resolve(event.data);
  });
  const process = new Process({
    target: (port: MessagePort) => port.postMessage("hello"),
    args: [port2],
    transfer: [port2],
  }).start();
  assertEquals(await within(answered), "hello");
  port1.close();
  await within(process.join());
});

Deno.test("A result that cannot be cloned rejects with an error that says so", async () => {
  const process = new Process({ target: () => ({ f: () => 1 }) }).start();
  const error = await rejection(process.result);
  assertEquals(error.name, "DataCloneError");
  assertInstanceOf(error, DOMException);
  assertStringIncludes(error.message, "result");
  assertEquals(process.exitCode, 1);
});

Deno.test("What the target posts by itself does not disturb its result", async () => {
  const process = new Process({
    target: () => {
      const scope = self as unknown as Worker;
      for (
        const message of [
          null,
          "text",
          1,
          { type: "unknown" },
          { type: "stop", token: 1 },
          {},
        ]
      ) scope.postMessage(message);
      scope.postMessage = () => {};
      return "mine";
    },
  }).start();
  assertEquals(await within(process.result), "mine");
});

// -- Functions ------------------------------------------------------------------------

Deno.test("A function that cannot be sent makes the process fail before any of it runs", async () => {
  const words = sharedWords();
  const outer = 5;
  const process = new Process({
    target: (words: Int32Array) => Atomics.store(words, 0, outer),
    args: [words],
  }).start();
  const error = await rejection(process.result);
  assertInstanceOf(error, TypeError);
  assertStringIncludes(error.message, "outer");
  assertEquals(process.exitCode, 1);
  assertEquals(Atomics.load(words, 0), 0);
});

Deno.test("Bound, native and generator functions are a TypeError", async () => {
  const targets = [
    function () {}.bind(null),
    Math.max,
    function* () {},
    async function* () {},
  ];
  for (const target of targets) {
    const process = new Process({ target: target as () => unknown });
    let error: unknown;
    try {
      error = await rejection(process.start().result);
    } catch (thrown) {
      error = thrown;
    }
    assertInstanceOf(error, TypeError);
  }
});

Deno.test("task() names the target; a missing export and a missing module are told", async () => {
  const url = new URL("./testdata/process_functions.ts", import.meta.url);
  const good = new Process({
    target: task<typeof introduce>(url, "introduce"),
  }).start();
  assertEquals((await within(good.result)).current.name, good.name);
  const lacking = new Process({ target: task(url, "nothing") }).start();
  assertStringIncludes((await rejection(lacking.result)).message, "nothing");
  assertEquals(lacking.exitCode, 1);
  const none = new URL("./testdata/no_such_file.ts", import.meta.url);
  const missing = new Process({ target: task(none, "f") }).start();
  const error = await rejection(missing.result);
  assertStringIncludes(error.message, "no_such_file.ts");
  assertEquals(missing.exitCode, 1);
});

// -- Errors -------------------------------------------------------------------------

Deno.test("An error arrives with class, name, message, data, cause and both stacks", async () => {
  const process = new Process({
    target: function inWorker() {
      throw Object.assign(
        new RangeError("too far", { cause: new SyntaxError("root") }),
        { code: 42, list: [1] },
      );
    },
  });
  function inCaller() {
    process.start();
  }
  inCaller();
  const error = await rejection(process.result) as Error & {
    code: number;
    list: number[];
  };
  assertInstanceOf(error, RangeError);
  assertEquals([error.name, error.message], ["RangeError", "too far"]);
  assertEquals([error.code, error.list], [42, [1]]);
  assertInstanceOf(error.cause, SyntaxError);
  assertEquals(error.cause.message, "root");
  const stack = error.stack!;
  assertStringIncludes(stack, "inWorker");
  assertStringIncludes(stack, "inCaller");
  assert(stack.indexOf("inWorker") < stack.indexOf("inCaller"), stack);
});

Deno.test("AggregateError, DOMException and Deno.errors keep their class", async () => {
  const aggregate = await rejection(
    new Process({
      target: () => {
        throw new AggregateError([new TypeError("one"), 2], "both");
      },
    }).start().result,
  ) as AggregateError;
  assertInstanceOf(aggregate, AggregateError);
  assertInstanceOf(aggregate.errors[0], TypeError);
  assertEquals(aggregate.errors[1], 2);
  const exception = await rejection(
    new Process({
      target: () => {
        throw new DOMException("no", "NotFoundError");
      },
    }).start().result,
  );
  assertInstanceOf(exception, DOMException);
  assertEquals(exception.name, "NotFoundError");
  const missing = await rejection(
    new Process({ target: () => Deno.readTextFile("/no/such/file") }).start()
      .result,
  );
  assertInstanceOf(missing, Deno.errors.NotFound);
});

Deno.test("A user's own error class arrives as its nearest built-in ancestor", async () => {
  const process = new Process({ target: failOrder, args: [12] }).start();
  const error = await rejection(process.result) as Error & { order: number };
  assertInstanceOf(error, RangeError);
  assertEquals(error.name, "OrderError");
  assertEquals([error.message, error.order], ["out of stock", 12]);
});

for (const value of [5, "text", null, undefined, { a: 1 }]) {
  Deno.test(`A target that throws ${Deno.inspect(value)} rejects with a WorkerError around it`, async () => {
    const process = new Process({
      target: (value: unknown) => {
        throw value;
      },
      args: [value],
    }).start();
    const error = await rejection(process.result);
    assertInstanceOf(error, WorkerError);
    assertEquals(error.cause, value);
    assertStrictEquals(error.exitCode, undefined);
    assertEquals(process.exitCode, 1);
  });
}

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

// -- Families --------------------------------------------------------------------------

Deno.test("A process may start processes, and move buffers to them", async () => {
  const doubling = new Process({ target: doubleInChild, args: [21] }).start();
  assertEquals(await within(doubling.result), 42);
  const moving = new Process({ target: moveToChild, args: [64] }).start();
  assertEquals(await within(moving.result), [0, 64]);
});

Deno.test("A process may start processes while the main thread is blocked", () => {
  const words = sharedWords();
  const process = new Process({
    target: async (url: string, words: Int32Array) => {
      const { doubleInChild } = await import(url);
      Atomics.store(words, 0, await doubleInChild(21));
    },
    args: [
      new URL("./testdata/process_functions.ts", import.meta.url).href,
      words,
    ],
  }).start();
  process.joinSync({ timeout: DEADLINE });
  assertEquals(process.exitCode, 0);
  assertEquals(words[0], 42);
});

Deno.test("The children of a process end with it", async () => {
  const words = sharedWords();
  const process = new Process({ target: leaveChild, args: [words] }).start();
  await within(process.join());
  assertEquals(process.exitCode, 0);
  const deadline = performance.now() + DEADLINE;
  let seen = -1;
  while (seen !== words[0]) {
    assert(performance.now() < deadline, "the child still counts");
    seen = words[0]!;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
});

Deno.test("Sixty processes that end at once all give their results", async () => {
  const gate = new Event();
  const arrived = new Semaphore(0);
  const processes = Array.from({ length: 60 }, (_, i) =>
    new Process({
      target: (gate: Event, arrived: Semaphore, i: number) => {
        arrived.release();
        gate.waitSync();
        return i;
      },
      args: [gate, arrived, i],
    }).start());
  for (const _ of processes) await arrived.acquire({ timeout: DEADLINE });
  gate.set();
  const results = await within(Promise.all(processes.map((p) => p.result)));
  assertEquals(results, processes.map((_, i) => i));
});

// -- Locks of the dead --------------------------------------------------------------------

for (const how of ["return", "throw", "exit", "close"] as const) {
  Deno.test(`A lock held by a process that ends by ${how} goes on as abandoned`, async () => {
    await takesLess(1000, async () => {
      const lock = new Lock();
      const words = sharedWords();
      const process = new Process({
        target: endHolding,
        args: [lock, words, how],
      }).start();
      await reaches(words, 0, 1);
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
      const lock = new Lock();
      const words = sharedWords();
      const process = new Process({
        target: endHolding,
        args: [lock, words, "wait"],
        worker,
      }).start();
      await reaches(words, 0, 1);
      const waiting = lock.acquire();
      process[how]();
      using guard = await within(waiting);
      assertEquals(guard.abandoned, true);
    });
  }
}

Deno.test("A blocked main thread gets the lock of a process that has ended", () => {
  const lock = new Lock();
  const words = sharedWords();
  const process = new Process({
    target: endHolding,
    args: [lock, words, "exit"],
  }).start();
  Atomics.wait(words, 0, 0, DEADLINE);
  using guard = lock.acquireSync({ timeout: DEADLINE });
  assertEquals(guard.abandoned, true);
  process.joinSync({ timeout: DEADLINE });
  assertEquals(process.exitCode, 3);
});

Deno.test("A stopped process that still runs keeps its lock until it has really ended", async () => {
  const lock = new Lock();
  const words = sharedWords();
  const process = new Process({
    target: endHolding,
    args: [lock, words, "spin"],
  }).start();
  await reaches(words, 0, 1);
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

// -- What is shown ---------------------------------------------------------------------------

Deno.test("Deno.inspect() of a process tells its name and state", async () => {
  const process = new Process({ target: () => 1, name: "shown" });
  assertStringIncludes(Deno.inspect(process), 'Process "shown"');
  process.start();
  await within(process.join());
  assertEquals(Deno.inspect(process), 'Process "shown" { exitCode: 0 }');
});

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

Deno.test("A result that takes time to be read is no less the result", async () => {
  const process = new Process({ target: makeBarrier }).start();
  const barrier = await within(process.result);
  assertInstanceOf(barrier, Barrier);
  assertEquals(barrier.waitSync(), 0);
});

Deno.test("A process may start after a result for which the main thread imported a module", async () => {
  const first = new Process({ target: makeBarrier }).start();
  await within(first.result);
  // What another thread makes this one run is started by nobody here.
  const { port1, port2 } = new MessageChannel();
  const second = await within(
    new Promise<Process<[], number>>((resolve, reject) => {
      port2.onmessage = () => {
        try {
          resolve(new Process({ target: () => 2 }).start());
        } catch (error) {
          reject(error);
        }
      };
      port1.postMessage(1);
    }).finally(() => port2.close()),
  );
  assertEquals(await within(second.result), 2);
});
