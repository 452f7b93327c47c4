/**
 * The word protocol of `Lock` and `RLock`, also used by `Condition` (to give its
 * lock up and take it back) and by `Barrier` (for its own state).
 *
 *   word | name      | written by                  | meaning
 *   -----+-----------+-----------------------------+--------------------------
 *     0  | OWNER     | see below, CAS only         | who holds it
 *     1  | -         |                             | not used
 *     2  | SEQ       | see `_park.ts`              | spot of the waiters
 *     3  | WAITERS   | see `_park.ts`              |
 *     4  | STARVING  | a waiter sets, owner clears | somebody lost too often
 *     5  | HANDED_AT | the owner, before HANDED    | when it was handed over
 *     6  | WAKING    | owner sets, waiters clear   | a wake-up is on its way
 *     7  | DEPTH     | the owner (`RLock`)         | times the owner holds it
 *
 *   OWNER   | meaning                   | left by
 *   --------+---------------------------+----------------------------------------
 *   FREE    | nobody holds it           | anyone, to its own token
 *   HANDED  | free, but kept for those  | a waiter that slept, to its token;
 *           | who have waited long      | anyone after GRACE_MS; its releaser, to
 *           |                           | FREE, if nobody was asleep
 *   a token | that thread holds it      | the owner (a `Lock`: anyone), to FREE
 *           |                           | or HANDED; anyone, to its own token,
 *           |                           | if that thread has really ended
 *
 * **Fairness.** Whoever comes first takes a free lock, woken waiters compete with
 * newcomers: handing over costs a thread switch each time. A waiter that has lost
 * for PATIENCE_MS sets STARVING; the next release then leaves HANDED, which only
 * threads that have slept for the lock take. HANDED is not a promise to one of
 * them: were it dead, or its event loop busy, the lock would stand idle.
 *
 * **No wake-up is lost.** A release lets OWNER go, then looks at WAITERS and
 * wakes one. While WAKING is set it need not: some waiter is about to clear WAKING
 * and only then makes its attempt; if that fails, the thread it lost to has yet to
 * release and will see WAKING clear. A sleeper always cleared WAKING itself before
 * its last attempt.
 *
 * **A waiter that gives up** takes nothing. It may leave STARVING set, which makes
 * one release look for a sleeper in vain and take HANDED back.
 *
 * **A thread killed between any two steps** leaves:
 * - before its CAS of OWNER: nothing;
 * - after it, before DEPTH is written: a dead owner. The next one sets DEPTH;
 * - while it holds the lock: a dead owner;
 * - in a release, after STARVING is cleared: a dead owner, and starving waiters
 *   that set STARVING again when they next look;
 * - after OWNER became FREE or HANDED, before or after WAKING, before the wake-up:
 *   sleepers that were not woken. They look by themselves within 50 ms and clear
 *   WAKING; HANDED is anyone's after GRACE_MS;
 * - as a sleeper that was woken: the same.
 *
 * A guard is valid while OWNER is this thread and `session` is the guard's: only
 * this thread can make OWNER this thread, and it counts `session` when it does. It
 * is no shared word: a release by mistake could make two threads write it. What
 * `Condition.wait` takes back counts as the session that it gave up.
 *
 * @module
 */

import { cannotLeave, HANDLE } from "./_handle.ts";
import { isDead, isStopping, nameOf, selfToken } from "./_life.ts";
import {
  type Attempt,
  checkWait,
  noteMissed,
  PENDING,
  PENDING_SOON,
  PENDING_WEAK,
  waitAsync,
  type WaitOptions,
  waitSync,
  wake,
} from "./_park.ts";

const { compareExchange, load, store } = Atomics;
const now = performance.now.bind(performance);
const wallClock = Date.now;

const OWNER = 0;
const SEQ = 2;
const WAITERS = 3;
const STARVING = 4;
const HANDED_AT = 5;
const WAKING = 6;
const DEPTH = 7;

const FREE = 0;
const HANDED = -1;

/** Bytes of a mutex. */
export const MUTEX_BYTES = 32;

/** How long a waiter loses before it asks for the lock to be handed over. */
const PATIENCE_MS = 1;
/** How long a lock that was handed over stays idle at most. */
const GRACE_MS = 2;
/** Tries without sleep before a waiter starts to count the time. */
const EAGER_TRIES = 8;
/**
 * How long, and how often, a waiter finds an owner that was told to stop before it
 * counts as one that cannot be stopped: nobody should wait for it then. A program that
 * was held up has not looked, and one that looks often has not waited.
 */
const STOP_MS = 1000;
const STOP_LOOKS = 20;

