/**
 * Checks the docs of all entry points.
 *
 * @module
 */
import { deno, entryPoints } from "./_deno.ts";

if (import.meta.main) {
  Deno.exit(await deno(["doc", "--lint", ...await entryPoints()]));
}
