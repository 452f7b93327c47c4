/**
 * Groups of benchmarks whose cases must all give the same result.
 *
 * @module
 */

/** One way of doing a group's work. */
export interface Case {
  /** What it is called in the table. */
  name: string;
  /** Makes what one run uses up; not measured. */
  prepare?: () => unknown;
  /** Does the work. */
  run(prepared: unknown): unknown;
  /** Undoes what a run leaves; not measured. */
  after?: () => unknown;
}

/** How often each case of a group runs. */
export interface GroupOptions {
  /** Measured runs. */
  runs: number;
}

/**
 * Runs each case once, checks that its result is that of the first, and registers
 * them all, the first as the baseline.
 */
export async function group(
  name: string,
  cases: Case[],
  options: GroupOptions,
): Promise<void> {
  let expected: string | undefined;
  for (const [index, { name: caseName, ...steps }] of cases.entries()) {
    const { prepare, run, after } = steps;
    const value = run(await prepare?.());
    const result = JSON.stringify(await value);
    await after?.();
    expected ??= result;
    if (result !== expected) {
      throw new Error(
        `Cannot measure "${name}", "${caseName}": its result is ${
          result.slice(0, 80)
        }, expected ${expected.slice(0, 80)}`,
      );
    }
    Deno.bench({
      group: name,
      name: caseName,
      baseline: index === 0,
      n: options.runs,
      warmup: Math.ceil(options.runs / 5),
      fn: benchFunction(steps, value instanceof Promise),
    });
  }
}

/** `Deno.bench` awaits only what is declared `async`. */
function benchFunction(
  { prepare, run, after }: Omit<Case, "name">,
  isAsync: boolean,
): (b: Deno.BenchContext) => void | Promise<void> {
  if (prepare !== undefined || after !== undefined) {
    return async (b) => {
      const prepared = await prepare?.();
      b.start();
      await run(prepared);
      b.end();
      await after?.();
    };
  }
  if (!isAsync) return () => void run(undefined);
  return async () => void await run(undefined);
}

/** The end of a name: "1 worker", "2 workers". */
export function workers(count: number): string {
  return count === 1 ? "1 worker" : `${count} workers`;
}
