/**
 * The only module that sleeps.
 *
 * A *spot* is two adjacent Int32 words in shared memory:
 *
 *   word   | name    | written by            | meaning
 *   -------+---------+-----------------------+------------------------------
 *   at     | SEQ     | wakers, add           | event count
 *   at + 1 | WAITERS | waiters, add and sub  | threads that may be asleep
 *
 * Waker: publish (an `Atomics` write), then `wake()`: if WAITERS > 0, raise SEQ
 * and notify. Waiter: raise WAITERS, read SEQ, attempt; sleep only while SEQ
 * still has the value read.
 *
 * **No wake-up is lost.** All `Atomics` are sequentially consistent. Either the
 * waiter's attempt comes after the publication and succeeds, or the waker's look
 * at WAITERS comes after the waiter's raise; then SEQ has moved before the waiter
 * can sleep on it, or the notify finds it asleep.
 *
 * **A waiter that gives up** lowers WAITERS and takes nothing: a blocking one
 * that was woken has made its attempt first, and a pending `Atomics.waitAsync`,
 * which cannot be withdrawn, stays armed for the thread's next waiter on the
 * spot; notified with nobody left, it passes the wake-up on.
 *
 * **A thread that dies** leaves WAITERS too high, which costs later wakers a
 * needless notify and nothing else, and may have swallowed a wake-up; so every
 * wait repeats its attempt every {@linkcode SLICE_MS}, which is also where it
 * notices that the owner it waits for is dead.
 *
 * @module
 */

import { checkStop, IN_WORKER, ownControl, stopRequested } from "./_life.ts";

const { add, load, notify, pause, sub, wait, waitAsync: sleepAsync } = Atomics;
const { performance } = globalThis;

/** The timer functions used here. */
type Timers = Pick<
  typeof globalThis,
  | "clearInterval"
  | "clearTimeout"
  | "setImmediate"
  | "setInterval"
  | "setTimeout"
>;

// The first look at a timer function loads Deno's timers, which in a worker takes
// longer than all else at its start: there they are looked up when needed. In the
// main thread now, for a test of the user's that fakes the time must not stop ours.
const timers: Timers = IN_WORKER ? globalThis : {
  clearInterval: globalThis.clearInterval,
  clearTimeout: globalThis.clearTimeout,
  setImmediate: globalThis.setImmediate,
  setInterval: globalThis.setInterval,
  setTimeout: globalThis.setTimeout,
};

/** How a wait may end before its time. */
export interface WaitOptions {
  /**
   * Longest time to wait, in milliseconds; `0` tries once. A minimum, not an
   * appointment: a busy machine may take longer.
   *
   * @default {Infinity}
   */
  timeout?: number | undefined;
  /** Gives up the wait with the signal's reason. */
  signal?: AbortSignal | undefined;
}

/** What an attempt returns when it cannot succeed yet. */
export const PENDING: unique symbol = Symbol("pending");
/** Like {@linkcode PENDING}, and waiting on does not keep the program alive. */
export const PENDING_WEAK: unique symbol = Symbol("pending, not worth waiting");

/** Like {@linkcode PENDING}, and the next look is due within 3 ms. */
export const PENDING_SOON: unique symbol = Symbol("pending, look again soon");

/** What an attempt returns when it cannot succeed yet. */
export type Pending =
  | typeof PENDING
  | typeof PENDING_WEAK
  | typeof PENDING_SOON;

/**
 * One try at what is waited for. May throw, which ends the wait.
 *
 * `slept` is false for the tries at the beginning of a wait, and true for those
 * after a sleep, whether a wake-up or the passing of time ended it.
 */
export type Attempt<T> = (slept: boolean) => T | Pending;

/** How often a wait looks again by itself, in milliseconds. */
export const SLICE_MS = 50;
/** The same after {@linkcode PENDING_SOON}. */
const SOON_MS = 3;

/** The longest time a timer can be set for, in milliseconds. */
const MAX_TIMER_MS = 2 ** 31 - 1;
const SPINS = 40;
const MIN_SPINS = 4;
const MAX_SPINS = 256;
const PAUSES = 4;

// -- Deadlines --------------------------------------------------------------

/** As in `_checks.ts`, which every worker would have to load for it. */
function typeName(value: unknown): string {
  return value === null ? "null" : typeof value;
}

/**
 * Refuses options that are none, and times that nobody can wait.
 *
 * @throws {RangeError} If the timeout is negative or `NaN`.
 * @throws {TypeError} If the timeout is not a number, or `options` not an object.
 */
