/**
 * Type-checks every file of the repository, and the examples in the docs.
 *
 * @module
 */
import { deno, importFlags } from "./_deno.ts";

if (import.meta.main) {
  Deno.exit(
    await deno(["check", "--quiet", "--doc", ...await importFlags(), "."]),
  );
}
