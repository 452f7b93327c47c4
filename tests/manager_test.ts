import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { delay } from "@std/async";
import { HANDLE, type HandleParts } from "../_handle.ts";
import { bury, claimToken } from "../_life.ts";
import { BOXES, ownerOf } from "../_manager_protocol.ts";
import { WorkerError } from "../errors.ts";
import { Event } from "../event.ts";
import { Lock } from "../lock.ts";
import { type DictProxy, Manager, type ObjectProxy } from "../manager.ts";
import { Pool } from "../pool.ts";
import { Process } from "../process.ts";
import { task } from "../task.ts";
import { describe, runSource } from "./_child.ts";
import { rejection, takesLess, within } from "./_within.ts";
import { seeded } from "./_words.ts";
import {
  appendAll,
  countAsync,
  countBoth,
  Counter,
  countTo,
  Gate,
  makeDict,
  managerOfWorker,
  waitForever,
} from "./testdata/manager_classes.ts";

/** Runs a test with a manager, and refuses to wait for ever. */
async function withManager(
  run: (manager: Manager) => Promise<void>,
): Promise<void> {
  await using manager = new Manager();
  await within(run(manager));
}

// -- Dict ------------------------------------------------------------------------

Deno.test("Manager.dict() has the methods of a Map", () =>
  withManager(async (manager) => {
    const dict = await manager.dict<string, number>();
    assertEquals(await dict.size(), 0);
    assertEquals(await dict.set("a", 1), undefined);
    await dict.update([["b", 2], ["c", 3]]);
    await dict.update({ d: 4 });
    assertEquals(await dict.get("b"), 2);
    assertEquals(await dict.get("z"), undefined);
    assertEquals(await dict.has("c"), true);
    assertEquals(await dict.delete("c"), true);
    assertEquals(await dict.delete("c"), false);
    assertEquals(await dict.size(), 3);
    assertEquals(await dict.keys(), ["a", "b", "d"]);
    assertEquals(await dict.values(), [1, 2, 4]);
    assertEquals(await dict.entries(), [["a", 1], ["b", 2], ["d", 4]]);
    assertEquals(
      await dict.snapshot(),
      new Map([["a", 1], ["b", 2], ["d", 4]]),
    );
    assertEquals(await dict.getOrInsert("a", 9), 1);
    assertEquals(await dict.getOrInsert("e", 9), 9);
    assertEquals(await dict.pop("e"), 9);
    assertEquals(dict.sync.pop("e"), undefined);
    await dict.clear();
    assertEquals(await dict.size(), 0);
  }));

Deno.test("Manager.dict() takes pairs, a Map and an object", () =>
  withManager(async (manager) => {
    const pairs = await manager.dict([[1, "a"], [NaN, "b"]]);
    assertEquals(await pairs.get(NaN), "b");
    const map = await manager.dict(new Map([[10n, true]]));
    assertEquals(await map.get(10n), true);
    const object = await manager.dict({ ["__proto__"]: 1, x: 2 });
    assertEquals(await object.keys(), ["__proto__", "x"]);
  }));

Deno.test("DictProxy refuses keys that would never be found again", () =>
  withManager(async (manager) => {
    const dict = await manager.dict<string, number>();
    const key = {} as string;
    for (
      const call of [
        () => dict.set(key, 1),
        () => dict.get(key),
        () => dict.has(key),
        () => dict.delete(key),
        () => dict.update([["a", 1], [key, 2]]),
      ]
    ) await assertRejects(call, TypeError, "must be a primitive value");
    assertEquals(await dict.size(), 0);
  }));

Deno.test("DictProxy behaves as a Map in random operations", () =>
  withManager(async (manager) => {
    const dict = await manager.dict<number, number>();
    const twin = new Map<number, number>();
    const random = seeded(7);
    for (let i = 0; i < 500; i++) {
      const key = random(10);
      switch (random(5)) {
        case 0:
          dict.sync.set(key, i);
          twin.set(key, i);
          break;
        case 1:
          assertEquals(dict.sync.delete(key), twin.delete(key));
          break;
        case 2:
          assertEquals(dict.sync.has(key), twin.has(key));
          break;
        case 3:
          assertEquals(await dict.size(), twin.size);
          break;
        default:
          assertEquals(dict.sync.get(key), twin.get(key));
      }
    }
    assertEquals(await dict.entries(), [...twin]);
  }));

