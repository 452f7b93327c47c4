/**
 * Model of `_park.ts`: permits that are given one at a time, to a thread that
 * blocks and to two async waits of another thread.
 *
 * @module
 */

import { BLOCKED, DONE, Model, type Pc, type Thread } from "./model.ts";
import { armedOf, freshOf, notify, waitSync, wake } from "./parts.ts";

/** What is wrong on purpose. */
export type ParkMutation =
  /** The waker looks at WAITERS before it publishes. */
  | "looks before publishing"
  /** The waiter reads SEQ after its attempt. */
  | "reads SEQ late"
  /** The waiter raises WAITERS after its attempt. */
  | "raises WAITERS late"
  /** A list whose last waiter was aborted keeps a wake-up to itself. */
  | "aborted keeps wake-up"
  /** A thread that was told to stop keeps a wake-up to itself. */
  | "stopped keeps wake-up";

/** `deaths`: how many of the waiting threads may be killed. */
export function parkModel(
  { deaths = 0, mutation }: { deaths?: number; mutation?: ParkMutation } = {},
): Model {
  const m = new Model(deaths === 0 ? "park" : "park, a waiter killed");
  m.deaths = deaths;
  const permits = m.word("PERMITS");
  const spot = m.spot("spot");
  const taken = m.word("taken");

  // A thread that blocks, may time out and may be told to stop.
  const sync = m.thread("sync", deaths > 0);
  const stop = m.word("STOP");
  m.event("sync is told to stop", true, (s) => {
    if (s[stop] === 1 || s[sync.pc] === DONE) return false;
    s[stop] = 1;
    return true;
  });
  sync.start = waitSync(
    m,
    sync,
    spot,
    (value, pending) =>
      m.step("take a permit", (s) => {
        if (s[permits] === 0) return pending;
        s[permits]!--;
        s[taken]!++;
        return value;
      }),
    DONE,
    {
      late: DONE,
      stop: { word: stop, next: DONE },
      readsSeqLate: mutation === "reads SEQ late",
      raisesLate: mutation === "raises WAITERS late",
      keepsWakeUp: mutation === "stopped keeps wake-up",
    },
  );

  // A thread with two async waits, x before y, both may be aborted.
  const loop = m.thread("loop", deaths > 0);
  const list = m.local(loop, "list");
  loop.start = eventLoop(loop);

  function eventLoop(t: Thread): Pc {
    const fresh = freshOf(m, spot, t);
    const armed = armedOf(m, spot, t);
    const X = 1;
    const Y = 2;
    const aborted = m.local(t, "aborted");
    for (const [name, bit] of [["x", X], ["y", Y]] as const) {
      m.event(`${name} is aborted`, true, (s) => {
        if ((s[list]! & bit) === 0 || (s[aborted]! & bit) !== 0) return false;
        s[aborted]! |= bit;
        return true;
      });
    }
    const rest = m.label();
    m.rest(rest);

    // WaitList.serve()
    function serve(next: Pc): Pc {
      const again = m.label();
      const emptied = m.step("emptied: sub WAITERS", (s) => {
        s[spot.waiters]!--;
        s[fresh] = 0;
        return next;
      });
      const arm = m.step("waitAsync", (s) => {
        const moved = s[fresh] === 0;
        s[fresh] = 0;
        if (s[armed] !== 0) return next;
        if (moved) return again;
        s[armed] = 1;
        return next;
      });
      const attempt = m.label();
      m.at(attempt, "attempt of the first waiter", (s) => {
        if (s[permits] === 0) return arm;
        s[permits]!--;
        s[taken]!++;
        s[list] = (s[list]! & X) !== 0 ? s[list]! & ~X : 0;
        s[aborted]! &= s[list]!;
        return s[list] === 0 ? emptied : attempt;
      });
      return m.at(again, "serve: load SEQ", (s) => {
        s[fresh] = 1;
        return attempt;
      });
    }

    // WaitList.remove(), #woken()
    const emptied = m.step("removed the last: sub WAITERS", (s) => {
      s[spot.waiters]!--;
      return rest;
    });
    const serveRest = serve(rest);
    const passOn = m.step("woken for nobody: notify", (s) => {
      if (mutation !== "aborted keeps wake-up") notify(m, s, spot, 1);
      return rest;
    });
    m.at(rest, "event loop", (s) => {
      const abort = s[aborted]! & s[list]!;
      const woken = s[armed] === 2;
      const beat = s[list] !== 0 && m.heals(s);
      const count = +(abort !== 0) + +woken + +beat;
      if (count === 0) return BLOCKED;
      let pick = m.choose(count);
      if (abort !== 0 && pick-- === 0) {
        const bit = (abort & X) !== 0 ? X : Y;
        s[list]! &= ~bit;
        s[aborted]! &= ~bit;
        return s[list] === 0 ? emptied : serveRest;
      }
      if (woken && pick-- === 0) {
        s[armed] = 0;
        return s[list] === 0 ? passOn : serveRest;
      }
      return serveRest;
    });

    // waitAsync() of x, then of y, which queues up behind it.
    function waitAsync(bit: number, next: Pc): Pc {
      const served = serve(next);
      const push = m.step("push: add WAITERS if first", (s) => {
        if (s[list] === 0) s[spot.waiters]!++;
        s[list]! |= bit;
        return served;
      });
      return m.step("waitAsync: attempt if first", (s) => {
        if (s[list] !== 0 || s[permits] === 0) return push;
        s[permits]!--;
        s[taken]!++;
        return next;
      });
    }
    return waitAsync(X, waitAsync(Y, rest));
  }

  // Two permits for three waits: who is left waiting must have nothing to take.
  for (const name of ["giver", "other giver"]) {
    m.thread(name).start = give(DONE);
  }

  function give(next: Pc): Pc {
    if (mutation === "looks before publishing") {
      const seen = m.word(`seen${next}`);
      const late = wake(m, spot, 1, next);
      const publish = m.step("publish", (s) => {
        s[permits]!++;
        const any = s[seen] === 1;
        s[seen] = 0;
        return any ? late : next;
      });
      return m.step("load WAITERS too early", (s) => {
        s[seen] = s[spot.waiters]! > 0 ? 1 : 0;
        return publish;
      });
    }
    const woken = wake(m, spot, 1, next);
    return m.step("publish", (s) => {
      s[permits]!++;
      return woken;
    });
  }

  m.mayStay = (s, t) => s[permits] === 0 || t === loop && s[list] === 0;
  m.finally = (s) => {
    const waiting = (s[list] === 0 ? 0 : 1) + (s[sync.where] === 0 ? 0 : 1);
    if (s[permits]! + s[taken]! !== 2) return "permits appeared or vanished";
    if (deaths === 0 && s[spot.waiters] !== waiting) return "WAITERS is wrong";
    return undefined;
  };
  return m;
}
