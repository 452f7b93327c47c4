/**
 * The errors this package throws beside the platform's own.
 *
 * All of them have a `name` equal to their class name, take the standard `cause` option, and keep
 * their class when they cross from a worker to its parent.
 *
 * @example Telling a closed queue from other failures
 * ```ts
 * import { QueueClosedError } from "@parallel/multiprocessing/errors";
 * import { assertEquals, assertInstanceOf } from "@std/assert";
 *
 * const error = new QueueClosedError("Cannot put: the queue is closed");
 *
 * assertInstanceOf(error, QueueClosedError);
 * assertEquals(error.name, "QueueClosedError");
 * ```
 *
 * @module
 */

/** Options of {@linkcode WorkerError}. */
export interface WorkerErrorOptions extends ErrorOptions {
  /**
   * The exit code of the worker, where it ended.
   *
   * @default {undefined}
   */
  exitCode?: number | undefined;
}

/**
 * A worker could not deliver: it ended before its work was done (it was terminated, called
 * `Deno.exit`, ran out of memory), or it threw something that is not an error.
 *
 * - **It ended:** `exitCode` says how: `-15` for `terminate()`, `-9` for `kill()`, otherwise the
 *   code it exited with.
 * - **It threw a non-error:** `exitCode` is `undefined` and `cause` is the thrown value.
 *
 * @example Reading how a worker ended
 * ```ts
 * import { WorkerError } from "@parallel/multiprocessing/errors";
 * import { assertEquals } from "@std/assert";
 *
 * const error = new WorkerError("Worker ended with exit code 3", { exitCode: 3 });
 *
 * assertEquals(error.exitCode, 3);
 * assertEquals(error.name, "WorkerError");
 * ```
 */
export class WorkerError extends Error {
  static {
    nameOnPrototype(this, "WorkerError");
  }

  /**
   * The exit code of the worker, or `undefined` if it did not end.
   *
   * @example Usage
   * ```ts
   * import { WorkerError } from "@parallel/multiprocessing/errors";
   * import { assertEquals } from "@std/assert";
   *
   * assertEquals(new WorkerError("Worker threw a non-error: 42", { cause: 42 }).exitCode, undefined);
   * ```
   */
  readonly exitCode: number | undefined;

  /**
   * Constructs a new instance.
   *
   * @param message What happened.
   * @param options The exit code and the cause.
   */
  constructor(message?: string, options?: WorkerErrorOptions) {
    super(message, options);
    this.exitCode = options?.exitCode;
  }
}

/**
 * The queue is closed: nothing can be put any more, and nothing is left to get.
 *
 * @example Usage
 * ```ts
 * import { QueueClosedError } from "@parallel/multiprocessing/errors";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(new QueueClosedError("Cannot get: the queue is closed").name, "QueueClosedError");
 * ```
 */
export class QueueClosedError extends Error {
  static {
    nameOnPrototype(this, "QueueClosedError");
  }
}

/**
 * The other end of a pipe is gone, or this end has been closed.
 *
 * @example Usage
 * ```ts
 * import { ConnectionClosedError } from "@parallel/multiprocessing/errors";
 * import { assertEquals } from "@std/assert";
 *
 * const error = new ConnectionClosedError("Cannot send: the other end is closed");
 *
 * assertEquals(error.name, "ConnectionClosedError");
 * ```
 */
export class ConnectionClosedError extends Error {
  static {
    nameOnPrototype(this, "ConnectionClosedError");
  }
}

/**
 * The barrier is broken: a party timed out, was aborted, died, or the barrier was aborted or reset
 * while parties were waiting.
 *
 * @example Usage
 * ```ts
 * import { BrokenBarrierError } from "@parallel/multiprocessing/errors";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(new BrokenBarrierError("Cannot wait: the barrier is broken").name, "BrokenBarrierError");
 * ```
 */
export class BrokenBarrierError extends Error {
  static {
    nameOnPrototype(this, "BrokenBarrierError");
  }
}

/** Sets `name` where the built-in errors have theirs, so that it is no own data of an instance. */
function nameOnPrototype(errorClass: { prototype: Error }, name: string): void {
  Object.defineProperty(errorClass.prototype, "name", {
    value: name,
    writable: true,
    enumerable: false,
    configurable: true,
  });
}