/** What came of one try. */
const TAKEN = 0;
const TAKEN_FROM_DEAD = 1;
const NOT_YET = 2;
const NOT_YET_STOPPING = 3;
const NOT_YET_SOON = 4;

/**
 * One acquisition of a lock, to be released once: by `release()` or, at the end of
 * the block, by `using`.
 */
export interface LockGuard extends Disposable {
  /**
   * Whether the lock was taken over from a worker that ended while holding it. What
   * the lock protects may then be half changed.
   */
  readonly abandoned: boolean;
  /**
   * Releases this acquisition. Does nothing if it is released already, also if that
   * was done by the lock's own `release()` and the lock is held anew since.
   */
  release(): void;
}

/** What {@linkcode Mutex.suspend} gave up, for `resume`. */
export type Suspended = number | ReentrantGuard | undefined;

/** This thread's view of a lock's words. */
export class Mutex {
  /** The words. */
  readonly words: Int32Array;
  /** This thread's token. */
  readonly me: number;
  /** "lock" or "rlock", for messages. */
  readonly what: string = "lock";
  /** Keeps the handle alive while a guard or a wait needs this object. */
  readonly handle: object | undefined;
  /** How many of this thread's async waits are under way. */
  queued = 0;

  /** Counts this thread's acquisitions. */
  protected session = 0;
  /** The session that continues {@linkcode #resumedAs} after a `resume`. */
  #resumedIn = 0;
  #resumedAs = 0;
  #resumedAbandoned = false;

  constructor(memory: SharedArrayBuffer, handle?: object) {
    this.words = new Int32Array(memory, 0, MUTEX_BYTES / 4);
    this.me = selfToken();
    this.handle = handle;
  }

  /** Takes it if it is free. The fast path. */
  take(): boolean {
    const words = this.words;
    if (compareExchange(words, OWNER, FREE, this.me) !== FREE) return false;
    this.session = (this.session + 1) | 0;
    return true;
  }

  /** A guard for what was just taken. */
  guard(abandoned: boolean): LockGuard {
    return new Guard(this, this.session, abandoned);
  }

  tryAcquire(): LockGuard | undefined {
    const got = this.tryTake(false);
    if (got <= TAKEN_FROM_DEAD) return this.guard(got === TAKEN_FROM_DEAD);
    noteMissed();
    return undefined;
  }

  acquireSlowSync(options?: Pick<WaitOptions, "timeout">): LockGuard {
    const what = `acquire ${this.what}`;
    const attempt = this.#attempt((abandoned) => this.guard(abandoned));
    return waitSync(what, this.words, SEQ, attempt, options);
  }

  acquireSlow(options?: WaitOptions): Promise<LockGuard> {
    return this.#wait((abandoned) => this.guard(abandoned), options);
  }

  /** Whether this thread holds it. */
  isMine(): boolean {
    return load(this.words, OWNER) === this.me;
  }

  /** The token of the thread that holds it, or 0. */
  owner(): number {
    const owner = load(this.words, OWNER);
    return owner === HANDED ? FREE : owner;
  }

  /** Releases it for whoever holds it. */
  release(): void {
    if (this.drop(this.me)) return;
    while (true) {
      const owner = this.owner();
      if (owner === FREE) {
        throw new TypeError(`Cannot release ${this.what}: it is not held`);
      }
      if (this.drop(owner)) return;
    }
  }

  /** Releases what a guard stands for, if it still does. */
  releaseSession(session: number): void {
    const current = this.session;
    if (current === session || this.#continues(current, session)) {
      this.drop(this.me);
    }
  }

  /** Whether the lock was found abandoned when a `resume` took it back. */
  foundAbandoned(session: number): boolean {
    return this.#resumedAbandoned &&
      this.#continues(this.session, session);
  }