export function checkTimeout(
  what: string,
  options: Pick<WaitOptions, "timeout"> | undefined,
): void {
  if (options === undefined) return;
  if (typeof options !== "object" || options === null) {
    throw new TypeError(
      `Cannot ${what}: options must be an object such as { timeout: 1000 }, received ${
        typeName(options)
      }`,
    );
  }
  const { timeout } = options;
  if (timeout === undefined) return;
  if (typeof timeout !== "number") {
    throw new TypeError(
      `Cannot ${what}: timeout must be a number of milliseconds, received ${
        typeName(timeout)
      }`,
    );
  }
  if (!(timeout >= 0)) {
    throw new RangeError(
      `Cannot ${what} as timeout must be >= 0: current value is ${timeout}`,
    );
  }
}

/** The error of a wait that ran out of time. */
export function timedOut(what: string, timeout: number): DOMException {
  return new DOMException(
    `Cannot ${what}: timed out after ${timeout} ms`,
    "TimeoutError",
  );
}

/**
 * Whether an error, of anything that was thrown, is the end of a wait's own time: the
 * reason of its signal may be a `TimeoutError`, too.
 */
export function isTimeout(
  error: unknown,
  signal?: AbortSignal | null,
): boolean {
  if (signal?.aborted && error === signal.reason) return false;
  try {
    return error instanceof DOMException && error.name === "TimeoutError";
  } catch {
    return false; // a revoked proxy
  }
}

/**
 * Refuses options of a wait that are none.
 *
 * @throws {TypeError} If the signal is no signal.
 * @throws What {@linkcode checkTimeout} throws.
 */
export function checkOptions(what: string, options?: WaitOptions): void {
  checkTimeout(what, options);
  const signal = options?.signal;
  if (signal === undefined || signal === null) return; // as in `fetch`
  if (
    typeof signal.throwIfAborted !== "function" ||
    typeof signal.addEventListener !== "function"
  ) {
    throw new TypeError(
      `Cannot ${what}: signal must be an AbortSignal, received ${
        typeName(signal)
      }`,
    );
  }
}

/**
 * Refuses a wait that can be refused before it begins.
 *
 * @throws What {@linkcode checkOptions} throws.
 * @throws The signal's reason, if it is already aborted.
 */
export function checkWait(what: string, options?: WaitOptions): void {
  checkOptions(what, options);
  options?.signal?.throwIfAborted();
}

