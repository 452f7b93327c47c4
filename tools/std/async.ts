/**
 * Stands in for `jsr:@std/async` where JSR does not answer: the same code from
 * npm, which comes without types, and the types of what the tests use.
 *
 * The file is named, as the copy's own `mod.js` imports one that is not there.
 *
 * @module
 */
// @ts-types="./async.d.ts"
export { delay } from "npm:deno-std@1.4.0/async/delay.js";
