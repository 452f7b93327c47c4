/**
 * Type-checks every file of the repository, and the examples in the docs.
 *
 * @module
 */
import { checkTypes, importFlags } from "./_deno.ts";

if (import.meta.main) Deno.exit(await checkTypes(await importFlags()));
