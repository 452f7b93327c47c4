/**
 * A pool of workers that share out calls of a function among themselves.
 *
 * ```ts
 * import { Pool } from "@parallel/multiprocessing/pool";
 * import { assertEquals } from "@std/assert";
 *
 * await using pool = new Pool(2);
 * assertEquals(await pool.map((n: number) => n * n, [1, 2, 3]), [1, 4, 9]);
 * ```
 *
 * @module
 */

import { CallSites } from "./_call_sites.ts";
import type { AnyFunction } from "./_calls.ts";
import {
  checkArray,
  checkObject,
  checkType,
  checkWhole,
  refuseSpelling,
} from "./_checks.ts";
import { Dispatch, type DispatchOptions } from "./_dispatch.ts";
import type { SentFunction } from "./_functions.ts";
import { cannotLeave, HANDLE, letGoOf, refuseClone } from "./_handle.ts";
import { inspectAs } from "./_inspect.ts";
import {
  checkCall,
  checkItems,
  type JobSpec,
  rejectCall,
  startLimit,
} from "./_jobs.ts";
import { MapJob } from "./_map_job.ts";
import type { PoolTask } from "./_outgoing.ts";
import { packCounted } from "./_parcel.ts";
import type { WaitOptions } from "./_park.ts";
import { CALL, CALL_ONE, MAP, STARMAP } from "./_pool_protocol.ts";
import { assertMayStart } from "./_resolve.ts";
import { StreamJob } from "./_stream_job.ts";
import { describeTarget } from "./_target.ts";
import { checkWorkerKind, type Permissions } from "./_thread.ts";
import type { Caller } from "./_thrown.ts";
import { cpuCount } from "./process.ts";
import type { Target } from "./task.ts";

export type { Permissions, Target, WaitOptions };

/** Options of {@linkcode Pool}. */
export interface PoolOptions {
  /**
   * How many workers.
   *
   * @default {cpuCount()}
   */
  processes?: number | undefined;
  /** Called in each worker before its first task. */
  // deno-lint-ignore no-explicit-any
  initializer?: Target<any[], unknown> | undefined;
  /**
   * The initializer's arguments.
   *
   * @default {[]}
   */
  initArgs?: unknown[] | undefined;
  /**
   * After how many tasks (chunks, for `map`) a worker is replaced by a new one.
   *
   * @default {Infinity}
   */
  maxTasksPerChild?: number | undefined;
  /**
   * The beginning of the workers' names.
   *
   * @default {"PoolWorker"}
   */
  name?: string | undefined;
  /**
   * What kind of thread: Deno's Web Worker, or one that can be stopped even in
   * an endless loop and limited in memory, at about twice the start-up time.
   *
   * @default {"web"}
   */
  worker?: "web" | "node" | undefined;
  /** Heap limit of a worker in MiB, for `worker: "node"`; at least 8. */
  memoryLimit?: number | undefined;
  /**
   * Deno's sandbox for `worker: "web"`; needs `--unstable-worker-options`, or
   * `"unstable": ["worker-options"]` in `deno.json`, without which Deno itself
   * ends the program. What is not granted Deno asks for at the terminal, if there
   * is one: run with `--no-prompt` to have it denied.
   */
  permissions?: Permissions | undefined;
}

/** How far a call has come. */
export interface Progress {
  /** How many items are done. */
  completed: number;
  /** How many there are, `undefined` while that is unknown. */
  total: number | undefined;
}

/** Options of the calls of a {@linkcode Pool}. */
export interface TaskOptions extends WaitOptions {
  /**
   * How many items make one task, for calls with many.
   *
   * @default {by the number of items, fewer towards the end; 1 for `imap` and
   * `imapUnordered`}
   */
  chunkSize?: number | undefined;
  /** Called as items get done. */
  onProgress?: ((progress: Progress) => void) | undefined;
  /** Objects to move to the workers rather than copy. */
  transfer?: Transferable[] | undefined;
}

