/**
 * A program that runs a pool, a process or a manager again and again, each time ending
 * its first worker before another step of its life. All else is the library as it is: it notices the end by itself, and repairs.
 *
 * Prints one letter for each run and exits with 0, or says what went wrong.
 *
 * @module
 */

import { STEPS, STOPPED } from "./faults_steps.ts";
import type { RootMessage } from "./faults_root.ts";
import { DEADLINE } from "../_within.ts";

/** The first worker of what has such a name is ended; the number says when. */
const FAULTY = /^Faulty-(\d+)(-\d+)?$/;
const MOST_STEPS = 600;
const AT_THE_SAME_TIME = 4;

interface Fault {
  report: Int32Array;
  begun: Int32Array;
}

const faults = new Map<number, Fault>();

/** Before the library is loaded: has all workers begin with a module of ours. */
globalThis.Worker = new Proxy(Worker, {
  construct(target, [url, options]: [string, WorkerOptions]) {
    const match = FAULTY.exec(options.name ?? "");
    if (match === null) return new target(url, options);
    const number = Number(match[1]);
    const { report, begun } = faults.get(number)!;
    const root = new URL("./faults_root.ts", import.meta.url);
    const worker = new target(root, options);
    const isFirst = match[2] === undefined || match[2] === "-1";
    const message: RootMessage = {
      root: url,
      report: report.buffer as SharedArrayBuffer,
      stopAt: isFirst ? number : 0,
      begun: begun.buffer as SharedArrayBuffer,
    };
    worker.postMessage(message);
    return worker;
  },
});

const { Pool, Process, Queue, WorkerError } = await import("../../mod.ts");

type Outcome = { value: unknown } | { error: unknown };

function outcome(promise: Promise<unknown>): Promise<Outcome> {
  return promise.then((value) => ({ value }), (error) => ({ error }));
}

function demand(truth: boolean, what: string): asserts truth {
  if (!truth) throw new Error(`Expected ${what}`);
}

function begin(task: number): number {
  Atomics.add((globalThis as unknown as { begun: Int32Array }).begun, task, 1);
  return task;
}

/** Three tasks; the letter says what became of them. */
async function runPool(name: string, fault: Fault): Promise<string> {
  const pool = new Pool({ processes: 1, name });
  try {
    const tasks = [0, 1, 2].map((task) => outcome(pool.apply(begin, [task])));
    let lost = 0;
    for (const [task, result] of (await Promise.all(tasks)).entries()) {
      const begun = Atomics.load(fault.begun, task);
      if ("value" in result) {
        demand(result.value === task, "the task's own result");
        demand(begun === 1, `task ${task} to run once, not ${begun} times`);
      } else {
        const { error } = result;
        demand(error instanceof WorkerError, `a WorkerError, not ${error}`);
        demand(begun < 2, `task ${task} to run once, not ${begun} times`);
        lost++;
      }
    }
    demand(lost === 0 || lost === 1 && stopped(fault), `${lost} lost tasks`);
    // A dead worker that was replaced, and one that runs as before.
    demand(await pool.apply(begin, [3]) === 3, "the pool to go on");
    pool.close();
    await pool.join({ timeout: DEADLINE });
    return lost === 0 ? "a" : "b";
  } finally {
    pool.terminate();
  }
}

/** A process that puts an item into a queue and returns a value. */
async function runProcess(name: string, fault: Fault): Promise<string> {
  const queue = new Queue<number>();
  const process = new Process({
    name,
    target: (to: typeof queue) => {
      to.putSync(1);
      return 7;
    },
    args: [queue],
  }).start();
  const result = await outcome(process.result);
  await process.join({ timeout: DEADLINE });
  demand(process.exitCode !== null, "an exit code");
  const items: number[] = [];
  while (!queue.empty()) items.push(await queue.get({ timeout: DEADLINE }));
  await queue.put(2, { timeout: DEADLINE });
  demand(await queue.get({ timeout: DEADLINE }) === 2, "the queue to go on");
  if ("value" in result) {
    demand(result.value === 7 && items.length === 1, "the value and the item");
    return "c";
  }
  demand(result.error instanceof WorkerError, `an error, not ${result.error}`);
  demand(stopped(fault), `no error: ${result.error}`);
  return items.length === 0 ? "a" : "b";
}

function stopped({ report }: Fault): boolean {
  return Atomics.load(report, STOPPED) !== 0;
}

type Run = (name: string, fault: Fault) => Promise<string>;

const scenarios: Record<string, [Run, RegExp]> = {
  pool: [runPool, /^a+b[ab]*a$/],
  process: [runProcess, /^a+b+c+$/],
};

function fail(message: string): never {
  console.error(message);
  Deno.exit(1);
}

async function runOnce(run: Run, n: number): Promise<string> {
  const fault = {
    report: new Int32Array(new SharedArrayBuffer(64)),
    begun: new Int32Array(new SharedArrayBuffer(64)),
  };
  faults.set(n, fault);
  const state = () => `report: ${fault.report}\nbegun: ${fault.begun}`;
  const late = setTimeout(
    () => fail(`ended before step ${n}: it hangs\n${state()}`),
    2 * DEADLINE,
  );
  try {
    return await run(`Faulty-${n}`, fault);
  } catch (error) {
    const text = error instanceof Error ? error.stack : error;
    fail(`ended before step ${n}: ${text}\n${state()}`);
  } finally {
    clearTimeout(late);
  }
}

async function runAll(name: string, stride: number): Promise<void> {
  const [run, pattern] = scenarios[name]!;
  let letters = "";
  let finished = false;
  for (let n = 2; !finished; n += AT_THE_SAME_TIME * stride) {
    if (n > MOST_STEPS) fail(`more than ${MOST_STEPS} steps: ${letters}`);
    const runs = Array.from(
      { length: AT_THE_SAME_TIME },
      (_, i) => runOnce(run, n + i * stride),
    );
    letters += (await Promise.all(runs)).join("");
    const last = faults.get(n + (AT_THE_SAME_TIME - 1) * stride)!;
    finished = !stopped(last) && Atomics.load(last.report, STEPS) > 0 ||
      letters.endsWith("aaaaaaaaaaaa") && letters.includes("b");
  }
  console.log(`${name}: ${letters}`);
  if (!pattern.test(letters)) fail(`${name}: expected ${pattern}`);
}

if (import.meta.main) {
  const [name = "pool", stride = "1"] = Deno.args;
  await runAll(name, Number(stride));
  Deno.exit(0);
}
