import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { reviveHandle } from "../_handle.ts";
import { bury, claimToken } from "../_life.ts";
import { Barrier } from "../barrier.ts";
import { BrokenBarrierError } from "../errors.ts";
import { Pool } from "../pool.ts";
import { Process } from "../process.ts";
import { task } from "../task.ts";
import { moduleAction } from "./testdata/sync_scenarios.ts";
import { pack, runThreads, Thread, unpack, wordsOf } from "./_threads.ts";
import { DEADLINE, reaches, until, within } from "./_within.ts";
import { seeded, sharedWords } from "./_words.ts";

const moduleTask = task(
  import.meta.resolve("./testdata/sync_scenarios.ts"),
  "moduleAction",
);

/** Word indexes in the table of waiters, see `_waiters.ts`. */
const FIRST_PLACE = 8;
const TOKEN = 3;

/** The name of the error, or what was resolved to. */
function outcomeOf(wait: Promise<number>): Promise<string> {
  return wait.then((index) => `index ${index}`, (error) => error.name);
}

// -- In one thread ------------------------------------------------------------

Deno.test("Barrier lets all go when the last one arrives, round after round", async () => {
  const barrier = new Barrier(3);
  assertEquals([barrier.parties, barrier.waiting, barrier.broken], [
    3,
    0,
    false,
  ]);
  for (let round = 0; round < 5; round++) {
    const first = barrier.wait();
    const second = barrier.wait({ timeout: DEADLINE });
    assertEquals(barrier.waiting, 2);
    const all = Promise.all([first, second, barrier.wait()]);
    assertEquals(await within(all), [0, 1, 2]);
    assertEquals([barrier.waiting, barrier.broken], [0, false]);
  }
  assertEquals(new Barrier(1).waitSync(), 0);
  assertEquals(new Barrier(1).waitSync({ timeout: 0 }), 0);
  assertEquals(await new Barrier(1).wait({ timeout: 0 }), 0);
});

Deno.test("Barrier refuses bad arguments", async () => {
  for (const parties of [0, -1, 1.5, NaN, Infinity, 40_000]) {
    assertThrows(() => new Barrier(parties), RangeError);
  }
  assertThrows(() => new Barrier("2" as unknown as number), TypeError);
  assertThrows(() => new Barrier(2, { timeout: -1 }), RangeError);
  assertThrows(
    () => new Barrier(2, { action: 5 as unknown as () => void }),
    TypeError,
  );
  const barrier = new Barrier(2);
  for (const timeout of [-1, NaN]) {
    await assertRejects(() => barrier.wait({ timeout }), RangeError);
    assertThrows(() => barrier.waitSync({ timeout }), RangeError);
  }
  assertEquals([barrier.waiting, barrier.broken], [0, false]);
});

Deno.test("Barrier breaks for all when one times out", async () => {
  for (const how of ["option", "default", "sync", "zero"]) {
    const barrier = new Barrier(3, how === "default" ? { timeout: 10 } : {});
    const patient = outcomeOf(barrier.wait({ timeout: DEADLINE }));
    if (how === "sync") {
      assertThrows(
        () => barrier.waitSync({ timeout: 10 }),
        DOMException,
        "after 10 ms",
      );
    } else if (how === "zero") {
      await assertRejects(
        () => barrier.wait({ timeout: 0 }),
        DOMException,
        "after 0 ms",
      );
    } else {
      const options = how === "option" ? { timeout: 10 } : {};
      await assertRejects(
        () => barrier.wait(options),
        DOMException,
        "after 10 ms",
      );
    }
    assertEquals(await within(patient), "BrokenBarrierError");
    assertEquals([barrier.waiting, barrier.broken], [0, true]);
    await assertRejects(() => barrier.wait(), BrokenBarrierError);
    assertThrows(() => barrier.waitSync(), BrokenBarrierError);
  }
});

Deno.test("Barrier breaks for all when one is aborted", async () => {
  const reason = new Error("No longer needed");
  for (const isEarly of [true, false]) {
    const barrier = new Barrier(3);
    const other = outcomeOf(barrier.wait());
    const controller = new AbortController();
    if (isEarly) controller.abort(reason);
    const wait = barrier.wait({ signal: controller.signal });
    controller.abort(reason);
    assertStrictEquals(await assertRejects(() => wait, Error), reason);
    assertEquals(await within(other), "BrokenBarrierError");
    assert(barrier.broken);
  }
});

Deno.test("Barrier that all have reached is not broken by an abort", async () => {
  const barrier = new Barrier(2);
  const controller = new AbortController();
  const wait = barrier.wait({ signal: controller.signal });
  const other = barrier.wait();
  controller.abort();
  assertEquals(await within(Promise.all([wait, other])), [0, 1]);
  assertEquals(barrier.broken, false);
});