/** What a {@linkcode Pool} is doing. Informational only. */
export interface PoolStats {
  /** Calls accepted and not begun. */
  queued: number;
  /** Calls in the hands of workers. */
  running: number;
  /** Calls that succeeded. */
  completed: number;
  /** Tasks that failed. */
  failed: number;
  /** Workers replaced because they had died, or were stopped for an abort or a timeout. */
  restarted: number;
}

/** What Python's options are called here. */
const SPELLINGS = {
  initargs: "initArgs",
  maxtasksperchild: "maxTasksPerChild",
};

type State = "open" | "closed" | "terminated";

/**
 * A fixed number of workers that run calls for you.
 *
 * **Order:** `map`, `starmap` and `imap` give results in the order of the input;
 * `imapUnordered` as they come.
 *
 * **Distribution:** whichever worker is free takes the next task.
 *
 * **Errors:** the first failure rejects `map` and cancels what has not started;
 * the pool stays usable.
 *
 * **A worker that dies** fails the task it was running with a
 * {@linkcode WorkerError} and is replaced; other tasks go on.
 *
 * **Giving up:** `signal` and `timeout` drop queued work; running work is
 * abandoned and its worker replaced. A `"web"` worker in an endless loop keeps
 * its core busy until the program ends; a `"node"` worker is really stopped.
 *
 * **Staying alive:** accepted work keeps the program alive, an idle pool does not.
 *
 * **Disposal:** `await using` finishes what was accepted, `using` terminates.
 *
 * **Deadlock:** a task that waits for another task of its own pool may wait for
 * ever: all workers may be waiting.
 *
 * @example Square numbers on all cores
 * ```ts
 * import { Pool } from "@parallel/multiprocessing/pool";
 * import { assertEquals } from "@std/assert";
 *
 * await using pool = new Pool();
 * const squares = await pool.map((n: number) => n * n, [1, 2, 3, 4]);
 *
 * assertEquals(squares, [1, 4, 9, 16]);
 * ```
 */
export class Pool {
  readonly #dispatch: Dispatch;
  #state: State = "open";
  /** The function found last: calls come in runs. */
  #lastTarget: unknown = NaN; // equals nothing
  #lastSent: SentFunction | undefined;
  readonly #callSites = new CallSites();

