/**
 * Checks the docs of all entry points.
 *
 * @module
 */
import { lintDocs } from "./_deno.ts";

if (import.meta.main) Deno.exit(await lintDocs());
