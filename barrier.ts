/**
 * {@linkcode Barrier}: a point at which a number of tasks wait for one another.
 *
 * ```ts
 * import { Barrier } from "@parallel/multiprocessing/barrier";
 * import { assertEquals } from "@std/assert";
 *
 * const barrier = new Barrier(2);
 * const indexes = await Promise.all([barrier.wait(), barrier.wait()]);
 *
 * assertEquals(indexes, [0, 1]);
 * ```
 *
 * Parties are in a table in shared memory (`_waiters.ts`) with a mutex of its own,
 * which is held for a few steps and never while waiting. The table's own words:
 *
 *   word | name    | written by      | meaning
 *   -----+---------+-----------------+---------------------------------------------
 *     3  | STATUS  | under the mutex | OPEN; RUNNING the action; BROKEN
 *     4  | ARRIVED | under the mutex | parties in this round
 *   5, 6 | GATE    | see `_park.ts`  | spot of those who come while the action runs
 *     7  | PARTIES | the constructor | how many make a round
 *
 * A party that arrives takes a place, WAITING, with its index as EXTRA. The last one
 * calls the action and waits like the others; when the action has ended, all places
 * become CHOSEN and ARRIVED 0: what became of a round is written into its places, so
 * that a party that looks late is not misled by later rounds. Nor is an action that
 * ends late: it ends the round of its runner's ticket, if that is still WAITING.
 * Breaking makes all WAITING places REFUSED.
 *
 * **No wake-up is lost:** STATUS and places are written before GATE and the places'
 * spots are woken.
 *
 * **A waiter that gives up** breaks the barrier, if its place is still WAITING. One
 * at GATE has no place yet, and leaves nothing.
 *
 * **A thread that dies** leaves a WAITING place with a dead owner: whoever arrives
 * next, and every waiter 50 ms after it last looked, finds it and breaks the barrier.
 * One that is about to end counts as dead, for it will not go on with the others. One
 * that dies at GATE leaves nothing. Killed under the mutex, it leaves that abandoned,
 * and the next one to hold it breaks the barrier, since the table may be half changed;
 * but not if STATUS is RUNNING. Who makes it so writes it last, and who ends that
 * writes it first, so the table is whole.
 *
 * @module
 */

import { checkObject, checkWhole } from "./_checks.ts";
import {
  defineHandle,
  guardHandle,
  HANDLE,
  type HandleParts,
  prepareWith,
  takeParts,
} from "./_handle.ts";
import { inspectAs } from "./_inspect.ts";
import { isThreadStopped } from "./_life.ts";
import { Mutex, MUTEX_BYTES } from "./_mutex.ts";
import {
  type Attempt,
  checkOptions,
  checkTimeout,
  isThenable,
  isTimeout,
  PENDING,
  timedOut,
  waitAsync,
  type WaitOptions,
  waitSync,
  wake,
} from "./_park.ts";
import { resolveTarget } from "./_resolve.ts";
import { describeTarget, type TargetRef } from "./_target.ts";
import {
  CHOSEN,
  type Found,
  REFUSED,
  Waiters,
  waitersMemory,
  WAITING,
} from "./_waiters.ts";
import { BrokenBarrierError } from "./errors.ts";
import { type Target, Task } from "./task.ts";

export { BrokenBarrierError, type Target, Task, type WaitOptions };

const { load, store } = Atomics;
const now = performance.now.bind(performance);

const STATUS = 3;
const ARRIVED = 4;
const GATE = 5;
const PARTIES = 7;

const OPEN = 0;
const RUNNING = 1;
const BROKEN = 2;

const MAX_PARTIES = 32768;
const WHAT = "wait at barrier";

/** Options for {@linkcode Barrier}. */
export interface BarrierOptions {
  /**
   * What the last party to arrive runs before anyone leaves, once a round, without
   * arguments.
   */
  action?: Target<[], unknown> | undefined;
  /**
   * The timeout of waits that give none, in milliseconds.
   *
   * @default {Infinity}
   */
  timeout?: number | undefined;
}

/** What is known about the action in this thread. */
interface Action {
  ref: TargetRef;
  /** The function, once it was found. */
  found: (() => unknown) | undefined;
  /** The search, while it goes on. */
  search: Promise<void> | undefined;
  /** Why it was not found. */
  error: unknown;
}

/** A party in a round. */
interface Party extends Found {
  index: number;
  /** Whether it has to run the action. */
  isRunner: boolean;
  /** What the action threw that it ran, if that broke the barrier. */
  failure?: { error: unknown };
}

