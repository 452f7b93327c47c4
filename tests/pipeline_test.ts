// All parts together: readers → bounded queue → workers behind a semaphore and a
// barrier → results in a shared array and a manager's dict.

import * as mp from "@parallel/multiprocessing";
import { assertEquals } from "@std/assert";
import { within } from "./_within.ts";

const ROUNDS = 1000;
const PARTIES = 2;

function read(queue: mp.JoinableQueue<number>, from: number, count: number) {
  for (let n = from; n < from + count; n++) queue.putSync(n);
}

function work(
  parts: {
    queue: mp.JoinableQueue<number>;
    permits: mp.Semaphore;
    inside: mp.SharedValue<"i32">;
    meet: mp.Barrier;
    results: mp.SharedArray<"f64">;
    // deno-lint-ignore no-explicit-any
    totals: any;
    done: mp.Connection<string, never>;
  },
  name: string,
  rounds: number,
) {
  const { queue, permits, inside, meet, results, totals, done } = parts;
  let sum = 0;
  let crowded = 0;
  for (let round = 0; round < rounds; round++) {
    meet.waitSync();
    const item = queue.getSync();
    const guard = permits.acquireSync();
    if (inside.add(1) > 0) crowded++;
    const { view } = results;
    view[item] = (view[item] ?? 0) + 2 * item + 1;
    inside.sub(1);
    guard.release();
    queue.taskDone();
    sum += item;
    if (round % 100 === 99) totals.sync.set(name, sum);
  }
  done.sendSync(`${name} ${crowded}`);
}

Deno.test("A pipeline of all parts runs a thousand rounds and loses nothing", async () => {
  await using manager = new mp.Manager();
  const queue = new mp.JoinableQueue<number>(16);
  const [receiver, sender] = mp.pipe<never, string>({ duplex: false });
  const parts = {
    queue,
    permits: new mp.Semaphore(1),
    inside: new mp.SharedValue("i32", 0),
    meet: new mp.Barrier(PARTIES),
    results: new mp.SharedArray("f64", PARTIES * ROUNDS),
    totals: await manager.dict(),
    done: sender,
  };
  const processes: mp.Process[] = [];
  for (let party = 0; party < PARTIES; party++) {
    const from = party * ROUNDS;
    processes.push(
      new mp.Process({ target: read, args: [queue, from, ROUNDS] }).start(),
      new mp.Process({ target: work, args: [parts, `worker ${party}`, ROUNDS] })
        .start(),
    );
  }
  sender.close();

  const reports = [
    await within(receiver.recv()),
    await within(receiver.recv()),
  ];
  assertEquals(reports.toSorted(), ["worker 0 0", "worker 1 0"]);
  await within(queue.join());
  for (const process of processes) {
    await within(process.join());
    assertEquals(process.exitCode, 0);
  }
  assertEquals(
    [...parts.results],
    Array.from({ length: PARTIES * ROUNDS }, (_, n) => 2 * n + 1),
  );
  let sum = 0;
  for (const total of await parts.totals.values()) sum += total as number;
  const items = PARTIES * ROUNDS;
  assertEquals(sum, items * (items - 1) / 2);
  assertEquals(queue.size, 0);
});
