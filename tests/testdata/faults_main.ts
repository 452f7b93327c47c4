/**
 * A program that runs one scenario again and again, each time ending a thread before
 * another step of it, and looks at what the others find afterwards.
 *
 * Prints one letter for each run, the last of which reached its end, and exits with 0;
 * or says what went wrong, with the shared words, and exits with 1.
 *
 * @module
 */

import { HANDLE, type HandleParts } from "../../_handle.ts";
import { bury, claimToken, CONTROL_BYTES, livingMemory } from "../../_life.ts";
import { pack, transferOf } from "../../_parcel.ts";
import { addDuty } from "../../_park.ts";
import { Barrier } from "../../barrier.ts";
import { Condition } from "../../condition.ts";
import { Event } from "../../event.ts";
import { Lock, RLock } from "../../lock.ts";
import { Manager } from "../../manager.ts";
import { pipe } from "../../pipe.ts";
import { JoinableQueue, Queue } from "../../queue.ts";
import { Semaphore } from "../../semaphore.ts";
import { type Arm, NOTE, SLEEPS, STOPPED } from "./faults_steps.ts";
import type { FaultMessage } from "./faults_worker.ts";
import { DEADLINE } from "../_within.ts";

/** What the others get done in. */
const SOON = { timeout: DEADLINE };
/** How long one looks whether something that must not happen does. */
const BRIEFLY = { timeout: 200 };
/** How long after the thread's end one waits for what may never come, in milliseconds. */
const PATIENCE = 1000;
const MOST_STEPS = 400;
const AT_THE_SAME_TIME = 4;

interface Scenario {
  /** What the thread does, in `faults_scenarios.ts`. */
  act: string;
  /** From when on steps count. */
  arm?: Arm;
  /** Makes what the thread gets. */
  args: unknown[];
  /** What the others do once the thread sleeps. */
  whenAsleep?(): unknown;
  /** What the others find; returns the letter for it. */
  check(report: Int32Array, stopped: boolean): Promise<string>;
}

// -- Helpers -------------------------------------------------------------------

function demand(truth: boolean, what: string): void {
  if (!truth) throw new Error(`Expected ${what}`);
}

/** How a promise ends, as a word. */
function outcome(promise: Promise<unknown>): Promise<string> {
  return promise.then(() => "done", (error) => (error as Error).name);
}

/**
 * Begins a wait that ends with a `TimeoutError` only some time after the thread has
 * come to its end, which is when the function that is returned is to be called.
 */
function waitPatiently(
  wait: (options: { signal: AbortSignal }) => Promise<unknown>,
): () => Promise<string> {
  const limit = new AbortController();
  const ended = outcome(wait(limit));
  return async () => {
    const late = setTimeout(
      () => limit.abort(new DOMException("late", "TimeoutError")),
      PATIENCE,
    );
    const how = await ended;
    clearTimeout(late);
    return how;
  };
}

async function drain<T>(queue: Queue<T>): Promise<T[]> {
  queue.close();
  const items: T[] = [];
  while (!queue.empty()) items.push(await queue.get(SOON));
  return items;
}

function same(a: unknown, b: unknown): boolean {
  return Deno.inspect(a, { iterableLimit: 5 }) ===
    Deno.inspect(b, { iterableLimit: 5 });
}

// -- Scenarios -------------------------------------------------------------------

function put(item: unknown, options: number | { byteCapacity: number } = 0) {
  return (): Scenario => {
    const queue = new Queue<unknown>(options);
    return {
      act: "put",
      args: [queue, item],
      async check(_, stopped) {
        await queue.put("after", SOON);
        const size = queue.size;
        const items = await drain(queue);
        demand(items.pop() === "after", "what was put afterwards");
        demand(items.length < 2, `one item at most, not ${items.length}`);
        demand(size === items.length + 1, `a size of ${items.length + 1}`);
        if (items.length === 0) demand(stopped, "the item");
        else demand(same(items[0], item), "the item as it was put");
        return items.length === 0 ? "a" : "b";
      },
    };
  };
}

