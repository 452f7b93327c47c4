/**
 * Mutual exclusion between workers: {@linkcode Lock} and the reentrant
 * {@linkcode RLock}.
 *
 * ```ts
 * import { Lock } from "@parallel/multiprocessing/lock";
 * import { assertEquals } from "@std/assert";
 *
 * const lock = new Lock();
 * {
 *   using _ = await lock.acquire();
 *   assertEquals(lock.locked, true);
 * }
 * assertEquals(lock.locked, false);
 * ```
 *
 * @module
 */

import {
  defineHandle,
  guardHandle,
  HANDLE,
  type HandleParts,
  takeParts,
} from "./_handle.ts";
import { inspectAs } from "./_inspect.ts";
import { checkStop } from "./_life.ts";
import {
  describeOwner,
  type LockGuard,
  Mutex,
  MUTEX_BYTES,
  ownMutex,
  ReentrantMutex,
} from "./_mutex.ts";
import { ready, type WaitOptions } from "./_park.ts";

export type { LockGuard, WaitOptions };

/**
 * A lock that one task at a time holds, whichever worker it runs in. Python's
 * `multiprocessing.Lock`.
 *
 * - **Not reentrant:** a task that acquires it twice waits for itself. See
 *   {@linkcode RLock}.
 * - **Anyone may release it**, as in Python; releasing a lock that is not held is a
 *   `TypeError`. A guard releases only the acquisition it was made for, once.
 * - **Fairness:** a free lock goes to whoever comes first. A waiter that loses for
 *   more than about a millisecond is preferred, so none starves. The async waits of
 *   one worker are served in order.
 * - **If a worker ends while it holds the lock**, also by returning, the next
 *   `acquire` gets it with `guard.abandoned` set, instead of waiting for ever. A
 *   worker that was told to stop but still runs keeps its locks until it has ended.
 * - **Blocking:** `acquireSync` blocks the thread and may be used in every thread;
 *   async tasks of the same thread do not run meanwhile, so it must not wait for one
 *   of them.
 * - **Sending:** pass it to workers in `args`, pool items or initializer arguments.
 *
 * @example Lines that are never interleaved
 * ```ts
 * import { Lock } from "@parallel/multiprocessing/lock";
 * import { assertEquals } from "@std/assert";
 *
 * const lines: string[] = [];
 *
 * async function task(lock: Lock, name: string): Promise<void> {
 *   using _ = await lock.acquire();
 *   lines.push(`${name} begins`);
 *   await Promise.resolve();
 *   lines.push(`${name} ends`);
 * }
 *
 * const lock = new Lock();
 * await Promise.all([task(lock, "A"), task(lock, "B")]);
 *
 * assertEquals(lines, ["A begins", "A ends", "B begins", "B ends"]);
 * ```
 */
export class Lock {
  readonly #mutex: Mutex;

