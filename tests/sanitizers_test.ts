// What a test leaves behind, as Deno's sanitizers see it if they are switched on.

import { assertEquals, assertRejects } from "@std/assert";
import { delay } from "@std/async";
import { Barrier } from "../barrier.ts";
import { Condition } from "../condition.ts";
import { Lock } from "../lock.ts";
import { Manager } from "../manager.ts";
import { pipe } from "../pipe.ts";
import { Pool } from "../pool.ts";
import { Process } from "../process.ts";
import { Queue } from "../queue.ts";
import { DEADLINE, within } from "./_within.ts";

function leavesNothing(what: string, use: () => Promise<void>): void {
  Deno.test({
    name: `${what} leaves no timer, resource or operation behind`,
    sanitizeOps: true,
    sanitizeResources: true,
    fn: use,
  });
}

leavesNothing("A wait for a lock that times out", async () => {
  const lock = new Lock();
  using _ = await lock.acquire();
  await assertRejects(() => lock.acquire({ timeout: 5 }), DOMException);
});

leavesNothing("A wait for an item of a queue", async () => {
  const queue = new Queue<number>();
  const item = queue.get();
  await delay(1);
  await queue.put(1);
  assertEquals(await within(item), 1);
});

leavesNothing("A wait at a connection", async () => {
  const [ours, theirs] = pipe<number, number>();
  const item = theirs.recv();
  await delay(1);
  await ours.send(1);
  assertEquals(await within(item), 1);
  ours.close();
  theirs.close();
});

leavesNothing("A wait for a condition and at a barrier", async () => {
  const condition = new Condition();
  using _ = await condition.acquire();
  await assertRejects(() => condition.wait({ timeout: 5 }), DOMException);
  const barrier = new Barrier(2);
  await within(Promise.all([barrier.wait(), barrier.wait()]));
});

leavesNothing("A process", async () => {
  const process = new Process({ target: () => 5 }).start();
  assertEquals(await within(process.result), 5);
  await within(process.join());
});

for (let round = 0; round < 10; round++) {
  leavesNothing(`A process whose result nobody reads, ${round},`, async () => {
    const process = new Process({ target: () => 1 }).start();
    await process.join({ timeout: DEADLINE });
  });
}

leavesNothing("A pool whose calls end, time out and are left", async () => {
  await using pool = new Pool(2);
  const square = (n: number) => n * n;
  assertEquals(await within(pool.map(square, [1, 2])), [1, 4]);
  for await (const n of pool.imap(square, [1, 2, 3])) if (n === 4) break;
  const late = pool.apply(() => new Promise(() => {}), [], { timeout: 20 });
  await assertRejects(() => within(late), DOMException);
  const { signal } = new AbortController();
  await within(pool.map(square, [1], { signal, timeout: 60_000 }));
});

leavesNothing("A pool that is terminated", async () => {
  using pool = new Pool(2);
  assertEquals(await within(pool.apply((n: number) => n, [1])), 1);
});

leavesNothing("A manager", async () => {
  await using manager = new Manager();
  const dict = await manager.dict<string, number>();
  await dict.set("a", 1);
  assertEquals(await within(dict.get("a")), 1);
});

leavesNothing("A moment without anything of it", () => delay(1));