  #continues(current: number, session: number): boolean {
    return this.#resumedIn === current && this.#resumedAs === session;
  }

  /** Gives up one level of what this thread holds, so that it can be resumed. */
  suspend(): Suspended {
    const current = this.session;
    this.drop(this.me);
    return this.#resumedIn === current ? this.#resumedAs : current;
  }

  /**
   * Makes one level of all that this thread holds, for a wait in which none of its
   * tasks can see it.
   *
   * @returns How many levels were taken off, for {@linkcode deepen}.
   */
  flatten(): number {
    return 0;
  }

  /** Holds so many levels more. */
  deepen(_levels: number): void {}

  /** Takes back what was suspended; waits as long as it takes. */
  resumeSync(what: string, suspended: Suspended): void {
    const attempt = this.#attempt((abandoned) => {
      this.resumed(suspended, abandoned);
      return true;
    });
    waitSync(what, this.words, SEQ, attempt);
  }

  /** Like {@linkcode resumeSync}, without blocking. */
  resume(suspended: Suspended): Promise<boolean> {
    return this.#wait((abandoned) => {
      this.resumed(suspended, abandoned);
      return true;
    });
  }

  protected resumed(suspended: Suspended, abandoned: boolean): void {
    this.#resumedIn = this.session;
    this.#resumedAs = suspended as number;
    this.#resumedAbandoned = abandoned;
  }

  /** Lets the lock go if `owner` holds it. */
  protected drop(owner: number): boolean {
    const words = this.words;
    if (words[STARVING] !== 0) return this.#handOver(owner);
    if (compareExchange(words, OWNER, owner, FREE) !== owner) return false;
    if (load(words, WAITERS) > 0) this.#wakeOne();
    return true;
  }

  #wakeOne(): void {
    if (load(this.words, WAKING) !== 0) return;
    store(this.words, WAKING, 1);
    wake(this.words, SEQ, 1);
  }

  #handOver(owner: number): boolean {
    const words = this.words;
    store(words, STARVING, 0);
    store(words, HANDED_AT, wallClock() | 0);
    if (compareExchange(words, OWNER, owner, HANDED) !== owner) return false;
    store(words, WAKING, 1);
    if (wake(words, SEQ, 1) > 0) return true;
    // Nobody sleeps: those who asked have given up, or are about to look.
    if (compareExchange(words, OWNER, HANDED, FREE) === HANDED) {
      wake(words, SEQ, 1);
    }
    return true;
  }

  /**
   * Tries once.
   *
   * @param patient Whether this is a waiter for which the lock may be kept.
   */
  protected tryTake(patient: boolean): number {
    const words = this.words;
    const owner = load(words, OWNER);
    let got = TAKEN;
    if (owner === HANDED) {
      if (!patient && !graceIsOver(words)) return NOT_YET_SOON;
    } else if (owner !== FREE) {
      if (!isDead(owner)) return isStopping(owner) ? NOT_YET_STOPPING : NOT_YET;
      got = TAKEN_FROM_DEAD;
    }
    if (compareExchange(words, OWNER, owner, this.me) !== owner) return NOT_YET;
    this.session = (this.session + 1) | 0;
    return got;
  }

  #attempt<T>(taken: (abandoned: boolean) => T, since = 0): Attempt<T> {
    const words = this.words;
    let tries = 0;
    let starving = false;
    let stopping = 0;
    let stoppingSince = 0;
    return (slept) => {
      if (load(words, WAKING) !== 0) store(words, WAKING, 0);
      if (slept && !starving) starving = now() - since > PATIENCE_MS;
      else if (++tries === EAGER_TRIES && since === 0) since = now();
      const got = this.tryTake(slept || starving);
      if (got <= TAKEN_FROM_DEAD) return taken(got === TAKEN_FROM_DEAD);
      if (got !== NOT_YET_STOPPING) stopping = 0;
      else {
        if (++stopping === 1) stoppingSince = now();
        if (stopping > STOP_LOOKS && now() - stoppingSince > STOP_MS) {
          return PENDING_WEAK;
        }
      }
      if (slept && starving) store(words, STARVING, 1);
      return got === NOT_YET_SOON ? PENDING_SOON : PENDING;
    };
  }

  async #wait<T>(
    taken: (abandoned: boolean) => T,
    options?: WaitOptions,
  ): Promise<T> {
    const what = `acquire ${this.what}`;
    checkWait(what, options);
    this.queued++;
    const attempt = this.#attempt((abandoned) => {
      this.queued--;
      return taken(abandoned);
    }, now());
    return await waitAsync(what, this.words, SEQ, attempt, options, () => {
      this.queued--;
    });
  }
}

function graceIsOver(words: Int32Array): boolean {
  const idle = (wallClock() - load(words, HANDED_AT)) | 0;
  // Negative: the wall clock was set back.
  return idle < 0 || idle >= GRACE_MS;
}

class Guard implements LockGuard {
  #mutex: Mutex | undefined;
  readonly #session: number;
  #abandoned: boolean;

  constructor(mutex: Mutex, session: number, abandoned: boolean) {
    this.#mutex = mutex;
    this.#session = session;
    this.#abandoned = abandoned;
  }

  get abandoned(): boolean {
    return this.#abandoned ||= this.#mutex?.foundAbandoned(this.#session) ??
      false;
  }

