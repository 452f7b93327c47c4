/**
 * {@linkcode Condition}: waiting, with a lock held, for something that another task
 * changes under the same lock.
 *
 * ```ts
 * import { Condition } from "@parallel/multiprocessing/condition";
 * import { Lock } from "@parallel/multiprocessing/lock";
 * import { assertEquals } from "@std/assert";
 *
 * const condition = new Condition(new Lock());
 * const items: string[] = [];
 *
 * async function consume(): Promise<string> {
 *   using _ = await condition.acquire();
 *   await condition.waitFor(() => items.length > 0);
 *   return items.shift()!;
 * }
 *
 * const consumed = consume();
 * {
 *   using _ = await condition.acquire();
 *   items.push("apple");
 *   condition.notify();
 * }
 *
 * assertEquals(await consumed, "apple");
 * ```
 *
 * Waiters are in a table in shared memory (`_waiters.ts`), whose mutex is the
 * condition's lock. `wait` takes a place, WAITING, then gives the lock up and sleeps
 * at its place. `notify(n)`, holding the lock, makes the n oldest WAITING places of
 * living threads CHOSEN and wakes them: a later `wait` has no place yet. A wait that
 * times out or is aborted makes its own place REFUSED at that moment; only one of the
 * two CASes succeeds, so a notification goes to a waiter that still waits, and a
 * waiter that was chosen first returns as notified. Either way it takes the lock back
 * and frees its place.
 *
 * A thread that ends as WAITING is passed over. One that ends as CHOSEN has swallowed
 * a notification: the waiters look for such places every 50 ms, and pass it on to the
 * oldest that waited when it was given (EXTRA has the youngest ticket of that time).
 * Only two threads killed one after the other, the second between the two CASes of
 * passing on, lose one.
 *
 * @module
 */

import { typeName } from "./_checks.ts";
import {
  defineHandle,
  guardHandle,
  HANDLE,
  type HandleParts,
  takeParts,
} from "./_handle.ts";
import { inspectAs } from "./_inspect.ts";
import { isThreadStopped } from "./_life.ts";
import { describeOwner, type Mutex, mutexOf } from "./_mutex.ts";
import {
  type Attempt,
  checkWait,
  isThenable,
  isTimeout,
  PENDING,
  ready,
  timedOut,
  waitAsync,
  type WaitOptions,
  waitSync,
} from "./_park.ts";
import {
  CHOSEN,
  type Found,
  REFUSED,
  Waiters,
  waitersMemory,
  WAITING,
} from "./_waiters.ts";
import { Lock, type LockGuard, RLock } from "./lock.ts";

export { Lock, type LockGuard, RLock, type WaitOptions };

const now = performance.now.bind(performance);
const WHAT = "wait for condition";

/**
 * A lock, and a place to wait until another task that held it says that something
 * has changed. Python's `multiprocessing.Condition`.
 *
 * - **Hold the lock** to wait and to notify: otherwise `TypeError`.
 * - **`wait` gives the lock up while it waits and has it again when it settles**, also
 *   when it times out or is aborted. Taking it back is not subject to the timeout.
 *   Guards from before the wait stay valid.
 * - **Of an `RLock` held several times** `waitSync` and `waitForSync` give up all levels
 *   and take them back, as in Python: a function may wait whose caller holds the lock,
 *   too. `wait` and `waitFor` give up one, for the others may be those of other async
 *   tasks; if they are not, no other worker can notify.
 * - **Check again after `wait`:** another task may have been faster. `waitFor` does it.
 * - **`notify(n)`** wakes at most `n` of those who wait now, the oldest first, never
 *   one that comes later. Waiters that died, timed out or were aborted do not count.
 *   Without waiters it does nothing, and it is not remembered.
 * - **Between async tasks of one worker** use `new Condition(new Lock())`: the
 *   `RLock` that `new Condition()` makes belongs to the worker, and does not keep its
 *   tasks apart.
 * - **If a worker ends** while holding the lock, the next one gets it with
 *   `guard.abandoned` set, as from `Lock`; so does the guard of one that was waiting.
 * - **Sending:** pass it to workers in `args`, pool items or initializer arguments;
 *   its lock goes with it.
 *
 * @example A waiting consumer
 * ```ts
 * import { Condition } from "@parallel/multiprocessing/condition";
 * import { assertEquals } from "@std/assert";
 *
 * const condition = new Condition();
 * let ready = false;
 *
 * async function consumer(): Promise<string> {
 *   using _ = await condition.acquire();
 *   while (!ready) await condition.wait();
 *   return "consumed";
 * }
 *
 * const result = consumer();
 * await condition.acquire();
 * ready = true;
 * condition.notify();
 * condition.release();
 *
 * assertEquals(await result, "consumed");
 * ```
 */
