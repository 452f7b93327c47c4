/**
 * {@linkcode Semaphore} and {@linkcode BoundedSemaphore}: a number of permits shared
 * by all workers.
 *
 * ```ts
 * import { Semaphore } from "@parallel/multiprocessing/semaphore";
 * import { assertEquals } from "@std/assert";
 *
 * const connections = new Semaphore(2);
 * {
 *   using _ = await connections.acquire();
 *   assertEquals(connections.value, 1);
 * }
 * assertEquals(connections.value, 2);
 * ```
 *
 *   word | name    | written by                     | meaning
 *   -----+---------+--------------------------------+---------------------------
 *     0  | VALUE   | anyone, CAS                    | permits that are free
 *     1  | LIMIT   | the constructor                | what VALUE may not exceed
 *   2, 3 | (spot)  | see `_park.ts`                 | those who wait for permits
 *     4  | TURN    | see below, CAS                 | ticket of one waiter, or 0
 *     5  | TURN_AT | the waiter whose turn it is    | when it last looked
 *     6  | TICKETS | waiters, add                   | tickets given
 *     7  | MANY    | waiters for several, to 1      | woken ones may need more
 *
 * **Fairness.** While TURN is 0, free permits go to whoever comes first. A waiter
 * that has lost for PATIENCE_MS puts its ticket into TURN, over 0 or over a younger
 * ticket; then only it may take, however many permits it needs, and afterwards it
 * sets TURN to 0 again. So the oldest waiter gets its turn.
 *
 * **No wake-up is lost.** VALUE and TURN are written before the spot is woken: as
 * many waiters as there are new permits, or all of them where the first ones may
 * not be able to take (TURN, MANY).
 *
 * **A waiter that gives up** gives its turn back and wakes the others.
 *
 * **A thread killed between any two steps** leaves permits that it took and has not
 * released, which is for good: a permit has no owner. Killed before it wakes the
 * waiters, they look by themselves within 50 ms. Killed while it is its turn, TURN
 * is void once TURN_AT is older than TURN_MS, since a waiter renews it whenever it
 * looks; the same if its event loop is busy for longer.
 *
 * @module
 */

import { checkObject, checkWhole } from "./_checks.ts";
import {
  cannotLeave,
  defineHandle,
  guardHandle,
  HANDLE,
  type HandleParts,
  takeParts,
} from "./_handle.ts";
import { inspectAs } from "./_inspect.ts";
import { checkStop } from "./_life.ts";
import {
  type Attempt,
  checkWait,
  PENDING,
  PENDING_SOON,
  ready,
  waitAsync,
  type WaitOptions,
  waitSync,
  wake,
} from "./_park.ts";

export type { WaitOptions };

const { add, compareExchange, load, store } = Atomics;
const now = performance.now.bind(performance);
const wallClock = Date.now;

const VALUE = 0;
const LIMIT = 1;
const SEQ = 2;
const TURN = 4;
const TURN_AT = 5;
const TICKETS = 6;
const MANY = 7;
const BYTES = 32;

const MAX_VALUE = 2 ** 31 - 1;
const WHAT = "acquire semaphore";

/** How long a waiter loses before it asks for its turn. */
const PATIENCE_MS = 1;
/** How long a turn lasts that is not renewed. */
const TURN_MS = 80;

/** Options for {@linkcode Semaphore.tryAcquire}. */
export interface PermitOptions {
  /**
   * How many permits to take, all at once.
   *
   * @default {1}
   */
  permits?: number | undefined;
}

/** Options for {@linkcode Semaphore.acquire}. */
export interface SemaphoreWaitOptions extends WaitOptions, PermitOptions {}

/** Permits that were acquired together, to be released once. */
export interface SemaphoreGuard extends Disposable {
  /** How many permits they are. */
  readonly permits: number;
  /** Releases them. Does nothing the second time. */
  release(): void;
}

