/**
 * `_park.ts`, step by step, for the models to be built of.
 *
 * SEQ counts up for ever and is only compared with what was read of it, so it is
 * modelled by one bit for each thread and spot: whether SEQ is still what the thread
 * has read. (That leaves out 2^32 wake-ups between two steps of a waiter.)
 *
 * `Atomics.notify` wakes in the order of arrival; here it wakes any, which is more
 * than what can happen. `waitSync`'s 40 tries before it sleeps are left out: they
 * are attempts at a time at which an attempt can be made anyway.
 *
 * @module
 */

import {
  ALIVE,
  BLOCKED,
  eventLoopAt,
  LATE,
  LIMITED,
  type Model,
  NOT_EQUAL,
  type Pc,
  SOON,
  type Spot,
  type State,
  type Thread,
  WOKEN,
} from "./model.ts";

/** The word that says whether SEQ is what a thread has read last. */
export function freshOf(m: Model, spot: Spot, t: Thread): number {
  let at = spot.fresh.get(t);
  if (at === undefined) {
    at = m.word(`${t.name}.${spot.name}.fresh`);
    spot.fresh.set(t, at);
  }
  return at;
}

/** The word that says what a thread's `waitAsync` is doing. */
export function armedOf(m: Model, spot: Spot, t: Thread): number {
  let at = spot.armed.get(t);
  if (at === undefined) {
    at = m.word(`${t.name}.${spot.name}.armed`);
    spot.armed.set(t, at);
  }
  return at;
}

/** `Atomics.add(words, SEQ, 1)`. */
export function raiseSeq(s: State, spot: Spot): void {
  for (const at of spot.fresh.values()) s[at] = 0;
}

/** `Atomics.notify(words, SEQ, count)`: any `count` of those asleep. */
export function notify(m: Model, s: State, spot: Spot, count: number): number {
  let woken = 0;
  while (woken < count) {
    const asleep: (() => void)[] = [];
    for (const t of m.threads) {
      if (s[t.where] === spot.id) {
        asleep.push(() => {
          s[t.where] = 0;
          s[t.how] = WOKEN;
        });
      }
      const armed = spot.armed.get(t);
      if (armed !== undefined && s[armed] === 1 && s[t.status] === ALIVE) {
        asleep.push(() => s[armed] = 2);
      }
    }
    if (asleep.length === 0) break;
    asleep[count >= asleep.length ? 0 : m.choose(asleep.length)]!();
    woken++;
  }
  return woken;
}

/** `_park.ts wake()`. `none` follows if nobody was woken. */
export function wake(
  m: Model,
  spot: Spot,
  count: number,
  next: Pc,
  none: Pc = next,
): Pc {
  const notifyStep = m.step(
    `notify ${spot.name}`,
    (s) => notify(m, s, spot, count) > 0 ? next : none,
  );
  const raise = m.step(`add ${spot.name} SEQ`, (s) => {
    raiseSeq(s, spot);
    return notifyStep;
  });
  return m.step(
    `wake: load ${spot.name} WAITERS`,
    (s) => s[spot.waiters]! <= 0 ? none : raise,
  );
}

/** Puts a thread to sleep unless SEQ has moved. */
export function sleep(
  s: State,
  spot: Spot,
  t: Thread,
  next: Pc,
): Pc {
  const fresh = spot.fresh.get(t)!;
  if (s[fresh] === 0) s[t.how] = NOT_EQUAL;
  else s[t.where] = spot.id;
  s[fresh] = 0;
  return next;
}

/** One try, as steps: `value` follows if it succeeds, `pending` if not. */
export type AttemptSteps = (value: Pc, pending: Pc, again: boolean) => Pc;

/** How a wait may end early, and what is wrong with it on purpose. */
export interface WaitSteps {
  /** What follows a timeout. The wait must be {@linkcode LIMITED}. */
  late?: Pc;
  /** A word that is 1 after a sleep: the attempt's `slept`. */
  slept?: number;
  /** A word that says that the thread was told to stop, and what follows. */
  stop?: { word: number; next: Pc };
  /** Mutation: SEQ is read after the attempt. */
  readsSeqLate?: boolean;
  /** Mutation: a thread that stops keeps the wake-up to itself. */
  keepsWakeUp?: boolean;
  /** Mutation: WAITERS is raised only just before the sleep. */
  raisesLate?: boolean;
}