  /**
   * Starts the workers.
   *
   * @param processes How many, or all options.
   * @throws {RangeError} If `processes`, `maxTasksPerChild` or `memoryLimit` is
   * not a whole number in its range.
   * @throws {TypeError} If an option has a wrong type.
   */
  constructor(processes?: number | PoolOptions) {
    const what = "create pool";
    const options = typeof processes === "object" && processes !== null
      ? processes
      : { processes };
    checkObject(what, options, "{ processes: 2 }");
    if (arguments[1] !== undefined) {
      throw new TypeError(
        `Cannot ${what}: it takes one argument, with options an object such as { processes: 2, initializer }`,
      );
    }
    refuseSpelling(what, options, SPELLINGS);
    const count = options.processes ?? cpuCount();
    checkWhole(what, "processes", count, 1, 4000);
    const maxTasks = options.maxTasksPerChild ?? Infinity;
    if (maxTasks !== Infinity) {
      checkWhole(
        what,
        "maxTasksPerChild",
        maxTasks,
        1,
        Number.MAX_SAFE_INTEGER,
      );
    }
    const { initializer, initArgs = [], name = "PoolWorker" } = options;
    checkArray(what, "initArgs", initArgs);
    checkType(what, "name", name, "string");
    checkWorkerKind(what, options);
    assertMayStart(what);
    const caller: Caller = {};
    Error.captureStackTrace(caller, Pool);
    refuseClone(this);
    this.#dispatch = new Dispatch({
      processes: count,
      initializer: initializer === undefined
        ? undefined
        : startsWith(initializer, initArgs),
      maxTasks,
      name,
      caller,
      worker: options.worker,
      memoryLimit: options.memoryLimit,
      permissions: options.permissions,
    });
  }

  /** How many workers the pool has. */
  get processes(): number {
    return this.#dispatch.processes;
  }

  /** What the pool is doing. Informational only: it changes while you look. */
  get stats(): PoolStats {
    return this.#dispatch.stats();
  }

  /**
   * Calls a function once, in a worker.
   *
   * @param target The function.
   * @param args Its arguments.
   * @param options How to call it.
   * @returns A promise for the function's value.
   * @throws {TypeError} If the function cannot be sent or the pool is closed.
   * @throws {DOMException & { name: "DataCloneError" }} If an argument or the
   * value cannot be cloned.
   * @throws {WorkerError} If the worker dies.
   * @throws What the function throws.
   *
   * @example Usage
   * ```ts
   * import { Pool } from "@parallel/multiprocessing/pool";
   * import { assertEquals } from "@std/assert";
   *
   * await using pool = new Pool(1);
   * const sum = await pool.apply((a: number, b: number) => a + b, [2, 3]);
   *
   * assertEquals(sum, 5);
   * ```
   */
  apply<A extends unknown[], R>(
    target: Target<A, R>,
    args?: Readonly<A>,
    options?: TaskOptions,
  ): Promise<Awaited<R>> {
    const { promise, resolve, reject } = Promise.withResolvers<Awaited<R>>();
    try {
      this.#checkOpen("apply");
      const fn = this.#function("apply", target, this.apply);
      const values: readonly unknown[] = args ?? [];
      checkArray("apply", "args", values);
      const task: PoolTask = {
        fn,
        mode: values.length === 1 ? CALL_ONE : CALL,
        count: 1,
        caller: this.#caller(fn, this.apply),
        done: resolve as (value: unknown) => void,
        failed: (error) => rejectCall(this.#dispatch, promise, reject, error),
        slot: -1,
      };
      if (options === undefined) {
        this.#dispatch.submit(task, values, 0, values.length, undefined);
      } else this.#applyWith(task, values, options);
    } catch (error) {
      reject(error);
    }
    return promise;
  }

  #applyWith(
    task: PoolTask,
    values: readonly unknown[],
    options: TaskOptions,
  ): void {
    checkCall("apply", options);
    const { done, failed } = task;
    const { onProgress, transfer } = options;
    let isOver = false;
    const limit = startLimit("apply", options, (reason) => {
      isOver = true;
      this.#dispatch.cancel(task, true);
      failed(reason, []);
    }, () => this.#dispatch.catchUp());
    task.done = (value, arrived) => {
      if (isOver) return letGoOf(arrived);
      limit.clear();
      try {
        onProgress?.({ completed: 1, total: 1 });
        done(value, arrived);
      } catch (error) {
        letGoOf(arrived);
        failed(error, []);
      }
    };
    task.failed = (error, arrived) => {
      if (isOver) return letGoOf(arrived);
      limit.clear();
      failed(error, []);
    };
    try {
      this.#dispatch.submit(task, values, 0, values.length, transfer);
      if (isOver) this.#dispatch.cancel(task, true); // by a getter among the values
    } catch (error) {
      limit.clear();
      throw error;
    }
  }

  /**
   * Calls a function for each item.
   *
   * @param target The function.
   * @param iterable The items.
   * @param options How to call it.
   * @returns A promise for the values, in the order of the items.
   * @throws What {@linkcode Pool.apply} throws, for the first call that fails.
   *
   * @example Usage
   * ```ts
   * import { Pool } from "@parallel/multiprocessing/pool";
   * import { assertEquals } from "@std/assert";
   *
   * await using pool = new Pool(2);
   * assertEquals(await pool.map((s: string) => s.length, ["a", "bb"]), [1, 2]);
   * ```
   */
  map<T, R>(
    target: Target<[T], R>,
    iterable: Iterable<T> | AsyncIterable<T>,
    options: TaskOptions = {},
  ): Promise<Awaited<R>[]> {
    return this.#many("map", target, iterable, options, MAP, this.map);
  }

  /**
   * Calls a function for each tuple of arguments.
   *
   * @param target The function.
   * @param iterable The tuples.
   * @param options How to call it.
   * @returns A promise for the values, in the order of the tuples.
   * @throws What {@linkcode Pool.apply} throws, for the first call that fails.
   *
   * @example Usage
   * ```ts
   * import { Pool } from "@parallel/multiprocessing/pool";
   * import { assertEquals } from "@std/assert";
   *
   * await using pool = new Pool(2);
   * const sums = await pool.starmap(
   *   (a: number, b: number) => a + b,
   *   [[1, 2], [3, 4]],
   * );
   *
   * assertEquals(sums, [3, 7]);
   * ```
   */
  starmap<A extends unknown[], R>(
    target: Target<A, R>,
    iterable: Iterable<Readonly<A>> | AsyncIterable<Readonly<A>>,
    options: TaskOptions = {},
  ): Promise<Awaited<R>[]> {
    return this.#many(
      "starmap",
      target,
      iterable,
      options,
      STARMAP,
      this.starmap,
    );
  }

  #many<R>(
    what: string,
    target: unknown,
    iterable: Iterable<unknown> | AsyncIterable<unknown>,
    options: TaskOptions,
    mode: number,
    below: AnyFunction,
  ): Promise<Awaited<R>[]> {
    const { promise, resolve, reject } = Promise.withResolvers<Awaited<R>[]>();
    try {
      const spec = this.#spec(what, target, options, mode, below);
      checkItems(what, iterable);
      new MapJob(
        this.#dispatch,
        spec,
        iterable,
        resolve as (values: unknown[]) => void,
        (error) => rejectCall(this.#dispatch, promise, reject, error),
      );
    } catch (error) {
      reject(error);
    }
    return promise;
  }

  /**
   * Calls a function for each item and gives the values in the order of the
   * items, as they are wanted.
   *
   * Input is read only a bounded way ahead of what has been consumed, so it may
   * be endless. The first error ends it. Leaving the loop cancels the rest, but for
   * tasks that run: they end by themselves. A `timeout` is that of the whole, not of
   * each result.
   *
   * @param target The function.
   * @param iterable The items.
   * @param options How to call it.
   * @returns An iterator over the values.
   * @throws {TypeError} If the function cannot be sent or the pool is closed.
   *
   * @example Usage
   * ```ts
   * import { Pool } from "@parallel/multiprocessing/pool";
   * import { assertEquals } from "@std/assert";
   *
   * function* naturals() {
   *   for (let n = 0;; n++) yield n;
   * }
   *
   * await using pool = new Pool(2);
   * const squares: number[] = [];
   * for await (const square of pool.imap((n: number) => n * n, naturals())) {
   *   if (square > 10) break;
   *   squares.push(square);
   * }
   *
   * assertEquals(squares, [0, 1, 4, 9]);
   * ```
   */
  imap<T, R>(
    target: Target<[T], R>,
    iterable: Iterable<T> | AsyncIterable<T>,
    options: TaskOptions = {},
  ): AsyncIterableIterator<Awaited<R>> {
    return this.#stream("imap", target, iterable, options, true, this.imap);
  }

  /**
   * Like {@linkcode Pool.imap}, but gives each value as soon as it is there.
   *
   * @param target The function.
   * @param iterable The items.
   * @param options How to call it.
   * @returns An iterator over the values, in the order of completion.
   * @throws {TypeError} If the function cannot be sent or the pool is closed.
   *
   * @example Usage
   * ```ts
   * import { Pool } from "@parallel/multiprocessing/pool";
   * import { assertEquals } from "@std/assert";
   *
   * await using pool = new Pool(2);
   * let sum = 0;
   * for await (const n of pool.imapUnordered((n: number) => n * 2, [1, 2, 3])) {
   *   sum += n;
   * }
   *
   * assertEquals(sum, 12);
   * ```
   */
  imapUnordered<T, R>(
    target: Target<[T], R>,
    iterable: Iterable<T> | AsyncIterable<T>,
    options: TaskOptions = {},
  ): AsyncIterableIterator<Awaited<R>> {
    const below = this.imapUnordered;
    return this.#stream(
      "imapUnordered",
      target,
      iterable,
      options,
      false,
      below,
    );
  }

  #stream<R>(
    what: string,
    target: unknown,
    iterable: Iterable<unknown> | AsyncIterable<unknown>,
    options: TaskOptions,
    ordered: boolean,
    below: AnyFunction,
  ): AsyncIterableIterator<Awaited<R>> {
    const spec = this.#spec(what, target, options, MAP, below);
    checkItems(what, iterable);
    const stream = new StreamJob(this.#dispatch, spec, iterable, ordered);
    return stream as AsyncIterableIterator<unknown> as AsyncIterableIterator<
      Awaited<R>
    >;
  }

  #spec(
    what: string,
    target: unknown,
    options: TaskOptions,
    mode: number,
    below: AnyFunction,
  ): JobSpec {
    this.#checkOpen(what);
    checkCall(what, options);
    const fn = this.#function(what, target, below);
    const caller = this.#caller(fn, below);
    return { what, fn, mode, caller, options };
  }

  #checkOpen(what: string): void {
    if (this.#state === "open") return;
    throw new TypeError(
      `Cannot ${what}: the pool is ${this.#state}, make a new one`,
    );
  }

  #function(what: string, target: unknown, below: AnyFunction): SentFunction {
    if (target === this.#lastTarget) return this.#lastSent!;
    const ref = describeTarget(target, `${what} in a pool`, below);
    const fn = this.#dispatch.functions.get(ref);
    if (ref.kind !== "refused") { // which may be lifted
      this.#lastTarget = target;
      this.#lastSent = fn;
    }
    return fn;
  }

  #caller(fn: SentFunction, below: AnyFunction): Caller {
    return this.#callSites.of(fn, below, this.#dispatch.failures);
  }

  /** Refuses further work; what was accepted is finished, then the workers end. */
  close(): void {
    if (this.#state !== "open") return;
    this.#state = "closed";
    this.#dispatch.close();
  }

  /**
   * Ends the workers at once; pending work rejects with an `AbortError`, which nobody
   * has to look at.
   */
  terminate(): void {
    if (this.#state === "terminated") return;
    this.#state = "terminated";
    this.#dispatch.terminate(
      new DOMException(
        "Cannot finish task: the pool was terminated",
        "AbortError",
      ),
    );
  }

  /**
   * Resolves when all workers have ended.
   *
   * Waits for an `imap` that is being read, too. One that nobody reads ends with what
   * was read of its input, unless that has a length: then all of it is done. Nobody
   * reads it any more when a loop has not asked for the next result for a second, or
   * who calls `next` for 20 ms.
   *
   * @param wait How long to wait, and a signal that gives it up.
   * @throws {TypeError} If the pool is open.
   * @throws {DOMException & { name: "TimeoutError" }} If `wait.timeout` ms pass.
   * @throws The signal's reason, if `wait.signal` aborts first.
   */
  async join(wait?: WaitOptions): Promise<void> {
    if (this.#state === "open") {
      throw new TypeError(
        "Cannot join pool: it is open, close or terminate it first",
      );
    }
    await this.#dispatch.join(wait);
  }

  /** Finishes what was accepted, then ends the workers. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.join();
  }

  /** Ends the workers at once. */
  [Symbol.dispose](): void {
    this.terminate();
  }

  /** @ignore */
  [HANDLE](): never {
    cannotLeave("a Pool", "make another one there");
  }

  static {
    inspectAs(Pool, (pool) => {
      const { queued, running } = pool.stats;
      return `Pool { processes: ${pool.processes}, ${pool.#state}, queued: ${queued}, running: ${running} }`;
    });
  }
}

/** What all workers of a pool are to begin with. */
function startsWith(
  initializer: Target,
  initArgs: unknown[],
): DispatchOptions["initializer"] {
  const target = describeTarget(initializer, "create pool", Pool);
  const [args, sent] = packCounted(initArgs);
  return { target, args, sent };
}