export class Condition {
  readonly #lock: Lock | RLock;
  readonly #mutex: Mutex;
  readonly #memory: SharedArrayBuffer;
  readonly #waiters: Waiters;

  /**
   * Creates a condition.
   *
   * @param lock The lock to use; several conditions may share one. By default a new `RLock`.
   * @throws {TypeError} If `lock` is no `Lock` and no `RLock`.
   *
   * @example Two conditions on one lock
   * ```ts
   * import { Condition } from "@parallel/multiprocessing/condition";
   * import { Lock } from "@parallel/multiprocessing/lock";
   * import { assertEquals } from "@std/assert";
   *
   * const lock = new Lock();
   * const notEmpty = new Condition(lock);
   * const notFull = new Condition(lock);
   * using _ = notEmpty.acquireSync();
   *
   * assertEquals(notFull.locked, true);
   * ```
   */
  constructor(lock: Lock | RLock = new RLock()) {
    const parts = takeParts();
    const mutex = typeof lock === "object" && lock !== null
      ? mutexOf(lock)
      : undefined;
    if (mutex === undefined) {
      throw new TypeError(
        `Cannot create condition: its lock must be a Lock or an RLock, received ${
          typeName(lock)
        }`,
      );
    }
    this.#lock = lock;
    this.#mutex = mutex;
    this.#memory = parts === undefined
      ? waitersMemory()
      : parts[0] as SharedArrayBuffer;
    this.#waiters = new Waiters(this.#memory);
    guardHandle(this, this.#memory);
  }

  /**
   * Acquires the condition's lock, waiting until it is free.
   *
   * @param options Additional options.
   * @returns A promise for the guard of this acquisition.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   * @throws The signal's reason, if `options.signal` aborts first.
   *
   * @example Usage
   * ```ts
   * import { Condition } from "@parallel/multiprocessing/condition";
   * import { assertEquals } from "@std/assert";
   *
   * const condition = new Condition();
   * using _ = await condition.acquire();
   *
   * assertEquals(condition.locked, true);
   * ```
   */
  acquire(options?: WaitOptions): Promise<LockGuard> {
    return this.#lock.acquire(options);
  }

  /**
   * Acquires the condition's lock, blocking this thread until it is free.
   *
   * @param options Additional options.
   * @returns The guard of this acquisition.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   *
   * @example Usage
   * ```ts
   * import { Condition } from "@parallel/multiprocessing/condition";
   * import { assertEquals } from "@std/assert";
   *
   * const condition = new Condition();
   * using _ = condition.acquireSync();
   *
   * assertEquals(condition.locked, true);
   * ```
   */
  acquireSync(options?: Pick<WaitOptions, "timeout">): LockGuard {
    return this.#lock.acquireSync(options);
  }

  /**
   * Acquires the condition's lock if that takes no waiting.
   *
   * @returns The guard of this acquisition, or `undefined`.
   *
   * @example Usage
   * ```ts
   * import { Condition } from "@parallel/multiprocessing/condition";
   * import { assertExists } from "@std/assert";
   *
   * using guard = new Condition().tryAcquire();
   *
   * assertExists(guard);
   * ```
   */
  tryAcquire(): LockGuard | undefined {
    return this.#lock.tryAcquire();
  }

  /**
   * Releases the condition's lock.
   *
   * @throws {TypeError} If it is not held; if it is an `RLock`: by this worker.
   *
   * @example Usage
   * ```ts
   * import { Condition } from "@parallel/multiprocessing/condition";
   * import { assertEquals } from "@std/assert";
   *
   * const condition = new Condition();
   * condition.acquireSync();
   * condition.release();
   *
   * assertEquals(condition.locked, false);
   * ```
   */
  release(): void {
    this.#lock.release();
  }

  /**
   * Whether the condition's lock is held. Informational only.
   *
   * @returns `true` if it is held.
   *
   * @example Usage
   * ```ts
   * import { Condition } from "@parallel/multiprocessing/condition";
   * import { assertEquals } from "@std/assert";
   *
   * assertEquals(new Condition().locked, false);
   * ```
   */
  get locked(): boolean {
    return this.#lock.locked;
  }

  /**
   * Gives the lock up, waits to be notified, and takes the lock back. Never blocks
   * the event loop.
   *
   * @param options Additional options.
   * @returns A promise that resolves when the lock is held again.
   * @throws {TypeError} If this worker does not hold the lock.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses. The lock is held again.
   * @throws The signal's reason, if `options.signal` aborts first. The lock is held again.
   *
   * @example Usage
   * ```ts
   * import { Condition } from "@parallel/multiprocessing/condition";
   * import { assertRejects } from "@std/assert";
   *
   * const condition = new Condition();
   * using _ = await condition.acquire();
   *
   * await assertRejects(() => condition.wait({ timeout: 10 }), DOMException, "timed out");
   * ```
   */
  async wait(options?: WaitOptions): Promise<void> {
    checkWait(WHAT, options);
    const waiter = this.#enter();
    const suspended = this.#mutex.suspend();
    let gaveUp = false;
    let reason: unknown;
    try {
      await waitAsync(
        WHAT,
        this.#waiters.words,
        waiter.at,
        this.#attempt(waiter),
        options,
        () => gaveUp = this.#waiters.settle(waiter, REFUSED),
      );
    } catch (error) {
      // Chosen before it gave up: notified.
      reason = error;
    }
    await this.#mutex.resume(suspended);
    this.#waiters.leave(waiter.at);
    if (gaveUp) throw reason;
  }

  /**
   * Gives the lock up, waits to be notified, and takes the lock back, blocking this
   * thread.
   *
   * @param options Additional options.
   * @throws {TypeError} If this worker does not hold the lock.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses. The lock is held again.
   *
   * @example Usage
   * ```ts
   * import { Condition } from "@parallel/multiprocessing/condition";
   * import { assertThrows } from "@std/assert";
   *
   * const condition = new Condition();
   * using _ = condition.acquireSync();
   *
   * assertThrows(() => condition.waitSync({ timeout: 10 }), DOMException, "timed out");
   * ```
   */
  waitSync(options?: Pick<WaitOptions, "timeout">): void {
    checkWait(WHAT, options);
    const waiter = this.#enter();
    const levels = this.#mutex.flatten();
    const suspended = this.#mutex.suspend();
    const { words } = this.#waiters;
    const attempt = this.#attempt(waiter);
    let gaveUp = false;
    let reason: unknown;
    try {
      waitSync(WHAT, words, waiter.at, attempt, options);
    } catch (error) {
      // A thread that is told to stop leaves its place to be found dead.
      if (isThreadStopped(error)) throw error;
      gaveUp = this.#waiters.settle(waiter, REFUSED);
      reason = error;
    }
    this.#mutex.resumeSync(WHAT, suspended);
    this.#mutex.deepen(levels);
    this.#waiters.leave(waiter.at);
    if (gaveUp) throw reason;
  }

  /**
   * Waits until a predicate holds. It is asked with the lock held, first before any
   * waiting and then after each notification.
   *
   * @param predicate Returns whether to go on, or a promise for that.
   * @param options Additional options. The timeout is for the whole, and the predicate is asked once more when it has passed.
   * @returns A promise that resolves when the predicate holds, with the lock held.
   * @throws {TypeError} If this worker does not hold the lock, or `predicate` is not a function.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses. The lock is held.
   * @throws The signal's reason, if `options.signal` aborts first. The lock is held.
   *
   * @example Usage
   * ```ts
   * import { Condition } from "@parallel/multiprocessing/condition";
   *
   * const condition = new Condition();
   * let count = 0;
   * using _ = await condition.acquire();
   *
   * await condition.waitFor(() => ++count === 1);
   * ```
   */
  async waitFor(
    predicate: () => boolean | PromiseLike<boolean>,
    options: WaitOptions = {},
  ): Promise<void> {
    const limit = this.#beginWaitFor(predicate, options);
    const deadline = now() + limit;
    while (true) {
      let holds = predicate();
      if (typeof holds === "object") holds = await holds;
      if (holds) return ready(undefined);
      options.signal?.throwIfAborted();
      const left = deadline - now();
      if (!(left > 0)) throw timedOut(WHAT, limit);
      try {
        await this.wait({ timeout: left, signal: options.signal });
      } catch (error) {
        if (!isTimeout(error, options.signal)) throw error;
      }
    }
  }

  /**
   * Waits until a predicate holds, blocking this thread. It is asked with the lock
   * held, first before any waiting and then after each notification.
   *
   * @param predicate Returns whether to go on.
   * @param options Additional options. The timeout is for the whole, and the predicate is asked once more when it has passed.
   * @throws {TypeError} If this worker does not hold the lock, or `predicate` is not a function or returns a promise.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses. The lock is held.
   *
   * @example Usage
   * ```ts
   * import { Condition } from "@parallel/multiprocessing/condition";
   * import { assertThrows } from "@std/assert";
   *
   * const condition = new Condition();
   * using _ = condition.acquireSync();
   *
   * assertThrows(
   *   () => condition.waitForSync(() => false, { timeout: 10 }),
   *   DOMException,
   *   "timed out",
   * );
   * ```
   */
  waitForSync(
    predicate: () => boolean,
    options: Pick<WaitOptions, "timeout"> = {},
  ): void {
    const limit = this.#beginWaitFor(predicate, options);
    const deadline = now() + limit;
    while (true) {
      const holds: unknown = predicate();
      if (isThenable(holds)) {
        throw new TypeError(
          `Cannot ${WHAT}: the predicate returned a promise, for which waitForSync cannot wait: use waitFor`,
        );
      }
      if (holds) return;
      const left = deadline - now();
      if (!(left > 0)) throw timedOut(WHAT, limit);
      try {
        this.waitSync({ timeout: left });
      } catch (error) {
        if (!isTimeout(error)) throw error;
      }
    }
  }

  /**
   * Wakes waiters, which go on as soon as each can take the lock.
   *
   * @param n How many at most. The oldest are woken.
   * @throws {TypeError} If this worker does not hold the lock, or `n` is not a number.
   * @throws {RangeError} If `n` is negative or not whole.
   *
   * @example Usage
   * ```ts
   * import { Condition } from "@parallel/multiprocessing/condition";
   *
   * const condition = new Condition();
   * using _ = await condition.acquire();
   * condition.notify(2);
   * ```
   */
  notify(n = 1): void {
    if (typeof n !== "number") {
      throw new TypeError(
        `Cannot notify condition: n must be a number, received ${typeName(n)}`,
      );
    }
    if (!Number.isInteger(n) || n < 0) {
      throw new RangeError(
        `Cannot notify condition as n must be a whole number >= 0: current value is ${n}`,
      );
    }
    this.#notify(n);
  }

  /**
   * Wakes all who wait now.
   *
   * @throws {TypeError} If this worker does not hold the lock.
   *
   * @example Usage
   * ```ts
   * import { Condition } from "@parallel/multiprocessing/condition";
   *
   * const condition = new Condition();
   * using _ = await condition.acquire();
   * condition.notifyAll();
   * ```
   */
  notifyAll(): void {
    this.#notify(Infinity);
  }

  #notify(n: number): void {
    this.#checkHeld("notify condition");
    const waiters = this.#waiters;
    const horizon = waiters.horizon();
    let left = n;
    for (const waiter of waiters.all(WAITING)) {
      if (left === 0) break;
      if (waiters.isDead(waiter)) waiters.leave(waiter.at);
      else if (this.#choose(waiter, horizon)) left--;
    }
  }

  /** Notifies one waiter, unless it has just given up. */
  #choose(waiter: Found, horizon: number): boolean {
    this.#waiters.setExtra(waiter.at, horizon);
    return this.#waiters.settle(waiter, CHOSEN);
  }

