// What holds for everything that waits.

import { assert, assertEquals, assertRejects } from "@std/assert";
import * as mp from "../mod.ts";
import { within } from "./_within.ts";

Deno.test("Options that are no object are refused, as for Python's order of arguments", async () => {
  await using pool = new mp.Pool(1);
  await using process = new mp.Process({ target: () => {} });
  process.start();
  const identity = (x: number) => x;
  const queue = new mp.Queue<number>();
  const joinable = new mp.JoinableQueue<number>();
  joinable.putSync(1);
  const simple = new mp.SimpleQueue<number>();
  const lock = new mp.Lock();
  lock.acquireSync();
  const semaphore = new mp.Semaphore(0);
  const condition = new mp.Condition();
  condition.acquireSync();
  const event = new mp.Event();
  const barrier = new mp.Barrier(2);
  const [connection, other] = mp.pipe<Uint8Array, Uint8Array>();
  const five = 5 as never;
  const calls: (() => unknown)[] = [
    () => queue.put(1, five),
    () => queue.putSync(1, five),
    () => queue.get(five),
    () => queue.getSync(five),
    () => joinable.join(five),
    () => joinable.joinSync(five),
    () => simple.get(five),
    () => simple.getSync(five),
    () => lock.acquire(five),
    () => lock.acquireSync(five),
    () => semaphore.acquire(five),
    () => semaphore.acquireSync(five),
    () => condition.wait(five),
    () => condition.waitSync(five),
    () => condition.waitFor(() => false, five),
    () => condition.waitForSync(() => false, five),
    () => event.wait(five),
    () => event.waitSync(five),
    () => barrier.wait(five),
    () => barrier.waitSync(five),
    () => new mp.Barrier(2, (() => {}) as never),
    () => connection.send(new Uint8Array(1), five),
    () => connection.sendSync(new Uint8Array(1), five),
    () => connection.recv(five),
    () => connection.recvSync(five),
    () => connection.recvBytes(five),
    () => connection.recvBytesSync(five),
    () => connection.poll(five),
    () => connection.pollSync(five),
    () => process.join(five),
    () => process.joinSync(five),
    () => pool.apply(identity, [1], five),
    () => pool.map(identity, [1], five),
    () => pool.imap(identity, [1], five).next(),
    () => mp.pmap(identity, [1], five),
    () => {
      pool.close();
      return pool.join(five);
    },
  ];
  for (const call of calls) {
    await assertRejects(
      async () => await within(Promise.resolve(call())),
      TypeError,
      "options must be an object",
      call.toString(),
    );
  }
  assertEquals([queue.size, barrier.waiting, lock.locked], [0, 0, true]);
  condition.release();
  connection.close();
  other.close();
});

Deno.test("Every class can be inspected, as can its prototype and those of subclasses", () => {
  let classes = 0;
  for (const exported of Object.values(mp) as (new () => object)[]) {
    if (!/^class\b/.test(Function.prototype.toString.call(exported))) continue;
    class Derived extends exported {}
    Deno.inspect([exported, exported.prototype, Derived.prototype]);
    classes++;
  }
  assert(classes > 15);
});

Deno.test("Options as Python has them are refused, where they would be ignored", async () => {
  // As without types.
  const { Pool, Process, Queue, Semaphore, pipe } = mp as unknown as {
    [name: string]: (new (...args: unknown[]) => unknown) & (() => unknown);
  };
  const make = pipe as unknown as (options: unknown) => unknown;
  await using pool = new mp.Pool(1);
  const semaphore = new Semaphore!(3) as mp.Semaphore;
  const target = () => {};
  const calls: [() => unknown, string][] = [
    [() => new Pool!(2, target, [1]), "one argument"],
    [() => new Pool!({ initargs: [1] }), "use initArgs"],
    [() => new Pool!({ maxtasksperchild: 1 }), "use maxTasksPerChild"],
    [() => new Process!({ target, kwargs: {} }), "use args"],
    [() => new Queue!({ maxsize: 1 }), "use maxSize"],
    [() => new Queue!([1]), "received an array"],
    [() => make(false), "received boolean"],
    [() => make(null), "received null"],
    [() => semaphore.tryAcquire(2 as never), "received number"],
    [() => pool.map(target, [1], { chunksize: 1 } as never), "use chunkSize"],
  ];
  for (const [call, message] of calls) {
    await assertRejects(
      async () => await within(Promise.resolve(call())),
      TypeError,
      message,
      call.toString(),
    );
  }
  assertEquals(semaphore.value, 3);
});