Deno.test("DictProxy gives copies, and iterates over a snapshot", () =>
  withManager(async (manager) => {
    const dict = await manager.dict({ a: [1], b: [2] });
    (await dict.get("a"))!.push(9);
    assertEquals(await dict.get("a"), [1]);
    const seen: string[] = [];
    for (const [key] of await dict.snapshot()) {
      seen.push(key);
      await dict.set(`${key}2`, []);
    }
    assertEquals(seen, ["a", "b"]);
    assertEquals(await dict.size(), 4);
  }));

// -- List and namespace --------------------------------------------------------------

Deno.test("Manager.list() has the methods of an array", () =>
  withManager(async (manager) => {
    const list = await manager.list(new Set([1, 2]));
    assertEquals(await list.push(3, 4), 4);
    assertEquals(await list.unshift(0), 5);
    assertEquals(await list.get(1), 1);
    assertEquals(await list.get(-1), 4);
    assertEquals(await list.get(99), undefined);
    await list.set(-1, 40);
    assertEquals(await list.pop(), 40);
    assertEquals(await list.shift(), 0);
    assertEquals(await list.length(), 3);
    assertEquals(await list.includes(3), true);
    assertEquals(await list.includes(1, 1), false);
    assertEquals(await list.indexOf(3), 2);
    assertEquals(await list.slice(1), [2, 3]);
    assertEquals(await list.slice(), [1, 2, 3]);
    assertEquals(await list.splice(1, 1, 7, 8), [2]);
    assertEquals(await list.snapshot(), [1, 7, 8, 3]);
    assertEquals(await list.splice(1), [7, 8, 3]);
    assertEquals(list.sync.snapshot(), [1]);
    await list.push(10, 9);
    await list.reverse();
    assertEquals(await list.snapshot(), [9, 10, 1]);
    await list.sort();
    assertEquals(await list.snapshot(), [1, 9, 10]);
    const words = await manager.list<string | number>(["b", "a", "B"]);
    words.sync.sort();
    assertEquals(await words.snapshot(), ["B", "a", "b"]);
    await words.push(1);
    await assertRejects(() => words.sort(), TypeError, "Cannot sort list");
    for (const args of [[{ reverse: true }], [0]]) {
      const loose = list as unknown as {
        [name: string]: (...args: unknown[]) => Promise<unknown>;
      };
      await assertRejects(() => loose.sort!(...args), TypeError, "not take");
      await assertRejects(() => loose.pop!(...args), TypeError, "not take");
    }
    await list.push(NaN);
    await assertRejects(() => list.sort(), TypeError, "Cannot sort list");
  }));

Deno.test("ListProxy.set() throws where there is no item", () =>
  withManager(async (manager) => {
    const list = await manager.list(["a"]);
    for (const index of [1, -2, 0.5, NaN]) {
      await assertRejects(() => list.set(index, "b"), RangeError, "index");
    }
    for (const index of [1.5, NaN]) {
      await assertRejects(() => list.get(index), RangeError, "whole number");
    }
    const word = "0" as unknown as number;
    for (const wrong of [list.get(word), list.set(word, "b")]) {
      await assertRejects(() => wrong, TypeError, "string");
    }
    const empty = await manager.list();
    await assertRejects(() => empty.set(0, 1), RangeError, "empty");
  }));

Deno.test("Manager.namespace() keeps properties", () =>
  withManager(async (manager) => {
    const space = await manager.namespace<{ x: number; name?: string }>({
      x: 1,
    });
    await space.set("name", "n");
    assertEquals(await space.get("x"), 1);
    assertEquals(await space.has("toString"), false);
    assertEquals(await space.snapshot(), { x: 1, name: "n" });
    assertEquals(await space.delete("name"), true);
    assertEquals(space.sync.snapshot(), { x: 1 });
  }));

// -- Classes ---------------------------------------------------------------------------

Deno.test("Manager.create() offers the methods of a class, inherited and own", () =>
  withManager(async (manager) => {
    const counter = await manager.create(Counter, [5]);
    const typed: number = await counter.increment();
    assertEquals(typed, 6);
    assertEquals(counter.sync.count(), 6);
    assertEquals(await counter.inherited(), "inherited");
    assertEquals(await counter.doubled(), 12);
    assertEquals(await counter.incrementLater(3), 7);
    assertEquals(counter.sync.incrementLater(3), 8);
    assertEquals("current" in counter, false);
    assertEquals("label" in counter, false);
    assertEquals("then" in counter, false);
  }));

