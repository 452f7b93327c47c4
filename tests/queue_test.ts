import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { HANDLE } from "../_handle.ts";
import { bury, claimToken } from "../_life.ts";
import { Lock } from "../lock.ts";
import { Pool } from "../pool.ts";
import { Process } from "../process.ts";
import {
  JoinableQueue,
  Queue,
  QueueClosedError,
  SimpleQueue,
} from "../queue.ts";
import { runSource } from "./_child.ts";
import { Peer } from "./_ring_peers.ts";
import { DEADLINE, reaches, until, within } from "./_within.ts";
import { sharedWords } from "./_words.ts";
import type { Item } from "./testdata/ring_scenarios.ts";

function headerOf(queue: Queue<unknown>): Int32Array {
  const memory = queue[HANDLE]().parts[0] as SharedArrayBuffer;
  return new Int32Array(memory, 0, 160);
}

// -- One thread ---------------------------------------------------------------

Deno.test("Queue tells -0 from 0", () => {
  const queue = new Queue<number>();
  queue.putSync(-0);
  assertStrictEquals(Object.is(queue.getSync(), -0), true);
});

Deno.test("new Queue() refuses bad limits", () => {
  for (const bad of [-1, 1.5, NaN, Infinity, 2 ** 31]) {
    assertThrows(() => new Queue(bad), RangeError, "maxSize");
    assertThrows(() => new Queue({ maxSize: bad }), RangeError, "maxSize");
  }
  for (const bad of [-1, 0, 1.5, NaN, 2 ** 31]) {
    assertThrows(
      () => new Queue({ byteCapacity: bad }),
      RangeError,
      "byteCapacity",
    );
  }
  for (const bad of ["1", null, true, 1n]) {
    assertThrows(() => new Queue(bad as unknown as number), TypeError);
    assertThrows(
      () => new Queue({ maxSize: bad as unknown as number }),
      TypeError,
    );
  }
});

Deno.test("Queue.put() refuses what cannot travel and goes on", async () => {
  const queue = new Queue<unknown>();
  for (
    const [bad, error] of [
      [() => {}, DOMException],
      [{ deep: [Symbol("s")] }, DOMException],
      [new Lock(), TypeError],
      [{ inside: new Queue() }, TypeError],
      [new SharedArrayBuffer(8), TypeError],
      [[new Int32Array(new SharedArrayBuffer(8))], TypeError],
    ] as const
  ) {
    await assertRejects(() => queue.put(bad), error);
    assertThrows(() => queue.putSync(bad), error);
    assertThrows(() => queue.tryPut(bad), error);
  }
  const thrown = await assertRejects(() => queue.put(() => {}), DOMException);
  assertEquals(thrown.name, "DataCloneError");
  assertEquals(queue.size, 0);
  queue.putSync("fine");
  assertEquals(queue.getSync(), "fine");
});

Deno.test("Queue.put() may run into itself through a getter", () => {
  const queue = new Queue<unknown>();
  queue.putSync({
    get inner() {
      queue.putSync({ first: true });
      return 1;
    },
  });
  assertEquals(queue.getSync(), { first: true });
  assertEquals(queue.getSync(), { inner: 1 });
});

Deno.test("Queue limits the bytes it holds", async () => {
  const queue = new Queue<Uint8Array>({ byteCapacity: 100_000 });
  await queue.put(new Uint8Array(100_000));
  assertEquals(queue.tryPut(new Uint8Array(10)), false);
  await assertRejects(
    () => queue.put(new Uint8Array(100_200)),
    RangeError,
    "100000",
  );
  assertThrows(() => queue.tryPut(new Uint8Array(200_000)), RangeError);
  assertEquals((await queue.get()).length, 100_000);
  for (let i = 0; i < 9; i++) assert(queue.tryPut(new Uint8Array(10_000)));
  assertEquals(queue.tryPut(new Uint8Array(20_000)), false);
  assertEquals(queue.full(), false);
});

