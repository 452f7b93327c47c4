/**
 * Runs the benchmarks; arguments are passed on to `deno bench`.
 *
 * @module
 */
import { deno, importFlags } from "./_deno.ts";

if (import.meta.main) {
  const [first, ...rest] = Deno.args;
  const args = first === undefined || first.startsWith("-")
    ? ["bench/", ...Deno.args]
    : [first, ...rest];
  Deno.exit(
    await deno(["bench", "--allow-all", ...await importFlags(), ...args]),
  );
}