/**
 * A point at which `parties` tasks wait for one another. Python's
 * `multiprocessing.Barrier`.
 *
 * - **Reusable:** when all have arrived, all go on, and the next round begins. Each
 *   gets an index from 0 to `parties - 1`, in the order of arrival.
 * - **It breaks for all** when a party times out, is aborted, or its worker ends while
 *   it waits, when the action throws, and by `abort()`. The party that gave up gets
 *   its own error, the others and all who come later a `BrokenBarrierError`, until
 *   `reset()`.
 * - **A signal that is aborted already** breaks it too: a party that will not come is
 *   one.
 * - **The action** is run by the last party to arrive, before anyone leaves: in the
 *   thread that made the barrier the function itself, in others the function found
 *   again, as a `Process` would. A promise that it returns is awaited by `wait`;
 *   `waitSync` cannot, and breaks the barrier with a `TypeError`. Its error goes to
 *   the party that ran it.
 * - **While the promise of an action is awaited** the barrier breaks as it does before,
 *   also when the party that ran it gives up. The action is not stopped by that, and
 *   what becomes of it is of no interest any more.
 * - **Who comes while the action runs** has not arrived: it is let in when the round
 *   has ended, as the next round's. If it gives up before, or its worker ends, that
 *   breaks neither round.
 * - **Blocking:** `waitSync` blocks the thread, so parties of the same thread have to
 *   use `wait`.
 * - **Sending:** pass it to workers in `args`, pool items or initializer arguments.
 *
 * @example Two phases
 * ```ts
 * import { Barrier } from "@parallel/multiprocessing/barrier";
 * import { assertEquals } from "@std/assert";
 *
 * const log: string[] = [];
 * const barrier = new Barrier(2, { action: () => void log.push("--") });
 *
 * async function worker(name: string): Promise<void> {
 *   log.push(`${name}1`);
 *   await barrier.wait();
 *   log.push(`${name}2`);
 * }
 *
 * await Promise.all([worker("a"), worker("b")]);
 *
 * assertEquals(log.slice(0, 3), ["a1", "b1", "--"]);
 * assertEquals(log.slice(3).sort(), ["a2", "b2"]);
 * ```
 */
export class Barrier {
  readonly #memory: SharedArrayBuffer;
  readonly #waiters: Waiters;
  readonly #words: Int32Array;
  readonly #mutex: Mutex;
  readonly #timeout: number | undefined;
  readonly #action: Action | undefined;

  /**
   * Creates a barrier.
   *
   * @param parties How many tasks make a round.
   * @param options Additional options.
   * @throws {RangeError} If `parties` is not a whole number from 1 to 32768, or the timeout is negative.
   * @throws {TypeError} If `parties` is not a number, or the action is neither a function nor a task.
   *
   * @example Usage
   * ```ts
   * import { Barrier } from "@parallel/multiprocessing/barrier";
   * import { assertEquals } from "@std/assert";
   *
   * const barrier = new Barrier(3, { timeout: 5000 });
   *
   * assertEquals(barrier.parties, 3);
   * ```
   */
  constructor(parties: number, options: BarrierOptions = {}) {
    const parts = takeParts();
    if (parts !== undefined) {
      const [memory, mutexMemory, ref, timeout] = parts;
      this.#memory = memory as SharedArrayBuffer;
      this.#mutex = new Mutex(mutexMemory as SharedArrayBuffer, this);
      this.#timeout = timeout as number | undefined;
      this.#action = ref === undefined
        ? undefined
        : actionOf(ref as TargetRef, undefined);
      this.#waiters = new Waiters(this.#memory);
    } else {
      checkObject("create barrier", options, "{ timeout: 1000 }");
      const { action, timeout } = options;
      checkWhole("create barrier", "parties", parties, 1, MAX_PARTIES);
      checkTimeout("create barrier", options);
      this.#memory = waitersMemory();
      this.#mutex = new Mutex(new SharedArrayBuffer(MUTEX_BYTES), this);
      this.#timeout = timeout;
      this.#action = action === undefined ? undefined : actionOf(
        describeTarget(action, "create barrier", Barrier),
        typeof action === "function" ? action : undefined,
      );
      this.#waiters = new Waiters(this.#memory);
      this.#waiters.words[PARTIES] = parties;
    }
    this.#words = this.#waiters.words;
    guardHandle(this, this.#memory);
  }

