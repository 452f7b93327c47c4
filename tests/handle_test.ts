import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { delay } from "@std/async";
import { isNamedBy, memoryId, noteSent, takeSent } from "../_handle.ts";
import { SLOTS } from "../_pool_protocol.ts";
import { Slots } from "../_slots.ts";
import { bury, claimToken, isDead, selfToken } from "../_life.ts";
import { Event } from "../event.ts";
import { Lock } from "../lock.ts";
import { Barrier } from "../barrier.ts";
import { ConnectionClosedError, pipe } from "../pipe.ts";
import { Pool } from "../pool.ts";
import { Process } from "../process.ts";
import { task } from "../task.ts";
import { describe, runSource } from "./_child.ts";
import { within } from "./_within.ts";

Deno.test("memoryId() does not run into the ids of another thread", () => {
  let id = 0;
  for (let n = 0; n <= 2 ** 20; n++) {
    // Any object will do, and is made much faster than memory.
    id = memoryId({} as SharedArrayBuffer);
  }
  assert(Number.isSafeInteger(id));
  for (let after = 0; after < 5; after++) {
    assertEquals(isNamedBy(id, selfToken() + after), false);
  }
});

Deno.test("takeSent() gives each message a list of its own", () => {
  const none = takeSent();
  const handle = { takeBack() {}, again() {} };
  noteSent(handle);
  assertEquals(none, []);
  assertEquals(takeSent(), [handle]);
});

Deno.test("A dropped task gives back nothing that another task was sent", async () => {
  const [here, there] = pipe<string, string>();
  await using pool = new Pool(1);
  const gate = new Event();
  const busy = pool.apply((gate: Event) => gate.waitSync(), [gate]);
  const dropping = new AbortController();
  const { signal } = dropping;
  const dropped = pool.apply((_: Lock) => {}, [new Lock()], { signal });
  const sender = pool.apply((end: typeof there) => end.sendSync("sent"), [
    there,
  ]);
  there.close();
  dropping.abort(new Error("enough"));
  await within(dropped.catch(() => {}));
  gate.set();
  assertEquals(await within(here.recv()), "sent");
  await within(Promise.all([busy, sender]));
});

Deno.test("A worker's end gives back nothing that it has received before", async () => {
  const [here, there] = pipe<string, string>();
  // With counted handles of its own, the initializer has arrived in its own way.
  await using pool = new Pool({
    processes: 1,
    maxTasksPerChild: 2,
    initializer: () => {},
    initArgs: [pipe()[0]],
  });
  const buffer = new ArrayBuffer(8);
  const first = pool.apply(
    (end: typeof there, _: ArrayBuffer) => end.sendSync("first"),
    [there, buffer],
    { transfer: [buffer] },
  );
  assertEquals(await within(here.recv()), "first");
  await within(first);
  const gate = new Event();
  const second = pool.apply((_: Lock, gate: Event) => gate.waitSync(), [
    new Lock(),
    gate,
  ]);
  const third = pool.apply((end: typeof there, gate: Event) => {
    gate.waitSync();
    end.sendSync("third");
  }, [there, gate]);
  there.close();
  gate.set();
  assertEquals(await within(here.recv()), "third");
  await within(Promise.all([second, third]));
});

/** Hears that a module is being evaluated somewhere. */
class Loading {
  readonly name = crypto.randomUUID();
  readonly #channel = new BroadcastChannel(this.name);
  readonly loading = new Promise((resolve) => {
    this.#channel.onmessage = resolve;
  });

  [Symbol.dispose](): void {
    this.#channel.close();
  }
}

Deno.test("A process that is stopped while its arguments get ready has received them", async () => {
  const [here, there] = pipe<string, string>();
  using channel = new Loading();
  const module = "data:text/javascript," + encodeURIComponent(
    `if ("WorkerGlobalScope" in globalThis) {
       new BroadcastChannel("${channel.name}").postMessage("loading");
       await new Promise(() => {});
     }
     export default () => {};`,
  );
  const barrier = new Barrier(2, { action: task(module) });
  const started = new Process({
    target: (_end: typeof there, _barrier: Barrier) => {},
    args: [there, barrier],
  }).start();
  await using pool = new Pool(1);
  const gate = new Event();
  const busy = pool.apply((gate: Event) => gate.waitSync(), [gate]);
  const sender = pool.apply((end: typeof there) => end.sendSync("sent"), [
    there,
  ]);
  there.close();
  await within(channel.loading);
  started.terminate();
  await within(started.join());
  gate.set();
  assertEquals(await within(here.recv()), "sent");
  await within(Promise.all([busy, sender]));
});

Deno.test("A process that is stopped while it unpacks takes nothing from others", async () => {
  await using pool = new Pool(1);
  const large = Array.from(
    { length: 200_000 },
    (_, i) => ({ i, text: `${i}` }),
  );
  for (const ms of [40, 80, 120]) {
    const [here, there] = pipe<string, string>();
    const process = new Process({
      target: (_end: typeof there, _large: unknown) => {},
      args: [there, large],
    }).start();
    const gate = new Event();
    const busy = pool.apply((gate: Event) => gate.waitSync(), [gate]);
    const sender = pool.apply((end: typeof there) => end.sendSync("sent"), [
      there,
    ]);
    there.close();
    await delay(ms);
    process.terminate();
    await within(process.join());
    // Till its thread has ended, the process seems to have the end still.
    const isOver = await here.poll({ timeout: 250 });
    gate.set();
    assertEquals(isOver, false);
    assertEquals(await within(here.recv()), "sent");
    await within(Promise.all([busy, sender]));
  }
});

