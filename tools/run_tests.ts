/**
 * Type-checks everything, then runs all tests and doc tests; arguments are passed
 * on to `deno test`.
 *
 * Checked first, for otherwise each module would be when a worker first loads it,
 * which takes longer than the test that started the worker may.
 *
 * Files run side by side, as many as there are cores: most of their time goes by in
 * waiting for workers to start.
 *
 * @module
 */
import { deno, importFlags } from "./_deno.ts";

if (import.meta.main) {
  const imports = await importFlags();
  const checked = await deno(["check", "--quiet", "--doc", ...imports, "."]);
  const tested = await deno([
    "test",
    "--allow-all",
    "--no-check",
    "--parallel",
    "--doc",
    ...imports,
    ...Deno.args,
  ]);
  Deno.exit(checked || tested);
}