Deno.test("Manager.create() takes a local class, a task() and refuses functions", () =>
  withManager(async (manager) => {
    class Stack {
      readonly items: string[] = [];
      push(item: string) {
        return this.items.push(item);
      }
    }
    const stack = await manager.create(Stack);
    assertEquals(await stack.push("a"), 1);
    const url = import.meta.resolve("./testdata/manager_classes.ts");
    const counter = await manager.create(
      task<typeof Counter>(url, "Counter"),
      [3],
    );
    assertEquals(await counter.count(), 3);
    const arrow = (() => 1) as unknown as new () => object;
    await assertRejects(() => manager.create(arrow), TypeError, "not a class");
    const outer = Math.random();
    class Closure {
      get() {
        return outer;
      }
    }
    await assertRejects(() => manager.create(Closure), TypeError, "outer");
    const text = "Stack" as unknown as new () => object;
    await assertRejects(() => manager.create(text), TypeError, "string");
  }));

Deno.test("Manager rejects with what constructors and methods throw, with both stacks", () =>
  withManager(async (manager) => {
    const text = "5" as unknown as number;
    await assertRejects(
      () => manager.create(Counter, [text]),
      TypeError,
      "Cannot count from that",
    );
    const counter = await manager.create(Counter, [2]);
    const error = await assertRejects(
      async function asyncCaller() {
        await counter.fail("too far");
      },
      RangeError,
      "too far",
    );
    assertEquals(error.cause, { counted: 2 });
    assertStringIncludes(error.stack!, "manager_classes.ts");
    assertStringIncludes(error.stack!, "asyncCaller");
    const thrown = assertThrows(
      function blockingCaller() {
        counter.sync.fail("too far");
      },
      RangeError,
      "too far",
    );
    assertStringIncludes(thrown.stack!, "blockingCaller");
    const wrapped = await assertRejects(() => counter.failLater(), WorkerError);
    assertEquals(wrapped.cause, "just a string");
    assertThrows(() => counter.sync.failLater(), WorkerError);
    await assertRejects(
      () => counter.giveFunction(),
      DOMException,
      "Cannot send the result of Counter.giveFunction",
    );
    assertEquals(await counter.count(), 2);
  }));

Deno.test("Manager keeps proxies in what methods throw, but for what cannot be sent", () =>
  withManager(async (manager) => {
    const counter = await manager.create(Counter);
    const list = await manager.list([1]);
    const check = (error: unknown) => {
      assertInstanceOf(error, RangeError);
      const { proxy, nested, ...rest } = { ...error } as unknown as {
        proxy: unknown;
        nested: unknown[];
      };
      for (const found of [proxy, nested[0], error.cause]) {
        assertStrictEquals(found, list);
      }
      assertEquals(rest, {});
    };
    check(await rejection(counter.failWith(list, true)));
    check(assertThrows(() => counter.sync.failWith(list, true)));
    const wrapped = await rejection(counter.failWith(list, false));
    assertInstanceOf(wrapped, WorkerError);
    assertStrictEquals((wrapped.cause as { proxy: unknown }).proxy, list);
    const worker = new Process({
      target: (c: typeof counter, l: typeof list) => {
        try {
          c.sync.failWith(l, true);
        } catch (error) {
          return (error as { proxy?: unknown }).proxy === l && error;
        }
      },
      args: [counter, list],
    }).start();
    assertStrictEquals((await worker.result as Error).name, "RangeError");
  }));

Deno.test("Manager.create() of a native class says how to make it", () =>
  withManager(async (manager) => {
    const advice = "extend it, as in `class extends Map {}`";
    await assertRejects(() => manager.create(Map), TypeError, advice);
    const map = await manager.create(class extends Map<string, number> {});
    await map.set("a", 1);
    assertEquals(await map.get("a"), 1);
    const max = Math.max as unknown as new () => object;
    await assertRejects(() => manager.create(max), TypeError, "not a class");
  }));