Deno.test("Barrier.abort() and reset() end the waits", async () => {
  const barrier = new Barrier(3);
  const first = [outcomeOf(barrier.wait()), outcomeOf(barrier.wait())];
  barrier.abort();
  assertEquals(
    await within(Promise.all(first)),
    Array(2).fill("BrokenBarrierError"),
  );
  assert(barrier.broken);
  barrier.reset();
  assertEquals([barrier.waiting, barrier.broken], [0, false]);
  const second = outcomeOf(barrier.wait());
  barrier.reset();
  const third = [barrier.wait(), barrier.wait(), barrier.wait()].map(outcomeOf);
  assertEquals(await within(second), "BrokenBarrierError");
  assertEquals(await within(Promise.all(third)), [
    "index 0",
    "index 1",
    "index 2",
  ]);
});

Deno.test("Barrier runs the action once a round, before anyone leaves", async () => {
  const log: string[] = [];
  const barrier = new Barrier(2, {
    action: async () => {
      log.push("begin");
      await new Promise((resolve) => setTimeout(resolve, 5));
      log.push("end");
    },
  });
  async function party(): Promise<void> {
    for (let round = 0; round < 3; round++) {
      await barrier.wait({ timeout: DEADLINE });
      log.push("left");
    }
  }
  await within(Promise.all([party(), party()]));
  const round = ["begin", "end", "left", "left"];
  assertEquals(log, [...round, ...round, ...round]);
});

Deno.test("Barrier keeps early comers of the next round back during the action", async () => {
  const open = Promise.withResolvers<void>();
  const barrier = new Barrier(2, { action: () => open.promise });
  const all = [1, 2, 3, 4].map(() =>
    outcomeOf(barrier.wait({ timeout: DEADLINE }))
  );
  assertEquals(barrier.waiting, 2);
  open.resolve();
  assertEquals(await within(Promise.all(all)), [
    "index 0",
    "index 1",
    "index 0",
    "index 1",
  ]);
});

Deno.test("Barrier breaks when the action throws", async () => {
  for (const isAsync of [false, true]) {
    const failure = new RangeError("Not this time");
    const barrier = new Barrier(2, {
      action: () => {
        if (isAsync) return Promise.reject(failure);
        throw failure;
      },
    });
    const first = outcomeOf(barrier.wait());
    assertStrictEquals(
      await assertRejects(() => barrier.wait(), RangeError),
      failure,
    );
    assertEquals(await within(first), "BrokenBarrierError");
    assert(barrier.broken);
  }
  const barrier = new Barrier(1, { action: () => Promise.resolve() });
  assertThrows(() => barrier.waitSync(), TypeError, "promise");
  assert(barrier.broken);
});

Deno.test("Barrier that breaks during the action does so for its runner too", async () => {
  const open = Promise.withResolvers<void>();
  const barrier = new Barrier(2, { action: () => open.promise });
  const impatient = outcomeOf(barrier.wait({ timeout: 5 }));
  const runner = outcomeOf(barrier.wait());
  assertEquals(await within(impatient), "TimeoutError");
  open.resolve();
  assertEquals(await within(runner), "BrokenBarrierError");
  barrier.reset();
  const next = [barrier.wait(), barrier.wait()].map(outcomeOf);
  assertEquals(await within(Promise.all(next)), ["index 0", "index 1"]);
});

Deno.test("Barrier behaves like its twin in random sequences", async () => {
  for (let seed = 1; seed <= 30; seed++) {
    const below = seeded(seed);
    const parties = 1 + below(3);
    const barrier = new Barrier(parties);
    const twin = new TwinBarrier(parties);
    const outcomes: Promise<string>[] = [];
    for (let step = 0; step < 60; step++) {
      switch (below(8)) {
        case 0:
          barrier.reset();
          twin.reset();
          break;
        case 1:
          barrier.abort();
          twin.abort();
          break;
        default:
          outcomes.push(outcomeOf(barrier.wait()));
          twin.wait();
      }
      assertEquals(
        [barrier.waiting, barrier.broken],
        [twin.arrived.length, twin.isBroken],
      );
    }
    barrier.abort();
    twin.abort();
    assertEquals(
      await within(Promise.all(outcomes)),
      twin.outcomes,
      `seed ${seed}`,
    );
  }
});

class TwinBarrier {
  arrived: number[] = [];
  outcomes: string[] = [];
  isBroken = false;
  constructor(readonly parties: number) {}

  wait(): void {
    this.arrived.push(this.outcomes.push("") - 1);
    if (this.isBroken) this.#end(() => "BrokenBarrierError");
    else if (this.arrived.length === this.parties) {
      this.#end((index) => `index ${index}`);
    }
  }

  reset(): void {
    this.#end(() => "BrokenBarrierError");
    this.isBroken = false;
  }

  abort(): void {
    this.#end(() => "BrokenBarrierError");
    this.isBroken = true;
  }

  #end(outcome: (index: number) => string): void {
    this.arrived.forEach((at, index) => this.outcomes[at] = outcome(index));
    this.arrived = [];
  }
}

// -- As a handle --------------------------------------------------------------

Deno.test("Barrier is a handle that tells its state", () => {
  const barrier = new Barrier(2);
  assertStrictEquals(unpack(pack(barrier), reviveHandle), barrier);
  assertThrows(() => structuredClone([barrier]), DOMException);
  assertEquals(
    Deno.inspect(barrier),
    "Barrier { parties: 2, waiting: 0, broken: false }",
  );
});