Deno.test("Queue carries items of many MiB", async () => {
  const queue = new Queue<unknown>();
  const big = new Float64Array(1 << 20).map((_, i) => i);
  const text = "ä".repeat(3 << 20);
  await queue.put({ big, text });
  const got = await queue.get() as { big: Float64Array; text: string };
  assertEquals(got.big.length, 1 << 20);
  assertEquals(got.big[777_777], 777_777);
  assertStrictEquals(got.text === text, true);
});

Deno.test("Queue.put() copies at once, also if it has to wait", async () => {
  const queue = new Queue<{ n: number; bytes: Uint8Array }>(1);
  const item = { n: 1, bytes: new Uint8Array(50_000).fill(1) };
  await queue.put(item);
  const waiting = queue.put(item);
  item.n = 2;
  item.bytes.fill(2);
  await queue.get();
  await waiting;
  const got = await queue.get();
  assertEquals(got.n, 1);
  assert(got.bytes.every((b) => b === 1));
});

Deno.test("Queue serves the waits of a thread in order", async () => {
  const queue = new Queue<number>(1);
  const got: Promise<number>[] = [];
  for (let i = 0; i < 5; i++) got.push(queue.get());
  for (let i = 0; i < 5; i++) await queue.put(i);
  assertEquals(await Promise.all(got), [0, 1, 2, 3, 4]);

  const put: Promise<void>[] = [];
  for (let i = 0; i < 5; i++) put.push(queue.put(i));
  const order: number[] = [];
  for (let i = 0; i < 5; i++) order.push(await queue.get());
  await Promise.all(put);
  assertEquals(order, [0, 1, 2, 3, 4]);
});

Deno.test("Queue waits run out of time and take nothing", async () => {
  const queue = new Queue<number>(1);
  for (const timeout of [0, 5]) {
    const error = await assertRejects(
      () => queue.get({ timeout }),
      DOMException,
    );
    assertEquals(error.name, "TimeoutError");
    assertThrows(() => queue.getSync({ timeout }), DOMException, "timed out");
  }
  await queue.put(1);
  for (const timeout of [0, 5]) {
    await assertRejects(
      () => queue.put(2, { timeout }),
      DOMException,
      "timed out",
    );
    assertThrows(
      () => queue.putSync(2, { timeout }),
      DOMException,
      "timed out",
    );
  }
  assertEquals(await queue.get({ timeout: 0 }), 1);
  await queue.put(3, { timeout: 0 });
  assertEquals(queue.getSync({ timeout: 0 }), 3);
  for (const timeout of [-1, NaN]) {
    await assertRejects(() => queue.get({ timeout }), RangeError);
    await assertRejects(() => queue.put(1, { timeout }), RangeError);
    assertThrows(() => queue.putSync(1, { timeout }), RangeError);
    assertThrows(() => queue.getSync({ timeout }), RangeError);
  }
  const timeout = "1" as unknown as number;
  await assertRejects(() => queue.put(1, { timeout }), TypeError);
  assertEquals(queue.size, 0);
});

Deno.test("Queue waits are aborted and take nothing", async () => {
  const queue = new Queue<number>(1);
  const reason = new Error("enough");
  const controller = new AbortController();
  const { signal } = controller;
  const aborted = queue.get({ signal });
  const later = queue.get();
  controller.abort(reason);
  assertStrictEquals(await aborted.catch((error) => error), reason);
  await queue.put(1);
  assertEquals(await later, 1);
  // Also where nothing would have to wait.
  assertStrictEquals(
    await queue.put(1, { signal }).catch((error) => error),
    reason,
  );
  assertEquals(queue.size, 0);
  await queue.put(2);
  assertStrictEquals(await queue.get({ signal }).catch((e) => e), reason);
  assertEquals(queue.size, 1);
});