Deno.test("Manager runs the calls of a thread in their order, also if they find no room", () =>
  withManager(async (manager) => {
    const list = await manager.list<number>();
    const bytes = await manager.list<Uint8Array>();
    const pending: Promise<unknown>[] = [];
    for (let i = 0; i < 8; i++) {
      pending.push(bytes.push(new Uint8Array(20 << 20)));
      pending.push(list.push(i));
      pending.push(bytes.pop());
    }
    list.sync.push(8);
    await Promise.all(pending);
    assertEquals(await list.snapshot(), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
  }));

Deno.test("Manager delivers large results, and says when they are too large", () =>
  withManager(async (manager) => {
    const counter = await manager.create(Counter);
    const sizes = await Promise.all(
      Array.from({ length: 6 }, () => counter.big(20 << 20)),
    );
    assertEquals(sizes.map((bytes) => bytes.length), Array(6).fill(20 << 20));
    await assertRejects(() => counter.big(80 << 20), RangeError, "capacity");
    const list = await manager.list<Uint8Array>();
    await assertRejects(
      () => list.push(new Uint8Array(80 << 20)),
      RangeError,
      "capacity",
    );
    assertEquals(await counter.count(), 0);
  }));

// -- Proxies ---------------------------------------------------------------------------

Deno.test("Manager proxies can be put into each other and stay the same object", () =>
  withManager(async (manager) => {
    const inner = await manager.list([1]);
    const outer = await manager.dict<string, unknown>();
    await outer.set("inner", { deep: [inner] });
    const { deep } = await outer.get("inner") as { deep: unknown[] };
    assertStrictEquals(deep[0], inner);
    await outer.set("self", outer);
    assertStrictEquals(outer.sync.get("self"), outer);
    const keyed = await manager.dict<typeof inner, string>([[inner, "list"]]);
    assertEquals(await keyed.get(inner), "list");
    const list = await manager.list<unknown>([outer, inner]);
    assertEquals(await list.indexOf(inner), 1);
    const counter = await manager.create(Counter);
    const numbers = await manager.dict({ a: 1, b: 2 });
    assertEquals(await counter.readDict(numbers), 3);
  }));

Deno.test("Manager proxies found in another thread are the same objects", () =>
  withManager(async (manager) => {
    const inner = await manager.list<string>();
    const outer = await manager.dict({ inner });
    const worker = new Process({
      target: async (dict: typeof outer) => {
        const list = (await dict.get("inner"))!;
        await list.push("from the worker");
        return [list, list === dict.sync.get("inner")] as const;
      },
      args: [outer],
    }).start();
    const [list, same] = await worker.result;
    assertStrictEquals(list, inner);
    assertEquals(same, true);
    assertEquals(await inner.snapshot(), ["from the worker"]);
  }));

Deno.test("Manager refuses other handles and shared memory in the sender", () =>
  withManager(async (manager) => {
    const list = await manager.list<unknown>();
    for (const value of [new Lock(), new SharedArrayBuffer(8)]) {
      await assertRejects(() => list.push([value]), TypeError, "Cannot put a");
      assertThrows(() => list.sync.push(value), TypeError, "Cannot put a");
    }
    await using other = new Manager();
    const foreign = await other.list();
    await assertRejects(() => list.push(foreign), TypeError, "another one");
    await assertRejects(() => list.push(() => {}), DOMException, "cloned");
    assertEquals(await list.length(), 0);
  }));

Deno.test("Manager proxies are no thenables, refuse raw cloning and tell what they are", () =>
  withManager(async (manager) => {
    const dict = await manager.dict({ a: 1 });
    const counter = await manager.create(Counter);
    for (const proxy of [dict, dict.sync, counter, counter.sync]) {
      assertStrictEquals(await (proxy as unknown), proxy);
      assertThrows(() => structuredClone(proxy), DOMException);
      assertThrows(() => structuredClone({ proxy }), DOMException);
      assertEquals(Object.prototype.toString.call(proxy), "[object Object]");
    }
    assertStringIncludes(Deno.inspect(dict), "DictProxy { #1 of Manager-");
    assertStringIncludes(Deno.inspect({ counter }), "CounterProxy {");
    assertStringIncludes(Deno.inspect(counter.sync), "}.sync");
    assertStringIncludes(Deno.inspect(manager), "Manager { running }");
    assertThrows(() => structuredClone(manager), DOMException);
    const missing = counter as unknown as { missing(): Promise<void> };
    assertThrows(() => missing.missing(), TypeError, "missing");
    assertStrictEquals(dict.sync, dict.sync);
  }));

// -- Many threads --------------------------------------------------------------------------

Deno.test("Manager counts what many workers count, blocking and async at once", () =>
  withManager(async (manager) => {
    await using pool = new Pool(3);
    const counter = await manager.create(Counter);
    await Promise.all([
      pool.apply(countTo, [counter, 300]),
      pool.apply(countAsync, [counter, 300]),
      pool.apply(countBoth, [counter, 100]),
      countAsync(counter, 200),
      countBoth(counter, 100),
    ]);
    countTo(counter, 50);
    assertEquals(await counter.count(), 300 + 300 + 200 + 200 + 200 + 50);
  }));

Deno.test("Manager keeps the order of each of several workers", () =>
  withManager(async (manager) => {
    await using pool = new Pool(3);
    const list = await manager.list<string>();
    await Promise.all(
      ["a", "b", "c"].map((name) => pool.apply(appendAll, [list, name, 100])),
    );
    const items = await list.snapshot();
    assertEquals(items.length, 300);
    for (const name of ["a", "b", "c"]) {
      const own = items.filter((item) => item.startsWith(name));
      assertEquals(own, Array.from({ length: 100 }, (_, i) => `${name}${i}`));
    }
  }));

Deno.test("Manager calls wait for a box while all are taken, and take those of dead threads", () =>
  withManager(async (manager) => {
    const counter = await manager.create(Counter);
    const [memory] = (counter as unknown as { [HANDLE](): HandleParts })
      [HANDLE]().parts as [SharedArrayBuffer];
    const control = new Int32Array(memory);
    const other = claimToken();
    const boxes = Array.from({ length: BOXES }, (_, box) => ownerOf(box));
    for (const at of boxes) Atomics.store(control, at, other);
    let done = 0;
    const calls = [1, 2, 3].map(async (n) => {
      assertEquals(await counter.increment(), n);
      done++;
    });
    await delay(20);
    assertEquals(done, 0);
    Atomics.store(control, boxes[5]!, 0);
    await Promise.all(calls);
    // A blocking call finds the others' thread dead.
    Atomics.store(control, boxes[5]!, other);
    bury(other);
    assertEquals(counter.sync.increment(), 4);
    assertEquals(await counter.increment(), 5);
  }));

Deno.test("Manager serves one worker after the other", () =>
  withManager(async (manager) => {
    const counter = await manager.create(Counter);
    await using pool = new Pool({ processes: 2, maxTasksPerChild: 5 });
    await pool.map(
      (c: ObjectProxy<Counter>) => c.sync.increment(),
      Array(30).fill(counter),
      { chunkSize: 1 },
    );
    assertEquals(await counter.count(), 30);
  }));

Deno.test("Manager goes on when a worker dies with calls under way", () =>
  withManager(async (manager) => {
    const counter = await manager.create(Counter);
    const ready = new Event();
    const workers = Array.from({ length: 3 }, () =>
      new Process({
        target: async (c: ObjectProxy<Counter>, ready: Event) => {
          c.never().catch(() => {});
          for (let i = 0;; i++) {
            await c.increment();
            if (i === 20) ready.set();
          }
        },
        args: [counter, ready],
      }).start());
    await ready.wait();
    for (const worker of workers) worker.kill();
    await Promise.all(workers.map((worker) => worker.join()));
    const before = await counter.count();
    countTo(counter, 100);
    assert(counter.sync.count() >= before + 100);
  }));

Deno.test("Manager can be sent, so that workers can make objects", () =>
  withManager(async (manager) => {
    await using pool = new Pool(1);
    const dict: DictProxy<string, string> = await pool.apply(
      makeDict,
      [manager, "made there"],
    );
    assertEquals(await dict.get("name"), "made there");
  }));

Deno.test("Manager that was sent and comes back is the same object", () =>
  withManager(async (manager) => {
    await using pool = new Pool(1);
    assertStrictEquals(
      await pool.apply((m: Manager) => m, [manager]),
      manager,
    );
  }));

Deno.test("Manager of a worker can be used from here until that worker ends", async () => {
  const pool = new Pool(1);
  try {
    const dict = await within(pool.apply(managerOfWorker));
    assertEquals(await within(dict.get("a")), 1);
    assertEquals(dict.sync.size(), 1);
    pool.terminate();
    await assertRejects(
      () =>
        within((async () => {
          while (true) {
            await dict.get("a");
            await delay(5);
          }
        })()),
      WorkerError,
    );
  } finally {
    pool.terminate();
  }
});

// -- The end -------------------------------------------------------------------------------

Deno.test("Manager that was disposed rejects all calls, pending ones too, here and elsewhere", async () => {
  const manager = new Manager();
  const counter = await within(manager.create(Counter));
  const elsewhere = new Process({
    target: waitForever,
    args: [counter],
  }).start();
  const pending = counter.never();
  pending.catch(() => {});
  while (counter.sync.count() < 1) counter.sync.increment();
  manager.shutdown();
  manager.shutdown();
  const error = await assertRejects(
    () => within(pending),
    WorkerError,
    "disposed",
  );
  assertEquals(error.exitCode, -15);
  await assertRejects(() => within(counter.count()), WorkerError, "disposed");
  assertThrows(() => counter.sync.count(), WorkerError, "disposed");
  await assertRejects(() => within(manager.dict()), WorkerError, "disposed");
  assertStringIncludes(
    await within(elsewhere.result),
    "WorkerError: Cannot call Counter.",
  );
  assertStringIncludes(Deno.inspect(counter), "gone");
  assertStringIncludes(Deno.inspect(manager), "gone");
});

Deno.test("`await using` of a manager waits for the calls this thread has made", async () => {
  let calls: Promise<PromiseSettledResult<unknown>[]>;
  const bytes = new Uint8Array(20 << 20);
  await within((async () => {
    await using manager = new Manager();
    const counter = await manager.create(Counter);
    const list = await manager.list<Uint8Array>();
    calls = Promise.allSettled([
      counter.incrementLater(100),
      counter.fail("its own"),
      manager.create(Counter),
      // Together they find no room.
      ...Array.from({ length: 6 }, () => list.push(bytes)),
    ]);
  })());
  const settled = await within(calls!);
  const [later, failed, created, ...lengths] = settled.map((result) =>
    result.status === "fulfilled" ? result.value : result.reason
  );
  assertEquals(later, 1);
  assertInstanceOf(failed, RangeError);
  assertEquals(failed.message, "its own");
  assertStringIncludes(Deno.inspect(created), "gone");
  assertEquals(lengths, [1, 2, 3, 4, 5, 6]);
});

Deno.test("Manager that is being disposed refuses further calls, and lets those of others through", async () => {
  const manager = new Manager();
  const gate = await within(manager.create(Gate));
  const waiting = Promise.allSettled([gate.wait()]);
  const disposed = manager[Symbol.asyncDispose]();
  const state = "is being disposed";
  await assertRejects(() => within(gate.open("x")), TypeError, state);
  await assertRejects(() => within(manager.list()), TypeError, state);
  assertThrows(() => gate.sync.open("x"), TypeError, state);
  const worker = new Process({
    target: (g: typeof gate) => g.open("from the worker"),
    args: [gate],
  }).start();
  assertEquals(await within(waiting), [
    { status: "fulfilled", value: "from the worker" },
  ]);
  await within(disposed);
  await within(worker.join());
  await assertRejects(() => within(manager.list()), WorkerError, "disposed");
});

Deno.test("Manager whose disposal waits in vain can be shut down", async () => {
  const manager = new Manager();
  const counter = await within(manager.create(Counter));
  const pending = counter.never();
  const disposed = manager[Symbol.asyncDispose]();
  manager.shutdown();
  await assertRejects(() => within(pending), WorkerError, "disposed");
  await within(disposed);
  await within(manager[Symbol.asyncDispose]());
});

Deno.test("Manager whose server ends while it is being disposed, or has ended, is disposed", async () => {
  const manager = new Manager();
  const counter = await within(manager.create(Counter));
  const settled = Promise.allSettled([counter.never(), counter.exit(3)]);
  await within(manager[Symbol.asyncDispose]());
  for (const result of await within(settled)) {
    assert(result.status === "rejected");
    assertInstanceOf(result.reason, WorkerError);
    assertEquals(result.reason.exitCode, 3);
  }
  await within(manager[Symbol.asyncDispose]());
  await assertRejects(() => manager.list(), WorkerError, "has ended");
});

Deno.test("Manager that was never used can be disposed", async () => {
  const manager = new Manager();
  assertStringIncludes(Deno.inspect(manager), "not started");
  manager.shutdown();
  await assertRejects(() => manager.list(), WorkerError, "disposed");
  await within(new Manager()[Symbol.asyncDispose]());
});

Deno.test("Manager whose server has ended rejects all calls with its exit code", async () => {
  const manager = new Manager();
  const counter = await within(manager.create(Counter));
  const elsewhere = new Process({
    target: waitForever,
    args: [counter],
  }).start();
  const pending = counter.never();
  const error = await assertRejects(
    () => within(counter.exit(3)),
    WorkerError,
    "server has ended",
  );
  assertEquals(error.exitCode, 3);
  await assertRejects(() => within(pending), WorkerError);
  await assertRejects(() => within(manager.dict()), WorkerError);
  assertStringIncludes(await within(elsewhere.result), "WorkerError");
});

Deno.test("Manager whose server ends is noticed by a blocked thread, too", async () => {
  await takesLess(2000, async () => {
    const manager = new Manager();
    const counter = await within(manager.create(Counter));
    const before = performance.now();
    assertThrows(() => counter.sync.exit(4), WorkerError, "has ended");
    return performance.now() - before;
  });
});

Deno.test("Manager does not keep the program alive, pending calls do", async () => {
  const result = await runSource(
    `
    import { Manager } from "@parallel/multiprocessing/manager";
    const manager = new Manager();
    class Slow {
      async get() {
        await new Promise((resolve) => setTimeout(resolve, 100));
        return "slow";
      }
    }
    const slow = await manager.create(Slow);
    slow.get().then(console.log);
  `,
  );
  assertEquals(result.stdout, "slow\n", describe(result));
  assertEquals(result.code, 0, describe(result));
});

Deno.test("Manager works in an unguarded script and from a blocked main thread", async () => {
  const result = await runSource(
    `
    import { Manager } from "@parallel/multiprocessing/manager";
    import { Process } from "@parallel/multiprocessing/process";
    const manager = new Manager();
    const list = await manager.list<number>();
    const workers = [1, 2, 3].map((n) =>
      new Process({
        target: (l: typeof list, n: number) => { l.sync.push(n); },
        args: [list, n],
      }).start()
    );
    for (const worker of workers) worker.joinSync();
    console.log(list.sync.snapshot().sort());
  `,
  );
  assertEquals(result.stdout, "[ 1, 2, 3 ]\n", describe(result));
});

Deno.test("Manager refuses to start while a module is imported for a worker", async () => {
  const result = await runSource(
    `
    import { Manager } from "@parallel/multiprocessing/manager";
    import { Process } from "@parallel/multiprocessing/process";
    const factor = 2;
    export function scale(n: number) { return n * factor; }
    const manager = new Manager();
    await manager.list();
    const worker = new Process({ target: scale, args: [2] }).start();
    await worker.result.catch((error) => console.log(error.message));
  `,
  );
  const text = describe(result);
  assertStringIncludes(result.stdout, "Cannot start a manager while", text);
});

Deno.test("Manager.dict() takes other keys than those it is made with", () =>
  withManager(async (manager) => {
    const dict = await manager.dict([["a", 1]]);
    const same: DictProxy<string, number> = dict;
    await same.set("b", 2);
    await dict.set("c", 3);
    const byNumber = await manager.dict([[1, "a"]]);
    await byNumber.set(2, "b");
    assertEquals(await dict.keys(), ["a", "b", "c"]);
    assertEquals(await byNumber.size(), 2);
  }));

Deno.test("Manager refuses contents that its objects cannot have", () =>
  withManager(async (manager) => {
    const make = manager as unknown as Record<string, (v: unknown) => unknown>;
    for (
      const [kind, values] of [
        ["dict", [5, null, "ab", [1], () => 1]],
        ["list", [5, null, { length: 1 }, () => 1]],
        ["namespace", [5, null, "ab", () => 1]],
      ] as const
    ) {
      for (const value of values) {
        const error = await rejection(
          Promise.resolve(make[kind]!.call(manager, value)),
        );
        assertInstanceOf(error, TypeError);
        assertStringIncludes(error.message, `Cannot create ${kind}: `);
      }
    }
    assertEquals(await (await manager.list("ab")).snapshot(), ["a", "b"]);
  }));

Deno.test("WorkerError of a manager is the exported class", () =>
  withManager(async (manager) => {
    const list = await manager.list();
    manager.shutdown();
    assertInstanceOf(await list.get(0).catch((error) => error), WorkerError);
  }));

Deno.test("Manager answers all calls of a thread whose replies together find no room", async () => {
  await using manager = new Manager();
  const list = await manager.list([new Uint8Array(5_000_000)]);
  for (let round = 0; round < 4; round++) {
    const calls = Array.from({ length: 24 }, () => list.get(0));
    const replies = await within(Promise.all(calls));
    assert(replies.every((reply) => reply!.length === 5_000_000));
  }
});
