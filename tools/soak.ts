/**
 * Uses everything at once, for minutes or hours, with workers that are killed, waits
 * that are aborted and tasks that end their worker; and accounts for every item.
 *
 * ```sh
 * deno task soak --minutes 10
 * ```
 *
 * It works in rounds of a few seconds. Each makes queues, locks and pipes anew, lets
 * workers use them, kills some in random phases, stops, and looks what has become of
 * each item: delivered once; or not, and then a worker that had it was killed. Pools
 * and a manager live for the whole time.
 *
 * Exits with 1, and says why, if an item is lost or doubled, two are in a lock, a wait
 * does not end, or memory or threads grow from round to round.
 *
 * @module
 */

import * as mp from "../mod.ts";
import {
  attend,
  BEGUN,
  borrow,
  consume,
  contend,
  count,
  Counter,
  double,
  echo,
  type Fate,
  GAVE_UP,
  GIVEN_UP,
  IDS,
  type Ledger,
  meet,
  newLedger,
  NEXT,
  OPERATIONS,
  pass,
  PATIENCE,
  produce,
  PUT,
  STOP,
  VIOLATIONS,
  work,
} from "./_soak_jobs.ts";

/** How long a round runs before it is stopped. */
const ROUND_MS = 4000;
/** How long a round may take to stop. */
const STALL_MS = 30_000;
/** The part of the rounds that warms up. */
const WARM_UP = 0.3;
/** Growth of memory that is noise, in MiB: in all, and by minute. */
const NOISE = { total: 48, slope: 8 };
/** How many threads more than after the warm-up are noise. */
const THREAD_NOISE = 12;

const totals = {
  rounds: 0,
  operations: 0,
  tasks: 0,
  kills: 0,
  exits: 0,
  gaveUp: 0,
  delivered: 0,
  diedWithOwner: 0,
  lost: 0,
  duplicates: 0,
};
const violations: string[] = [];

function violated(text: string): void {
  violations.push(text);
  console.error(`VIOLATION in round ${totals.rounds}: ${text}`);
}