Deno.test("Queue.close() ends puts at once and gets when drained", async () => {
  const queue = new Queue<number>(2);
  await queue.put(1);
  await queue.put(2);
  const waiting = queue.put(3);
  queue.close();
  queue.close();
  await assertRejects(() => waiting, QueueClosedError);
  await assertRejects(() => queue.put(4), QueueClosedError);
  assertThrows(() => queue.putSync(4), QueueClosedError);
  assertEquals(queue.tryPut(4), false);
  assertEquals(queue.getSync(), 1);
  assertEquals(queue.tryGet(), { state: "ok", value: 2 });
  assertEquals(queue.tryGet(), { state: "closed" });
  const error = await assertRejects(() => queue.get(), QueueClosedError);
  assertEquals(error.name, "QueueClosedError");
  assertThrows(() => queue.getSync(), QueueClosedError);
});

Deno.test("Queue iteration shares the items and ends with the queue", async () => {
  const queue = new Queue<number>();
  const left: number[] = [];
  const right: number[] = [];
  const loops = [left, right].map(async (list) => {
    for await (const item of queue) list.push(item);
  });
  for (let i = 0; i < 100; i++) await queue.put(i);
  queue.close();
  await Promise.all(loops);
  assertEquals([...left, ...right].sort((a, b) => a - b), [
    ...Array(100).keys(),
  ]);
});

Deno.test("Queue iteration left early leaves the rest", async () => {
  const queue = new Queue<number>();
  for (let i = 0; i < 3; i++) queue.putSync(i);
  for await (const item of queue) {
    if (item === 1) break;
  }
  assertEquals(queue.size, 1);
});

Deno.test("Queue loops let timers run", async () => {
  const queue = new Queue<number>();
  let fired = false;
  setTimeout(() => fired = true, 1);
  const deadline = performance.now() + DEADLINE;
  while (!fired && performance.now() < deadline) {
    await queue.put(1);
    await queue.get();
  }
  assert(fired);
});

Deno.test("Queue tells its state and refuses raw clones", () => {
  const queue = new Queue(10);
  queue.tryPut(1);
  queue.tryPut(2);
  assertEquals(
    Deno.inspect(queue),
    "Queue { size: 2, maxSize: 10, closed: false }",
  );
  assertThrows(() => structuredClone(queue), DOMException);
  assertThrows(() => structuredClone([{ queue }]), DOMException);
  assertEquals(
    Deno.inspect(new JoinableQueue()),
    "JoinableQueue { size: 0, maxSize: 0, closed: false }",
  );
  assertEquals(
    Deno.inspect(new SimpleQueue()),
    "SimpleQueue { size: 0, closed: false }",
  );
});

Deno.test("Queue goes on when a worker died in the middle of a put or get", async () => {
  const queue = new Queue<string>();
  const words = headerOf(queue);
  for (const lock of [16, 48]) {
    const token = claimToken();
    Atomics.store(words, lock, token);
    bury(token);
    await queue.put("item", { timeout: DEADLINE });
    assertEquals(await queue.get({ timeout: DEADLINE }), "item");
  }
});

// -- Several threads ------------------------------------------------------------

interface Mix {
  producers: boolean[];
  consumers: boolean[];
  count: number;
  options: { maxSize?: number; byteCapacity?: number };
}

async function stress(mix: Mix): Promise<void> {
  const { producers, consumers, count, options } = mix;
  const queue = new Queue<Item>(options);
  const seen = new Uint8Array(
    new SharedArrayBuffer(producers.length * count),
  );
  const peers: Peer[] = [];
  try {
    const taking = consumers.map((blocking) => {
      const peer = new Peer("consume", [queue, seen, count, blocking]);
      peers.push(peer);
      return peer.done;
    });
    const putting = producers.map((blocking, i) => {
      const peer = new Peer("produce", [queue, i, count, blocking]);
      peers.push(peer);
      return peer.done;
    });
    await within(Promise.all(putting), Deno.inspect(queue));
    queue.close();
    const wrong = await within(Promise.all(taking), Deno.inspect(queue));
    assertEquals(wrong.flat(), []);
    assert(seen.every((n) => n === 1));
    assertEquals(queue.size, 0);
  } finally {
    for (const peer of peers) peer.kill();
  }
}