// -- Between threads ----------------------------------------------------------

for (const how of ["sync", "async", "mixed"]) {
  Deno.test(`Barrier takes two and four threads through rounds, ${how}`, async () => {
    for (const threads of [2, 4]) {
      const rounds = 100;
      const all = await runThreads(threads, "barrierRounds", sharedWords(), [
        new Barrier(threads),
      ], { rounds, threads, how }) as number[][];
      for (let round = 0; round < rounds; round++) {
        const indexes = all.map((indexes) => indexes[round]).sort();
        assertEquals(indexes, Array.from({ length: threads }, (_, i) => i));
      }
    }
  });
}

Deno.test("Barrier breaks for blocked and async threads", async () => {
  const words = sharedWords();
  const barrier = new Barrier(4);
  const threads = ["sync", "async"].map((how) =>
    new Thread("barrierOnce", words, [barrier], { how })
  );
  await until(() => barrier.waiting === 2);
  barrier.abort();
  for (const thread of threads) {
    assertEquals(await within(thread.done), "BrokenBarrierError");
    thread.kill();
  }
});

Deno.test("Barrier breaks when a thread ends while it waits", async () => {
  for (const how of ["sync", "async"]) {
    const words = sharedWords();
    const barrier = new Barrier(4);
    using waiter = new Thread("barrierOnce", words, [barrier], { how });
    const deserter = new Thread("barrierDesert", words, [barrier]);
    await within(deserter.done);
    const own = outcomeOf(barrier.wait());
    deserter.kill();
    assertEquals(await within(waiter.done), "BrokenBarrierError");
    assertEquals(await within(own), "BrokenBarrierError");
  }
});

Deno.test("Barrier breaks when the last to arrive meets a dead party", async () => {
  const barrier = new Barrier(2);
  const first = outcomeOf(barrier.wait());
  const token = claimToken();
  wordsOf(barrier)[FIRST_PLACE + TOKEN] = token;
  bury(token);
  await assertRejects(() => barrier.wait(), BrokenBarrierError);
  assertEquals(await within(first), "BrokenBarrierError");
  barrier.reset();
  const next = [barrier.wait(), barrier.wait()].map(outcomeOf);
  assertEquals(await within(Promise.all(next)), ["index 0", "index 1"]);
});

for (const how of ["return", "exit", "close", "kill"] as const) {
  Deno.test(`Barrier is not crossed with a party whose process has ended by ${how}`, async () => {
    const words = sharedWords();
    for (let round = 0; round < 5; round++) {
      const barrier = new Barrier(2);
      const process = new Process({
        target: async (barrier: Barrier, words: Int32Array, how: string) => {
          barrier.wait().catch(() => {});
          Atomics.add(words, 0, 1);
          if (how === "exit") Deno.exit(0);
          if (how === "close") self.close();
          if (how === "kill") await new Promise(() => {});
        },
        args: [barrier, words, how],
      }).start();
      await reaches(words, 0, round + 1);
      if (how === "kill") process.kill();
      process.joinSync({ timeout: DEADLINE });
      assertThrows(
        () => barrier.waitSync({ timeout: DEADLINE }),
        BrokenBarrierError,
      );
    }
  });
}

Deno.test("Barrier breaks when a thread was killed inside", async () => {
  const barrier = new Barrier(2);
  const first = outcomeOf(barrier.wait());
  const token = claimToken();
  const mutexWords = new Int32Array(
    pack(barrier).parts[1]!.plain as SharedArrayBuffer,
  );
  mutexWords[0] = token;
  bury(token);
  assertEquals(await within(first), "BrokenBarrierError");
  assert(barrier.broken);
});

Deno.test("Barrier finds the action again in other threads", async () => {
  for (
    const action of [
      () => void Promise.resolve(),
      moduleAction,
      moduleTask,
    ]
  ) {
    const words = sharedWords();
    const barrier = new Barrier(1, { action: action as () => void });
    using thread = new Thread("barrierOnce", words, [barrier], {
      how: "async",
    });
    assertEquals(await within(thread.done), "index 0");
  }
  const seen: number[] = [];
  const local = new Barrier(1, { action: () => void seen.push(1) });
  assertEquals(await local.wait(), 0);
  using thread = new Thread("barrierOnce", sharedWords(), [local], {
    how: "sync",
  });
  assertEquals(await within(thread.done), "TypeError");
  assert(local.broken);
  assertEquals(seen, [1]);
});

Deno.test("Barrier runs an action that needs its module in workers that block, too", async () => {
  await using pool = new Pool(2);
  for (const action of [moduleAction, moduleTask]) {
    const barrier = new Barrier(2, { action: action as () => void });
    const parties = [0, 1].map(() =>
      pool.apply((barrier: Barrier) => barrier.waitSync(), [barrier])
    );
    const indices = await within(Promise.all(parties));
    assertEquals(indices.toSorted(), [0, 1]);
  }
  const barrier = new Barrier(1, { action: moduleAction });
  const process = new Process({
    target: (barrier: Barrier) => barrier.waitSync(),
    args: [barrier],
  }).start();
  assertEquals(await within(process.result), 0);
});