  #checkHeld(what: string): void {
    if (!this.#mutex.isMine()) {
      throw new TypeError(
        `Cannot ${what}: this worker does not hold the condition's lock`,
      );
    }
  }

  #enter(): Found {
    this.#checkHeld(WHAT);
    return this.#waiters.enter();
  }

  #beginWaitFor(predicate: unknown, options: WaitOptions): number {
    checkWait(WHAT, options);
    if (typeof predicate !== "function") {
      throw new TypeError(
        `Cannot ${WHAT}: the predicate must be a function, received ${
          typeName(predicate)
        }`,
      );
    }
    this.#checkHeld(WHAT);
    return options.timeout ?? Infinity;
  }

  #attempt(waiter: Found): Attempt<void> {
    const waiters = this.#waiters;
    return (slept) => {
      if (waiters.stateOf(waiter) !== WAITING) return undefined;
      if (slept && waiters.isSearchDue()) {
        this.#passOn();
        if (waiters.stateOf(waiter) !== WAITING) return undefined;
      }
      return PENDING;
    };
  }

  /** Passes on what threads that have ended were notified of. */
  #passOn(): void {
    const waiters = this.#waiters;
    for (const chosen of waiters.all(CHOSEN)) {
      if (!waiters.isDead(chosen)) continue;
      const horizon = waiters.extra(chosen.at);
      if (!waiters.seize(chosen)) continue;
      for (const waiter of waiters.all(WAITING)) {
        if (!waiters.cameBefore(waiter, horizon)) break;
        if (!waiters.isDead(waiter) && this.#choose(waiter, horizon)) break;
      }
    }
  }

  /** @ignore */
  [HANDLE](): HandleParts {
    return { kind: "Condition", parts: [this.#memory, this.#lock] };
  }

  static {
    // `null` is refused, where `undefined` would stand for a new lock.
    defineHandle(
      "Condition",
      ([_, lock = null]) => new Condition(lock as Lock),
    );
    inspectAs(Condition, (condition) => {
      const waiting = condition.#waiters.all(WAITING).length;
      const owner = describeOwner(condition.#mutex);
      return `Condition { ${owner}, waiting: ${waiting} }`;
    });
  }
}
