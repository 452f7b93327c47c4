/**
 * Model of `_ring.ts` and `_channel.ts`: put, get, close and drain, with the two
 * locks, their takeover from the dead and the two commits. A message is one unit;
 * the ring has one segment of as many units as are put, so a put waits for `maxSize`.
 *
 * @module
 */

import {
  ALIVE,
  BURIED,
  DONE,
  Model,
  type Pc,
  type Spot,
  type Thread,
  Violation,
} from "./explorer.ts";
import { waitSync, wake } from "./parts.ts";

/** What is wrong on purpose. */
export type QueueMutation =
  /** A producer looks for waiters before it commits. */
  | "looks before committing"
  /** A consumer that sees the end does not look at the ring once more. */
  | "drains too little"
  /** `close` does not take the lock. */
  | "closes without the lock"
  /** `close` wakes one only. */
  | "closes for one"
  /** Whoever takes a lock over does not correct the number of items. */
  | "does not repair"
  /** Whoever sleeps for a lock does not mark it CONTENDED. */
  | "does not contend"
  /** A woken waiter takes a lock without marking it for those still asleep. */
  | "takes it uncontended"
  /** A consumer commits before it has read. */
  | "commits before reading"
  /** A lock is taken over by a store instead of a compare-exchange. */
  | "takes over by store";

/** What the threads do. */
export type QueueScenario =
  /** Two producers, one of which closes, and a consumer that drains. */
  | "two producers"
  /** A producer that closes, and two consumers that drain. */
  | "two consumers";

const CONTENDED = 8;