Deno.test("Queue loses and doubles nothing between workers", async (t) => {
  const mixes: Record<string, Mix> = {
    "one to one": {
      producers: [true],
      consumers: [true],
      count: 20_000,
      options: {},
    },
    "one to one, async, in little room": {
      producers: [false],
      consumers: [false],
      count: 3000,
      options: { byteCapacity: 2000 },
    },
    "two to one": {
      producers: [true, false],
      consumers: [false],
      count: 5000,
      options: { maxSize: 10 },
    },
    "two to two, blocking and not": {
      producers: [true, false],
      consumers: [true, false],
      count: 5000,
      options: { maxSize: 100 },
    },
    "two to two, in little room": {
      producers: [true, true],
      consumers: [true, true],
      count: 3000,
      options: { byteCapacity: 700 },
    },
  };
  for (const [name, mix] of Object.entries(mixes)) {
    await t.step(name, () => stress(mix));
  }
});

Deno.test("Queue.close() reaches those who wait in other workers", async () => {
  const queue = new Queue<unknown>(1);
  const waiting = sharedWords();
  using getter = new Peer("getOne", [queue, waiting]);
  const here = queue.get();
  await reaches(waiting, 0, 1);
  queue.close();
  assertEquals(await within(getter.done), "QueueClosedError");
  await assertRejects(() => here, QueueClosedError);

  const full = new Queue<unknown>(1);
  full.putSync("first");
  using putter = new Peer("putOne", [full, waiting]);
  await reaches(waiting, 0, 2);
  full.close();
  assertEquals(await within(putter.done), "QueueClosedError");
  assertEquals(full.getSync(), "first");
});

Deno.test("Queue wakes a worker blocked in it, and is woken by it", async () => {
  const queue = new Queue<unknown>(1);
  const waiting = sharedWords();
  using getter = new Peer("getOne", [{ nested: queue }.nested, waiting]);
  await reaches(waiting, 0, 1);
  queue.putSync("hello");
  assertEquals(await within(getter.done), "hello");
  queue.putSync("first");
  using putter = new Peer("putOne", [queue, waiting]);
  await reaches(waiting, 0, 2);
  assertEquals(queue.getSync(), "first");
  assertEquals(queue.getSync({ timeout: DEADLINE }), "late");
  assertEquals(await within(putter.done), "put");
});

Deno.test("Queue survives workers that are killed at work", async () => {
  const count = 20_000;
  const queue = new Queue<Item>({ byteCapacity: 5000 });
  const seen = new Uint8Array(new SharedArrayBuffer(3 * count));
  const doomed = [
    new Peer("produce", [queue, 0, count, false]),
    new Peer("consume", [queue, seen, count, false]),
  ];
  using producer = new Peer("produce", [queue, 1, count, true]);
  using consumer = new Peer("consume", [queue, seen, count, true]);
  const sum = (from: number, to: number) =>
    seen.subarray(from, to).reduce((n, times) => n + times, 0);
  await until(() => sum(0, count) >= 50);
  await within(Promise.all(doomed.map((peer) => peer.killAtWork())));
  await within(producer.done, Deno.inspect(queue));
  queue.close();
  assertEquals(await within(consumer.done, Deno.inspect(queue)), []);
  assertEquals(queue.size, 0);
  assert(seen.every((times) => times <= 1));
  // The killed consumer may have taken one item and not told of it.
  assert(sum(count, 2 * count) >= count - 1);
});

// -- JoinableQueue ----------------------------------------------------------------

Deno.test("JoinableQueue.taskDone() once too often is a RangeError", () => {
  const queue = new JoinableQueue<number>();
  assertInstanceOf(queue, Queue);
  assertThrows(() => queue.taskDone(), RangeError);
  queue.putSync(1);
  queue.putSync(2);
  queue.taskDone();
  queue.taskDone();
  assertThrows(() => queue.taskDone(), RangeError);
});