/**
 * A number of permits, taken by `acquire` and given back by `release`. Python's
 * `multiprocessing.Semaphore`.
 *
 * - **No owner:** any worker may release, also what it never acquired, which raises
 *   the number of permits. {@linkcode BoundedSemaphore} refuses that.
 * - **If a worker ends** with permits, they are gone for good: a semaphore does not
 *   know who has them. Use a `Lock` where that matters.
 * - **Several permits at once:** with `permits: 3` a waiter takes three when three
 *   are free, and none before. Two waiters cannot block each other with one each.
 * - **Fairness:** free permits go to whoever comes first, but a waiter that loses for
 *   more than about a millisecond gets its turn before all who came later, even if
 *   it needs more permits than they do.
 * - **Guards** release once. Do not release both the guard and the semaphore.
 * - **Sending:** pass it to workers in `args`, pool items or initializer arguments.
 *
 * @example At most two at a time
 * ```ts
 * import { Semaphore } from "@parallel/multiprocessing/semaphore";
 * import { assertEquals } from "@std/assert";
 *
 * const semaphore = new Semaphore(2);
 * let running = 0;
 * let most = 0;
 *
 * async function download(): Promise<void> {
 *   using _ = await semaphore.acquire();
 *   most = Math.max(most, ++running);
 *   await new Promise((resolve) => setTimeout(resolve, 5));
 *   running--;
 * }
 *
 * await Promise.all([download(), download(), download(), download()]);
 *
 * assertEquals(most, 2);
 * ```
 */
export class Semaphore {
  readonly #words: Int32Array;
  /** How many of this thread's async waits are under way. */
  #queued = 0;

  /**
   * Creates a semaphore.
   *
   * @param value How many permits there are.
   * @throws {RangeError} If `value` is negative, not whole, or above 2147483647.
   * @throws {TypeError} If `value` is not a number.
   *
   * @example Usage
   * ```ts
   * import { Semaphore } from "@parallel/multiprocessing/semaphore";
   * import { assertEquals } from "@std/assert";
   *
   * assertEquals(new Semaphore(3).value, 3);
   * ```
   */
  constructor(value = 1) {
    const parts = takeParts();
    let memory: SharedArrayBuffer;
    if (parts !== undefined) {
      memory = parts[0] as SharedArrayBuffer;
      this.#words = new Int32Array(memory);
    } else {
      checkWhole("create semaphore", "value", value, 0, MAX_VALUE);
      memory = new SharedArrayBuffer(BYTES);
      this.#words = new Int32Array(memory);
      this.#words[VALUE] = value;
      this.#words[LIMIT] = this instanceof BoundedSemaphore ? value : MAX_VALUE;
    }
    guardHandle(this, memory);
  }

  /**
   * Takes a permit, waiting until one is free. Never blocks the event loop, and
   * keeps the program alive while it waits.
   *
   * @param options Additional options.
   * @returns A promise for a guard which gives the permit back.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   * @throws The signal's reason, if `options.signal` aborts first.
   * @throws {RangeError} If `options.permits` is not a whole number above 0, or there can never be as many.
   *
   * @example Usage
   * ```ts
   * import { Semaphore } from "@parallel/multiprocessing/semaphore";
   * import { assertEquals } from "@std/assert";
   *
   * const semaphore = new Semaphore(4);
   * using guard = await semaphore.acquire({ permits: 3, timeout: 1000 });
   *
   * assertEquals(guard.permits, 3);
   * assertEquals(semaphore.value, 1);
   * ```
   */
  acquire(options?: SemaphoreWaitOptions): Promise<SemaphoreGuard> {
    // Those of this thread that wait already go first.
    if (options === undefined && this.#queued === 0 && this.#take(1)) {
      return ready(new Guard(this, 1));
    }
    return this.#acquireSlow(options);
  }

