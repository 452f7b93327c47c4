// Memory and threads return to where they were, and stay bounded meanwhile.

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { delay } from "@std/async";
import { describe, runSource } from "./_child.ts";
import { JoinableQueue, pipe, Pool, Queue } from "../mod.ts";
import { until, within } from "./_within.ts";

const MIB = 2 ** 20;

/**
 * What tells of a whole process is measured in one of its own: others run tests here.
 */
async function measure(
  source: string,
  flags = ["-A"],
  deadline = 600_000,
): Promise<string> {
  const helpers = `
    function status(name: string): number {
      const text = Deno.readTextFileSync("/proc/self/status");
      return Number(new RegExp(name + ":\\\\s+(\\\\d+)").exec(text)![1]);
    }
    const rss = () => Deno.memoryUsage().rss / ${MIB};
    const moment = (ms: number) => new Promise((r) => setTimeout(r, ms));
    function expect(truth: boolean, what: string): void {
      if (!truth) throw new Error(what);
    }
  `;
  const result = await runSource(helpers + source, {
    flags,
    deadline,
    // Memory that is given back is to leave the process: glibc would keep what lies
    // between pieces in use, once it has seen some of this size come and go.
    env: { MALLOC_MMAP_THRESHOLD_: `${MIB / 4}` },
  });
  assertEquals(result.code, 0, describe(result));
  return result.stdout;
}

Deno.test({
  name: "A pool of 64 workers leaves no thread",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const stdout = await measure(`
      import { Pool } from "@parallel/multiprocessing";
      async function use(processes: number): Promise<number> {
        await using pool = new Pool(processes);
        const nap = async () => {
          await new Promise((resolve) => setTimeout(resolve, 50));
          return self.name;
        };
        const items = Array.from({ length: 4 * processes }, () => 0);
        const names = await pool.map(nap, items, { chunkSize: 1 });
        expect(new Set(names).size > processes / 8, names.join());
        return status("Threads");
      }
      /** They end a moment after their pool. */
      async function threadsAreBack(wanted: number): Promise<number> {
        const deadline = performance.now() + 20_000;
        while (status("Threads") > wanted && performance.now() < deadline) {
          await moment(25);
        }
        return status("Threads");
      }
      // Deno starts some threads with the first pool, and keeps them.
      await use(2);
      const before = await threadsAreBack(await use(2) - 2);
      const most = await use(64);
      console.log(before, most, await threadsAreBack(before));
    `);
    const [before, most, after] = stdout.split(" ").map(Number) as [
      number,
      number,
      number,
    ];
    assert(most >= before + 60, stdout);
    assert(after <= before + 2, stdout);
  },
});

Deno.test({
  name:
    "Waits that ran out of time, and ends of pipes that were noticed, leave no memory mapped",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const stdout = await measure(
      `
      import { Event, pipe, Process, Queue } from "@parallel/multiprocessing";
      const mappings = () => Deno.readTextFileSync("/proc/self/maps").split("\\n").length;
      async function waits(): Promise<void> {
        const timeout = 1;
        const [left, right] = pipe();
        await Promise.allSettled([
          new Queue().get({ timeout }),
          new Event().wait({ timeout }),
          left.recv({ timeout }),
          right.poll({ timeout }),
        ]);
        left.close();
        right.close();
      }
      async function ends(): Promise<void> {
        const [here, there] = pipe<number, number>();
        const process = new Process({
          target: (end: typeof there) => end.sendSync(1),
          args: [there],
        }).start();
        there.close();
        await here.recv();
        await here.recv().catch(() => {});
        here.close();
        await process.join();
      }
      async function mapped(rounds: number): Promise<number> {
        for (let i = 0; i < rounds; i++) {
          await Promise.all(Array.from({ length: 50 }, waits));
          await Promise.all([ends(), ends()]);
        }
        for (let i = 0; i < 4; i++) {
          gc();
          await moment(20);
        }
        return mappings();
      }
      console.log(await mapped(4), await mapped(10));
    `,
      ["-A", "--v8-flags=--expose-gc"],
    );
    const [before, after] = stdout.split(" ").map(Number);
    // 500 waits of each kind, and 20 ends: those kept had two mappings each.
    assert(after! < before! + 500, stdout);
  },
});

Deno.test("imap() over a million items holds few of them at a time", async () => {
  const stdout = await measure(`
    import { Pool } from "@parallel/multiprocessing";
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
      expect(value === ++next, value + " instead of " + next);
      if (read - next > ahead) ahead = read - next;
      if (next === 200_000) early = rss();
    }
    console.log(next, ahead, rss() - early);
  `);
  const [count, ahead, memory] = stdout.split(" ").map(Number);
  assertEquals(count, 1_000_000);
  assert(ahead! < 20_000, `${ahead} items were read ahead`);
  // What was freed is not given back at once; a million items kept are more.
  assert(memory! < 300, `${memory} MiB more`);
});

