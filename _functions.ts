/**
 * The functions of a pool's tasks, and which of its workers know them.
 *
 * A function's definition travels with its tasks until all workers have said that
 * they know it; from then on its number is enough.
 *
 * @module
 */

import type { TargetRef } from "./_target.ts";

/** How many functions are remembered at once. */
const KNOWN_FUNCTIONS = 256;

/** A function as the workers know it. */
export interface SentFunction {
  readonly id: number;
  readonly target: TargetRef;
  /** The target as JSON in UTF-8. */
  readonly definition: Uint8Array;
  /** The indexes of the workers that know it. */
  readonly knownBy: Set<number>;
  /** Whether all of them do. */
  known: boolean;
}

const encoder = new TextEncoder();

/** The functions that a pool has sent. */
export class Functions {
  readonly #byTarget = new Map<TargetRef, SentFunction>();
  #nextId = 1;

  /** The number and definition of a function. */
  get(target: TargetRef): SentFunction {
    let fn = this.#byTarget.get(target);
    if (fn !== undefined) return fn;
    if (this.#byTarget.size >= KNOWN_FUNCTIONS) {
      for (const oldest of this.#byTarget.keys()) {
        this.#byTarget.delete(oldest);
        break;
      }
    }
    fn = {
      id: this.#nextId++,
      target,
      definition: encoder.encode(JSON.stringify(target)),
      knownBy: new Set(),
      known: false,
    };
    this.#byTarget.set(target, fn);
    return fn;
  }

  /** A worker, one of so many, has learned a function. */
  learned(fn: SentFunction, worker: number, workers: number): void {
    fn.knownBy.add(worker);
    fn.known = fn.knownBy.size >= workers;
  }

  /** There is a worker that knows none. */
  workerStarted(): void {
    for (const fn of this.#byTarget.values()) fn.known = false;
  }

  /** A worker has ended, and what it knew with it. */
  workerEnded(worker: number): void {
    for (const fn of this.#byTarget.values()) fn.knownBy.delete(worker);
  }
}
