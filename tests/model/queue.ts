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
  type Step,
  type Thread,
  Violation,
} from "./model.ts";
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
  /** Three producers of one item each; nobody closes, nobody gets. */
  | "three producers"
  /** Two producers, one of which closes, and a consumer that drains. */
  | "two producers"
  /** A producer that closes, and two consumers that drain. */
  | "two consumers";

const CONTENDED = 8;

/**
 * `deaths`: how many threads may be killed, at any step (not an only consumer).
 * `limit`: what a put waits for, `maxSize` or bytes. `items`: how many "two
 * consumers" get.
 */
export function queueModel(
  {
    scenario = "two consumers",
    limit = "items",
    items = 2,
    deaths = 0,
    mutation,
  }: {
    scenario?: QueueScenario;
    limit?: "items" | "bytes";
    items?: 1 | 2;
    deaths?: number;
    mutation?: QueueMutation;
  } = {},
): Model {
  const suffix = deaths === 0 ? "" : ", a thread killed";
  const by = limit === "bytes" ? ", by bytes" : "";
  const m = new Model(`queue, ${scenario}${by}${suffix}`);
  const maxSize = scenario === "three producers" ? 3 : 1;
  m.deaths = deaths;
  const FLAGS = m.word("FLAGS");
  const put = side("PUT");
  const get = side("GET");
  const ITEMS = m.spot("ITEMS");
  const SPACE = m.spot("SPACE");
  const BY_BYTES = m.word("BY_BYTES");

  /** A step that others can see only if the thread dies after it. */
  function owned(what: string, run: Step): Pc {
    return deaths === 0 ? m.inner(run) : m.step(what, run);
  }

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
  const slots = Array.from(
    { length: limit === "bytes" ? maxSize : ITEMS_MAX },
    (_, i) => m.word(`slot${i}`),
  );
  function slot(position: number): number {
    return slots[position % slots.length]!;
  }
  /** By item: 0, 1 its put has returned, 2 it was delivered. */
  const fate = Array.from(
    { length: ITEMS_MAX + 1 },
    (_, i) => m.word(`item${i}`),
  );
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
    const writeCount = name === "PUT" ? owned : m.step.bind(m);
    const raise = writeCount("commit: write the count", (s) => {
      s[count]!++;
      return publish;
    });
    const target = owned(`commit: write ${name}_TO`, (s) => {
      s[to] = s[position]! + 1;
      return raise;
    });
    return owned(`commit: write ${name}_WAS`, (s) => {
      s[was] = s[count]!;
      return target;
    });
  }

  function wakeItems(next: Pc): Pc {
    const woken = wake(m, ITEMS, 1, next);
    return m.step(
      "look at WAITERS of ITEMS",
      (s) => s[ITEMS.waiters]! > 0 ? woken : next,
    );
  }

  // -- tryPut(), tryTake() -----------------------------------------------------------

  function tryPut(t: Thread, item: number, done: Pc, full: Pc): Pc {
    const early = mutation === "looks before committing"
      ? m.local(t, `early${item}`)
      : -1;
    const late = wake(m, ITEMS, 1, done);
    const after = early < 0 ? wakeItems(done) : m.inner((s) => {
      const any = s[early] === 1;
      s[early] = 0;
      return any ? late : done;
    });
    const committed = commit(put, unlock(put, after));
    const write = owned("write the frame", (s) => {
      s[slot(s[put.position]!)] = item;
      return committed;
    });
    const look = early < 0
      ? write
      : m.step("look at WAITERS too early", (s) => {
        s[early] = s[ITEMS.waiters]! > 0 ? 1 : 0;
        return write;
      });
    // #room(), #moreRoom(): the caches of HEAD and GOT change nothing here.
    const refused = unlock(put, full);
    function moreRoom(none: Pc): Pc {
      if (limit === "items") {
        return m.step(
          "moreRoom: load GOT",
          (s) => s[put.count]! - s[get.count]! >= maxSize ? refused : look,
        );
      }
      return m.step(
        "moreRoom: load HEAD",
        (s) => s[put.position]! - s[get.position]! >= maxSize ? none : look,
      );
    }
    let room = moreRoom(refused);
    if (limit === "bytes") {
      const last = room;
      const raise = m.step("store BY_BYTES 1", (s) => {
        s[BY_BYTES] = 1;
        return last;
      });
      room = moreRoom(
        m.step("load BY_BYTES", (s) => s[BY_BYTES] === 0 ? raise : last),
      );
    }
    return lock(
      t,
      put,
      owned("room: read FLAGS", (s) => s[FLAGS] !== 0 ? refused : room),
    );
  }

  // #wakeSpace()
  function wakeSpace(next: Pc): Pc {
    const one = wake(m, SPACE, 1, next);
    const all = wake(m, SPACE, 9, next);
    const lower = m.step("store BY_BYTES 0", (s) => {
      s[BY_BYTES] = 0;
      return all;
    });
    const look = limit === "items" ? one : m.step(
      "wakeSpace: load BY_BYTES",
      (s) => s[BY_BYTES] !== 0 ? lower : one,
    );
    return m.step(
      "look at WAITERS of SPACE",
      (s) => s[SPACE.waiters]! > 0 ? look : next,
    );
  }

  function tryTake(t: Thread, taken: Pc, empty: Pc): Pc {
    const item = holding.get(t)!;
    const none = unlock(get, empty);
    const free = unlock(get, wakeSpace(taken));
    const read = (next: Pc) =>
      m.step("read the frame", (s) => {
        // Its position has not moved, or has just done so.
        const after = mutation === "commits before reading" ? 1 : 0;
        s[item] = s[slot(s[get.position]! - after)]!;
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

  function consumer(name: string, mortal: boolean): void {
    const t = m.thread(name, mortal);
    holding.set(t, m.local(t, "item"));
    const item = holding.get(t)!;
    const ended = m.local(t, "ended");
    const start = m.label();
    const deliver = m.inner((s) => {
      if (s[ended] === 1) return DONE;
      const got = s[item]!;
      if (got === 0) throw new Violation(`${name} got what was never put`);
      if (s[fate[got]!] === 2) throw new Violation(`item ${got} came twice`);
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
    const end = close(p, DONE);
    p.start = putSync(p, 1, items === 1 ? end : putSync(p, 2, end));
    consumer("C", deaths > 0);
    consumer("D", deaths > 0);
  } else if (scenario === "two producers") {
    const p = m.thread("P", deaths > 0);
    p.start = putSync(p, 1, DONE);
    const q = m.thread("Q");
    q.start = putSync(q, 2, close(q, DONE));
    consumer("C", false);
  } else {
    ["P", "Q", "R"].forEach((name, i) => {
      const t = m.thread(name, deaths > 0);
      t.start = putSync(t, i + 1, DONE);
    });
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
    const waiting = fate.filter((at) => s[at] === 1).length;
    const size = s[put.position]! - s[get.position]!;
    if (consumers.length === 0) {
      if (size < waiting) return "a put has returned and the item is not there";
      // The next to take the lock corrects PUT.
      return s[put.lock] !== 0 || size === s[put.count]!
        ? undefined
        : "PUT is wrong";
    }
    if (size > 0) return "items are left";
    // A consumer that dies takes what it had taken with it: one item.
    return waiting > died ? `${waiting} items were lost` : undefined;
  };
  return m;
}