function putForSleeper(act: string) {
  return (): Scenario => {
    const queue = new Queue<unknown>();
    const got = queue.get(SOON);
    return {
      act,
      args: [queue, { id: 1 }],
      async check() {
        await queue.put("after", SOON);
        const first = await got;
        if (first === "after") return "a";
        demand(same(first, { id: 1 }), "the item");
        demand(await queue.get(SOON) === "after", "the item after it");
        demand(queue.size === 0, "an empty queue");
        return "b";
      },
    };
  };
}

/** A put to a full queue, which the thread has gone to sleep in. */
function putAsleep(act: string, arm: Arm) {
  return (): Scenario => {
    const queue = new Queue<unknown>(1);
    queue.putSync("before");
    let room: Promise<unknown>;
    return {
      act,
      arm,
      args: [queue, "item"],
      whenAsleep: () => room = queue.get(SOON),
      async check(_, stopped) {
        demand(await room === "before", "the first item");
        const after = queue.put("after", SOON);
        let item = await queue.get(SOON);
        const found = item === "item";
        demand(found || stopped, "the item");
        if (found) item = await queue.get(SOON);
        demand(item === "after", "the item after it");
        await after;
        demand(queue.size === 0, "an empty queue");
        return found ? "b" : "a";
      },
    };
  };
}

function get(before: number, filler?: unknown) {
  return (): Scenario => {
    const queue = new Queue<unknown>({ byteCapacity: 1 << 20, maxSize: 2 });
    if (filler !== undefined) {
      queue.putSync(filler);
      queue.getSync();
    }
    queue.putSync(before);
    queue.putSync("second");
    // Waits for room meanwhile.
    const third = queue.put("third", SOON);
    return {
      act: "get",
      args: [queue],
      async check(report, stopped) {
        const first = await queue.get(SOON);
        const kept = first === before;
        demand(stopped || !kept, "the item to be taken");
        if (kept) demand(report[NOTE] === 0, "the item not to be delivered");
        if (kept) demand(await queue.get(SOON) === "second", "the second item");
        else demand(first === "second", "the second item");
        await third;
        demand(await queue.get(SOON) === "third", "the third item");
        demand(queue.size === 0, "an empty queue");
        return kept ? "a" : "b";
      },
    };
  };
}

/** A get from an empty queue, which the thread has gone to sleep in. */
function getAsleep(act: string, arm: Arm) {
  return (): Scenario => {
    const queue = new Queue<number>();
    let mine: Promise<number>;
    return {
      act,
      arm,
      args: [queue],
      whenAsleep() {
        mine = queue.get(SOON);
        queue.putSync(1);
        queue.putSync(2);
      },
      async check(report, stopped) {
        const first = await mine;
        const rest = await drain(queue);
        const items = [first, ...rest];
        if (report[NOTE] !== 0) items.push(report[NOTE]!);
        items.sort();
        if (same(items, [1, 2])) return "a";
        demand(stopped && items.length === 1, `both items, not ${items}`);
        return "b";
      },
    };
  };
}

function close(): Scenario {
  const queue = new Queue<number>();
  const got = queue.get(SOON);
  return {
    act: "close",
    args: [queue],
    async check(_, stopped) {
      if (queue.closed) {
        demand(await outcome(got) === "QueueClosedError", "to hear of it");
        return "b";
      }
      demand(stopped, "a closed queue");
      await queue.put(1, SOON);
      demand(await got === 1, "the item");
      return "a";
    },
  };
}

function getAndDone(): Scenario {
  const queue = new JoinableQueue<number>();
  queue.putSync(1);
  const joined = queue.join(SOON);
  return {
    act: "getAndDone",
    args: [queue],
    async check() {
      let letter = "b";
      const got = queue.tryGet();
      if (got.state === "ok") letter = "a";
      else if (await outcome(queue.join(BRIEFLY)) === "done") letter = "c";
      if (letter !== "c") queue.taskDone();
      await joined;
      let refused = false;
      try {
        queue.taskDone();
      } catch (error) {
        refused = error instanceof RangeError;
      }
      demand(refused, "nothing to be left");
      return letter;
    },
  };
}

