/**
 * Type-checks everything, then runs all tests and doc tests; arguments are passed
 * on to `deno test`.
 *
 * Checked first, for otherwise each module would be when a worker first loads it,
 * which takes longer than the test that started the worker may.
 *
 * Files run side by side, one more than there are cores, unless `DENO_JOBS` says
 * otherwise: much of their time goes by in waiting.
 *
 * @module
 */
import { deno, importFlags } from "./_deno.ts";

if (import.meta.main) {
  const imports = await importFlags();
  const checked = await deno(["check", "--quiet", "--doc", ...imports, "."]);
  const jobs = Deno.env.get("DENO_JOBS") ??
    `${navigator.hardwareConcurrency + 1}`;
  const tested = await deno([
    "test",
    "--allow-all",
    "--no-check",
    "--parallel",
    "--doc",
    ...imports,
    ...Deno.args,
  ], { DENO_JOBS: jobs });
  Deno.exit(checked || tested);
}
