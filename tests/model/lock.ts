/**
 * Model of `_mutex.ts`: `Lock`, taken by blocking and by async waits, released by
 * its owner or by another thread, taken over from the dead.
 *
 * PATIENCE_MS and GRACE_MS are times: they may have passed at any look or not.
 *
 * @module
 */

import {
  BLOCKED,
  BURIED,
  DONE,
  Model,
  type Pc,
  SOON,
  type State,
  type Thread,
  Violation,
} from "./model.ts";
import { type AttemptSteps, waitAsync, waitSync, wake } from "./parts.ts";

/** What is wrong on purpose. */
export type LockMutation =
  /** A release looks at WAITERS before it lets OWNER go. */
  | "looks before releasing"
  /** A waiter clears WAKING after its attempt. */
  | "clears WAKING late"
  /** A waiter does not clear WAKING. */
  | "leaves WAKING"
  /** A dead owner is replaced by a store instead of a compare-exchange. */
  | "takes over by store"
  /** HANDED is taken back without a wake-up. */
  | "takes HANDED back in silence"
  /** SESSION is shared: a thread that has lost the lock meanwhile may set it back. */
  | "shares SESSION";

/** What the threads do. */
export type LockScenario =
  /** Three threads that block; one of them twice. */
  | "blocking"
  /** One that blocks, one with a timeout, one async wait that may be aborted. */
  | "giving up"
  /** One takes, another releases, two wait. */
  | "released elsewhere"
  /** Two that block, and one that releases what it was told nothing of. */
  | "released by mistake";

const FREE = 0;
const HANDED = -1;