function putAndJoin(): Scenario {
  const queue = new JoinableQueue<string>();
  queue.putSync("before");
  const joined = queue.join(SOON);
  return {
    act: "put",
    args: [queue, "item"],
    async check(_, stopped) {
      let count = 0;
      while (queue.tryGet().state === "ok") {
        count++;
        queue.taskDone();
      }
      demand(count === 2 || stopped, "the item");
      await joined;
      demand(queue.size === 0, "an empty queue");
      return count === 2 ? "b" : "a";
    },
  };
}

function acquire(lock: () => Lock | RLock, depth: number) {
  return (): Scenario => {
    const it = lock();
    return {
      act: "acquire",
      args: [it, depth],
      check: (_, stopped) => checkLock(it, stopped),
    };
  };
}

async function checkLock(lock: Lock | RLock, stopped: boolean) {
  const guard = await lock.acquire(SOON);
  const { abandoned } = guard;
  demand(stopped || !abandoned, "a lock that was released");
  guard.release();
  const next = await lock.acquire(SOON);
  demand(!next.abandoned, "it to be told once");
  next.release();
  demand(!lock.locked, "a free lock");
  return abandoned ? "b" : "a";
}

/** A lock that others hold and wait for. */
function acquireAsleep(lock: () => Lock | RLock, act: string, arm: Arm) {
  return (): Scenario => {
    const it = lock();
    const guard = it.acquireSync();
    return {
      act,
      arm,
      args: [it, 1],
      whenAsleep: () => guard.release(),
      check: (_, stopped) => checkLock(it, stopped),
    };
  };
}

function borrow(value: number, arm: Arm) {
  return (): Scenario => {
    const semaphore = new Semaphore(value);
    return {
      act: "borrow",
      arm,
      args: [semaphore],
      whenAsleep() {
        if (value === 0) semaphore.release(2);
      },
      async check(_, stopped) {
        const most = value === 0 ? 2 : value;
        const guards = [];
        for (let i = 0; i < most; i++) {
          const how = { timeout: stopped && i === most - 1 ? 200 : DEADLINE };
          const guard = await semaphore.acquire(how).catch(() => undefined);
          if (guard !== undefined) guards.push(guard);
        }
        demand(semaphore.value === 0, "no permit too many");
        demand(guards.length >= most - (stopped ? 1 : 0), "the other permits");
        for (const guard of guards) guard.release();
        return guards.length === most ? "a" : "b";
      },
    };
  };
}

function waitCondition(act: string, arm: Arm) {
  return (): Scenario => {
    const condition = new Condition(new Lock());
    let mine: () => Promise<string>;
    return {
      act,
      arm,
      args: [condition],
      async whenAsleep() {
        const guard = await condition.acquire(SOON);
        mine = waitPatiently((options) =>
          condition.wait(options).finally(() => guard.release())
        );
        using _ = await condition.acquire(SOON);
        condition.notify(1);
      },
      async check(report, stopped) {
        // The notification is the thread's, or passed on to the other.
        const how = await mine();
        if (how === "done") {
          demand(stopped && report[NOTE] === 0, "one of them");
        } else demand(how === "TimeoutError", `a timeout, not ${how}`);
        using guard = await condition.acquire(SOON);
        demand(!guard.abandoned || stopped, "a lock that was released");
        return how === "done" ? "a" : "b";
      },
    };
  };
}

function notify(): Scenario {
  const condition = new Condition(new Lock());
  const guard = condition.acquireSync();
  const woken = outcome(condition.wait(SOON)).then((how) => {
    condition.release();
    return how;
  });
  guard.release();
  return {
    act: "notify",
    args: [condition],
    async check(_, stopped) {
      {
        using _ = await condition.acquire(SOON);
        condition.notify();
      }
      demand(await woken === "done", "the waiter to be woken");
      using again = await condition.acquire(SOON);
      demand(!again.abandoned || stopped, "a lock that was released");
      return "a";
    },
  };
}