/** `deaths`: how many threads may be killed, at any step. */
export function queueModel(
  { scenario = "two consumers", maxSize = 1, deaths = 0, mutation }: {
    scenario?: QueueScenario;
    maxSize?: number;
    deaths?: number;
    mutation?: QueueMutation;
  } = {},
): Model {
  const suffix = deaths === 0 ? "" : ", a thread killed";
  const m = new Model(`queue, ${scenario}${suffix}`);
  m.deaths = deaths;
  const FLAGS = m.word("FLAGS");
  const put = side("PUT");
  const get = side("GET");
  const ITEMS = m.spot("ITEMS");
  const SPACE = m.spot("SPACE");

  /** The lock of one side, its position, its count. */
  function side(name: string) {
    return {
      name,
      lock: m.word(`${name}_LOCK`),
      spot: m.spot(`${name}_LOCK`),
      /** TAIL or HEAD. */
      position: m.word(name === "PUT" ? "TAIL" : "HEAD"),
      count: m.word(name === "PUT" ? "PUT" : "GOT"),
      to: m.word(`${name}_TO`),
      was: m.word(`${name}_WAS`),
    };
  }
  type Side = typeof put;

  // What should come of it. Items are 1, 2, …; `slots` is the memory of the ring.
  const ITEMS_MAX = 3;
  const slots = Array.from({ length: ITEMS_MAX }, (_, i) => m.word(`slot${i}`));
  /** By item: 0, 1 its put has returned, 2 it was delivered. */
  const fate = Array.from({ length: ITEMS_MAX + 1 }, (_, i) => m.word(`item${i}`));
  /** By consumer: the item it has taken and not delivered. */
  const holding = new Map<Thread, number>();

  // -- #lock(), #tryLock(), #unlock(), #repair() -----------------------------------

  function lock(t: Thread, { name, lock, spot, ...rest }: Side, next: Pc): Pc {
    const seen = m.local(t, `${name}.seen`);
    const mine = mutation === "takes it uncontended"
      ? t.token
      : t.token | CONTENDED;
    const slow = waitSync(m, t, spot, (value, pending) => {
      const again = m.label();
      // #repair()
      const restore = m.step("repair: write the count", (s) => {
        s[rest.count] = s[rest.was]!;
        return value;
      });
      const repair = mutation === "does not repair" ? value : m.step(
        "repair: load the position",
        (s) => s[rest.to] !== s[rest.position] ? restore : value,
      );
      const takeOver = m.step("tryLock: CAS from a dead owner", (s) => {
        const changed = s[lock] !== s[seen] &&
          mutation !== "takes over by store";
        s[seen] = 0;
        if (changed) return again;
        s[lock] = mine;
        return repair;
      });
      const contend = m.step("tryLock: CAS to CONTENDED", (s) => {
        const changed = s[lock] !== s[seen];
        if (!changed) s[lock]! |= CONTENDED;
        s[seen] = 0;
        return changed ? again : pending;
      });
      return m.at(again, `tryLock: CAS ${name}_LOCK from 0`, (s) => {
        const word = s[lock]!;
        if (word === 0) {
          s[lock] = mine;
          return value;
        }
        const owner = word & ~CONTENDED;
        s[seen] = word;
        if (s[m.threads[owner - 1]!.status] === BURIED) return takeOver;
        if ((word & CONTENDED) !== 0 || mutation === "does not contend") {
          s[seen] = 0;
          return pending;
        }
        return contend;
      });
    }, next);
    return m.step(`lock: CAS ${name}_LOCK from 0`, (s) => {
      if (s[lock] !== 0) return slow;
      s[lock] = t.token;
      return next;
    });
  }

  function unlock({ name, lock, spot }: Side, next: Pc): Pc {
    const woken = wake(m, spot, 1, next);
    return m.step(`unlock: exchange ${name}_LOCK`, (s) => {
      const word = s[lock]!;
      s[lock] = 0;
      return word >= CONTENDED ? woken : next;
    });
  }

  /** #commitPut(), #commitTake(). */
  function commit({ name, position, count, to, was }: Side, next: Pc): Pc {
    const publish = m.step(`store ${name === "PUT" ? "TAIL" : "HEAD"}`, (s) => {
      s[position] = s[to]!;
      return next;
    });
    const raise = m.step("commit: write the count", (s) => {
      s[count]!++;
      return publish;
    });
    const target = m.step(`commit: write ${name}_TO`, (s) => {
      s[to] = s[position]! + 1;
      return raise;
    });
    return m.step(`commit: write ${name}_WAS`, (s) => {
      s[was] = s[count]!;
      return target;
    });
  }

  function wakeIfAny(spot: Spot, count: number, next: Pc): Pc {
    const woken = wake(m, spot, count, next);
    return m.step(
      `look at WAITERS of ${spot.name}`,
      (s) => s[spot.waiters]! > 0 ? woken : next,
    );
  }

  // -- tryPut(), tryTake() -----------------------------------------------------------

  function tryPut(t: Thread, item: number, done: Pc, full: Pc): Pc {
    const early = mutation === "looks before committing"
      ? m.local(t, `early${item}`)
      : -1;
    const late = wake(m, ITEMS, 1, done);
    const after = early < 0 ? wakeIfAny(ITEMS, 1, done) : m.inner((s) => {
      const any = s[early] === 1;
      s[early] = 0;
      return any ? late : done;
    });
    const committed = commit(put, unlock(put, after));
    const write = m.step("write the frame", (s) => {
      s[slots[s[put.position]!]!] = item;
      return committed;
    });
    const look = early < 0 ? write : m.step("look at WAITERS too early", (s) => {
      s[early] = s[ITEMS.waiters]! > 0 ? 1 : 0;
      return write;
    });
    // #room(), #moreRoom(): the caches of HEAD and GOT change nothing here.
    const refused = unlock(put, full);
    const room = m.step(
      "moreRoom: load GOT",
      (s) => s[put.count]! - s[get.count]! >= maxSize ? refused : look,
    );
    return lock(
      t,
      put,
      m.step("room: read FLAGS", (s) => s[FLAGS] !== 0 ? refused : room),
    );
  }

  function tryTake(t: Thread, taken: Pc, empty: Pc): Pc {
    const item = holding.get(t)!;
    const none = unlock(get, empty);
    const free = unlock(get, wakeIfAny(SPACE, 1, taken));
    const read = (next: Pc) =>
      m.step("read the frame", (s) => {
        // Its position has not moved, or has just done so.
        const at = mutation === "commits before reading"
          ? s[get.position]! - 1
          : s[get.position]!;
        s[item] = s[slots[at]!]!;
        return next;
      });
    const take = mutation === "commits before reading"
      ? commit(get, read(free))
      : read(commit(get, free));
    const locked = lock(
      t,
      get,
      m.step(
        "next: load TAIL",
        (s) => s[get.position] === s[put.position] ? none : take,
      ),
    );
    // HEAD is read just before; only consumers move it, forwards.
    return m.step(
      "tryTake: load TAIL",
      (s) => s[get.position] === s[put.position] ? empty : locked,
    );
  }

  // -- putSync(), iteration, close() -----------------------------------------------------

  function putSync(t: Thread, item: number, next: Pc): Pc {
    const refused = m.local(t, `refused${item}`);
    const done = m.inner((s) => {
      if (s[refused] === 0 && s[fate[item]!] === 0) s[fate[item]!] = 1;
      s[refused] = 0;
      return next;
    });
    // #putOnce()
    const slow = waitSync(m, t, SPACE, (value, pending) => {
      const offer = tryPut(t, item, value, pending);
      return m.step("putEnded: load FLAGS", (s) => {
        if (s[FLAGS] === 0) return offer;
        s[refused] = 1;
        return value;
      });
    }, done);
    return tryPut(t, item, done, slow);
  }

  function consumer(name: string): void {
    const t = m.thread(name, deaths > 0);
    holding.set(t, m.local(t, "item"));
    const item = holding.get(t)!;
    const ended = m.local(t, "ended");
    const start = m.label();
    const deliver = m.inner((s) => {
      if (s[ended] === 1) return DONE;
      const got = s[item]!;
      if (got === 0) throw new Violation(`${name} got what was never put`);
      if (s[fate[got]!] === 2) throw new Violation(`item ${got} came twice`);
      if (scenario === "two producers" && got === 2 && s[fate[1]!] !== 2) {
        throw new Violation("item 2 came before item 1");
      }
      s[fate[got]!] = 2;
      s[item] = 0;
      return start;
    });
    // #takeOnce()
    const slow = waitSync(m, t, ITEMS, (value, pending) => {
      const over = m.inner((s) => {
        s[ended] = 1;
        return value;
      });
      const last = mutation === "drains too little"
        ? over
        : tryTake(t, value, over);
      const look = m.step(
        "getEnded: load FLAGS",
        (s) => s[FLAGS] !== 0 ? last : pending,
      );
      return tryTake(t, value, look);
    }, deliver);
    const first = tryTake(t, deliver, slow);
    m.innerAt(start, () => first);
    t.start = first;
  }

  function close(t: Thread, next: Pc): Pc {
    const count = mutation === "closes for one" ? 1 : 9;
    const wakes = wake(m, ITEMS, count, wake(m, SPACE, count, next));
    if (mutation === "closes without the lock") {
      return m.step("close: store FLAGS", (s) => {
        s[FLAGS] = 1;
        return wakes;
      });
    }
    const locked = lock(
      t,
      put,
      m.step("close: store FLAGS", (s) => {
        s[FLAGS] = 1;
        return unlock_;
      }),
    );
    const unlock_ = unlock(put, wakes);
    return m.step("close: load FLAGS", (s) => s[FLAGS] !== 0 ? next : locked);
  }

  if (scenario === "two consumers") {
    const p = m.thread("P");
    p.start = putSync(p, 1, putSync(p, 2, close(p, DONE)));
    consumer("C");
    consumer("D");
  } else {
    const p = m.thread("P", deaths > 0);
    const end = deaths > 0 ? DONE : close(p, DONE);
    p.start = putSync(p, 1, putSync(p, 2, end));
    const q = m.thread("Q");
    q.start = putSync(q, 3, close(q, DONE));
    consumer("C");
  }

  // GOT is raised before HEAD is stored. A consumer is about to do that, or has died
  // before it: only then there is one item too many, until the next is taken.
  m.always = (s) => {
    const size = s[put.position]! - s[get.position]!;
    const counted = s[put.count]! - s[get.count]!;
    const died = m.threads.some((t) => s[t.status] !== ALIVE) ? 1 : 0;
    if (size < 0) return "HEAD is beyond TAIL";
    if (size > maxSize + 1 || counted > maxSize + died) {
      return `${size} items are in the queue, ${counted} are counted`;
    }
    return undefined;
  };
  m.finally = (s) => {
    const consumers = [...holding.keys()];
    const died = consumers.filter((t) => s[t.status] === BURIED).length;
    if (died === consumers.length) return undefined;
    if (s[put.position] !== s[get.position]) return "items are left";
    // A consumer that dies takes what it had taken with it: one item.
    const missing = fate.filter((at) => s[at] === 1).length;
    return missing > died ? `${missing} items were lost` : undefined;
  };
  return m;
}