/** `_park.ts waitSync()`. */
export function waitSync(
  m: Model,
  t: Thread,
  spot: Spot,
  attempt: AttemptSteps,
  next: Pc,
  how: WaitSteps = {},
): Pc {
  const fresh = freshOf(m, spot, t);
  const { slept } = how;
  function leave(to: Pc): Pc {
    return m.step(`sub ${spot.name} WAITERS`, (s) => {
      s[spot.waiters]!--;
      s[fresh] = 0;
      s[t.how] = 0;
      s[t.time] = 0;
      if (slept !== undefined) s[slept] = 0;
      return to;
    });
  }
  const done = leave(next);
  const late = how.late === undefined ? undefined : leave(how.late);
  const loop = m.label();

  // if (stopRequested()) { if (how === "ok") notify(words, at, 1); checkStop(); }
  let woken = loop;
  if (how.stop !== undefined) {
    const { word, next: stopped } = how.stop;
    const stop = leave(stopped);
    const passOn = how.keepsWakeUp ? stop : m.step(
      `stopped: notify ${spot.name}`,
      (s) => {
        notify(m, s, spot, 1);
        return stop;
      },
    );
    woken = m.step("look whether to stop", (s) => {
      if (s[word] === 0) return loop;
      return s[t.how] === WOKEN ? passOn : stop;
    });
  }
  // if (left <= 0) throw timedOut(what, limit); wait(words, at, seq, slice)
  const sleeping = m.step(`wait at ${spot.name}`, (s) => {
    if (late !== undefined && (s[t.time]! & LATE) !== 0) {
      s[fresh] = 0;
      return late;
    }
    if (slept !== undefined) s[slept] = 1;
    return sleep(s, spot, t, woken);
  });
  if (how.raisesLate) {
    const raise = m.step(`add ${spot.name} WAITERS`, (s) => {
      s[spot.waiters]!++;
      return sleeping;
    });
    const lower = m.step(`sub ${spot.name} WAITERS`, (s) => {
      s[spot.waiters]!--;
      return first;
    });
    m.at(loop, "awake", () => lower);
    const tries = attempt(next, raise, false);
    const first = m.step(`load ${spot.name} SEQ`, (s) => {
      s[fresh] = 1;
      return tries;
    });
    return first;
  }
  if (how.readsSeqLate) {
    const read = m.step(`load ${spot.name} SEQ (late)`, (s) => {
      s[fresh] = 1;
      return sleeping;
    });
    const tries = attempt(done, read, true);
    m.at(loop, "again", () => tries);
  } else {
    const tries = attempt(done, sleeping, true);
    m.at(loop, `load ${spot.name} SEQ`, (s) => {
      s[fresh] = 1;
      s[t.how] = 0;
      s[t.time]! &= ~SOON;
      return tries;
    });
  }
  const raise = m.step(`add ${spot.name} WAITERS`, (s) => {
    s[spot.waiters]!++;
    s[t.time] = late === undefined ? 0 : LIMITED;
    return loop;
  });
  return attempt(next, raise, false);
}

/** An async wait of a thread that has one at a time. */
export interface AsyncWait {
  /** First step of the wait. */
  begin: Pc;
  /**
   * Runs the callback of a `waitAsync` whose waiter has gone, if it was notified:
   * for the places where the thread's event loop has a turn. A thread that has
   * finished stays at `turn(DONE)`.
   */
  turn(next: Pc): Pc;
}

/** How an async wait may end early, and what is wrong with it on purpose. */
export interface AsyncSteps {
  /** A word that says that the signal was aborted, and what follows. */
  aborted?: { word: number; next: Pc };
  /** A word that is 1 after a sleep: the attempt's `slept`. */
  slept?: number;
  /** Mutation: a list without waiters keeps a wake-up to itself. */
  keepsWakeUp?: boolean;
}

/** `_park.ts waitAsync()` and `WaitList` with at most one waiter. */
export function waitAsync(
  m: Model,
  t: Thread,
  spot: Spot,
  attempt: AttemptSteps,
  next: Pc,
  how: AsyncSteps = {},
): AsyncWait {
  const { aborted, slept, keepsWakeUp } = how;
  const fresh = freshOf(m, spot, t);
  const armed = armedOf(m, spot, t);
  const idle = m.label();
  const serve = m.label();

  // #emptied()
  function empty(to: Pc): Pc {
    return m.step(`emptied: sub ${spot.name} WAITERS`, (s) => {
      s[spot.waiters]!--;
      s[fresh] = 0;
      s[t.time] = 0;
      if (slept !== undefined) s[slept] = 0;
      return to;
    });
  }
  // if (this.#armed) break; … sleepAsync(words, at, seq)
  const arm = m.step(`waitAsync at ${spot.name}`, (s) => {
    if (s[armed] === 0) {
      if (s[fresh] === 0) {
        if (slept !== undefined) s[slept] = 1; // round > 0
        return serve;
      }
      s[armed] = 1;
    }
    s[fresh] = 0;
    return idle;
  });
  const tries = attempt(empty(next), arm, true);
  m.at(serve, `serve: load ${spot.name} SEQ`, (s) => {
    s[fresh] = 1;
    return tries;
  });
  const removed = aborted && empty(aborted.next);
  // The event loop: #woken(), the heartbeat, a timer, or the signal's listener.
  m.at(idle, eventLoopAt(spot), (s) => {
    const woken = s[armed] === 2;
    const abort = aborted !== undefined && s[aborted.word] === 1;
    const soon = (s[t.time]! & SOON) !== 0;
    const beat = m.heals(s);
    const count = +woken + +abort + +soon + +beat;
    if (count === 0) return BLOCKED;
    let pick = m.choose(count);
    if (abort && --pick < 0) return removed!;
    if (slept !== undefined) s[slept] = 1;
    if (woken && pick-- === 0) {
      s[armed] = 0;
      return serve;
    }
    s[t.time]! &= ~SOON;
    return serve;
  });
  const push = m.step(`push: add ${spot.name} WAITERS`, (s) => {
    s[spot.waiters]!++;
    return serve;
  });
  return {
    begin: attempt(next, push, false),
    turn(to: Pc): Pc {
      const pass = m.step(`woken for nobody: notify ${spot.name}`, (s) => {
        s[armed] = 0;
        if (!keepsWakeUp) notify(m, s, spot, 1);
        return to;
      });
      const turn = m.step("event loop", (s) => {
        if (s[armed] !== 2) return to === 0 ? BLOCKED : to;
        // Callbacks wait for their turn; it may come later.
        return to === 0 || m.choose(2) === 0 ? pass : to;
      });
      if (to === 0) {
        m.rest(turn);
        m.at(pass, `woken for nobody: notify ${spot.name}`, (s) => {
          s[armed] = 0;
          if (!keepsWakeUp) notify(m, s, spot, 1);
          return turn;
        });
      }
      return turn;
    },
  };
}