/** Watches a deadline and a signal until it is cleared; `end` is called at most once. */
export class Limit {
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort: (() => void) | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param what What is being done, for messages.
   * @param options Checked by {@linkcode checkOptions}.
   * @param end Gets the reason: a `TimeoutError`, or the signal's.
   * @param catchUp Called when the time is over. What came while the event loop was
   * busy has come in time: if this clears the limit, that was not the end.
   */
  constructor(
    what: string,
    { timeout = Infinity, signal }: WaitOptions,
    end: (reason: unknown) => void,
    catchUp?: () => void,
  ) {
    if (signal !== undefined && signal !== null) {
      const onAbort = () => {
        this.clear();
        end(signal.reason);
      };
      signal.addEventListener("abort", onAbort, { once: true });
      this.#signal = signal;
      this.#onAbort = onAbort;
    }
    if (timeout > MAX_TIMER_MS) return;
    // A timer drops fractions, and a wait is never shorter than asked for.
    this.#timer = timers.setTimeout(() => {
      catchUp?.();
      if (this.#timer === undefined) return;
      this.clear();
      end(timedOut(what, timeout));
    }, Math.ceil(timeout));
  }

  /** Says whether it keeps the program alive, as it does at first. */
  hold(isWanted: boolean): void {
    if (this.#timer !== undefined) holdByTimer(this.#timer, isWanted);
  }

  /** Stops watching. */
  clear(): void {
    if (this.#timer !== undefined) timers.clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#onAbort === undefined) return;
    this.#signal!.removeEventListener("abort", this.#onAbort);
  }
}

// -- Keeping the program alive, and the heartbeat ----------------------------

/** Says whether a timer keeps the program alive, as it does at first. */
export function holdByTimer(timer: unknown, isWanted: boolean): void {
  // Declared as a number, it is an object, of which `Deno.unrefTimer` takes no notice;
  // but a number where somebody has put another function in the place of Deno's.
  const object = timer as { ref?(): void; unref?(): void };
  if (isWanted) object.ref?.();
  else object.unref?.();
}

let keeper: ReturnType<typeof setInterval> | undefined;
let holds = 0;

/** Keeps the program alive until {@linkcode releaseAlive} was called as often. */
export function holdAlive(): void {
  // A worker of ours lives until it is told to end.
  if (holds++ > 0 || ownControl() !== undefined) return;
  keeper = timers.setInterval(() => {}, MAX_TIMER_MS);
}

/** Takes one {@linkcode holdAlive} back. */
export function releaseAlive(): void {
  if (--holds > 0 || keeper === undefined) return;
  // While the main module awaits something, Deno waits for a timer without a ref, too.
  timers.clearInterval(keeper);
  keeper = undefined;
}

/** A word nobody ever wakes: sleeping on it is a timer, of the cheapest kind. */
const NEVER = new Int32Array(new SharedArrayBuffer(4));
const duties = new Set<(blocked: boolean) => void>();
const lists = new Set<WaitList>();
let beating = false;
/** How long this thread has slept since it last saw to its duties, in milliseconds. */
let asleep = 0;
/** When it first found nothing since then, for a thread that asks and never waits; or 0. */
let missingSince = 0;

function beat(): void {
  beating = false;
  asleep = 0;
  missingSince = 0;
  for (const duty of duties) duty(false);
  for (const list of lists) list.serve(true);
  if (lists.size > 0 || duties.size > 0) startHeartbeat();
}

/** What a blocked thread sees to between two sleeps, be they long or short. */
function noteSlept(ms: number): void {
  asleep += ms;
  if (asleep >= SLICE_MS) seeToDuties();
}

/** What a thread sees to that asks again and again whether there is something yet. */
export function noteMissed(): void {
  if (duties.size === 0) return;
  const time = performance.now();
  if (missingSince === 0) missingSince = time;
  else if (time - missingSince >= SLICE_MS) seeToDuties();
}

function seeToDuties(): void {
  asleep = 0;
  missingSince = 0;
  for (const duty of duties) duty(true);
}

/** Calls a function in so many milliseconds; does not keep the program alive. */
export function callIn(ms: number, run: () => void): void {
  const sleep = sleepAsync(NEVER, 0, 0, ms);
  if (sleep.async) sleep.value.then(run); // it always is: nothing changes the word
}

/** Has {@linkcode beat} called in {@linkcode SLICE_MS}. */
function startHeartbeat(): void {
  if (beating) return;
  beating = true;
  callIn(SLICE_MS, beat);
}

/**
 * Has `duty` called about every {@linkcode SLICE_MS}, by the event loop
 * (`blocked` false) or from within a blocking wait of this thread (`blocked`
 * true). Does not keep the program alive.
 */
export function addDuty(duty: (blocked: boolean) => void): void {
  duties.add(duty);
  Promise.resolve().then(startHeartbeat); // not while there are threads to be started
}

/** Takes a duty back. */
export function removeDuty(duty: (blocked: boolean) => void): void {
  duties.delete(duty);
}

// -- Waking -----------------------------------------------------------------

/**
 * Wakes up to `count` of the threads asleep at a spot. Publish first.
 *
 * @returns How many were asleep and are woken.
 */
export function wake(words: Int32Array, at: number, count: number): number {
  if (load(words, at + 1) <= 0) return 0;
  add(words, at, 1);
  return notify(words, at, count);
}

function isPending(value: unknown): value is Pending {
  return value === PENDING || value === PENDING_WEAK || value === PENDING_SOON;
}

// -- Blocking waits ---------------------------------------------------------

/**
 * Blocks this thread until `attempt` succeeds.
 *
 * @param what What is being done, for messages: "acquire lock".
 * @throws {DOMException & { name: "TimeoutError" }} If `timeout` ms pass.
 */
export function waitSync<T>(
  what: string,
  words: Int32Array,
  at: number,
  attempt: Attempt<T>,
  options?: Pick<WaitOptions, "timeout">,
): T {
  checkTimeout(what, options);
  const limit = options?.timeout ?? Infinity;
  let value = attempt(false);
  if (!isPending(value)) return value;
  checkStop();
  if (limit === 0) {
    noteMissed();
    throw timedOut(what, limit);
  }
  for (let spin = 0; spin < SPINS; spin++) {
    pause();
    value = attempt(false);
    if (!isPending(value)) return value;
  }
  const deadline = limit === Infinity ? Infinity : performance.now() + limit;
  let slept = false;
  add(words, at + 1, 1);
  try {
    while (true) {
      const seq = load(words, at);
      value = attempt(slept);
      if (!isPending(value)) return value;
      let slice = value === PENDING_SOON ? SOON_MS : SLICE_MS;
      if (deadline !== Infinity) {
        const left = deadline - performance.now();
        if (left <= 0) throw timedOut(what, limit);
        if (left < slice) slice = left;
      }
      const began = performance.now();
      const how = wait(words, at, seq, slice);
      slept = true;
      if (stopRequested()) {
        if (how === "ok") notify(words, at, 1);
        checkStop();
      }
      noteSlept(performance.now() - began);
    }
  } finally {
    sub(words, at + 1, 1);
  }
}

/** How long work may keep the event loop waiting, in milliseconds. */
export const TURN_MS = 8;
const TURN = new Int32Array(new SharedArrayBuffer(4));

/** Gives the event loop a turn: timers and I/O, not only microtasks. */
export function eventLoopTurn(): Promise<void> {
  if (!IN_WORKER) {
    return new Promise((resolve) => timers.setImmediate(resolve));
  }
  // The same, from the engine: it comes back by way of the event loop.
  const sleep = sleepAsync(TURN, 0, 0);
  notify(TURN, 0);
  return sleep.async ? sleep.value.then(() => {}) : Promise.resolve();
}

/** After so many waits that were over at once, others get a turn. */
const TURN_MASK = 1023;
let waits = 0;
const resolved = Promise.resolve.bind(Promise);

/** Whether it is time to give others a turn; to be asked once for each wait. */
export function isTurnOver(): boolean {
  return (++waits & TURN_MASK) === 0;
}

/**
 * A promise for what is there already. A loop that awaits nothing else would keep
 * timers and I/O from ever running, so now and then it takes a turn.
 */
export function ready<T>(value: T): Promise<T> {
  if (!isTurnOver()) return resolved(value);
  return eventLoopTurn().then(() => value);
}

/** Whether a function's value has to be waited for. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (typeof value === "object" || typeof value === "function") &&
    value !== null && typeof (value as { then?: unknown }).then === "function";
}

/** Calls back at once, but now and then a turn later: see {@linkcode ready}. */
function soon(settle: () => void): void {
  if (!isTurnOver()) settle();
  else eventLoopTurn().then(settle);
}

/** How long a thread looks before it sleeps: longer where that has paid off. */
export class Spins {
  /** How many looks there are next time. */
  limit: number;

  constructor(limit: number) {
    this.limit = limit;
  }

  /** Waits awake until the next look, a few hundred ns. */
  pause(): void {
    for (let i = 0; i < PAUSES; i++) pause();
  }

  /** To be called when a look has found something. */
  found(): void {
    this.limit = Math.min(MAX_SPINS, this.limit + 8);
  }

  /** To be called when none has. */
  missed(): void {
    this.limit = Math.max(MIN_SPINS, this.limit >> 1);
  }
}

/** Looks up to `times` times, a few tens of ns apart, whether it is `ready`. */
export function spin(ready: () => boolean, times: number): boolean {
  for (let i = 0; i < times; i++) {
    if (ready()) return true;
    pause();
  }
  return false;
}

/**
 * Blocks this thread until woken, `ready`, or `ms` milliseconds have passed. For
 * those who then wait in some other way if they still have to.
 *
 * @returns Whether it is ready.
 */
export function napSync(
  words: Int32Array,
  at: number,
  ready: () => boolean,
  ms: number,
): boolean {
  add(words, at + 1, 1);
  const seq = load(words, at);
  if (!ready()) wait(words, at, seq, ms);
  sub(words, at + 1, 1);
  return ready();
}

// -- Async waits ------------------------------------------------------------

interface Waiter {
  attempt: Attempt<unknown>;
  resolve: (value: unknown) => void;
  reject: (reason: unknown) => void;
  limit: Limit | undefined;
  giveUp: (() => void) | undefined;
  /** Whether it holds the program alive. */
  holding: boolean;
}

const listsOf = new WeakMap<Int32Array, Map<number, WaitList>>();

/**
 * This thread's async waiters at one spot, first come first served: a waiter is
 * attempted only when all before it have succeeded.
 */
class WaitList {
  readonly #words: Int32Array;
  readonly #at: number;
  readonly #waiters: Waiter[] = [];
  /** Whether a `waitAsync` of ours is pending, or its end has yet to be noticed. */
  #armed = false;
  #serving = false;
  /** Whether a look is due soon. */
  #soon = false;

  constructor(words: Int32Array, at: number) {
    this.#words = words;
    this.#at = at;
  }

  get empty(): boolean {
    return this.#waiters.length === 0;
  }

  push(waiter: Waiter): void {
    if (this.#waiters.push(waiter) === 1) {
      add(this.#words, this.#at + 1, 1);
      lists.add(this);
      startHeartbeat();
    }
    this.serve(false);
  }

  remove(waiter: Waiter): void {
    const index = this.#waiters.indexOf(waiter);
    if (index < 0) return;
    this.#waiters.splice(index, 1);
    settled(waiter);
    waiter.giveUp?.();
    if (this.#waiters.length === 0) this.#emptied();
    // Those behind it may have been waiting only for it.
    else this.serve(false);
  }

  /** Attempts the waiters in order, then sleeps until the next wake-up. */
  serve(slept: boolean): void {
    if (this.#serving || this.#waiters.length === 0) return;
    this.#serving = true;
    // A spot that keeps changing must not hold the event loop for ever.
    for (let round = 0; round < 16; round++) {
      const seq = load(this.#words, this.#at);
      this.#attemptAll(slept || round > 0);
      if (this.#waiters.length === 0) {
        this.#emptied();
        break;
      }
      if (this.#armed) break;
      const sleep = sleepAsync(this.#words, this.#at, seq);
      if (sleep.async) {
        this.#armed = true;
        sleep.value.then(() => this.#woken());
        break;
      }
      if (round === 15) eventLoopTurn().then(() => this.serve(true));
    }
    this.#serving = false;
  }

  #attemptAll(slept: boolean): void {
    while (this.#waiters.length > 0) {
      const waiter = this.#waiters[0]!;
      let value: unknown;
      try {
        value = waiter.attempt(slept);
      } catch (error) {
        this.#waiters.shift();
        settled(waiter);
        waiter.reject(error);
        continue;
      }
      if (isPending(value)) {
        hold(waiter, value !== PENDING_WEAK);
        if (value === PENDING_SOON) this.#serveSoon();
        return;
      }
      this.#waiters.shift();
      settled(waiter);
      waiter.resolve(value);
    }
  }

  #serveSoon(): void {
    if (this.#soon) return;
    this.#soon = true;
    callIn(SOON_MS, () => {
      this.#soon = false;
      this.serve(true);
    });
  }

  #woken(): void {
    this.#armed = false;
    if (this.#waiters.length === 0) notify(this.#words, this.#at, 1);
    else this.serve(true);
  }

  #emptied(): void {
    sub(this.#words, this.#at + 1, 1);
    lists.delete(this);
    // Nobody else might ever wake what sleeps, which would keep the memory for ever.
    // Others at the spot look in vain.
    if (this.#armed) notify(this.#words, this.#at, Infinity);
  }
}

function hold(waiter: Waiter, wanted: boolean): void {
  if (waiter.holding === wanted) return;
  waiter.holding = wanted;
  if (wanted) holdAlive();
  else releaseAlive();
}

function settled(waiter: Waiter): void {
  hold(waiter, false);
  waiter.limit?.clear();
}

function listAt(words: Int32Array, at: number): WaitList {
  let spots = listsOf.get(words);
  if (spots === undefined) listsOf.set(words, spots = new Map());
  let list = spots.get(at);
  if (list === undefined) spots.set(at, list = new WaitList(words, at));
  return list;
}

/** Has this thread's async waiters at a spot look again, of which one may have left. */
export function lookAgain(words: Int32Array, at: number): void {
  listAt(words, at).serve(true);
}

/**
 * Resolves when `attempt` succeeds. Never blocks; keeps the program alive while
 * it waits, unless the attempt says {@linkcode PENDING_WEAK}.
 *
 * The promise resolves to what `attempt` returned, which must not be a thenable.
 *
 * @param what What is being done, for messages: "acquire lock".
 * @param giveUp Called when the wait ends because of `options`, at that very moment:
 * nothing else of this thread runs in between.
 * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` ms pass.
 * @throws The signal's reason, if `options.signal` aborts first.
 */
export function waitAsync<T>(
  what: string,
  words: Int32Array,
  at: number,
  attempt: Attempt<T>,
  options?: WaitOptions,
  giveUp?: () => void,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    try {
      checkWait(what, options);
    } catch (error) {
      giveUp?.(); // a getter of what is waited for may have aborted it
      throw error;
    }
    const list = listAt(words, at);
    const once = options?.timeout === 0;
    if (once) list.serve(true); // it must not overtake those that wait
    if (list.empty) {
      const value = attempt(false);
      if (!isPending(value)) return soon(() => resolve(value));
    }
    if (once) {
      giveUp?.();
      const reason = timedOut(what, 0);
      return soon(() => reject(reason));
    }
    const waiter: Waiter = {
      attempt,
      resolve: resolve as (value: unknown) => void,
      reject,
      limit: undefined,
      giveUp,
      holding: false,
    };
    if (options !== undefined) {
      try {
        waiter.limit = new Limit(what, options, (reason) => {
          list.remove(waiter);
          reject(reason);
        }, () => list.serve(true));
      } catch (error) {
        giveUp?.(); // the signal is none
        throw error;
      }
    }
    list.push(waiter);
  });
}
