// Memory and threads return to where they were, and stay bounded meanwhile.

import { assert, assertEquals, assertRejects } from "@std/assert";
import { describe, runSource } from "./_child.ts";
import { JoinableQueue, pipe, Pool, Queue } from "../mod.ts";

const isLinux = Deno.build.os === "linux";
const MIB = 2 ** 20;

async function threads(): Promise<number> {
  const status = await Deno.readTextFile("/proc/self/status");
  return Number(/^Threads:\s*(\d+)/m.exec(status)![1]);
}

function rss(): number {
  return Deno.memoryUsage().rss / MIB;
}

/** Waits until there are no more threads than before: they end a moment later. */
async function threadsAreBack(before: number): Promise<number> {
  const deadline = performance.now() + 4000;
  while (await threads() > before && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  return await threads();
}

/** Threads that Deno may start and keep, for files for example. */
const SPARE = 2;

/** Has Deno start what it starts once; returns the number of threads. */
async function warmUp(): Promise<number> {
  let most: number;
  {
    await using pool = new Pool(2);
    await pool.map((n: number) => n, [1, 2, 3]);
    most = await threads();
  }
  return await threadsAreBack(most - 2);
}

Deno.test({
  name: "A pool of 64 workers leaves no thread",
  ignore: !isLinux,
  async fn() {
    const before = await warmUp();
    {
      await using pool = new Pool(64);
      const names = await pool.map(
        async () => {
          await new Promise((resolve) => setTimeout(resolve, 50));
          return self.name;
        },
        Array.from({ length: 256 }, () => 0),
        { chunkSize: 1 },
      );
      assert(new Set(names).size > 8, `${new Set(names).size} workers`);
      assert(await threads() >= before + 60, `${await threads()} threads`);
    }
    const after = await threadsAreBack(before + SPARE);
    assert(after <= before + SPARE, `${before} -> ${after} threads`);
  },
});

Deno.test("imap() over a million items holds few of them at a time", async () => {
  await using pool = new Pool(1);
  let read = 0;
  let ahead = 0;
  let next = 0;
  function* million(): Generator<number> {
    for (let n = 0; n < 1_000_000; n++) {
      read++;
      yield n;
    }
  }
  let early = 0;
  const plusOne = (n: number) => n + 1;
  const options = { chunkSize: 16 };
  for await (const value of pool.imap(plusOne, million(), options)) {
    if (value !== ++next) throw new Error(`${value} instead of ${next}`);
    if (read - next > ahead) ahead = read - next;
    if (next === 200_000) early = rss();
  }
  assertEquals(next, 1_000_000);
  assert(ahead < 20_000, `${ahead} items were read ahead`);
  // What was freed is not given back at once; a million items kept are more.
  assert(rss() - early < 300, `${early} -> ${rss()} MiB`);
});

Deno.test("A queue whose consumer is slow holds its bytes, and its producer waits", async () => {
  const queue = new Queue<Uint8Array>({ byteCapacity: MIB });
  const item = new Uint8Array(100_000);
  let put = 0;
  const producer = (async () => {
    for (; put < 300; put++) await queue.put(item);
    queue.close();
  })();
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert(put <= 10, `${put} items in 1 MiB`);
  const before = rss();
  let got = 0;
  for await (const bytes of queue) {
    got++;
    assertEquals(bytes.length, 100_000);
    assert(put - got <= 12, `${put - got} items in 1 MiB`);
  }
  await producer;
  assertEquals(got, 300);
  assert(rss() - before < 64, `${before} -> ${rss()} MiB`);
});

Deno.test("Results nobody reads yet stop the reading of the input", async () => {
  await using pool = new Pool(1);
  let read = 0;
  function* endless(): Generator<number> {
    while (true) yield read++;
  }
  const results = pool.imap((n: number) => "x".repeat(1000) + n, endless());
  await results.next();
  await new Promise((resolve) => setTimeout(resolve, 300));
  const soon = read;
  await new Promise((resolve) => setTimeout(resolve, 300));
  assertEquals(read, soon);
  assert(read < 100_000, `${read} items were read`);
  await results.return!();
});

Deno.test("An item larger than the capacity is a RangeError that gives both sizes", async () => {
  const item = new Uint8Array(70_000);
  const sizes = /\b70\d\d\d bytes.*\b65536 bytes/;
  for (const Kind of [Queue, JoinableQueue]) {
    const queue = new Kind<Uint8Array>({ byteCapacity: 65_536 });
    const error = await assertRejects(() => queue.put(item), RangeError);
    assert(sizes.test(error.message), error.message);
    queue.putSync(new Uint8Array(10));
    assertEquals(queue.getSync().length, 10);
  }
  const [left] = pipe();
  const large = new Uint8Array(100 * MIB);
  const error = await assertRejects(() => left.send(large), RangeError);
  assert(/\d{9} bytes.*\d+ bytes/.test(error.message), error.message);
});

Deno.test("Queues and pipes that are used and dropped leave no memory", async () => {
  const source = `
    import { pipe, Queue } from "@parallel/multiprocessing";
    const item = new Uint8Array(${MIB});
    async function use() {
      const queue = new Queue();
      const [left, right] = pipe();
      for (let i = 0; i < 8; i++) {
        await queue.put(item);
        await left.send(item);
      }
      await right.recv();
    }
    async function memory() {
      for (let i = 0; i < 4; i++) {
        gc();
        await new Promise((resolve) => setTimeout(resolve, 30));
      }
      return Deno.memoryUsage().rss / ${MIB};
    }
    for (let i = 0; i < 4; i++) await use();
    const before = await memory();
    for (let i = 0; i < 30; i++) await use();
    console.log(await memory() - before);
  `;
  const result = await runSource(source, {
    flags: ["-A", "--v8-flags=--expose-gc"],
  });
  assertEquals(result.code, 0, describe(result));
  // All of them together hold 500 MiB.
  assert(Number(result.stdout) < 200, describe(result));
});