/** `deaths`: how many threads may be killed, at any step. */
export function lockModel(
  { scenario = "blocking", deaths = 0, mutation }: {
    scenario?: LockScenario;
    deaths?: number;
    mutation?: LockMutation;
  } = {},
): Model {
  const suffix = deaths === 0 ? "" : ", a thread killed";
  const m = new Model(`lock, ${scenario}${suffix}`);
  m.deaths = deaths;
  const OWNER = m.word("OWNER");
  const STARVING = m.word("STARVING");
  const WAKING = m.word("WAKING");
  const SESSION = m.word("SESSION");
  const spot = m.spot("spot");
  /** The thread in the critical section. */
  const inside = m.word("inside");
  const passed = m.word("passed");

  // -- tryTake() and #attempt() ------------------------------------------------

  interface Attempt {
    slept: number;
    steps: AttemptSteps;
  }

  function attemptOf(t: Thread): Attempt {
    const slept = m.local(t, "slept");
    const starving = m.local(t, "starving");
    const seen = m.local(t, "seen");
    const steps: AttemptSteps = (value, pending) => {
      const clearLate = m.step("store WAKING 0 (late)", (s) => {
        s[WAKING] = 0;
        return pending;
      });
      const out = mutation === "clears WAKING late" ? clearLate : pending;
      // if (slept && starving) store(words, STARVING, 1);
      const starve = m.step("store STARVING 1", (s) => {
        s[STARVING] = 1;
        return out;
      });
      function notYet(s: State): Pc {
        s[seen] = 0;
        return s[slept] === 1 && s[starving] === 1 ? starve : out;
      }
      // compareExchange(words, OWNER, owner, this.me)
      const take = m.step("tryTake: CAS OWNER", (s) => {
        const byStore = mutation === "takes over by store" && s[seen]! > 0;
        if (s[OWNER] !== s[seen] && !byStore) return notYet(s);
        s[OWNER] = t.token;
        s[seen] = 0;
        s[starving] = 0;
        s[slept] = 0;
        return value;
      });
      // const owner = load(words, OWNER); … isDead(owner)
      const look = m.step("tryTake: load OWNER", (s) => {
        const owner = s[OWNER]!;
        s[seen] = owner;
        if (owner === HANDED) {
          const patient = s[slept] === 1 || s[starving] === 1;
          // !graceIsOver(words)
          if (!patient && m.choose(2) === 1) {
            s[t.time]! |= SOON;
            return notYet(s);
          }
        } else if (owner !== FREE) {
          if (s[m.threads[owner - 1]!.status] !== BURIED) return notYet(s);
        }
        return take;
      });
      const clear = m.step("store WAKING 0", (s) => {
        s[WAKING] = 0;
        return look;
      });
      return m.step("attempt: load WAKING", (s) => {
        // now() - since > PATIENCE_MS
        if (s[slept] === 1 && s[starving] === 0) s[starving] = m.choose(2);
        const leaves = mutation === "leaves WAKING" ||
          mutation === "clears WAKING late";
        return s[WAKING] !== 0 && !leaves ? clear : look;
      });
    };
    return { slept, steps };
  }

  /** `take()`: the fast path. */
  function fast(t: Thread, taken: Pc, slow: Pc): Pc {
    return m.step("take: CAS OWNER", (s) => {
      if (s[OWNER] !== FREE) return slow;
      s[OWNER] = t.token;
      return taken;
    });
  }

  // -- drop() ------------------------------------------------------------------

  /** `drop(owner)`: `failed` follows if that is not the owner. */
  function drop(ownerAt: (s: State) => number, next: Pc, failed: Pc): Pc {
    // #wakeOne()
    const woken = wake(m, spot, 1, next);
    const waking = m.step("store WAKING 1", (s) => {
      s[WAKING] = 1;
      return woken;
    });
    const wakeOne = m.step(
      "load WAKING",
      (s) => s[WAKING] !== 0 ? next : waking,
    );
    const look = m.step(
      "drop: load WAITERS",
      (s) => s[spot.waiters]! > 0 ? wakeOne : next,
    );
    let release = m.step("drop: CAS OWNER to FREE", (s) => {
      if (s[OWNER] !== ownerAt(s)) return failed;
      s[OWNER] = FREE;
      return look;
    });
    if (mutation === "looks before releasing") {
      const seen = m.word(`seen${next}.${failed}`);
      const only = m.step("drop: CAS OWNER to FREE", (s) => {
        const any = s[seen] === 1;
        s[seen] = 0;
        if (s[OWNER] !== ownerAt(s)) return failed;
        s[OWNER] = FREE;
        return any ? wakeOne : next;
      });
      release = m.step("drop: load WAITERS too early", (s) => {
        s[seen] = s[spot.waiters]! > 0 ? 1 : 0;
        return only;
      });
    }
    // #handOver()
    const wakeAfter = wake(m, spot, 1, next);
    const takeBack = m.step("handOver: CAS HANDED to FREE", (s) => {
      if (s[OWNER] !== HANDED) return next;
      s[OWNER] = FREE;
      return mutation === "takes HANDED back in silence" ? next : wakeAfter;
    });
    const wakeOver = wake(m, spot, 1, next, takeBack);
    const setWaking = m.step("handOver: store WAKING 1", (s) => {
      s[WAKING] = 1;
      return wakeOver;
    });
    const hand = m.step("handOver: CAS OWNER to HANDED", (s) => {
      if (s[OWNER] !== ownerAt(s)) return failed;
      s[OWNER] = HANDED;
      return setWaking;
    });
    const handOver = m.step("handOver: store STARVING 0", (s) => {
      s[STARVING] = 0;
      return hand;
    });
    return m.step(
      "drop: read STARVING",
      (s) => s[STARVING] !== 0 ? handOver : release,
    );
  }

  /** What a guard does: `releaseSession()`. */
  function release(t: Thread, next: Pc): Pc {
    return drop(
      () => t.token,
      next,
      m.step("guard released in vain", () => {
        throw new Violation(`${t.name} does not own what it has acquired`);
      }),
    );
  }

  // -- SESSION -----------------------------------------------------------------

  /** words[SESSION] = words[SESSION]! + 1; and the guard keeps it. */
  function session(at: number, guard: number, next: Pc): Pc {
    const write = m.step("write SESSION", (s) => {
      s[at] = s[guard]!;
      return next;
    });
    return m.step("read SESSION", (s) => {
      s[guard] = s[at]! + 1;
      return write;
    });
  }

  // -- Programs ----------------------------------------------------------------

  /** The critical section, two steps, so that another thread may be seen in it. */
  function critical(t: Thread, next: Pc): Pc {
    const leave = m.step("critical section ends", (s) => {
      if (s[inside] !== t.token) throw new Violation("two threads are inside");
      s[inside] = 0;
      s[passed]!++;
      return next;
    });
    return m.step("critical section begins", (s) => {
      if (s[inside] !== 0) throw new Violation("two threads are inside");
      s[inside] = t.token;
      return leave;
    });
  }

  function acquireSync(t: Thread, next: Pc, late?: Pc): Pc {
    const { slept, steps } = attemptOf(t);
    const slow = waitSync(m, t, spot, steps, next, {
      slept,
      ...(late !== undefined && { late }),
    });
    return late === undefined ? fast(t, next, slow) : slow;
  }

  function blocking(name: string, rounds: number): void {
    const t = m.thread(name, deaths > 0);
    let next: Pc = DONE;
    for (let i = 0; i < rounds; i++) {
      next = acquireSync(t, critical(t, release(t, next)));
    }
    t.start = next;
  }

  m.onDeath = (s, t) => {
    if (s[inside] === t.token) s[inside] = 0;
  };
  m.finally = (s) => {
    const owner = s[OWNER]!;
    if (owner > 0 && s[m.threads[owner - 1]!.status] !== BURIED) {
      return "the lock is still held";
    }
    return deaths === 0 && s[spot.waiters] !== 0
      ? "WAITERS is wrong"
      : undefined;
  };

  if (scenario === "blocking") {
    blocking("A", deaths === 0 ? 2 : 1);
    blocking("B", 1);
    blocking("C", 1);
  } else if (scenario === "giving up") {
    blocking("A", 1);
    const b = m.thread("B", deaths > 0);
    b.start = acquireSync(b, critical(b, release(b, DONE)), DONE);
    const c = m.thread("C", deaths > 0);
    const abort = m.local(c, "abort");
    const { slept, steps } = attemptOf(c);
    const end = m.label();
    const inC = m.label();
    const wait = waitAsync(m, c, spot, steps, inC, {
      slept,
      aborted: {
        word: abort,
        next: m.step("aborted", (s) => {
          s[abort] = 0;
          return end;
        }),
      },
    });
    const rest = wait.turn(DONE);
    m.at(end, "settled", () => rest);
    // It awaits something while it holds the lock.
    const leave = critical(c, wait.turn(release(c, end)));
    m.at(inC, "acquired", (s) => {
      s[abort] = 0;
      return leave;
    });
    m.event("C's signal aborts", true, (s) => {
      if (s[abort] === 1 || !m.isWaiting(s, c, spot)) return false;
      s[abort] = 1;
      return true;
    });
    c.start = fast(c, inC, wait.begin);
  } else if (scenario === "released by mistake") {
    for (const [name, rounds] of [["A", 1], ["B", 2]] as const) {
      const t = m.thread(name);
      const guard = m.local(t, "guard");
      const at = mutation === "shares SESSION"
        ? SESSION
        : m.local(t, "session");
      let next: Pc = DONE;
      for (let i = 0; i < rounds; i++) {
        // releaseSession(): drop() if SESSION is the guard's.
        const dropped = drop(() => t.token, next, next);
        const after = next;
        const check = m.step("releaseSession: read SESSION", (s) => {
          const mine = s[at] === s[guard];
          s[guard] = 0;
          return mine ? dropped : after;
        });
        // The guard is made of what SESSION is then.
        const made = m.step("guard: read SESSION", (s) => {
          s[guard] = s[at]!;
          return check;
        });
        next = acquireSync(t, session(at, guard, made));
      }
      t.start = next;
    }
    const c = m.thread("C");
    const owner = m.local(c, "owner");
    const byOwner = drop((s) => s[owner]!, DONE, DONE);
    c.start = m.rest(m.step("release: load OWNER", (s) => {
      if (s[OWNER]! <= 0) return BLOCKED;
      s[owner] = s[OWNER]!;
      return byOwner;
    }));
  } else {
    // A acquires; whoever is told of that releases it: Lock.release().
    const told = m.word("told");
    const a = m.thread("A");
    a.start = acquireSync(
      a,
      critical(
        a,
        m.step("tells B", (s) => {
          s[told] = 1;
          return DONE;
        }),
      ),
    );
    const b = m.thread("B");
    const owner = m.local(b, "owner");
    const again = m.label();
    const byOwner = drop((s) => s[owner]!, DONE, again);
    m.at(again, "release: load OWNER", (s) => {
      if (s[OWNER] === FREE || s[OWNER] === HANDED) {
        throw new Violation("B finds the lock free");
      }
      s[owner] = s[OWNER]!;
      return byOwner;
    });
    const own = drop(() => b.token, DONE, again);
    b.start = m.step("waits to be told", (s) => s[told] === 1 ? own : BLOCKED);
    blocking("C", 1);
  }
  return m;
}