function dice(below: number): number {
  return Math.floor(Math.random() * below);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Rejects if the promise does not settle in time. */
async function within<T>(
  promise: Promise<T>,
  what: string,
  ms = STALL_MS,
): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`STALL: ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

// -- Workers that are killed and replaced ------------------------------------------

// deno-lint-ignore no-explicit-any -- of any kind.
type Job = (...args: any[]) => unknown;
// deno-lint-ignore no-explicit-any -- as above.
type Member = mp.Process<any[], unknown>;

/** A number of processes that do the same. */
class Crew {
  readonly name: string;
  readonly #start: () => Member;
  #members: Member[] = [];
  killed = 0;

  constructor(name: string, size: number, start: () => Member) {
    this.name = name;
    this.#start = start;
    for (let i = 0; i < size; i++) this.#members.push(start().start());
  }

  /** Kills a member, starts another. */
  kill(): void {
    const index = dice(this.#members.length);
    const victim = this.#members[index]!;
    if (victim.isAlive()) {
      if (dice(2) === 0) victim.kill();
      else victim.terminate();
      this.killed++;
      totals.kills++;
    }
    this.#members[index] = this.#start().start();
    this.#ended.push(victim);
  }

  readonly #ended: Member[] = [];

  /** Resolves when all have ended. */
  async join(): Promise<void> {
    for (const member of this.#members) {
      await within(member.join(), `${this.name}: ${member.name} does not end`);
      if (member.exitCode !== 0) {
        const error = await member.result.catch((error) => error);
        violated(`${this.name}: ${member.name} failed: ${Deno.inspect(error)}`);
      }
    }
    for (const victim of this.#ended) {
      await within(victim.join(), `${this.name}: a victim does not end`);
    }
  }

  terminate(): void {
    for (const member of this.#members) member.terminate();
  }

  get alive(): string {
    return this.#members.map((member) => Deno.inspect(member)).join(", ");
  }
}

const inbox = (): "web" | "node" => dice(4) === 0 ? "node" : "web";

function crew(
  name: string,
  size: number,
  target: Job,
  args: unknown[],
): Crew {
  return new Crew(
    name,
    size,
    () => new mp.Process({ target, args, worker: inbox() }) as Member,
  );
}

/** One thing that is used by crews for a round. */
interface Station {
  name: string;
  crews: Crew[];
  words: Int32Array;
  /** Ends the use; the crews end by themselves then. */
  stop(): void;
  /** Looks what has become of all. */
  account(): Promise<void>;
  /** What is shared, for a stall. */
  thing: unknown;
}

// -- Queues -------------------------------------------------------------------------

function queueStation(
  name: string,
  // deno-lint-ignore no-explicit-any -- items of any kind.
  queue: mp.Queue<any>,
): Station {
  const ledger = newLedger();
  const { words } = ledger;
  const producers = crew(`${name} producers`, 2, produce, [queue, ledger]);
  const consumers = crew(`${name} consumers`, 2, consume, [queue, ledger]);
  return {
    name,
    words,
    thing: queue,
    crews: [producers, consumers],
    stop() {
      Atomics.store(words, STOP, 1);
      producers.join().then(() => queue.close(), () => {});
    },
    async account() {
      const killed = { put: producers.killed, got: consumers.killed };
      accountItems(name, ledger, killed);
      if (queue.size !== 0) violated(`${name}: ${queue.size} items are left`);
      if (queue instanceof mp.JoinableQueue) {
        let undone = 0;
        try {
          for (;; undone++) queue.taskDone();
        } catch (error) {
          if (!(error instanceof RangeError)) throw error;
        }
        if (undone > killed.got) violated(`${name}: ${undone} tasks undone`);
        await within(queue.join(), `${name}: join`);
      }
    },
  };
}

function accountItems(
  name: string,
  { words, put, got }: Ledger,
  killed: { put: number; got: number },
): void {
  const ids = Math.min(words[NEXT]!, IDS);
  let missing = 0;
  let halfPut = 0;
  for (let id = 0; id < ids; id++) {
    if (got[id]! > 1) {
      totals.duplicates++;
      violated(`${name}: item ${id} was delivered ${got[id]} times`);
    }
    if (got[id] === 1) totals.delivered++;
    if (put[id] === GAVE_UP && got[id] !== 0) {
      totals.duplicates++;
      violated(`${name}: item ${id} was delivered, and its put had given up`);
    }
    if (put[id] === PUT && got[id] === 0) missing++;
    if (put[id] === BEGUN) halfPut++;
  }
  // Each that was killed may have had one item: not put yet, or taken already.
  if (halfPut > killed.put) {
    violated(`${name}: ${halfPut} puts never ended, ${killed.put} were killed`);
  }
  if (missing > killed.got) {
    totals.lost += missing - killed.got;
    violated(`${name}: ${missing} items lost, ${killed.got} consumers killed`);
  }
  totals.diedWithOwner += Math.min(missing, killed.got);
}

// -- Everything else ------------------------------------------------------------------

function simpleStation(
  name: string,
  thing: unknown,
  size: number,
  target: Job,
  args: (words: Int32Array) => unknown[],
  account: (words: Int32Array, crew: Crew) => Promise<void> | void = () => {},
): Station {
  const words = new Int32Array(new SharedArrayBuffer(64));
  const all = crew(name, size, target, args(words));
  return {
    name,
    words,
    thing,
    crews: [all],
    stop: () => Atomics.store(words, STOP, 1),
    account: async () => await account(words, all),
  };
}

function lockStation(name: string, lock: mp.Lock | mp.RLock): Station {
  return simpleStation(
    name,
    lock,
    3,
    contend,
    (words) => [lock, words],
    async () => {
      const guard = await within(lock.acquire(), `${name}: acquire`);
      guard.release();
    },
  );
}

function semaphoreStation(): Station {
  const permits = 64;
  const semaphore = new mp.Semaphore(permits);
  return simpleStation(
    "Semaphore",
    semaphore,
    2,
    borrow,
    (words) => [semaphore, permits, words],
    (_, { killed }) => {
      const { value } = semaphore;
      if (value > permits || value < permits - killed) {
        violated(`Semaphore: ${value} permits of ${permits}, ${killed} killed`);
      }
    },
  );
}

/** Sends numbers to a process that sends them back. */
function pipeStation(): Station {
  const words = new Int32Array(new SharedArrayBuffer(64));
  let next = 0;
  const done = run();
  done.catch(() => {});

  async function run(): Promise<void> {
    while (words[STOP] === 0) {
      const [mine, theirs] = mp.pipe<number, number>();
      const current = new mp.Process({
        target: echo,
        args: [theirs],
        worker: inbox(),
      }).start();
      theirs.close();
      let sent = next;
      try {
        while (words[STOP] === 0) {
          while (sent < next + 8) await mine.send(sent++);
          const id = await within(mine.recv(), "pipe: an answer");
          if (id !== next++) violated(`pipe: ${id} instead of ${next - 1}`);
          Atomics.add(words, OPERATIONS, 1);
          if (dice(500) === 0) {
            current.kill();
            totals.kills++;
          }
        }
        mine.close();
      } catch (error) {
        if (!(error instanceof mp.ConnectionClosedError)) throw error;
        next = sent;
      }
      await within(current.join(), "pipe: the end of a process");
    }
  }

  return {
    name: "pipe",
    words,
    thing: "",
    crews: [],
    stop: () => Atomics.store(words, STOP, 1),
    account: () => within(done, "pipe"),
  };
}

async function managerStation(manager: mp.Manager): Promise<Station> {
  const counter = await within(manager.create(Counter), "manager: create");
  return simpleStation(
    "manager",
    manager,
    2,
    count,
    (words) => [counter, words],
    async (words, { killed }) => {
      const value = await within(counter.read(), "manager: read");
      const acknowledged = Atomics.load(words, OPERATIONS);
      if (value < acknowledged || value > acknowledged + 2 * killed) {
        violated(`manager: ${value} calls, ${acknowledged} acknowledged`);
      }
    },
  );
}

// -- Pools ----------------------------------------------------------------------------

/** What is expected of a call whose tasks have such a fate. */
function isExpected(fate: Fate, aborted: boolean, error: unknown): boolean {
  const { name } = error as Error;
  if (aborted && (name === "TimeoutError" || name === "AbortError")) {
    return true;
  }
  if (fate === "throw") return name === "RangeError";
  return fate === "exit" && error instanceof mp.WorkerError;
}

/** Gives a pool tasks until it is time to stop. */
async function usePool(
  name: string,
  pool: mp.Pool,
  isOver: () => boolean,
): Promise<void> {
  const fates: Fate[] = ["return", "return", "return", "throw", "exit", "wait"];
  if (name === "node") fates.push("spin");
  while (!isOver()) {
    const begun = new Uint8Array(new SharedArrayBuffer(64));
    const calls = Array.from({ length: 12 }, async (_, id) => {
      const fate = fates[dice(fates.length)]!;
      const bare = dice(2) === 0;
      const limit = fate === "wait" || fate === "spin" || dice(6) === 0;
      const options = !limit
        ? {}
        : dice(2) === 0
        ? { timeout: dice(40) }
        : { signal: AbortSignal.timeout(dice(40)) };
      if (limit) totals.gaveUp++;
      if (fate === "exit") totals.exits++;
      totals.tasks++;
      try {
        const args: Parameters<typeof work> = [
          id,
          fate,
          bare ? undefined : begun,
        ];
        const value = await within(
          pool.apply(work, args, options),
          `${name} pool: a task that is to ${fate}, ${Deno.inspect(pool)}`,
        );
        if (value !== id) violated(`${name} pool: ${value} instead of ${id}`);
        if (!bare && begun[id] !== 1) {
          violated(`${name} pool: ran ${begun[id]}`);
        }
        if (fate !== "return" && fate !== "wait") {
          violated(`${name} pool: a task that is to ${fate} returned`);
        }
      } catch (error) {
        if (String(error).includes("STALL")) throw error;
        if (!isExpected(fate, limit, error)) {
          violated(`${name} pool: a task that is to ${fate}: ${error}`);
        }
      }
      if (begun[id]! > 1) {
        violated(`${name} pool: a task ran ${begun[id]} times`);
      }
    });
    calls.push(useStreams(name, pool));
    await Promise.all(calls);
  }
}

/** Maps, and leaves a stream early; deaths of others must not reach it. */
async function useStreams(name: string, pool: mp.Pool): Promise<void> {
  const length = 200;
  const input = Array.from({ length }, (_, i) => i);
  try {
    totals.tasks += length;
    const values = await within(pool.map(double, input), `${name} pool: map`);
    if (!values.every((value, i) => value === 2 * i)) {
      violated(`${name} pool: a map gave wrong values`);
    }
    let seen = 0;
    for await (const value of pool.imap(double, input)) {
      if (value !== 2 * seen++) violated(`${name} pool: imap gave ${value}`);
      if (seen === 50) break;
    }
  } catch (error) {
    // A neighbour that exits, or is given up, takes a chunk with it only if it runs
    // in the same worker at the same time, which is never so.
    violated(`${name} pool: map or imap: ${error}`);
  }
}

// -- Rounds ---------------------------------------------------------------------------

async function runRound(
  pools: Record<string, mp.Pool>,
  manager: mp.Manager,
  until: number,
): Promise<void> {
  totals.rounds++;
  const stations: Station[] = [
    queueStation("Queue", new mp.Queue({ maxSize: 16, byteCapacity: 1 << 16 })),
    pipeStation(),
    await managerStation(manager),
  ];
  // The others take turns: more workers than that only wait for a processor.
  switch (totals.rounds % 4) {
    case 0:
      stations.push(lockStation("Lock", new mp.Lock()));
      stations.push(semaphoreStation());
      break;
    case 1: {
      const queue = new mp.JoinableQueue({ byteCapacity: 1 << 17 });
      stations.push(queueStation("JoinableQueue", queue));
      break;
    }
    case 2: {
      const condition = new mp.Condition(new mp.Lock());
      stations.push(simpleStation(
        "Condition",
        condition,
        3,
        pass,
        (words) => [condition, words],
      ));
      stations.push(lockStation("RLock", new mp.RLock()));
      break;
    }
    case 3: {
      const barrier = new mp.Barrier(2);
      const event = new mp.Event();
      stations.push(simpleStation(
        "Barrier",
        barrier,
        2,
        meet,
        (words) => [barrier, words],
      ));
      stations.push(simpleStation(
        "Event",
        event,
        2,
        attend,
        (words) => [event, words],
      ));
    }
  }
  const crews = stations.flatMap((station) => station.crews);
  let over = false;
  const used = Object.entries(pools).map(([name, pool]) =>
    usePool(name, pool, () => over)
  );
  const end = Math.min(performance.now() + ROUND_MS, until);
  try {
    while (performance.now() < end) {
      await pause(20 + dice(150));
      crews[dice(crews.length)]!.kill();
    }
    over = true;
    for (const station of stations) station.stop();
    await Promise.all(used);
    for (const station of stations) {
      for (const crew of station.crews) await crew.join();
      await station.account();
      const { words } = station;
      totals.operations += words[OPERATIONS]!;
      totals.gaveUp += words[GIVEN_UP]!;
      if (words[VIOLATIONS]! > 0) {
        violated(
          `${station.name}: workers saw ${words[VIOLATIONS]} violations`,
        );
      }
    }
  } catch (error) {
    violated(
      error instanceof Error ? error.stack ?? error.message : `${error}`,
    );
    for (const { name, words, thing, crews } of stations) {
      console.error(`${name}: ${Deno.inspect(thing)} [${words}]`);
      for (const { name, alive } of crews) console.error(`  ${name}: ${alive}`);
    }
    for (const crew of crews) crew.terminate();
    report([]);
    Deno.exit(1);
  }
}

// -- Memory -----------------------------------------------------------------------------

interface Sample {
  minute: number;
  rss: number;
  heap: number;
  threads: number;
  /** Those started so far. */
  workers: number;
}

function idle(): void {}

async function sample(started: number): Promise<Sample> {
  // Threads that have ended are gone a moment later.
  await pause(150);
  (globalThis as { gc?: () => void }).gc?.();
  let threads = 0;
  try {
    const status = await Deno.readTextFile("/proc/self/status");
    threads = Number(/^Threads:\s*(\d+)/m.exec(status)?.[1] ?? 0);
  } catch {
    // Only Linux tells.
  }
  const { rss, heapUsed } = Deno.memoryUsage();
  return {
    minute: (performance.now() - started) / 60_000,
    rss: rss / 2 ** 20,
    heap: heapUsed / 2 ** 20,
    threads,
    // Numbers of processes are given in the order in which they are made.
    workers: new mp.Process({ target: idle }).id,
  };
}

/** Least squares: MiB by minute, and the standard error of that. */
function slopeOf(samples: Sample[]): { slope: number; error: number } {
  const n = samples.length;
  const x = samples.reduce((sum, { minute }) => sum + minute, 0) / n;
  const y = samples.reduce((sum, { rss }) => sum + rss, 0) / n;
  let over = 0;
  let under = 0;
  for (const { minute, rss } of samples) {
    over += (minute - x) * (rss - y);
    under += (minute - x) ** 2;
  }
  if (n < 3 || under === 0) return { slope: 0, error: Infinity };
  const slope = over / under;
  let rest = 0;
  for (const { minute, rss } of samples) {
    rest += (rss - y - slope * (minute - x)) ** 2;
  }
  return { slope, error: Math.sqrt(rest / (n - 2) / under) };
}

/** The mean of each minute. */
function byMinute(samples: Sample[]): string {
  const minutes = Map.groupBy(samples, ({ minute }) => Math.floor(minute));
  return Array.from(
    minutes.values(),
    (some) =>
      (some.reduce((sum, { rss }) => sum + rss, 0) / some.length).toFixed(0),
  ).join(" ");
}

function report(samples: Sample[]): void {
  const { rounds, operations, tasks, kills, exits, gaveUp } = totals;
  console.log(`rounds               ${rounds}`);
  console.log(`operations           ${operations}`);
  console.log(`tasks                ${tasks}`);
  console.log(`faults injected      ${kills + exits + gaveUp}`);
  console.log(`  kills              ${kills}`);
  console.log(`  exits in tasks     ${exits}`);
  console.log(`  timeouts, aborts   ${gaveUp}`);
  console.log(`items delivered      ${totals.delivered}`);
  console.log(`died with their owner ${totals.diedWithOwner}`);
  console.log(`items lost           ${totals.lost}`);
  console.log(`duplicates           ${totals.duplicates}`);
  const warm = samples.slice(Math.floor(samples.length * WARM_UP));
  if (warm.length >= 4) {
    const { slope } = slopeOf(warm);
    const late = slopeOf(samples.slice(samples.length >> 1));
    const first = warm[0]!;
    const last = warm.at(-1)!;
    const span = last.minute - first.minute;
    console.log(
      `memory               ${first.rss.toFixed(0)} -> ${
        last.rss.toFixed(0)
      } MiB, ${slope.toFixed(2)} MiB/min after the warm-up`,
    );
    console.log(
      `  in the second half ${late.slope.toFixed(2)} ± ${
        late.error.toFixed(2)
      } MiB/min`,
    );
    console.log(`  by minute          ${byMinute(samples)} MiB`);
    const workers = last.workers - first.workers;
    console.log(
      `  workers started    ${workers}, ${
        ((last.rss - first.rss) * 1024 / workers).toFixed(1)
      } KiB for each`,
    );
    console.log(
      `heap                 ${first.heap.toFixed(1)} -> ${
        last.heap.toFixed(1)
      } MiB`,
    );
    console.log(`threads              ${first.threads} -> ${last.threads}`);
    if (slope > NOISE.slope && slope * span > NOISE.total) {
      violated(`memory grows by ${slope.toFixed(1)} MiB a minute`);
    }
    if (last.threads > first.threads + THREAD_NOISE) {
      violated(`${last.threads - first.threads} threads more`);
    }
  }
  console.log(`violations           ${violations.length}`);
}

function durationOf(args: readonly string[]): number {
  const [flag, value] = args;
  const number = Number(value);
  if (!(number > 0) || flag !== "--minutes" && flag !== "--seconds") {
    console.error("Usage: soak.ts --minutes N | --seconds N");
    Deno.exit(2);
  }
  return number * (flag === "--minutes" ? 60_000 : 1000);
}

if (import.meta.main) {
  const started = performance.now();
  const until = started + durationOf(Deno.args);
  const pools = {
    web: new mp.Pool({ processes: 2, name: "web" }),
    node: new mp.Pool({ processes: 1, name: "node", worker: "node" }),
  };
  const manager = new mp.Manager();
  const samples: Sample[] = [];
  while (performance.now() < until && violations.length < 20) {
    await runRound(pools, manager, until);
    samples.push(await sample(started));
  }
  for (const pool of Object.values(pools)) {
    pool.close();
    await within(pool.join(), "the end of a pool", PATIENCE);
  }
  await within(manager[Symbol.asyncDispose](), "the end of the manager");
  report(samples);
  Deno.exit(violations.length === 0 ? 0 : 1);
}