Deno.test("JoinableQueue.join() waits for what is left, also after close()", async () => {
  const queue = new JoinableQueue<number>();
  await queue.join();
  queue.joinSync({ timeout: 0 });
  queue.putSync(1);
  queue.putSync(2);
  await assertRejects(() => queue.join({ timeout: 5 }), DOMException);
  assertThrows(() => queue.joinSync({ timeout: 5 }), DOMException);
  queue.close();
  const joined = queue.join();
  assertEquals(queue.getSync() + queue.getSync(), 3);
  queue.taskDone();
  await assertRejects(() => queue.join({ timeout: 5 }), DOMException);
  queue.taskDone();
  await within(joined);
});

Deno.test("JoinableQueue.join() waits for work that is still arriving", async () => {
  const queue = new JoinableQueue<number>();
  const sum = sharedWords();
  using _a = new Peer("work", [queue, sum]);
  using _b = new Peer("work", [queue, sum]);
  for (let i = 0; i < 200; i++) queue.putSync(3000 + i % 7);
  await within(queue.join());
  const expected = [...Array(200).keys()].reduce((s, i) => s + i % 7, 0);
  // A task of 3004 becomes one of 2004, that one of 1004, and that one of 4.
  assertEquals(sum[0], 4 * expected);
  assert(queue.empty());
  for (let i = 0; i < 100; i++) queue.putSync(500);
  queue.joinSync({ timeout: DEADLINE });
  assertEquals(sum[0], 4 * expected + 50_000);
  queue.close();
  await within(Promise.all([_a.done, _b.done]));
});

Deno.test("JoinableQueue.join() does not wait for a put that a death undid", async () => {
  const queue = new JoinableQueue<number>();
  const words = headerOf(queue);
  const token = claimToken();
  words[16] = token; // PUT_LOCK
  words[23] = words[20]!; // PUT_WAS = PUT
  words[22] = words[32]! + 1; // PUT_TO = TAIL + 1
  words[20] = words[20]! + 1; // PUT
  bury(token);
  await within(queue.join());
  assertThrows(() => queue.taskDone(), RangeError);
});

// -- SimpleQueue --------------------------------------------------------------------

Deno.test("SimpleQueue puts and gets", async () => {
  const queue = new SimpleQueue<unknown>();
  assert(queue.empty());
  await queue.put({ a: 1 });
  queue.putSync("b");
  assert(!queue.empty());
  assertEquals(queue.getSync(), { a: 1 });
  assertEquals(await queue.get(), "b");
  await assertRejects(() => queue.get({ timeout: 1 }), DOMException);
  queue.close();
  await assertRejects(() => queue.put(1), QueueClosedError);
  assertThrows(() => queue.getSync(), QueueClosedError);
});

Deno.test("queues arrive as what they are", async () => {
  for (const queue of [new SimpleQueue(), new JoinableQueue(), new Queue()]) {
    const waiting = sharedWords();
    using peer = new Peer("getOne", [queue, waiting]);
    queue.putSync("seen");
    assertEquals(await within(peer.done), "seen");
  }
});

Deno.test("Queue lets no put that does not wait overtake those of its thread that do", async () => {
  for (const items of [[1, 2, 3], ["a", "b", "c"]]) {
    const queue = new Queue<unknown>(1);
    queue.putSync(items[0]);
    const second = queue.put(items[1]);
    assertEquals(queue.getSync(), items[0]);
    assertEquals(queue.tryPut(items[2]), false);
    const third = queue.put(items[2], { timeout: 0 });
    await assertRejects(() => within(third), DOMException, "timed out");
    await within(second);
    assertEquals(queue.tryPut(items[2]), false);
    assertEquals(queue.getSync(), items[1]);
    assertEquals(queue.tryPut(items[2]), true);
    assertEquals(queue.getSync(), items[2]);
  }
});