Deno.test("A getter among arguments that submits a task spoils neither", async () => {
  await using pool = new Pool(1);
  const [here, there] = pipe<string, string>();
  const inner: Promise<number>[] = [];
  const lock = new Lock();
  const value = {
    lock,
    end: there,
    get inner() {
      inner.push(pool.apply((n: number) => n + 1, [1]));
      inner.push(
        pool.apply((lock: Lock) => Number(lock.locked), [new Lock()]),
      );
      return 0;
    },
  };
  const outer = pool.apply((given: typeof value) => {
    using _ = given.lock.acquireSync();
    given.end.sendSync("sent");
    return given.inner;
  }, [value]);
  there.close();
  assertEquals(await within(outer), 0);
  assertEquals(await within(Promise.all(inner)), [2, 0]);
  assertEquals(await within(here.recv()), "sent");
  await assertRejects(() => within(here.recv()), ConnectionClosedError);
});

Deno.test("A getter among arguments that starts a process takes nothing of theirs", async () => {
  await using pool = new Pool(1);
  const [here, there] = pipe<string, string>();
  const gate = new Event();
  const busy = pool.apply((gate: Event) => gate.waitSync(), [gate]);
  const value = {
    end: there,
    get inner() {
      const unsendable = {
        target: (_: unknown) => {},
        args: [() => {}] as [unknown],
      };
      assertThrows(() => new Process(unsendable).start(), DOMException);
      return 0;
    },
  };
  const outer = pool.apply((given: typeof value) => {
    given.end.sendSync("sent");
  }, [value]);
  there.close();
  gate.set();
  assertEquals(await within(here.recv()), "sent");
  await within(Promise.all([busy, outer]));
});

Deno.test("An imap whose onProgress throws lets go of the results it drops", async () => {
  await using pool = new Pool(1);
  const [here, there] = pipe<string, string>();
  const results = pool.imap((end: typeof there) => end, [there], {
    onProgress() {
      throw new Error("no progress");
    },
  });
  await assertRejects(() => within(results.next()), Error, "no progress");
  there.close();
  await assertRejects(() => within(here.recv()), ConnectionClosedError);
});

Deno.test("What a pool was to be given is given back if it cannot be made", async () => {
  const result = await runSource(
    `
    import { pipe, Pool } from "@parallel/multiprocessing";
    const [here, there] = pipe<string, string>();
    try {
      new Pool({ initializer: (_: unknown) => {}, initArgs: [there] });
    } catch (error) {
      console.log((error as Error).name);
    }
    there.close();
    console.log(await here.recv().catch((error) => error.name));
    `,
    { flags: [] }, // the library cannot be read, so no worker starts
  );
  assertEquals(
    result.stdout,
    "NotCapable\nConnectionClosedError\n",
    describe(result),
  );
});

Deno.test("A frame of a task dropped long ago claims none of those that had its slot since", () => {
  const slots = new Slots<string>();
  const words = new Int32Array(slots.memory);
  const slot = slots.add("dropped");
  const dropped = slots.generation(slot);
  const queued = words[slot];
  slots.drop(slot, false);
  slots.release(slot);
  let same = 0;
  for (let n = 0; n < 2 ** 20; n++) {
    if (slots.add("later") !== slot) same = NaN;
    // All that a worker could tell them by.
    if (words[slot] === queued && words[SLOTS + slot] === dropped) same++;
    slots.drop(slot, false);
    slots.release(slot);
  }
  assertEquals(same, 0);
});

Deno.test("Tasks with a lock leave nothing in a worker", async () => {
  const result = await runSource(
    `
    import { Lock, Pool } from "@parallel/multiprocessing";
    const lock = new Lock();
    const pool = new Pool(1);
    async function run(): Promise<number> {
      for (let i = 0; i < 60; i++) {
        const items = Array.from({ length: 500 }, () => lock);
        await pool.map((_: Lock) => 0, items, { chunkSize: 1 });
      }
      return await pool.apply(() => {
        const { gc } = globalThis as unknown as { gc(): void };
        for (let i = 0; i < 4; i++) gc();
        return Deno.memoryUsage().heapUsed;
      });
    }
    await run();
    const before = await run();
    console.log((await run() - before) / 30_000);
    pool.terminate();
    `,
    { flags: ["-A", "--v8-flags=--expose-gc"] },
  );
  // A registration in V8 for each of them would be 88 bytes.
  assert(Number(result.stdout) < 40, describe(result));
});

Deno.test("claimToken() gives a slot again only when all others had their turn", () => {
  const first = claimToken();
  bury(first);
  const tokens = new Set([first]);
  for (let n = 0; n < 200_000; n++) {
    const token = claimToken();
    bury(token);
    tokens.add(token);
  }
  assertEquals(tokens.size, 200_001);
  assert(isDead(first));
});

Deno.test("The end of a pipe is closed if its task fails before it arrives and the pool is terminated", async () => {
  const url = "data:text/javascript,export const there = () => 1";
  for (let round = 0; round < 3; round++) {
    const pool = new Pool(1);
    await within(pool.apply(task<() => number>(url, "there")));
    const [here, there] = pipe<number>();
    const nowhere = task<(end: typeof there) => void>(url, "nowhere");
    await assertRejects(() => within(pool.apply(nowhere, [there])), TypeError);
    pool.terminate();
    there.close();
    await assertRejects(() => within(here.recv()), ConnectionClosedError);
    await within(pool.join());
  }
});