  release(): void {
    const mutex = this.#mutex;
    if (mutex === undefined) return;
    this.#mutex = undefined;
    mutex.releaseSession(this.#session);
  }

  [HANDLE](): never {
    cannotLeave("the guard of a lock", "send the lock");
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

// -- Reentrant ----------------------------------------------------------------

/**
 * A mutex whose owner may take it again.
 *
 * Only the owner's thread releases it, so this object alone knows which guards
 * are stale. A *hold* is the time from taking to the last release, named by its
 * first guard; `Condition.wait` interrupts a hold without ending it.
 */
export class ReentrantMutex extends Mutex {
  override readonly what = "rlock";
  hold: ReentrantGuard | undefined;

  override take(): boolean {
    const words = this.words;
    const owner = compareExchange(words, OWNER, FREE, this.me);
    if (owner === FREE) {
      this.session = (this.session + 1) | 0;
      words[DEPTH] = 1;
      this.hold = undefined;
      return true;
    }
    if (owner !== this.me) return false;
    words[DEPTH] = words[DEPTH]! + 1;
    return true;
  }

  override guard(abandoned: boolean): LockGuard {
    return new ReentrantGuard(this, abandoned);
  }

  protected override tryTake(patient: boolean): number {
    const words = this.words;
    if (load(words, OWNER) === this.me) {
      words[DEPTH] = words[DEPTH]! + 1;
      return TAKEN;
    }
    const got = super.tryTake(patient);
    if (got <= TAKEN_FROM_DEAD) {
      words[DEPTH] = 1;
      this.hold = undefined;
    }
    return got;
  }

  override release(): void {
    if (!this.#leave()) {
      throw new TypeError("Cannot release rlock: this worker does not hold it");
    }
  }

  /** Releases one level, if this thread holds any. */
  #leave(): boolean {
    const words = this.words;
    const depth = words[DEPTH]!;
    // Another owner's depth may be read here; then nothing below succeeds.
    if (depth === 1) return this.drop(this.me);
    if (!this.isMine()) return false;
    words[DEPTH] = depth - 1;
    return true;
  }

  releaseHold(hold: ReentrantGuard): void {
    if (hold === this.hold) this.#leave();
  }

  override suspend(): Suspended {
    const hold = this.hold;
    this.#leave();
    if (!this.isMine()) this.hold = undefined;
    return hold;
  }

  override flatten(): number {
    const levels = this.words[DEPTH]! - 1;
    this.words[DEPTH] = 1;
    return levels;
  }

  override deepen(levels: number): void {
    this.words[DEPTH] = this.words[DEPTH]! + levels;
  }

  protected override resumed(suspended: Suspended, abandoned: boolean): void {
    if (suspended === undefined) return;
    const hold = (suspended as ReentrantGuard).root();
    this.hold?.join(hold);
    this.hold = hold;
    if (abandoned) hold.abandoned = true;
  }
}

class ReentrantGuard implements LockGuard {
  abandoned: boolean;
  #mutex: ReentrantMutex | undefined;
  /** The guard that stands for the hold this one belongs to; none: itself. */
  #hold: ReentrantGuard | undefined;

  constructor(mutex: ReentrantMutex, abandoned: boolean) {
    this.abandoned = abandoned;
    this.#mutex = mutex;
    this.#hold = mutex.hold;
    if (mutex.hold === undefined) mutex.hold = this;
  }

  /** The guard that names the hold. */
  root(): ReentrantGuard {
    // deno-lint-ignore no-this-alias
    let hold: ReentrantGuard = this;
    while (hold.#hold !== undefined) hold = hold.#hold;
    return hold;
  }

  /** Makes this hold part of another; both are named by their roots. */
  join(hold: ReentrantGuard): void {
    if (hold !== this) this.#hold = hold;
  }

  release(): void {
    const mutex = this.#mutex;
    if (mutex === undefined) return;
    this.#mutex = undefined;
    mutex.releaseHold(this.root());
  }

  [HANDLE](): never {
    cannotLeave("the guard of a lock", "send the lock");
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

// -- Inspection ---------------------------------------------------------------

/** Says who holds a lock: "free", "locked by Process-3". */
export function describeOwner(mutex: Mutex): string {
  const owner = mutex.owner();
  if (owner === FREE) return "free";
  const name = nameOf(owner);
  if (isDead(owner)) return `abandoned by ${name ?? "a worker that ended"}`;
  return `locked by ${name ?? "another worker"}`;
}

// -- The mutex behind a handle ------------------------------------------------

const mutexes = new WeakMap<object, Mutex>();

/** Remembers which mutex a lock is made of, for {@linkcode mutexOf}. */
export function ownMutex(handle: object, mutex: Mutex): void {
  mutexes.set(handle, mutex);
}

/** The mutex a lock is made of; `undefined` if it is no lock. */
export function mutexOf(handle: object): Mutex | undefined {
  return mutexes.get(handle);
}
