import { assert, assertEquals } from "@std/assert";
import {
  forgetMemory,
  isNamedBy,
  memoryId,
  noteSent,
  takeSent,
} from "../_handle.ts";
import { bury, claimToken, isDead, selfToken } from "../_life.ts";
import { Event } from "../event.ts";
import { Lock } from "../lock.ts";
import { pipe } from "../pipe.ts";
import { Pool } from "../pool.ts";
import { describe, runSource } from "./_child.ts";
import { within } from "./_within.ts";

Deno.test("memoryId() does not run into the ids of another thread", () => {
  let id = 0;
  for (let n = 0; n <= 2 ** 20; n++) {
    id = memoryId(new SharedArrayBuffer(0));
    forgetMemory(id);
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