  /**
   * Takes a permit, blocking this thread until one is free.
   *
   * @param options Additional options.
   * @returns A guard which gives the permit back.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   * @throws {RangeError} If `options.permits` is not a whole number above 0, or there can never be as many.
   *
   * @example Usage
   * ```ts
   * import { Semaphore } from "@parallel/multiprocessing/semaphore";
   * import { assertEquals } from "@std/assert";
   *
   * const semaphore = new Semaphore(1);
   * const guard = semaphore.acquireSync();
   * assertEquals(semaphore.value, 0);
   *
   * guard.release();
   * assertEquals(semaphore.value, 1);
   * ```
   */
  acquireSync(options?: Omit<SemaphoreWaitOptions, "signal">): SemaphoreGuard {
    checkStop();
    if (options === undefined && this.#take(1)) return new Guard(this, 1);
    const permits = this.#permitsOf(options);
    const waiter = new Waiter(this.#words, permits);
    const attempt = waiter.attempt(() => new Guard(this, permits));
    try {
      return waitSync(WHAT, this.#words, SEQ, attempt, options);
    } catch (error) {
      waiter.giveUp();
      throw error;
    }
  }

  /**
   * Takes a permit if that takes no waiting.
   *
   * @param options Additional options.
   * @returns A guard which gives the permit back, or `undefined` if none is free.
   * @throws {RangeError} If `options.permits` is not a whole number above 0, or there can never be as many.
   *
   * @example Usage
   * ```ts
   * import { Semaphore } from "@parallel/multiprocessing/semaphore";
   * import { assertEquals } from "@std/assert";
   *
   * const semaphore = new Semaphore(1);
   * using _ = semaphore.tryAcquire();
   *
   * assertEquals(semaphore.tryAcquire(), undefined);
   * ```
   */
  tryAcquire(options?: PermitOptions): SemaphoreGuard | undefined {
    checkStop();
    const permits = this.#permitsOf(options);
    return this.#take(permits) ? new Guard(this, permits) : undefined;
  }

  /**
   * Gives permits back, or adds some.
   *
   * @param n How many.
   * @throws {RangeError} If `n` is not a whole number above 0, or there would be too many permits.
   * @throws {TypeError} If `n` is not a number.
   *
   * @example Usage
   * ```ts
   * import { Semaphore } from "@parallel/multiprocessing/semaphore";
   * import { assertEquals } from "@std/assert";
   *
   * const semaphore = new Semaphore(0);
   * semaphore.release(2);
   *
   * assertEquals(semaphore.value, 2);
   * ```
   */
  release(n = 1): void {
    const words = this.#words;
    checkWhole("release semaphore", "n", n, 1, MAX_VALUE);
    const limit = words[LIMIT]!;
    while (true) {
      const value = load(words, VALUE);
      if (value + n > limit) {
        throw new RangeError(
          `Cannot release semaphore as its value must be <= ${limit}: current value is ${value}, to be released are ${n}`,
        );
      }
      if (compareExchange(words, VALUE, value, value + n) === value) break;
    }
    const all = load(words, TURN) !== 0 || load(words, MANY) !== 0;
    wake(words, SEQ, all ? Infinity : n);
  }

  /**
   * How many permits are free. Informational only: it may have changed by the time
   * it is looked at.
   *
   * @returns The number of free permits.
   *
   * @example Usage
   * ```ts
   * import { Semaphore } from "@parallel/multiprocessing/semaphore";
   * import { assertEquals } from "@std/assert";
   *
   * const semaphore = new Semaphore(2);
   * using _ = semaphore.acquireSync();
   *
   * assertEquals(semaphore.value, 1);
   * ```
   */
  get value(): number {
    return load(this.#words, VALUE);
  }

  #take(permits: number): boolean {
    const words = this.#words;
    const turn = load(words, TURN);
    return (turn === 0 || isVoid(words)) && take(words, permits);
  }

  async #acquireSlow(options?: SemaphoreWaitOptions): Promise<SemaphoreGuard> {
    const permits = this.#permitsOf(options);
    checkWait(WHAT, options);
    const waiter = new Waiter(this.#words, permits);
    this.#queued++;
    const attempt = waiter.attempt(() => {
      this.#queued--;
      return new Guard(this, permits);
    });
    return await waitAsync(WHAT, this.#words, SEQ, attempt, options, () => {
      this.#queued--;
      waiter.giveUp();
    });
  }

  #permitsOf(options: PermitOptions | undefined): number {
    if (options === undefined) return 1;
    checkObject(WHAT, options, "{ permits: 2 }");
    const { permits } = options;
    if (permits === undefined) return 1;
    checkWhole(WHAT, "permits", permits, 1, this.#words[LIMIT]!);
    return permits;
  }

  /** @ignore */
  [HANDLE](): HandleParts {
    const kind = this instanceof BoundedSemaphore
      ? "BoundedSemaphore"
      : "Semaphore";
    return { kind, parts: [this.#words.buffer] };
  }

  static {
    defineHandle("Semaphore", () => new Semaphore());
    inspectAs(
      Semaphore,
      (semaphore) =>
        semaphore instanceof BoundedSemaphore
          ? `BoundedSemaphore { value: ${semaphore.value}, limit: ${semaphore
            .#words[
              LIMIT
            ]!} }`
          : `Semaphore { value: ${semaphore.value} }`,
    );
  }
}

/**
 * A {@linkcode Semaphore} whose value never exceeds what it was created with.
 * Python's `multiprocessing.BoundedSemaphore`.
 *
 * - **Releasing too often** is a `RangeError`, and changes nothing.
 * - Everything else is as for {@linkcode Semaphore}. With 0 permits it can never
 *   have any.
 *
 * @example Usage
 * ```ts
 * import { BoundedSemaphore } from "@parallel/multiprocessing/semaphore";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const semaphore = new BoundedSemaphore(2);
 * semaphore.acquireSync();
 * semaphore.release();
 *
 * assertThrows(() => semaphore.release(), RangeError, "must be <= 2");
 * assertEquals(semaphore.value, 2);
 * ```
 */
export class BoundedSemaphore extends Semaphore {
  static {
    defineHandle("BoundedSemaphore", () => new BoundedSemaphore());
  }
}

class Guard implements SemaphoreGuard {
  readonly permits: number;
  #semaphore: Semaphore | undefined;

  constructor(semaphore: Semaphore, permits: number) {
    this.permits = permits;
    this.#semaphore = semaphore;
  }

  release(): void {
    const semaphore = this.#semaphore;
    if (semaphore === undefined) return;
    this.#semaphore = undefined;
    semaphore.release(this.permits);
  }

  [HANDLE](): never {
    cannotLeave("the guard of a semaphore", "send the semaphore");
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

// -- Taking -------------------------------------------------------------------

function take(words: Int32Array, permits: number): boolean {
  while (true) {
    const value = load(words, VALUE);
    if (value < permits) return false;
    if (compareExchange(words, VALUE, value, value - permits) === value) {
      return true;
    }
  }
}

/** Whether the waiter whose turn it is has not looked for too long. */
function isVoid(words: Int32Array): boolean {
  const age = (wallClock() - load(words, TURN_AT)) | 0;
  // Negative: the wall clock was set back.
  return age < 0 || age > TURN_MS;
}

/** One wait for permits. */
class Waiter {
  readonly #words: Int32Array;
  readonly #permits: number;
  readonly #ticket: number;
  readonly #since = now();

  constructor(words: Int32Array, permits: number) {
    this.#words = words;
    this.#permits = permits;
    // 0 means nobody's turn.
    this.#ticket = (add(words, TICKETS, 1) + 1) | 0 ||
      add(words, TICKETS, 1) + 1;
    if (permits > 1) store(words, MANY, 1);
  }

  attempt<T>(taken: () => T): Attempt<T> {
    let starving = false;
    return (slept) => {
      starving ||= slept && now() - this.#since > PATIENCE_MS;
      if (this.#tryTake()) return taken();
      if (starving && this.#askForTurn() && this.#tryTake()) return taken();
      // Only somebody's turn is in the way, who may be dead.
      return load(this.#words, VALUE) >= this.#permits ? PENDING_SOON : PENDING;
    };
  }

  #tryTake(): boolean {
    const words = this.#words;
    const turn = load(words, TURN);
    if (turn !== 0 && turn !== this.#ticket && !isVoid(words)) return false;
    if (!take(words, this.#permits)) return false;
    // Others may have been waiting for the end of this turn.
    if (turn !== 0) this.#endTurn(turn);
    return true;
  }

  /** Makes it this waiter's turn, or renews that. */
  #askForTurn(): boolean {
    const words = this.#words;
    const turn = load(words, TURN);
    const isOlder = ((this.#ticket - turn) | 0) <= 0;
    if (turn !== 0 && !isOlder && !isVoid(words)) return false;
    store(words, TURN_AT, wallClock() | 0);
    return compareExchange(words, TURN, turn, this.#ticket) === turn;
  }

  #endTurn(turn: number): void {
    if (compareExchange(this.#words, TURN, turn, 0) !== turn) return;
    wake(this.#words, SEQ, Infinity);
  }

  /** Leaves things as if this waiter had never come. */
  giveUp(): void {
    this.#endTurn(this.#ticket);
  }
}
