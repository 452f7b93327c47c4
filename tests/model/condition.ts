/**
 * Model of `condition.ts` and `_waiters.ts`: places with tickets, notifications,
 * waits that give up, and what the dead leave. The lock is one word here, as
 * `lock.ts` has a model of its own; the table does not grow.
 *
 * @module
 */

import {
  BLOCKED,
  BURIED,
  DONE,
  Model,
  type Pc,
  type Spot,
  type State,
  type Thread,
  Violation,
} from "./model.ts";
import { waitSync, wake } from "./parts.ts";

/** What is wrong on purpose. */
export type ConditionMutation =
  /** A waiter takes its place after it has given the lock up. */
  | "enters late"
  /** A wait that times out refuses itself by a store. */
  | "gives up by store"
  /** A notification chooses by a store. */
  | "chooses by store"
  /** Passing on does not look when a waiter came. */
  | "forgets the horizon"
  /** Two threads may pass the same notification on. */
  | "passes on twice"
  /** Nobody passes on. */
  | "keeps what the dead had";

const WAITING = 1;
const CHOSEN = 2;
const REFUSED = 3;

/**
 * A, B and C wait, A and B before the one `notify(1)`, C before or after. A and B
 * may give up. `deaths`: how many of A, B, C and the notifier may be killed.
 */
