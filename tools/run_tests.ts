/**
 * Runs all tests and doc tests; arguments are passed on to `deno test`.
 *
 * One file after the other: tests start workers of their own and some measure
 * time, so files side by side would only disturb each other.
 *
 * @module
 */
import { deno, importFlags } from "./_deno.ts";

if (import.meta.main) {
  Deno.exit(
    await deno([
      "test",
      "--allow-all",
      "--doc",
      ...await importFlags(),
      ...Deno.args,
    ]),
  );
}
