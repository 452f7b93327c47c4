/**
 * Measuring in fresh child processes, and what becomes of the numbers.
 *
 * @module
 */

const ROOT = new URL("../", import.meta.url);
/** A measurement that takes longer hangs. */
const DEADLINE_MS = 180_000;

/** A named measurement, to be run in a process of its own. */
export type Measurements = Record<string, (size: number) => unknown>;

/**
 * Runs one measurement of a module in a fresh process.
 *
 * @param module The module's URL; it calls {@linkcode answerParent} when it is main.
 * @param name The measurement's name.
 * @param size What it gets: a fraction of the usual amount of work.
 * @returns What it returned, or `undefined` if it failed, which is printed.
 */
export async function inChild<T>(
  module: string,
  name: string,
  size: number,
): Promise<T | undefined> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--allow-all", module, "--measure", name, String(size)],
    cwd: ROOT,
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), DEADLINE_MS);
  const { stdout, success } = await child.output();
  clearTimeout(timer);
  const answer = new TextDecoder().decode(stdout).split("\n").find((line) =>
    line.startsWith("{")
  );
  if (success && answer !== undefined) return JSON.parse(answer).value;
  console.error(`Cannot measure ${name}: its process failed`);
}

/**
 * In a child of {@linkcode inChild}: measures, prints and ends the process.
 *
 * @returns In any other process: at once.
 */
export async function answerParent(measurements: Measurements): Promise<void> {
  const [flag, name = "", size] = Deno.args;
  if (flag !== "--measure") return;
  const value = await measurements[name]!(Number(size));
  console.log(JSON.stringify({ value }));
  Deno.exit();
}

/** The middle one of some numbers; `NaN` of none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return NaN;
  return sorted.length % 2 === 1
    ? sorted[middle]!
    : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** How many milliseconds something takes. */
export async function time(run: () => unknown): Promise<number> {
  const start = performance.now();
  const value = run();
  if (value instanceof Promise) await value;
  return performance.now() - start;
}

/** The median of the times of some runs, in milliseconds. */
export async function medianTime(
  runs: number,
  run: () => unknown,
): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < runs; i++) times.push(await time(run));
  return median(times);
}

/** Fails if a result is not the expected one. */
export function expect<T>(actual: T, expected: T): void {
  if (actual === expected) return;
  throw new Error(`Cannot measure: the result is ${actual}, not ${expected}`);
}

/** Three significant digits, with separators. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return "failed";
  return value.toLocaleString("en", {
    maximumSignificantDigits: 3,
    useGrouping: true,
  });
}

/** A table in Markdown. */
export function table(
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): string {
  const cells = (row: readonly (string | number)[]) =>
    `| ${
      row.map((cell) => typeof cell === "number" ? figure(cell) : cell).join(
        " | ",
      )
    } |`;
  return [
    cells(head),
    cells(head.map((_, i) => i === 0 ? "---" : "--:")),
    ...rows.map(cells),
  ].join("\n");
}

/** Where these numbers come from. */
export async function machine(): Promise<Record<string, string>> {
  const memory = Deno.systemMemoryInfo().total / 1024 ** 3;
  return {
    machine: `${await cpuModel()}, ${navigator.hardwareConcurrency} cores, ${
      memory.toFixed(0)
    } GiB`,
    system: `${Deno.build.os} ${Deno.osRelease()}, ${Deno.build.arch}`,
    Deno: `${Deno.version.deno} (V8 ${Deno.version.v8})`,
    commit: await commit(),
  };
}

async function cpuModel(): Promise<string> {
  try {
    const info = await Deno.readTextFile("/proc/cpuinfo");
    return /^model name\s*:\s*(.*)$/m.exec(info)?.[1] ?? "unknown processor";
  } catch {
    return "unknown processor";
  }
}

async function commit(): Promise<string> {
  try {
    const id = await git("rev-parse", "--short=12", "HEAD");
    const changes = await git("status", "--porcelain", "--", "*.ts");
    return changes === "" ? id : `${id}, with changes`;
  } catch {
    return "unknown";
  }
}

async function git(...args: string[]): Promise<string> {
  const { success, stdout } = await new Deno.Command("git", {
    args,
    cwd: ROOT,
    stderr: "null",
  }).output();
  if (!success) throw new Error("Cannot read the commit: git failed");
  return new TextDecoder().decode(stdout).trim();
}