export function conditionModel(
  { deaths = 0, waiters = 3, mutation }: {
    deaths?: number;
    waiters?: number;
    mutation?: ConditionMutation;
  } = {},
): Model {
  const suffix = ["", ", a thread killed", ", two threads killed"][deaths]!;
  const m = new Model(`condition${suffix}`);
  m.deaths = deaths;
  const OWNER = m.word("OWNER");
  const TICKETS = m.word("TICKETS");
  const places = ["p0", "p1", "p2"].slice(0, waiters).map((name) => ({
    spot: m.spot(name),
    state: m.word(`${name}.STATE`),
    token: m.word(`${name}.TOKEN`),
    extra: m.word(`${name}.EXTRA`),
  }));
  const HIGH = places.length;

  // What should come of it.
  /** Ticket of the youngest waiter when `notify` was called, or -1. */
  const horizon = m.word("notified with horizon", -1);
  /** Waits that ended as notified. */
  const notified = m.word("waits notified");
  /** Whether the notifier has chosen somebody. */
  const chosenOnce = m.word("chosen by N");

  function isDead(s: State, token: number): boolean {
    return s[m.threads[token - 1]!.status] === BURIED;
  }

  // -- The lock ----------------------------------------------------------------

  function acquire(t: Thread, next: Pc): Pc {
    return m.step("acquire the lock", (s) => {
      const owner = s[OWNER]!;
      if (owner !== 0 && !isDead(s, owner)) return BLOCKED;
      s[OWNER] = t.token;
      return next;
    });
  }

  function release(next: Pc): Pc {
    return m.step("release the lock", (s) => {
      s[OWNER] = 0;
      return next;
    });
  }

  // -- _waiters.ts -------------------------------------------------------------

  /** enter(): #findFree(), then TICKETS, TOKEN and STATE. */
  function enter(t: Thread, at: number, next: Pc): Pc {
    const publish = m.step("enter: store STATE", (s) => {
      s[places[s[at]!]!.state] = s[TICKETS]! << 2 | WAITING;
      return next;
    });
    return m.step("enter: find a place, TICKETS, TOKEN", (s) => {
      const found = places.findIndex((place) => s[place.state] === 0);
      if (found < 0) throw new Violation("no place is free");
      s[at] = found;
      s[TICKETS]!++;
      s[places[found]!.token] = t.token;
      return publish;
    });
  }

  /** wake() at the place in `at`. */
  function wakeAt(at: number, next: Pc): Pc {
    const wakes = places.map((place) => wake(m, place.spot, 9, next));
    return m.inner((s) => wakes[s[at]!]!);
  }

  // settle(): `from` has the STATE that was found, `at` the place.
  function settle(
    at: number,
    found: number,
    state: number,
    ok: Pc,
    failed: Pc,
    byStore: boolean,
  ): Pc {
    const woken = wakeAt(at, ok);
    return m.step(
      `settle: CAS STATE to ${state === CHOSEN ? "CHOSEN" : "REFUSED"}`,
      (s) => {
        const place = places[s[at]!]!;
        if (s[place.state] !== s[found] && !byStore) return failed;
        s[place.state] = s[found]! & ~3 | state;
        return woken;
      },
    );
  }

  // #choose()
  function choose(
    at: number,
    found: number,
    given: number,
    ok: Pc,
    failed: Pc,
  ): Pc {
    const byStore = mutation === "chooses by store";
    const settled = settle(at, found, CHOSEN, ok, failed, byStore);
    return m.step("choose: store EXTRA", (s) => {
      s[places[s[at]!]!.extra] = s[given]!;
      return settled;
    });
  }

  /**
   * `for (const waiter of waiters.all(state))`: reads all places, one by one, then
   * goes through them in the order of their tickets.
   */
  function forAll(
    t: Thread,
    name: string,
    state: number,
    at: number,
    word: number,
    body: (next: Pc, forget: (s: State) => void) => Pc,
    end: Pc,
  ): Pc {
    const seen = places.map((_, i) => m.local(t, `${name}${i}`));
    const next = m.label();
    const inside = body(next, (s) => {
      for (const at of seen) s[at] = 0;
      s[at] = 0;
      s[word] = 0;
    });
    m.innerAt(next, (s) => {
      let first = -1;
      for (let i = 0; i < HIGH; i++) {
        if (s[seen[i]!] === 0) continue;
        if (first < 0 || s[seen[i]!]! < s[seen[first]!]!) first = i;
      }
      if (first < 0) {
        s[at] = 0;
        s[word] = 0;
        return end;
      }
      s[at] = first;
      s[word] = s[seen[first]!]!;
      s[seen[first]!] = 0;
      return inside;
    });
    let read = next;
    for (let i = HIGH - 1; i >= 0; i--) {
      const after = read;
      read = m.step(`all: load STATE of p${i}`, (s) => {
        const found = s[places[i]!.state]!;
        s[seen[i]!] = found !== 0 && (found & 3) === state ? found : 0;
        return after;
      });
    }
    return read;
  }

  // #passOn()
  function passOn(t: Thread, next: Pc): Pc {
    if (mutation === "keeps what the dead had") return next;
    const at = m.local(t, "chosen");
    const word = m.local(t, "chosenWord");
    const to = m.local(t, "heir");
    const toWord = m.local(t, "heirWord");
    const given = m.local(t, "given");
    return forAll(t, "chosen", CHOSEN, at, word, (nextChosen) => {
      const none = m.inner((s) => {
        s[given] = 0;
        return nextChosen;
      });
      const heirs = forAll(
        t,
        "heir",
        WAITING,
        to,
        toWord,
        (nextHeir, forget) => {
          const finish = m.inner((s) => {
            forget(s);
            return none;
          });
          const take = choose(to, toWord, given, finish, nextHeir);
          return m.step("is the heir dead, or too young?", (s) => {
            if (mutation !== "forgets the horizon") {
              // if (!waiters.cameBefore(waiter, horizon)) break;
              if (s[toWord]! >> 2 > s[given]!) return finish;
            }
            return isDead(s, s[places[s[to]!]!.token]!) ? nextHeir : take;
          });
        },
        none,
      );
      const seize = m.step("seize: CAS STATE to 0", (s) => {
        const place = places[s[at]!]!;
        if (s[place.state] !== s[word] && mutation !== "passes on twice") {
          s[given] = 0;
          return nextChosen;
        }
        s[place.state] = 0;
        return heirs;
      });
      const extra = m.step("passOn: load EXTRA", (s) => {
        s[given] = s[places[s[at]!]!.extra]!;
        return seize;
      });
      return m.step(
        "is the chosen one dead?",
        (s) => isDead(s, s[places[s[at]!]!.token]!) ? extra : nextChosen,
      );
    }, next);
  }

  // -- wait() --------------------------------------------------------------------

  const words = new Map<Thread, number>();

  function waiter(name: string, givesUp: boolean, mortal: boolean): void {
    const t = m.thread(name, mortal);
    const at = m.local(t, "at");
    const word = m.local(t, "word");
    const outcome = m.local(t, "outcome"); // 1: gave up
    const slept = m.local(t, "slept");
    // this.#waiters.leave(waiter.at); if (gaveUp) throw reason;
    const end = release(DONE);
    const leave = m.step("leave: store STATE 0", (s) => {
      const place = places[s[at]!]!;
      if (s[outcome] === 0) {
        s[notified]!++;
        if (s[word]! >> 2 > s[horizon]! || s[horizon] === -1) {
          throw new Violation(`${name} came later and was notified`);
        }
      }
      s[place.state] = 0;
      s[at] = 0;
      s[word] = 0;
      s[outcome] = 0;
      s[slept] = 0;
      return end;
    });
    const resume = acquire(t, leave);
    const gaveUp = m.inner((s) => {
      s[outcome] = 1;
      return resume;
    });
    // gaveUp = settle(REFUSED)
    const byStore = mutation === "gives up by store";
    const refuse = settle(at, word, REFUSED, gaveUp, resume, byStore);
    // It sleeps at its place.
    const waits = places.map(({ spot, state }) => waitAtPlace(spot, state));
    function waitAtPlace(spot: Spot, state: number): Pc {
      return waitSync(
        m,
        t,
        spot,
        (value, pending) => {
          // if (waiters.stateOf(waiter) !== WAITING) return undefined;
          const again = m.step(
            "attempt: load STATE again",
            (s) => (s[state]! & 3) !== WAITING ? value : pending,
          );
          const pass = deaths === 0 ? pending : passOn(t, again);
          return m.step("attempt: load STATE", (s) => {
            if ((s[state]! & 3) !== WAITING) return value;
            // slept && now() - this.#lastSearch > SLICE_MS / 2
            return s[slept] === 1 && m.heals(s) ? pass : pending;
          });
        },
        resume,
        { slept, ...(givesUp && { late: refuse }) },
      );
    }
    const wait = m.inner((s) => waits[s[at]!]!);
    // #begin(): enter(), then suspend().
    const late = mutation === "enters late";
    const suspend = late ? wait : release(wait);
    const keep = m.inner((s) => {
      s[word] = s[places[s[at]!]!.state]!;
      return suspend;
    });
    const begin = late ? release(enter(t, at, keep)) : enter(t, at, keep);
    words.set(t, word);
    t.start = acquire(t, begin);
  }

  waiter("A", true, deaths > 0);
  waiter("B", deaths === 0, deaths > 1);
  if (waiters > 2) waiter("C", false, false);

  // -- notify(1) -----------------------------------------------------------------

  const n = m.thread("N", deaths > 1);
  const at = m.local(n, "at");
  const word = m.local(n, "word");
  const given = m.local(n, "given");
  const end = release(DONE);
  const none = m.inner((s) => {
    s[given] = 0;
    return end;
  });
  const loop = forAll(n, "waiter", WAITING, at, word, (nextWaiter, forget) => {
    // if (left === 0) break;
    const done = m.inner((s) => {
      forget(s);
      s[chosenOnce] = 1;
      return none;
    });
    const take = choose(at, word, given, done, nextWaiter);
    // if (waiters.isDead(waiter)) waiters.leave(waiter.at);
    const free = m.step("leave: store STATE 0", (s) => {
      s[places[s[at]!]!.state] = 0;
      return nextWaiter;
    });
    return m.step(
      "is the waiter dead?",
      (s) => isDead(s, s[places[s[at]!]!.token]!) ? free : take,
    );
  }, none);
  const begin = m.step("notify: read TICKETS", (s) => {
    s[given] = s[TICKETS]!;
    s[horizon] = s[TICKETS]!;
    return loop;
  });
  n.start = acquire(n, begin);

  // -- What should come of it ------------------------------------------------------

  // Who was there in time waits on only if the notification has ended a wait.
  m.mayStay = (s, t) => {
    if (!m.isFinished(s, n)) return false;
    const late = s[words.get(t)!]! >> 2 > s[horizon]!;
    const diedFirst = s[n.status] === BURIED && s[chosenOnce] === 0;
    return late || diedFirst || s[notified]! > 0;
  };
  m.always = (s) =>
    s[notified]! > 1 ? "one notification ended two waits" : undefined;
  return m;
}