  /**
   * How many tasks make a round.
   *
   * @returns The number given to the constructor.
   *
   * @example Usage
   * ```ts
   * import { Barrier } from "@parallel/multiprocessing/barrier";
   * import { assertEquals } from "@std/assert";
   *
   * assertEquals(new Barrier(3).parties, 3);
   * ```
   */
  get parties(): number {
    return this.#words[PARTIES]!;
  }

  /**
   * How many parties are waiting. Informational only.
   *
   * @returns The number of parties that have arrived in this round; 0 if the barrier is broken.
   *
   * @example Usage
   * ```ts
   * import { Barrier } from "@parallel/multiprocessing/barrier";
   * import { assertEquals } from "@std/assert";
   *
   * assertEquals(new Barrier(3).waiting, 0);
   * ```
   */
  get waiting(): number {
    return load(this.#words, ARRIVED);
  }

  /**
   * Whether the barrier is broken.
   *
   * @returns `true` until `reset()` is called.
   *
   * @example Usage
   * ```ts
   * import { Barrier } from "@parallel/multiprocessing/barrier";
   * import { assertEquals } from "@std/assert";
   *
   * const barrier = new Barrier(3);
   * barrier.abort();
   *
   * assertEquals(barrier.broken, true);
   * ```
   */
  get broken(): boolean {
    return load(this.#words, STATUS) === BROKEN;
  }

  /**
   * Waits until all parties have arrived. Never blocks the event loop, and keeps the
   * program alive while it waits.
   *
   * @param options Additional options; the timeout defaults to the barrier's.
   * @returns A promise for this party's index in the round.
   * @throws {BrokenBarrierError} If the barrier is broken, or breaks or is reset while waiting.
   * @throws {DOMException & { name: "TimeoutError" }} If the timeout elapses. The barrier is broken.
   * @throws The signal's reason, if `options.signal` aborts first. The barrier is broken.
   * @throws What the action throws, if this party runs it. The barrier is broken.
   *
   * @example Usage
   * ```ts
   * import { Barrier } from "@parallel/multiprocessing/barrier";
   * import { assertEquals } from "@std/assert";
   *
   * const barrier = new Barrier(2);
   * const [first, second] = await Promise.all([barrier.wait(), barrier.wait()]);
   *
   * assertEquals([first, second], [0, 1]);
   * ```
   */
  async wait(options: WaitOptions = {}): Promise<number> {
    checkOptions(WHAT, options);
    const { timeout = this.#timeout, signal } = options;
    const deadline = now() + (timeout ?? Infinity);
    const words = this.#words;
    if (signal?.aborted) {
      this.#stayAway();
      throw signal.reason;
    }
    let party = this.#arrive();
    if (party === PENDING) {
      const attempt = () => this.#arrive();
      party = await waitAsync(WHAT, words, GATE, attempt, { timeout, signal });
    }
    // Aborted between arriving and waiting: nothing is to run any more.
    if (party.isRunner && !signal?.aborted) this.#run(party);
    const attempt = this.#attempt(party);
    const wait = { timeout: Math.max(deadline - now(), 0), signal };
    try {
      return await waitAsync(WHAT, words, party.at, attempt, wait, () => {
        this.#giveUp(party);
      });
    } catch (error) {
      // Aborted between arriving and waiting: it has not given up yet.
      this.#giveUp(party);
      const isOurs = isTimeout(error, signal);
      return this.#failed(party, isOurs ? timedOut(WHAT, timeout!) : error);
    } finally {
      this.#leave(party);
    }
  }

  /**
   * Waits until all parties have arrived, blocking this thread.
   *
   * @param options Additional options; the timeout defaults to the barrier's.
   * @returns This party's index in the round.
   * @throws {BrokenBarrierError} If the barrier is broken, or breaks or is reset while waiting.
   * @throws {DOMException & { name: "TimeoutError" }} If the timeout elapses. The barrier is broken.
   * @throws What the action throws, if this party runs it. The barrier is broken.
   *
   * @example Usage
   * ```ts
   * import { Barrier } from "@parallel/multiprocessing/barrier";
   * import { assertEquals, assertThrows } from "@std/assert";
   *
   * const barrier = new Barrier(2);
   * assertThrows(() => barrier.waitSync({ timeout: 10 }), DOMException, "timed out");
   *
   * assertEquals(barrier.broken, true);
   * ```
   */
  waitSync(options: Pick<WaitOptions, "timeout"> = {}): number {
    checkTimeout(WHAT, options);
    const { timeout = this.#timeout } = options;
    const deadline = now() + (timeout ?? Infinity);
    const words = this.#words;
    const party = waitSync(WHAT, words, GATE, () => this.#arrive(), {
      timeout,
    });
    const attempt = this.#attempt(party);
    try {
      if (party.isRunner) this.#runSync(party);
      const left = Math.max(deadline - now(), 0);
      return waitSync(WHAT, words, party.at, attempt, { timeout: left });
    } catch (error) {
      // A thread that is told to stop leaves its place to be found dead.
      if (isThreadStopped(error)) throw error;
      this.#giveUp(party);
      const isOurs = isTimeout(error);
      return this.#failed(party, isOurs ? timedOut(WHAT, timeout!) : error);
    } finally {
      this.#leave(party);
    }
  }

  /**
   * Makes the barrier as new. Parties that are waiting get a `BrokenBarrierError`.
   *
   * @example Usage
   * ```ts
   * import { Barrier } from "@parallel/multiprocessing/barrier";
   * import { assertEquals } from "@std/assert";
   *
   * const barrier = new Barrier(1);
   * barrier.abort();
   * barrier.reset();
   *
   * assertEquals(await barrier.wait(), 0);
   * ```
   */
  reset(): void {
    this.#change(() => this.#endRound(REFUSED, OPEN));
  }

  /**
   * Breaks the barrier: parties that are waiting, and all who come later, get a
   * `BrokenBarrierError`, until `reset()`.
   *
   * @example Usage
   * ```ts
   * import { Barrier } from "@parallel/multiprocessing/barrier";
   * import { BrokenBarrierError } from "@parallel/multiprocessing/errors";
   * import { assertRejects } from "@std/assert";
   *
   * const barrier = new Barrier(2);
   * const waiting = barrier.wait();
   * barrier.abort();
   *
   * await assertRejects(() => waiting, BrokenBarrierError);
   * ```
   */
  abort(): void {
    this.#change(() => this.#endRound(REFUSED, BROKEN));
  }

  // -- Under the mutex --------------------------------------------------------

  /** Runs a few steps that nobody else runs at the same time. */
  #change<T>(steps: () => T): T {
    const mutex = this.#mutex;
    const guard = mutex.take() ? mutex.guard(false) : mutex.acquireSlowSync();
    try {
      // Somebody was killed here: the table may be half changed.
      if (guard.abandoned && load(this.#words, STATUS) !== RUNNING) {
        this.#endRound(REFUSED, BROKEN);
      }
      return steps();
    } finally {
      guard.release();
    }
  }

  #endRound(fate: typeof CHOSEN | typeof REFUSED, status: number): void {
    const words = this.#words;
    store(words, STATUS, status); // first: see the head of this file
    store(words, ARRIVED, 0);
    for (const party of this.#waiters.all(WAITING)) {
      this.#waiters.settle(party, fate);
    }
    wake(words, GATE, Infinity);
  }

  #breakIfLeft(): void {
    const waiters = this.#waiters;
    if (waiters.all(WAITING).some((party) => waiters.isLeaving(party))) {
      this.#endRound(REFUSED, BROKEN);
    }
    waiters.sweep(CHOSEN);
    waiters.sweep(REFUSED);
  }

  #arrive(): Party | typeof PENDING {
    return this.#change(() => {
      const words = this.#words;
      this.#breakIfLeft();
      const status = load(words, STATUS);
      if (status === BROKEN) throw brokenError();
      if (status === RUNNING) return PENDING;
      const { at, word } = this.#waiters.enter();
      const index = words[ARRIVED]!;
      this.#waiters.setExtra(at, index);
      store(words, ARRIVED, index + 1);
      const isLast = index + 1 === words[PARTIES];
      const isRunner = isLast && this.#action !== undefined;
      if (isRunner) store(words, STATUS, RUNNING); // last
      else if (isLast) this.#endRound(CHOSEN, OPEN);
      return { at, word, index, isRunner };
    });
  }

  /** Breaks the barrier on behalf of a party, if it still waits. */
  #giveUp(party: Party): boolean {
    return this.#change(() => {
      if (this.#waiters.stateOf(party) !== WAITING) return false;
      this.#endRound(REFUSED, BROKEN);
      return true;
    });
  }

  /** Breaks the barrier on behalf of a party that does not even come. */
  #stayAway(): void {
    this.#change(() => {
      if (load(this.#words, STATUS) === RUNNING) return; // nobody waits for it yet
      this.#endRound(REFUSED, BROKEN);
    });
  }

  #leave(party: Party): void {
    // Still WAITING: this thread was told to stop.
    if (this.#waiters.stateOf(party) === WAITING) return;
    this.#change(() => this.#waiters.leave(party.at));
  }

  // -- Waiting ----------------------------------------------------------------

  #attempt(party: Party): Attempt<number> {
    const waiters = this.#waiters;
    return (slept) => {
      if (
        slept && waiters.stateOf(party) === WAITING && waiters.isSearchDue()
      ) this.#change(() => this.#breakIfLeft());
      switch (waiters.stateOf(party)) {
        case WAITING:
          return PENDING;
        case CHOSEN:
          return party.index;
        default:
          throw brokenError();
      }
    };
  }

  /** Settles a wait that failed, unless the round ended just before. */
  #failed(party: Party, error: unknown): number {
    if (this.#waiters.stateOf(party) === CHOSEN) return party.index;
    throw party.failure === undefined ? error : party.failure.error;
  }

  // -- The action -------------------------------------------------------------

  /** Calls the action; its end ends the round, now or later. */
  #run(party: Party): void {
    const action = this.#action!;
    try {
      const result = action.search === undefined
        ? callAction(action)
        : action.search.then(() => callAction(action));
      if (isThenable(result)) this.#runOn(party, result);
      else this.#endRun(party);
    } catch (error) {
      this.#failRun(party, error);
    }
  }

  async #runOn(party: Party, result: PromiseLike<unknown>): Promise<void> {
    try {
      await result;
    } catch (error) {
      return this.#failRun(party, error);
    }
    this.#endRun(party);
  }

  #runSync(party: Party): void {
    try {
      const result = callAction(this.#action!);
      if (isThenable(result)) {
        result.then(undefined, () => {});
        throw new TypeError(
          `Cannot run the action in waitSync: it returned a promise, which only wait can await`,
        );
      }
    } catch (error) {
      if (isThreadStopped(error)) throw error;
      return this.#failRun(party, error);
    }
    this.#endRun(party);
  }

  #endRun(party: Party): void {
    this.#change(() => {
      this.#breakIfLeft();
      if (this.#waiters.stateOf(party) === WAITING) {
        this.#endRound(CHOSEN, OPEN);
      }
    });
  }

  #failRun(party: Party, error: unknown): void {
    if (this.#giveUp(party)) party.failure = { error };
  }

  /** @ignore */
  [HANDLE](): HandleParts {
    return {
      kind: "Barrier",
      parts: [
        this.#memory,
        this.#mutex.words.buffer,
        this.#action?.ref,
        this.#timeout,
      ],
    };
  }

  static {
    defineHandle("Barrier", (parts, foreign) => {
      if (foreign && parts[2] !== undefined) {
        throw new TypeError(
          "Cannot revive a Barrier: it comes from a worker with permissions, and its action must not run here",
        );
      }
      const barrier = new Barrier(0);
      const search = barrier.#action?.search;
      // A blocked party could not wait for it.
      if (search !== undefined) prepareWith(search);
      return barrier;
    });
    inspectAs(
      Barrier,
      ({ parties, waiting, broken }) =>
        `Barrier { parties: ${parties}, waiting: ${waiting}, broken: ${broken} }`,
    );
  }
}

// -- The action ---------------------------------------------------------------

/** Begins to look for the function, so that a blocking party can have it later. */
function actionOf(
  ref: TargetRef,
  found: (() => unknown) | undefined,
): Action {
  const action: Action = { ref, found, search: undefined, error: undefined };
  if (found !== undefined) return action;
  try {
    const target = resolveTarget(ref);
    if (target instanceof Promise) {
      action.search = target.then(
        (target) => {
          action.found = target as () => unknown;
          action.search = undefined;
        },
        (error) => {
          action.error = error;
          action.search = undefined;
        },
      );
    } else {
      action.found = target as () => unknown;
    }
  } catch (error) {
    action.error = error;
  }
  return action;
}

function callAction(action: Action): unknown {
  const { found, search, error } = action;
  if (found !== undefined) return found();
  if (search === undefined) throw error;
  throw new TypeError(
    `Cannot run the action in waitSync: its module is still being imported in this worker, which only wait can await`,
  );
}

// -- Errors and checks --------------------------------------------------------

function brokenError(): BrokenBarrierError {
  return new BrokenBarrierError(`Cannot ${WHAT}: it is broken`);
}
