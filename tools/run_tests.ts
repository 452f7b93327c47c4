/**
 * Type-checks everything, then runs all tests and doc tests; arguments are passed
 * on to `deno test`.
 *
 * Checked first, for otherwise each module would be when a worker first loads it,
 * which takes longer than the test that started the worker may.
 *
 * @module
 */
import { checkTypes, importFlags, runTests } from "./_deno.ts";

if (import.meta.main) {
  const imports = await importFlags();
  const checked = await checkTypes(imports);
  const tested = await runTests(imports, Deno.args);
  Deno.exit(checked || tested);
}