function setEvent(act: string) {
  return (): Scenario => {
    const event = new Event();
    const woken = outcome(event.wait(SOON));
    return {
      act,
      args: [event],
      async check(_, stopped) {
        const wasSet = event.isSet();
        if (act === "set" && wasSet) {
          demand(await woken === "done", "the waiter to be woken");
          return "b";
        }
        demand(stopped || act !== "set", "the event to be set");
        if (!stopped) demand(await woken === "done", "the waiter to be woken");
        event.set();
        demand(await woken === "done", "the waiter to be woken");
        return wasSet ? "b" : "a";
      },
    };
  };
}

function waitEvent(): Scenario {
  const event = new Event();
  const others = [outcome(event.wait(SOON)), outcome(event.wait(SOON))];
  return {
    act: "waitEvent",
    arm: "asleep",
    args: [event],
    whenAsleep: () => event.set(),
    async check() {
      for (const how of others) demand(await how === "done", "to be woken");
      return "a";
    },
  };
}

function meet(): Scenario {
  const barrier = new Barrier(2);
  const mine = waitPatiently((options) => barrier.wait(options));
  return {
    act: "meet",
    args: [barrier],
    async check(_, stopped) {
      const how = await mine();
      demand(stopped || how === "done", "the round to be complete");
      // Broken by a death in it, or not reached.
      if (how === "done") return "c";
      demand(
        how === "TimeoutError" || how === "BrokenBarrierError",
        `a barrier's end, not ${how}`,
      );
      demand(barrier.broken, "a broken barrier");
      await barrier.reset();
      const again = [barrier.wait(SOON), barrier.wait(SOON)];
      demand((await Promise.all(again)).length === 2, "a new round");
      return how === "TimeoutError" ? "a" : "b";
    },
  };
}

function meetAsleep(): Scenario {
  const barrier = new Barrier(2);
  let mine: (() => Promise<string>) | undefined;
  return {
    act: "meet",
    arm: "asleep",
    args: [barrier],
    whenAsleep() {
      mine = waitPatiently((options) => barrier.wait(options));
    },
    async check(_, stopped) {
      const how = await mine!();
      if (how === "done") return "b";
      demand(stopped, "the round to be complete");
      demand(how === "BrokenBarrierError", `a broken barrier, not ${how}`);
      return "a";
    },
  };
}

function send(): Scenario {
  const [left, right] = pipe<number, unknown>();
  const got = left.recv(SOON).catch((error) => error.name);
  return {
    act: "send",
    args: [right, { id: 1 }],
    async check(_, stopped) {
      right.close();
      const message = await got;
      if (message === "ConnectionClosedError") {
        demand(stopped, "the message");
        return "a";
      }
      demand(same(message, { id: 1 }), "the message as it was sent");
      demand(
        await outcome(left.recv(SOON)) === "ConnectionClosedError",
        "the end of the stream",
      );
      return "b";
    },
  };
}

function receiveAsleep(): Scenario {
  const [left, right] = pipe<number, unknown>();
  return {
    act: "receive",
    arm: "asleep",
    args: [right],
    async whenAsleep() {
      right.close();
      await left.send(1, SOON).catch(() => {});
    },
    async check() {
      // Its thread is gone, and so is the other end.
      const how = await outcome(left.send(2, SOON));
      if (how === "done") {
        demand(
          await outcome(left.recv(SOON)) === "ConnectionClosedError",
          "the end of the stream",
        );
      } else demand(how === "ConnectionClosedError", `the end, not ${how}`);
      return "a";
    },
  };
}

class Counter {
  count = 0;
  add(): number {
    return ++this.count;
  }
  read(): number {
    return this.count;
  }
}

let manager: Manager | undefined;

