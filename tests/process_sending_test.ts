// What goes to a process and comes back: functions, arguments and results.

import {
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { Barrier } from "../barrier.ts";
import { Lock } from "../lock.ts";
import { activeChildren, Process } from "../process.ts";
import { task } from "../task.ts";
import { reaches, rejection, within } from "./_within.ts";
import { sharedWords } from "./_words.ts";
import { type introduce, makeBarrier } from "./testdata/process_functions.ts";

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

// -- Arguments ------------------------------------------------------------------------

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

// -- Results --------------------------------------------------------------------------

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