Deno.test("A blocking put comes after the async puts of its thread that wait", async () => {
  for (const items of [[1, 2, 3, 4], ["a", "b", "c", "d"]]) {
    const full = new Queue<unknown>(1);
    full.putSync(items[0]);
    const waiting = [full.put(items[1]), full.put(items[2])];
    // Behind those, it may put what they are to put, but not itself.
    assertThrows(
      () => full.putSync(items[3], { timeout: 0 }),
      DOMException,
      "timed out",
    );
    assertEquals(full.getSync(), items[0]);
    assertThrows(() => full.putSync(items[3], { timeout: 0 }), DOMException);
    const got = new Process({
      target: (queue: Queue<unknown>, count: number) =>
        Array.from({ length: count }, () => queue.getSync()),
      args: [full, 3],
    }).start();
    full.putSync(items[3], { timeout: DEADLINE });
    assertEquals(await within(got.result), items.slice(1));
    await within(Promise.all(waiting));
  }
});

Deno.test("A small item that is put blocking does not overtake a large one that waits for room", async () => {
  const queue = new Queue<string>({ byteCapacity: 1000 });
  queue.putSync("1".repeat(600));
  const second = queue.put("2".repeat(600));
  assertThrows(() => queue.putSync("3", { timeout: 0 }), DOMException);
  queue.getSync();
  queue.putSync("3");
  assertEquals([queue.getSync()[0], queue.getSync()], ["2", "3"]);
  await within(second);
});

Deno.test("A blocking put behind others that wait learns of the end", async () => {
  const queue = new Queue<number>(1);
  queue.putSync(1);
  const second = queue.put(2);
  queue.close();
  assertThrows(() => queue.putSync(3), QueueClosedError);
  await assertRejects(() => within(second), QueueClosedError);
});

Deno.test("Queue goes on after an item whose getter has aborted its put", async () => {
  const queue = new Queue<unknown>(1);
  queue.putSync(0);
  const controller = new AbortController();
  const item = {
    get x(): number {
      controller.abort();
      return 1;
    },
  };
  const put = queue.put(item, { signal: controller.signal });
  await assertRejects(() => within(put), DOMException);
  assertEquals(queue.getSync(), 0);
  queue.putSync(1, { timeout: 0 });
  assertEquals(queue.getSync(), 1);
});

Deno.test("Queue goes on after a wait with a signal that is none, or fails", async () => {
  const queue = new Queue<number>(1);
  queue.putSync(1);
  const half = { aborted: false, throwIfAborted() {} } as AbortSignal;
  await assertRejects(
    () => queue.put(2, { signal: half }),
    TypeError,
    "signal",
  );
  const failing = {
    ...half,
    throwIfAborted() {},
    addEventListener() {
      throw new Error("no");
    },
  } as unknown as AbortSignal;
  await assertRejects(() => queue.put(2, { signal: failing }), Error, "no");
  assertEquals(queue.getSync(), 1);
  assert(queue.tryPut(3));
});

Deno.test("Queue refuses an item that can never fit at once, also behind puts that wait", async () => {
  const queue = new Queue<unknown>({ maxSize: 1, byteCapacity: 1000 });
  queue.putSync(1);
  const second = queue.put(2);
  const large = "x".repeat(5000);
  await assertRejects(() => within(queue.put(large)), RangeError, "1000");
  assertThrows(() => queue.tryPut(large), RangeError, "1000");
  assertEquals(queue.getSync(), 1);
  await within(second);
});

// -- Readers that leave, and order --------------------------------------------

Deno.test("An iterator that is left while it waits takes no item, and lets others go on", async () => {
  const queue = new Queue<number>();
  const iterator = queue[Symbol.asyncIterator]();
  const first = iterator.next();
  const second = iterator.next();
  await iterator.return!();
  assertEquals(await within(first), { done: true, value: undefined });
  assertEquals(await within(second), { done: true, value: undefined });
  queue.putSync(1);
  assertEquals(queue.getSync(), 1);

  // Behind another that waits, it goes when its turn has come.
  const got = queue.get();
  const behind = queue[Symbol.asyncIterator]();
  const never = behind.next();
  await behind.return!();
  queue.putSync(2);
  queue.putSync(3);
  assertEquals(await within(got), 2);
  assertEquals(await within(never), { done: true, value: undefined });
  assertEquals(queue.getSync(), 3);
});