async function callManager(): Promise<Scenario> {
  manager ??= new Manager();
  const counter = await manager.create(Counter);
  return {
    act: "countUp",
    args: [counter],
    async check(_, stopped) {
      const late = setTimeout(
        () => fail("the manager does not answer"),
        DEADLINE,
      );
      // What a dead thread had sent is run, or is not, but never later than this.
      const count = await counter.read();
      await counter.add();
      demand(await counter.read() === count + 1, "the manager to go on");
      clearTimeout(late);
      demand(count === 1 || stopped && count === 0, "one call at most");
      return count === 1 ? "b" : "a";
    },
  };
}

type Maker = () => Scenario | Promise<Scenario>;

const newLock = () => new Lock();
const newRLock = () => new RLock();
const BLOB = new Uint8Array(20_000).fill(7);

/** How many steps there are before the one that matters depends on when it was woken. */
const AFTER_SLEEP = /^[ab]+$/;

/** By name: the maker of one run, and what the letters of all runs look like. */
const scenarios: Record<string, [Maker, RegExp]> = {
  "put an integer": [put(1), /^a+b+$/],
  "put a message": [put({ id: 1, text: "text" }), /^a+b+$/],
  "put a message that needs more memory": [
    put({ id: 1, bytes: BLOB }),
    /^a+b+$/,
  ],
  "put for a sleeper": [putForSleeper("put"), /^a+b+$/],
  "put without blocking": [putForSleeper("putAsync"), /^a+b+$/],
  "put after a sleep": [putAsleep("put", "asleep"), AFTER_SLEEP],
  "put after an async sleep": [putAsleep("putAsync", "asleep"), AFTER_SLEEP],
  "get an integer": [get(1), /^a+b+$/],
  "get a message": [get(1.5), /^a+b+$/],
  "get from the next segment": [get(1.5, BLOB), /^a+b+$/],
  "get after a sleep": [getAsleep("get", "asleep"), AFTER_SLEEP],
  "get after an async sleep": [getAsleep("getAsync", "asleep"), AFTER_SLEEP],
  "close a queue": [close, /^a+b+$/],
  "get an item and have it done": [getAndDone, /^a+b+c+$/],
  "put into a queue that is joined": [putAndJoin, /^a+b+$/],
  "acquire and release a Lock": [acquire(newLock, 1), /^a+b+a+$/],
  "acquire and release an RLock twice": [acquire(newRLock, 2), /^a+b+a+$/],
  "acquire a Lock after a sleep": [
    acquireAsleep(newLock, "acquire", "asleep"),
    AFTER_SLEEP,
  ],
  "acquire a Lock after an async sleep": [
    acquireAsleep(newLock, "acquireAsync", "asleep"),
    AFTER_SLEEP,
  ],
  "acquire an RLock after a sleep": [
    acquireAsleep(newRLock, "acquire", "asleep"),
    AFTER_SLEEP,
  ],
  "acquire and release a Semaphore": [borrow(2, "at once"), /^a+b+a+$/],
  "acquire a Semaphore after a sleep": [borrow(0, "asleep"), AFTER_SLEEP],
  "wait for a Condition": [
    waitCondition("waitCondition", "asleep"),
    AFTER_SLEEP,
  ],
  "wait for a Condition without blocking": [
    waitCondition("waitConditionAsync", "asleep"),
    AFTER_SLEEP,
  ],
  "notify a Condition": [notify, /^a+$/],
  "set an Event": [setEvent("set"), /^a+b+$/],
  "set and clear an Event": [setEvent("setAndClear"), /^a+b+a+$/],
  "wait for an Event": [waitEvent, /^a+$/],
  "arrive last at a Barrier": [meet, /^a+b+c+$/],
  "wait at a Barrier": [meetAsleep, /^[ab]*b$/],
  "send into a pipe": [send, /^a+b+$/],
  "receive from a pipe": [receiveAsleep, /^a+$/],
  "call a manager": [callManager, /^a[ab]*b$/],
};

// -- Running -------------------------------------------------------------------

const WORKER = new URL("./faults_worker.ts", import.meta.url);
const SLICE_MS = 2;

/** The threads that run, by token, with their reports. */
const running = new Map<number, Int32Array>();

