import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { delay } from "@std/async";
import { reviveHandle } from "../_handle.ts";
import { bury, claimToken } from "../_life.ts";
import { Barrier } from "../barrier.ts";
import { BrokenBarrierError } from "../errors.ts";
import { Pool } from "../pool.ts";
import { Process } from "../process.ts";
import { task } from "../task.ts";
import { moduleAction } from "./testdata/sync_scenarios.ts";
import { range } from "./_numbers.ts";
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
/** Threads that may be asleep at the door, see `barrier.ts`. */
const GATE_WAITERS = 6;

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

Deno.test("Barrier.wait() with bad options is refused before it has arrived", async () => {
  const bad = [{ signal: {} }, { signal: 5 }, { timeout: "1" }, null, 5] as {
    timeout?: number;
  }[];
  for (const options of bad) {
    const barrier = new Barrier(2);
    for (const waiting of [0, 1]) {
      await assertRejects(
        () => barrier.wait(options),
        TypeError,
        "Cannot wait",
      );
      assertEquals([barrier.waiting, barrier.broken], [waiting, false]);
      if (waiting === 0) barrier.wait().catch(() => {});
    }
    assertEquals(await within(barrier.wait()), 1);
    await assertRejects(
      () => new Barrier(1).wait(options),
      TypeError,
      "Cannot wait",
    );
  }
  for (const options of bad.slice(2)) {
    const barrier = new Barrier(1);
    assertThrows(() => barrier.waitSync(options), TypeError, "Cannot wait");
    assertEquals(barrier.waitSync(), 0);
  }
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

Deno.test("Barrier rejects the last party with the reason of a signal that is aborted already", async () => {
  const reason = new Error("No longer needed");
  const signal = AbortSignal.abort(reason);
  let runs = 0;
  for (const action of [undefined, () => void runs++]) {
    for (const parties of [1, 2]) {
      const barrier = new Barrier(parties, { action });
      const others = parties === 2 ? [outcomeOf(barrier.wait())] : [];
      const error = await assertRejects(() => within(barrier.wait({ signal })));
      assertStrictEquals(error, reason);
      assertEquals(
        await within(Promise.all(others)),
        others.map(() => "BrokenBarrierError"),
      );
      assert(barrier.broken);
    }
  }
  assertEquals(runs, 0);
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
      await delay(5);
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

Deno.test("Barrier throws what the action threw, whatever that is", async () => {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  function action() {
    throw proxy;
  }
  function caught(error: unknown) {
    return error === proxy;
  }
  const barrier = new Barrier(1, { action });
  assert(await barrier.wait().then(() => false, caught));
  barrier.reset();
  try {
    barrier.waitSync();
  } catch (error) {
    assert(caught(error));
  }
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

/** A barrier for two whose action ends when it is told to. */
function heldBarrier(): {
  barrier: Barrier;
  runs: PromiseWithResolvers<void>[];
} {
  const runs: PromiseWithResolvers<void>[] = [];
  const barrier = new Barrier(2, {
    action: () => {
      const run = Promise.withResolvers<void>();
      runs.push(run);
      return run.promise;
    },
  });
  return { barrier, runs };
}

for (const how of ["times out", "times out at once", "is aborted"]) {
  Deno.test(`Barrier breaks when the party that runs the action ${how}`, async () => {
    const reason = new Error("No longer needed");
    for (const end of ["resolve", "reject"] as const) {
      const { barrier, runs } = heldBarrier();
      const first = outcomeOf(barrier.wait());
      const controller = new AbortController();
      const second = barrier.wait(
        how === "is aborted"
          ? { signal: controller.signal }
          : { timeout: how === "times out" ? 10 : 0 },
      );
      const early = outcomeOf(barrier.wait());
      assertEquals(runs.length, 1);
      controller.abort(reason);
      const error = await assertRejects(() => within(second));
      if (how === "is aborted") assertStrictEquals(error, reason);
      else assertEquals((error as Error).name, "TimeoutError");
      assertEquals(await within(first), "BrokenBarrierError");
      assertEquals(await within(early), "BrokenBarrierError");
      assert(barrier.broken);

      // The action ends in the middle of the next round, which has the same places.
      barrier.reset();
      const next = [barrier.wait(), barrier.wait()];
      assertEquals(runs.length, 2);
      let isOver = false;
      Promise.race(next).then(() => isOver = true);
      runs[0]![end]();
      await delay(0);
      assertEquals([isOver, barrier.waiting, barrier.broken], [
        false,
        2,
        false,
      ]);
      runs[1]!.resolve();
      assertEquals(await within(Promise.all(next)), [0, 1]);
    }
  });
}

Deno.test("Barrier does not run the action for a party that is aborted as it is let in", async () => {
  const { barrier, runs } = heldBarrier();
  const round = [barrier.wait(), barrier.wait()];
  const [leaving, aborted] = [new AbortController(), new AbortController()];
  const left = outcomeOf(barrier.wait({ signal: leaving.signal }));
  const first = outcomeOf(barrier.wait());
  const second = barrier.wait({ signal: aborted.signal });
  runs[0]!.resolve();
  for (let i = 0; barrier.waiting > 0; i++) {
    assert(i < 100, "The round does not end");
    await undefined;
  }
  // When one leaves the door, those behind it look: both arrive, here and now.
  leaving.abort();
  assertEquals(barrier.waiting, 2);
  const reason = new Error("No longer needed");
  aborted.abort(reason);
  assertStrictEquals(await assertRejects(() => within(second)), reason);
  assertEquals(await within(first), "BrokenBarrierError");
  assertEquals(await within(left), "AbortError");
  assertEquals(await within(Promise.all(round)), [0, 1]);
  assertEquals(runs.length, 1);
});

Deno.test("Barrier passes on the action's own TimeoutError", async () => {
  const failure = new DOMException("No answer", "TimeoutError");
  const { barrier, runs } = heldBarrier();
  const first = outcomeOf(barrier.wait());
  const second = barrier.wait({ timeout: DEADLINE });
  runs[0]!.reject(failure);
  assertStrictEquals(await assertRejects(() => within(second)), failure);
  assertEquals(await within(first), "BrokenBarrierError");
});

for (
  const how of [
    "times out",
    "is aborted",
    "is aborted already",
    "does not wait",
  ]
) {
  Deno.test(`Barrier round that is complete is not broken by an early comer of the next that ${how}`, async () => {
    const { barrier, runs } = heldBarrier();
    const round = [barrier.wait(), barrier.wait()];
    assertEquals(runs.length, 1);
    const controller = new AbortController();
    const reason = new Error("No longer needed");
    if (how === "is aborted already") controller.abort(reason);
    const early = barrier.wait({
      signal: controller.signal,
      timeout: how === "times out"
        ? 10
        : how === "does not wait"
        ? 0
        : undefined,
    });
    if (how === "is aborted") controller.abort(reason);
    const error = await assertRejects(() => within(early));
    if (how.startsWith("is")) assertStrictEquals(error, reason);
    else assertEquals((error as Error).name, "TimeoutError");
    assertThrows(
      () => barrier.waitSync({ timeout: 5 }),
      DOMException,
      "timed out after 5 ms",
    );
    assertEquals([barrier.waiting, barrier.broken], [2, false]);
    runs[0]!.resolve();
    assertEquals(await within(Promise.all(round)), [0, 1]);

    // It had not arrived: the next round is whole without it.
    const next = [barrier.wait(), barrier.wait()];
    runs[1]!.resolve();
    assertEquals(await within(Promise.all(next)), [0, 1]);
  });
}

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
        assertEquals(indexes, range(threads));
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

Deno.test("Barrier round that is complete is not broken by an early comer that dies at the door", async () => {
  const { barrier, runs } = heldBarrier();
  const round = [barrier.wait(), barrier.wait()];
  const early = new Thread("barrierOnce", sharedWords(), [barrier], {
    how: "async",
  });
  await reaches(wordsOf(barrier), GATE_WAITERS, 1);
  early.kill();
  // And one that is killed as it looks whether the round is over.
  const token = claimToken();
  const mutexWords = new Int32Array(
    pack(barrier).parts[1]!.plain as SharedArrayBuffer,
  );
  mutexWords[0] = token;
  bury(token);
  runs[0]!.resolve();
  assertEquals(await within(Promise.all(round)), [0, 1]);
  assertEquals(barrier.broken, false);
  const next = [barrier.wait(), barrier.wait()];
  runs[1]!.resolve();
  assertEquals(await within(Promise.all(next)), [0, 1]);
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
