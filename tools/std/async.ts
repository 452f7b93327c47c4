/**
 * Stands in for `jsr:@std/async` where JSR does not answer: the same code from
 * npm, which comes without types, and the types of what the tests use.
 *
 * Each file is named, as the copy's own `mod.js` imports one that is not there.
 *
 * @module
 */
// @ts-types="./async.d.ts"
export { abortable } from "npm:deno-std@1.4.0/async/abortable.js";
// @ts-types="./async.d.ts"
export { deadline } from "npm:deno-std@1.4.0/async/deadline.js";
// @ts-types="./async.d.ts"
export { debounce } from "npm:deno-std@1.4.0/async/debounce.js";
// @ts-types="./async.d.ts"
export { delay } from "npm:deno-std@1.4.0/async/delay.js";
// @ts-types="./async.d.ts"
export { pooledMap } from "npm:deno-std@1.4.0/async/pool.js";
// @ts-types="./async.d.ts"
export { retry } from "npm:deno-std@1.4.0/async/retry.js";
// @ts-types="./async.d.ts"
export { tee } from "npm:deno-std@1.4.0/async/tee.js";
