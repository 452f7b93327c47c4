/**
 * Stands in for `jsr:@std/assert` where JSR does not answer: the same code from
 * npm, which comes without types, and the types of what the tests use.
 *
 * @module
 */
// @ts-types="./assert.d.ts"
export * from "npm:deno-std@1.4.0/assert/mod.js";
