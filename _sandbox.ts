/**
 * Nails down, in a worker with foreign code, what would show that code memory which
 * its worker shares with others: the tasks of a pool.
 *
 * Modules of the transport take the functions they need when they are loaded. Some
 * things cannot be taken so: the accessors of typed arrays, which every `view.length`
 * calls with the view as `this`; and their own classes, which foreign code can import
 * and whose prototypes it could change. Neither can be replaced any more after this.
 *
 * It must be evaluated before any foreign code. Only what leaks is touched, so that
 * foreign code finds the built-ins it knows.
 *
 * @module
 */

import { Ring } from "./_ring.ts";

function nail(object: object, ...keys: string[]): void {
  for (const key of keys) {
    const { writable } = Object.getOwnPropertyDescriptor(object, key)!;
    Object.defineProperty(
      object,
      key,
      writable === undefined
        ? { configurable: false }
        : { configurable: false, writable: false },
    );
  }
}

nail(
  Object.getPrototypeOf(Uint8Array.prototype),
  "buffer",
  "byteLength",
  "byteOffset",
  "length",
);
nail(Atomics, ...Object.getOwnPropertyNames(Atomics));
// Those who wait are found by the words they wait at.
nail(WeakMap.prototype, "get", "set");
Object.freeze(Ring);
Object.freeze(Ring.prototype);