// This thread may be blocked by one that was ended, and has to bury it all the same.
addDuty(() => {
  for (const [token, report] of running) {
    if (Atomics.load(report, STOPPED) !== 0) bury(token);
  }
});

/** Runs a scenario once; the letter, and whether it came to its end. */
async function runOnce(
  make: Maker,
  stopAt: number,
): Promise<{ letter: string; finished: boolean }> {
  const scenario = await make();
  const report = new Int32Array(new SharedArrayBuffer(64));
  try {
    const token = claimToken();
    running.set(token, report);
    const worker = new Worker(WORKER, { type: "module" });
    const ended = new Promise<unknown>((resolve) => {
      worker.onmessage = ({ data }) => resolve(data.error);
      worker.onerror = (event) => {
        event.preventDefault();
        resolve(event.message);
      };
    });
    let finished = false;
    ended.then(() => finished = true);
    const parcel = pack(scenario.args);
    const message: FaultMessage = {
      identity: {
        program: "test",
        token,
        id: token,
        name: `Faulty-${stopAt}`,
        path: "",
        daemon: false,
        parent: null,
      },
      table: livingMemory(),
      control: new SharedArrayBuffer(CONTROL_BYTES),
      scenario: scenario.act,
      args: parcel,
      report: report.buffer,
      stopAt,
      arm: scenario.arm ?? "at once",
    };
    worker.postMessage(message, transferOf(parcel));
    const deadline = performance.now() + DEADLINE;
    const stopped = () => Atomics.load(report, STOPPED) !== 0;
    while (
      scenario.whenAsleep !== undefined && !stopped() && !finished &&
      Atomics.load(report, SLEEPS) === 0 && performance.now() < deadline
    ) await tick();
    await scenario.whenAsleep?.();
    while (!stopped() && !finished && performance.now() < deadline) {
      await tick();
    }
    demand(stopped() || finished, "the thread to come to its end");
    if (finished) {
      const error = await ended;
      demand(error === undefined, `the thread not to fail: ${error}`);
    }
    worker.terminate();
    bury(token);
    running.delete(token);
    return { letter: await scenario.check(report, !finished), finished };
  } catch (error) {
    fail(
      `stopped before step ${stopAt} of ${scenario.act}: ${
        error instanceof Error ? error.stack : error
      }\nreport: ${report}\n${describeWords(scenario.args)}`,
    );
  }
}

function tick(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, SLICE_MS));
}

function describeWords(args: unknown[]): string {
  return args.map((arg) => {
    const parts = (arg as { [HANDLE]?: () => HandleParts })[HANDLE]?.().parts;
    if (!(parts?.[0] instanceof SharedArrayBuffer)) return Deno.inspect(arg);
    const length = Math.min(parts[0].byteLength >> 2, 192);
    return `${Deno.inspect(arg)} [${new Int32Array(parts[0], 0, length)}]`;
  }).join("\n");
}

function fail(message: string): never {
  console.error(message);
  Deno.exit(1);
}

async function runAll(name: string): Promise<void> {
  const [make, pattern] = scenarios[name]!;
  let letters = "";
  let finished = false;
  for (let n = 1; !finished; n += AT_THE_SAME_TIME) {
    if (n > MOST_STEPS) fail(`more than ${MOST_STEPS} steps: ${letters}`);
    const runs = Array.from(
      { length: AT_THE_SAME_TIME },
      (_, i) => runOnce(make, n + i),
    );
    for (const run of await Promise.all(runs)) {
      letters += run.letter;
      if (run.finished) finished = true;
    }
  }
  console.log(`${name}: ${letters}`);
  if (!pattern.test(letters)) fail(`${name}: expected ${pattern}`);
}

if (import.meta.main) {
  const names = Deno.args.length > 0 ? Deno.args : Object.keys(scenarios);
  for (const name of names) await runAll(name);
  Deno.exit(0);
}

/** The names of all scenarios. */
export const NAMES: string[] = Object.keys(scenarios);