Deno.test("A queue whose consumer is slow holds its bytes, and its producer waits", async () => {
  const stdout = await measure(`
    import { Queue } from "@parallel/multiprocessing";
    const queue = new Queue<Uint8Array>({ byteCapacity: ${MIB} });
    const item = new Uint8Array(100_000);
    let put = 0;
    const producer = (async () => {
      for (; put < 300; put++) await queue.put(item);
      queue.close();
    })();
    await moment(50);
    expect(put <= 10, put + " items in 1 MiB");
    const before = rss();
    let got = 0;
    for await (const bytes of queue) {
      got++;
      expect(bytes.length === 100_000, bytes.length + " bytes");
      expect(put - got <= 12, (put - got) + " items in 1 MiB");
    }
    await producer;
    console.log(got, rss() - before);
  `);
  const [got, memory] = stdout.split(" ").map(Number);
  assertEquals(got, 300);
  assert(memory! < 64, `${memory} MiB more`);
});

Deno.test("Results nobody reads yet stop the reading of the input", async () => {
  await using pool = new Pool(1);
  let read = 0;
  function* endless(): Generator<number> {
    while (true) yield read++;
  }
  const results = pool.imap((n: number) => "x".repeat(1000) + n, endless());
  await within(results.next());
  await until(() => pool.stats.running + pool.stats.queued === 0);
  const soon = read;
  await delay(300);
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
  const stdout = await measure(
    `
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
        await moment(30);
      }
      return rss();
    }
    for (let i = 0; i < 4; i++) await use();
    const before = await memory();
    for (let i = 0; i < 30; i++) await use();
    console.log(await memory() - before);
    `,
    ["-A", "--v8-flags=--expose-gc"],
  );
  // All of them together hold 500 MiB.
  assert(Number(stdout) < 200, `${stdout} MiB more`);
});

/** How many processes the leak test starts; it also makes a fifth as many pools. */
const PROCESSES = Number(Deno.env.get("MULTIPROCESSING_LEAK_TEST") ?? 200);

Deno.test({
  name: `${PROCESSES} processes and ${
    PROCESSES / 5
  } pools leave memory and threads where they were`,
  ignore: Deno.build.os !== "linux",
  async fn() {
    const stdout = await measure(
      `
      import { Lock, Pool, Process } from "@parallel/multiprocessing";
      async function processes(count: number): Promise<void> {
        for (let i = 0; i < count; i++) {
          const words = new Int32Array(new SharedArrayBuffer(1 << 20)).fill(1);
          const process = new Process({
            target: (_lock: Lock, words: Int32Array, n: number) => words.length + n,
            args: [new Lock(), words, i],
          }).start();
          if (await process.result !== words.length + i) throw new Error("wrong");
          await process.join();
        }
      }
      async function pools(count: number): Promise<void> {
        for (let i = 0; i < count; i++) {
          const pool = new Pool(1);
          await pool.map((n: number) => n, [1, 2]);
          if (i % 2 === 0) await pool[Symbol.asyncDispose]();
          else pool.terminate();
        }
      }
      /** They end a moment after their processes and pools. */
      async function settled(wanted = 0): Promise<[number, number]> {
        let threads = Infinity;
        const deadline = performance.now() + 20_000;
        while (
          status("Threads") < threads ||
          wanted > 0 && threads > wanted && performance.now() < deadline
        ) {
          threads = status("Threads");
          gc();
          await moment(60);
        }
        return [status("Threads"), status("VmRSS") / 1024];
      }
      await Promise.all([processes(20), processes(20), pools(4)]);
      const [threads, memory] = await settled();
      const count = ${PROCESSES};
      await Promise.all([
        processes(count / 2),
        processes(count / 2),
        pools(count / 5),
      ]);
      const [threadsAfter, memoryAfter] = await settled(threads);
      console.log(threadsAfter - threads, Math.round(memoryAfter - memory));
      `,
      ["-A", "--v8-flags=--expose-gc"],
      600_000 + 200 * PROCESSES,
    );
    assertMatch(stdout, /^-?\d+ -?\d+\n$/);
    const [threads, memory] = stdout.split(" ").map(Number);
    assert(threads! <= 1, stdout);
    // Each process had a MiB. Deno itself keeps about 3 KiB of each worker, 1.4 of
    // each lock request.
    assert(memory! < 40 + PROCESSES * 0.012, stdout);
  },
});
