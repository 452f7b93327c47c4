/**
 * The long run of the properties that the tests check for a few seconds: at least
 * 100 000 values through the codec, as many damaged messages, and programs.
 *
 * Arguments: a number of cases in place of 100 000, and a seed to repeat a run.
 * Prints the seed first, then one line for each property; exits with 1 and the
 * smallest failing case if one does not hold.
 *
 * @module
 */
import { CODEC, PROGRAMS, type Property, WAITS } from "../tests/_fuzz.ts";

const DEFAULT_RUNS = 100_000;
/** Cases in one round, so that memory stays flat. */
const ROUND = 2000;

async function runAll(
  { name, check }: Property,
  runs: number,
  seed: number,
): Promise<boolean> {
  const started = performance.now();
  for (let done = 0; done < runs; done += ROUND) {
    try {
      await check({ runs: Math.min(ROUND, runs - done), seed: seed + done });
    } catch (error) {
      console.error(`FAILED after ${done} cases: ${name}`);
      console.error(error);
      return false;
    }
  }
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${runs} cases in ${seconds} s: ${name}`);
  return true;
}

if (import.meta.main) {
  const runs = Number(Deno.args[0] ?? DEFAULT_RUNS);
  const seed = Number(Deno.args[1] ?? Math.floor(Math.random() * 2 ** 30));
  console.log(`seed ${seed}`);
  let failures = 0;
  for (const property of CODEC) {
    if (!await runAll(property, runs, seed)) failures++;
  }
  for (const property of PROGRAMS) {
    if (!await runAll(property, Math.ceil(runs / 5), seed)) failures++;
  }
  if (!await runAll(WAITS, Math.ceil(runs / 200), seed)) failures++;
  Deno.exit(failures === 0 ? 0 : 1);
}