Deno.test("A stream that is cancelled, and an imap that is left, leave the queue's items", async () => {
  const queue = new Queue<number>();
  queue.putSync(1);
  const stream = ReadableStream.from(queue);
  const reader = stream.getReader();
  assertEquals((await within(reader.read())).value, 1);
  const pending = reader.read();
  await within(reader.cancel());
  await within(pending);
  queue.putSync(2);
  assertEquals(queue.size, 1);
  {
    await using pool = new Pool(1);
    for await (const n of pool.imap((n: number) => n, queue)) {
      assertEquals(n, 2);
      break;
    }
    queue.putSync(3);
    assertEquals(queue.size, 1);
  }
});

Deno.test("A put or get that does not wait does not overtake those that do, nor is held up by those that have gone", async () => {
  const queue = new Queue<number>({ maxSize: 1 });
  const first = queue.get();
  queue.putSync(1);
  await assertRejects(() => queue.get({ timeout: 0 }), DOMException);
  assertEquals(await within(first), 1);

  queue.putSync(2);
  const controller = new AbortController();
  const aborted = queue.put(3, { signal: controller.signal });
  controller.abort();
  assertEquals(queue.getSync(), 2);
  assert(queue.tryPut(4));
  assertEquals(queue.getSync(), 4);
  await queue.put(5, { timeout: 0 });
  await assertRejects(() => aborted, DOMException);
  const lock = new Lock();
  const guard = await lock.acquire();
  const next = lock.acquire();
  guard.release();
  await assertRejects(() => lock.acquire({ timeout: 0 }), DOMException);
  (await within(next)).release();
});

Deno.test("What cannot be an item says so", () => {
  const queue = new Queue<unknown>();
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  const refused: [unknown, new (message: string) => Error, string][] = [
    [[proxy], DOMException, "revoked proxy"],
    [new Lock().tryAcquire(), DOMException, "send the lock"],
    [new Lock(), TypeError, "Cannot put a Lock into a message"],
    [new (class extends Lock {})(), TypeError, "Cannot put a Lock into"],
  ];
  for (const [item, errorClass, message] of refused) {
    assertThrows(() => queue.putSync(item), errorClass, message);
  }
  assertEquals(queue.size, 0);
  for (const options of [{ maxsize: 3 }, []] as never[]) {
    assertThrows(() => new Queue(options), TypeError, "maxSize");
  }
});

Deno.test("Items arrive whole whatever was done to Object.prototype", async () => {
  const { stdout } = await runSource(`
    import { Queue } from "@parallel/multiprocessing";
    const queue = new Queue();
    Object.defineProperty(Object.prototype, "swallowed", { set() {}, configurable: true });
    queue.putSync({ swallowed: 1, toString: 2 });
    Object.freeze(Object.prototype);
    const { swallowed, toString } = queue.getSync();
    console.log(swallowed, toString);
  `);
  assertEquals(stdout, "1 2\n");
});

Deno.test("An item as deep as may be put is got in a worker that has just started, a deeper one is refused", async () => {
  const nests: ((inner: unknown) => unknown)[] = [
    (inner) => [inner],
    (inner) => ({ next: inner }),
    (inner) => new Map([[1, inner]]),
    (inner) => new Error("m", { cause: inner }),
  ];
  const queue = new Queue<unknown>();
  const nested = (levels: number) => {
    let value: unknown = 0;
    for (let i = 0; i < levels; i++) value = nests[i % nests.length]!(value);
    return value;
  };
  const items = nests.map((nest) => {
    let value: unknown = 0;
    for (let i = 0; i < 1400; i++) value = nest(value);
    return value;
  });
  for (const worker of ["web", "node"] as const) {
    for (const item of [...items, nested(1400)]) {
      queue.putSync(item);
      const target = (queue: Queue<unknown>) => {
        queue.getSync();
      };
      const process = new Process({ target, args: [queue], worker }).start();
      await within(process.result);
    }
  }
  for (const levels of [1600, 1e5]) {
    assertThrows(
      () => queue.putSync(nested(levels)),
      RangeError,
      "nested too deeply",
    );
  }
  assertEquals(queue.size, 0);
});