  /**
   * Creates a free lock.
   *
   * @example Usage
   * ```ts
   * import { Lock } from "@parallel/multiprocessing/lock";
   * import { assertEquals } from "@std/assert";
   *
   * assertEquals(new Lock().locked, false);
   * ```
   */
  constructor() {
    const memory = takeParts()?.[0] as SharedArrayBuffer | undefined ??
      new SharedArrayBuffer(MUTEX_BYTES);
    this.#mutex = new Mutex(memory, this);
    guardHandle(this, memory);
    ownMutex(this, this.#mutex);
  }

  /**
   * Acquires the lock, waiting until it is free. Never blocks the event loop, and
   * keeps the program alive while it waits.
   *
   * @param options Additional options.
   * @returns A promise for the guard of this acquisition.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   * @throws The signal's reason, if `options.signal` aborts first.
   *
   * @example Usage
   * ```ts
   * import { Lock } from "@parallel/multiprocessing/lock";
   * import { assertEquals } from "@std/assert";
   *
   * const lock = new Lock();
   * {
   *   using _ = await lock.acquire();
   *   assertEquals(lock.locked, true);
   * }
   * assertEquals(lock.locked, false);
   * ```
   */
  acquire(options?: WaitOptions): Promise<LockGuard> {
    const mutex = this.#mutex;
    // Those of this thread that wait already go first.
    if (options === undefined && mutex.queued === 0 && mutex.take()) {
      return ready(mutex.guard(false));
    }
    return mutex.acquireSlow(options);
  }

  /**
   * Acquires the lock, blocking this thread until it is free.
   *
   * @param options Additional options.
   * @returns The guard of this acquisition.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   *
   * @example Usage
   * ```ts
   * import { Lock } from "@parallel/multiprocessing/lock";
   * import { assertEquals } from "@std/assert";
   *
   * const lock = new Lock();
   * const guard = lock.acquireSync({ timeout: 1000 });
   * assertEquals(lock.locked, true);
   *
   * guard.release();
   * assertEquals(lock.locked, false);
   * ```
   */
  acquireSync(options?: Pick<WaitOptions, "timeout">): LockGuard {
    checkStop();
    const mutex = this.#mutex;
    return options === undefined && mutex.take()
      ? mutex.guard(false)
      : mutex.acquireSlowSync(options);
  }

  /**
   * Acquires the lock if that takes no waiting.
   *
   * @returns The guard of this acquisition, or `undefined` if the lock is held.
   *
   * @example Usage
   * ```ts
   * import { Lock } from "@parallel/multiprocessing/lock";
   * import { assertEquals } from "@std/assert";
   *
   * const lock = new Lock();
   * using guard = lock.tryAcquire();
   *
   * assertEquals(guard?.abandoned, false);
   * assertEquals(lock.tryAcquire(), undefined);
   * ```
   */
  tryAcquire(): LockGuard | undefined {
    checkStop();
    const mutex = this.#mutex;
    return mutex.take() ? mutex.guard(false) : mutex.tryAcquire();
  }

  /**
   * Releases the lock, whoever holds it.
   *
   * @throws {TypeError} If the lock is not held.
   *
   * @example Usage
   * ```ts
   * import { Lock } from "@parallel/multiprocessing/lock";
   * import { assertThrows } from "@std/assert";
   *
   * const lock = new Lock();
   * lock.acquireSync();
   * lock.release();
   *
   * assertThrows(() => lock.release(), TypeError, "it is not held");
   * ```
   */
  release(): void {
    this.#mutex.release();
  }

  /**
   * Whether some task holds the lock. Informational only: it may have changed by
   * the time it is looked at.
   *
   * @returns `true` if the lock is held.
   *
   * @example Usage
   * ```ts
   * import { Lock } from "@parallel/multiprocessing/lock";
   * import { assertEquals } from "@std/assert";
   *
   * const lock = new Lock();
   * using _ = lock.acquireSync();
   *
   * assertEquals(lock.locked, true);
   * ```
   */
  get locked(): boolean {
    return this.#mutex.owner() !== 0;
  }

  /** @ignore */
  [HANDLE](): HandleParts {
    return { kind: "Lock", parts: [this.#mutex.words.buffer] };
  }

  static {
    defineHandle("Lock", () => new Lock());
    inspectAs(Lock, (lock) => `Lock { ${describeOwner(lock.#mutex)} }`);
  }
}

/**
 * A lock that its owner may acquire again. Python's `multiprocessing.RLock`.
 *
 * - **It belongs to a worker, not to an async task:** all tasks of the worker that
 *   holds it get it at once, so it does not keep them apart across an `await`. Use
 *   a {@linkcode Lock} between async tasks.
 * - **Only its owner releases it**, as often as it acquired it. Otherwise:
 *   `TypeError`. Each guard releases one level, once.
 * - **Fairness, blocking and sending** are as for {@linkcode Lock}.
 * - **If a worker ends while it holds the lock**, however often, the next `acquire`
 *   from elsewhere gets it, once, with `guard.abandoned` set.
 *
 * @example A function that may be called with the lock held or not
 * ```ts
 * import { RLock } from "@parallel/multiprocessing/lock";
 * import { assertEquals } from "@std/assert";
 *
 * const lock = new RLock();
 * let balance = 0;
 *
 * function deposit(amount: number): void {
 *   using _ = lock.acquireSync();
 *   balance += amount;
 * }
 *
 * function depositTwice(amount: number): void {
 *   using _ = lock.acquireSync();
 *   deposit(amount);
 *   deposit(amount);
 * }
 *
 * depositTwice(5);
 *
 * assertEquals(balance, 10);
 * assertEquals(lock.locked, false);
 * ```
 */
export class RLock {
  readonly #mutex: ReentrantMutex;

  /**
   * Creates a free lock.
   *
   * @example Usage
   * ```ts
   * import { RLock } from "@parallel/multiprocessing/lock";
   * import { assertEquals } from "@std/assert";
   *
   * assertEquals(new RLock().locked, false);
   * ```
   */
  constructor() {
    const memory = takeParts()?.[0] as SharedArrayBuffer | undefined ??
      new SharedArrayBuffer(MUTEX_BYTES);
    this.#mutex = new ReentrantMutex(memory, this);
    guardHandle(this, memory);
    ownMutex(this, this.#mutex);
  }

  /**
   * Acquires the lock, waiting until it is free. Never blocks the event loop, and
   * keeps the program alive while it waits.
   *
   * @param options Additional options.
   * @returns A promise for the guard of this acquisition.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   * @throws The signal's reason, if `options.signal` aborts first.
   *
   * @example Usage
   * ```ts
   * import { RLock } from "@parallel/multiprocessing/lock";
   * import { assertEquals } from "@std/assert";
   *
   * const lock = new RLock();
   * {
   *   using _ = await lock.acquire();
   *   assertEquals(lock.locked, true);
   * }
   * assertEquals(lock.locked, false);
   * ```
   */
  acquire(options?: WaitOptions): Promise<LockGuard> {
    const mutex = this.#mutex;
    // Those of this thread that wait already go first.
    if (
      options === undefined && (mutex.queued === 0 || mutex.isMine()) &&
      mutex.take()
    ) {
      return ready(mutex.guard(false));
    }
    return mutex.acquireSlow(options);
  }

  /**
   * Acquires the lock, blocking this thread until it is free.
   *
   * @param options Additional options.
   * @returns The guard of this acquisition.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   *
   * @example Usage
   * ```ts
   * import { RLock } from "@parallel/multiprocessing/lock";
   * import { assertEquals } from "@std/assert";
   *
   * const lock = new RLock();
   * const guard = lock.acquireSync({ timeout: 1000 });
   * assertEquals(lock.locked, true);
   *
   * guard.release();
   * assertEquals(lock.locked, false);
   * ```
   */
  acquireSync(options?: Pick<WaitOptions, "timeout">): LockGuard {
    checkStop();
    const mutex = this.#mutex;
    return options === undefined && mutex.take()
      ? mutex.guard(false)
      : mutex.acquireSlowSync(options);
  }

  /**
   * Acquires the lock if that takes no waiting.
   *
   * @returns The guard of this acquisition, or `undefined` if the lock is held by another worker.
   *
   * @example Usage
   * ```ts
   * import { RLock } from "@parallel/multiprocessing/lock";
   * import { assertExists } from "@std/assert";
   *
   * const lock = new RLock();
   * using guard = lock.tryAcquire();
   *
   * assertExists(guard);
   * assertExists(lock.tryAcquire()); // once more, for the same worker;
   * ```
   */
  tryAcquire(): LockGuard | undefined {
    checkStop();
    const mutex = this.#mutex;
    return mutex.take() ? mutex.guard(false) : mutex.tryAcquire();
  }

  /**
   * Releases the lock once. It becomes free when it was released as often as it was
   * acquired.
   *
   * @throws {TypeError} If this worker does not hold the lock.
   *
   * @example Usage
   * ```ts
   * import { RLock } from "@parallel/multiprocessing/lock";
   * import { assertEquals, assertThrows } from "@std/assert";
   *
   * const lock = new RLock();
   * lock.acquireSync();
   * lock.acquireSync();
   * lock.release();
   * assertEquals(lock.locked, true);
   *
   * lock.release();
   * assertEquals(lock.locked, false);
   * assertThrows(() => lock.release(), TypeError);
   * ```
   */
  release(): void {
    this.#mutex.release();
  }

  /**
   * Whether some task of some worker holds the lock. Informational only: it may have changed by
   * the time it is looked at.
   *
   * @returns `true` if the lock is held.
   *
   * @example Usage
   * ```ts
   * import { RLock } from "@parallel/multiprocessing/lock";
   * import { assertEquals } from "@std/assert";
   *
   * const lock = new RLock();
   * using _ = lock.acquireSync();
   *
   * assertEquals(lock.locked, true);
   * ```
   */
  get locked(): boolean {
    return this.#mutex.owner() !== 0;
  }

  /** @ignore */
  [HANDLE](): HandleParts {
    return { kind: "RLock", parts: [this.#mutex.words.buffer] };
  }

  static {
    defineHandle("RLock", () => new RLock());
    inspectAs(RLock, (lock) => `RLock { ${describeOwner(lock.#mutex)} }`);
  }
}
