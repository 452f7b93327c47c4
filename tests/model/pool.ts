/**
 * Model of `_dispatch.ts`, `_outgoing.ts`, `_crew.ts`, `_pool_worker.ts` and
 * `_pool_protocol.ts`: how a task is put, claimed, run, answered, cancelled, and failed
 * when its worker has ended.
 *
 * Left to the models of what they are made of: the tasks' ring is a list behind a
 * lock of one word, replies are seen as soon as they are sent, and a worker that has
 * nothing to do waits at WORK in one way (`napSync`, then `waitAsync`).
 *
 * A worker that was told to stop counts as ended at once, though its code may run on.
 * So a claim is taken away by compare-exchange when its task is failed or cancelled,
 * and looked for again when the thread has really ended.
 *
 * @module
 */

import {
  ALIVE,
  BLOCKED,
  BURIED,
  DONE,
  Model,
  type Pc,
  type State,
  type Thread,
  Violation,
} from "./model.ts";
import { waitSync, wake } from "./parts.ts";

/** What is wrong on purpose. */
export type PoolMutation =
  /** A worker commits the taking of a frame before it claims the task. */
  | "commits before claiming"
  /** The spinner clears SPINNER after its last look, when it has slept. */
  | "clears SPINNER late"
  /** Whoever takes a task does not look for more. */
  | "does not call the next"
  /** The pool does not look after a spinner that has ended. */
  | "leaves the dead SPINNER"
  /** A worker that was told to stop keeps its claim, and does not run the task. */
  | "does not hand back"
  /** A slot is used again with the same generation. */
  | "keeps the generation"
  /** The claims of a worker that has ended are not looked for. */
  | "does not fail the claimed"
  /** A task is failed or cancelled without its claim being taken away. */
  | "leaves the claim"
  /** The pool does not look again when a worker that was stopped has really ended. */
  | "looks once"
  /** A worker does not say that it has answered before it takes another task. */
  | "does not finish"
  /** A slot is used again before the worker that was stopped at its task is dead. */
  | "reuses the slot early";

/** What happens beside two tasks being done by two workers. */
export type PoolScenario =
  /** Nothing. */
  | "quiet"
  /** Each task needs the other to be run at the same time. */
  | "tasks that meet"
  /** A worker is killed at any step. */
  | "a worker killed"
  /** A worker is told to stop at any step, and goes on until it notices. */
  | "a worker stopped"
  /** The same, and it may be ended by force at any step after that. */
  | "a worker terminated"
  /** The first task is cancelled at any time, its worker stopped if it runs. */
  | "a task cancelled";

const QUEUED = 0;
const DROPPED = 7;
const FINISHED = 1 << 12;

/** `tasks` are submitted through `slots`. */
export function poolModel(
  { scenario = "quiet", tasks = 2, slots = 1, mutation }: {
    scenario?: PoolScenario;
    tasks?: number;
    slots?: number;
    mutation?: PoolMutation;
  } = {},
): Model {
  const m = new Model(`pool, ${scenario}`);
  const together = scenario === "tasks that meet";
  const isStopped = scenario === "a worker stopped" ||
    scenario === "a worker terminated";
  m.deaths = 1;

  // Shared memory.
  const claims = list("CLAIM", slots);
  const SPINNER = m.word("SPINNER");
  const GET_LOCK = m.word("GET_LOCK");
  const HEAD = m.word("HEAD");
  const TAIL = m.word("TAIL");
  const CLOSED = m.word("CLOSED");
  /** { generation, slot } */
  const frames = list("frame", tasks);
  const WORK = m.spot("WORK");

  // The pool's own memory.
  const records = list("record", slots); // the task + 1
  const generations = list("generation", slots);
  /** Ghosts: by task, how often it was run, and what became of it. */
  const runs = list("runs", tasks);
  const settled = list("settled", tasks);
  const submitted = m.word("submitted");
  /** The worker that is still to be stopped. */
  const toStop = m.word("to stop");

  function list(name: string, length: number): number[] {
    return Array.from({ length }, (_, i) => m.word(`${name}${i}`));
  }
  function claimOf(generation: number, owner: number): number {
    return generation << 3 | owner;
  }

  interface Worker {
    t: Thread;
    index: number;
    stop: number;
    /** STATE is ENDED. */
    ended: number;
    /** 1: it is not spawned; 2: the pool has taken note; 3: of its death, too. */
    noted: number;
    /** By task: a reply is in the outbox; the frame it answers. */
    outbox: number[];
  }
  const pool = m.thread("pool");
  const workers: Worker[] = [];

  function hasEnded(s: State, w: Worker): boolean {
    return s[w.ended] === 1 || s[w.t.status] === BURIED;
  }

  function isBuriedUnnoted(s: State, w: Worker): boolean {
    return mutation !== "looks once" && s[w.noted] === 2 &&
      s[w.t.status] === BURIED;
  }

  // -- _pool_protocol.ts callWorker() ------------------------------------------------

  function callWorker(next: Pc): Pc {
    const woken = wake(m, WORK, 1, next);
    return m.step(
      "callWorker: load SPINNER",
      (s) => s[SPINNER] === 0 ? woken : next,
    );
  }

  // -- _pool_worker.ts servePool() -----------------------------------------------------

  function addWorker(name: string, mortal: boolean, spare: boolean): void {
    const t = m.thread(name, mortal);
    const w: Worker = {
      t,
      index: t.token,
      stop: m.word(`${name}.STOP`),
      ended: m.word(`${name}.ENDED`),
      noted: m.word(`${name}.noted`, spare ? 1 : 0),
      outbox: list(`${name}.reply`, tasks),
    };
    workers.push(w);
    const frame = m.local(t, "frame");
    const top = m.label();

    function queued(s: State): number {
      return claimOf(s[frame]! >> 1, QUEUED);
    }
    function mine(s: State): number {
      return claimOf(s[frame]! >> 1, w.index);
    }
    function claim(s: State): number {
      return claims[s[frame]! & 1]!;
    }
    const exit = m.step("ends", (s) => {
      s[frame] = 0;
      s[w.ended] = 1;
      return DONE;
    });

    // finish(), then the next task.
    const awaitStop = m.step(
      "dropped: wait to be stopped",
      (s) => s[w.stop] === 1 ? exit : BLOCKED,
    );
    const finish = m.step("finish: CAS CLAIM", (s) => {
      const word = s[claim(s)]!;
      if (word === mine(s)) s[claim(s)] = word | FINISHED;
      const isDropped = word === claimOf(s[frame]! >> 1, DROPPED);
      s[frame] = 0;
      return isDropped ? awaitStop : top;
    });
    // startReply(), sendReply()
    const reply = m.step("put the reply into the outbox", (s) => {
      const task = taskOf(s, s[frame]!);
      s[w.outbox[task]!] = s[frame]! + 1;
      if (mutation !== "does not finish") return finish;
      s[frame] = 0;
      return top;
    });
    const meet = m.step(
      "the task waits until all have begun",
      (s) => runs.every((at) => s[at] === 1) ? reply : BLOCKED,
    );
    // runFrame()
    const run = m.step("run the task", (s) => {
      const task = taskOf(s, s[frame]!);
      // A worker that was told to stop may be past its last look at that, and one
      // that is to be has claimed it before.
      const isLeaving = s[w.stop] === 1 || workers[s[toStop]! - 1] === w;
      if (s[settled[task]!] !== 0 && !isLeaving) {
        throw new Violation(`task ${task} is run though it was settled before`);
      }
      if (++s[runs[task]!]! > 1) {
        throw new Violation(`task ${task} is run twice`);
      }
      return together ? meet : reply;
    });
    // if (!tasks.empty) callWorker(bell);
    const call = callWorker(run);
    const more = mutation === "does not call the next" ? run : m.step(
      "are there more? load TAIL",
      (s) => s[HEAD] !== s[TAIL] ? call : run,
    );
    function unlock(next: Pc): Pc {
      return m.step("leave GET_LOCK", (s) => {
        s[GET_LOCK] = 0;
        return next;
      });
    }

    // tryTakeIf(), with claim() within.
    const empty = m.label();
    const next = m.label();
    const taken = unlock(more);
    const commitFirst = mutation === "commits before claiming";
    const commit = m.step("commit: store HEAD", (s) => {
      s[HEAD]!++;
      return taken;
    });
    const drop = m.step("not ours: store HEAD", (s) => {
      if (!commitFirst) s[HEAD]!++;
      s[frame] = 0;
      return next;
    });
    const claimed = commitFirst ? taken : commit;
    // compareExchange(claims, slot, mine, queued); checkStop();
    const stopped = unlock(exit);
    const handBack = m.step("hand the task back: CAS CLAIM", (s) => {
      const isMine = s[claim(s)] === mine(s);
      if (isMine && mutation !== "does not hand back") s[claim(s)] = queued(s);
      s[frame] = 0;
      return stopped;
    });
    const look = m.step(
      "claimed: look at STOP",
      (s) => s[w.stop] === 1 ? handBack : claimed,
    );
    const tryClaim = m.step("CAS CLAIM", (s) => {
      if (s[claim(s)] !== queued(s)) return drop;
      s[claim(s)] = mine(s);
      return look;
    });
    const commitEarly = m.step("commit: store HEAD (early)", (s) => {
      s[HEAD]!++;
      return tryClaim;
    });
    const none = unlock(empty);
    m.at(next, "next: load TAIL", (s) => {
      if (s[HEAD] === s[TAIL]) return none;
      s[frame] = s[frames[s[HEAD]!]!]!;
      return commitFirst ? commitEarly : tryClaim;
    });
    const lock = m.step("GET_LOCK", (s) => {
      const owner = s[GET_LOCK]!;
      if (owner !== 0 && s[m.threads[owner - 1]!.status] !== BURIED) {
        return BLOCKED;
      }
      s[GET_LOCK] = t.token;
      return next;
    });
    m.at(
      top,
      "tryTakeIf: load TAIL",
      (s) => s[HEAD] === s[TAIL] ? empty : lock,
    );

    // hasWork()
    function hasWork(yes: Pc, no: Pc): Pc {
      return m.step(
        "hasWork: TAIL, FLAGS, STOP",
        (s) =>
          s[HEAD] !== s[TAIL] || s[CLOSED] === 1 || s[w.stop] === 1 ? yes : no,
      );
    }
    const wait = waitSync(
      m,
      t,
      WORK,
      (value, pending) => hasWork(value, pending),
      top,
    );
    // stayAwake()
    const clear = m.step("stayAwake: store SPINNER 0", (s) => {
      s[SPINNER] = 0;
      return mutation === "clears SPINNER late" ? top : lastLook;
    });
    const lastLook = hasWork(top, wait);
    const lateWait = waitSync(
      m,
      t,
      WORK,
      (value, pending) => hasWork(value, pending),
      clear,
    );
    const giveUp = mutation === "clears SPINNER late" ? lateWait : clear;
    const spin = m.label();
    m.at(spin, "spin: load TAIL", (s) => {
      if (s[HEAD] !== s[TAIL]) return clear;
      return m.choose(2) === 0 ? spin : giveUp;
    });
    const stay = m.step("stayAwake: CAS SPINNER", (s) => {
      if (s[SPINNER] !== 0) return wait;
      s[SPINNER] = w.index;
      return spin;
    });
    const checkStop = m.step(
      "checkStop",
      (s) => s[w.stop] === 1 ? exit : stay,
    );
    m.at(
      empty,
      "empty: is it closed?",
      (s) => s[CLOSED] === 1 && s[HEAD] === s[TAIL] ? exit : checkStop,
    );
    t.start = spare
      ? m.rest(m.step("is spawned", (s) => s[w.noted] === 0 ? top : BLOCKED))
      : top;
  }

  /** Whose frame it is: the ghost's view, by position in the ring. */
  function taskOf(s: State, frame: number): number {
    for (let i = s[TAIL]! - 1; i >= 0; i--) {
      if (s[frames[i]!] === frame) return i;
    }
    throw new Violation("a frame that was never put");
  }

  // -- _dispatch.ts and _outgoing.ts ---------------------------------------------------

  const slotAt = m.local(pool, "slot");
  const main = m.label();

  // #put()
  const called = callWorker(main);
  const tryPut = m.step("put: store TAIL", (s) => {
    const slot = s[slotAt]!;
    const task = s[records[slot]!]! - 1;
    s[frames[task]!] = s[generations[slot]!]! << 1 | slot;
    s[TAIL]!++;
    s[slotAt] = 0;
    return called;
  });
  const putClaim = m.step("put: store CLAIM queued", (s) => {
    const slot = s[slotAt]!;
    s[claims[slot]!] = claimOf(s[generations[slot]!]!, QUEUED);
    return tryPut;
  });

  // Slots.release()
  function release(s: State, slot: number): void {
    s[records[slot]!] = 0;
    if (mutation !== "keeps the generation") s[generations[slot]!]!++;
  }

  // #vacate(): `i` is the worker of which the slot is kept until it is dead.
  function vacate(s: State, slot: number, i: number): void {
    release(s, slot);
    if (mutation !== "reuses the slot early") s[records[slot]!] = tasks + 1 + i;
  }

  function settle(s: State, task: number): void {
    if (s[settled[task]!] !== 0) {
      throw new Violation(`task ${task} is settled twice`);
    }
    s[settled[task]!] = 1;
  }

  // #ended(): drain, SPINNER, callWorker, #failClaimed(), #spawn()
  const ending = m.local(pool, "ending");
  const scanned = m.local(pool, "scanned");
  const fails = m.label();
  const callAfter = callWorker(fails);
  const takeOverSpinner = m.step("ended: CAS SPINNER from its index", (s) => {
    const { index } = workers[s[ending]! - 1]!;
    if (s[SPINNER] === index && mutation !== "leaves the dead SPINNER") {
      s[SPINNER] = 0;
    }
    return callAfter;
  });
  m.at(fails, "failClaimed: load CLAIM", (s) => {
    const w = workers[s[ending]! - 1]!;
    const slot = s[scanned]!;
    if (slot === slots) {
      s[scanned] = 0;
      s[ending] = 0;
      // Another worker is started in its place.
      const spare = workers[2];
      const isWanted = settled.some((at) => s[at] === 0);
      if (spare !== undefined && s[spare.noted] === 1 && isWanted) {
        s[spare.noted] = 0;
      }
      return main;
    }
    s[scanned] = slot + 1;
    const task = s[records[slot]!]! - 1;
    const word = s[claims[slot]!]!;
    if (task < 0 || (word & 7) !== w.index) return fails;
    if (scenario === "a task cancelled" && task > 0) {
      throw new Violation(`task ${task} fails with the one that was cancelled`);
    }
    if (mutation === "does not fail the claimed") return fails;
    if (mutation !== "leaves the claim") {
      s[claims[slot]!] = word & ~7 | DROPPED;
    }
    vacate(s, slot, workers.indexOf(w));
    settle(s, task);
    return fails;
  });

  // #reply(), #claimedBy()
  function takeReply(s: State, w: Worker, i: number): void {
    const frame = s[w.outbox[i]!]! - 1;
    s[w.outbox[i]!] = 0;
    const slot = frame & 1;
    const generation = frame >> 1;
    const task = s[records[slot]!]! - 1;
    if (task < 0 || s[generations[slot]!] !== generation) return;
    const word = s[claims[slot]!]! & ~FINISHED;
    if (word !== claimOf(generation, w.index)) return;
    if (task !== i) throw new Violation(`task ${task} gets the reply of ${i}`);
    release(s, slot);
    settle(s, task);
  }

  // cancel(task, true) of the first task.
  const cancelling = m.local(pool, "cancelling");
  const cancelled = m.word("cancelled");
  const afterCancel = m.step("cancel: settled by whoever cancels", (s) => {
    const slot = s[slotAt]!;
    s[slotAt] = 0;
    const holder = s[cancelling]! - 1;
    s[cancelling] = 0;
    settle(s, 0);
    // It is stopped when the messages that it posted before have been read.
    const i = workers.findIndex(({ index }) => index === holder);
    if (i < 0) release(s, slot);
    else vacate(s, slot, i);
    s[toStop] = i + 1;
    return main;
  });
  const cancel = m.step("cancel: CAS CLAIM to DROPPED", (s) => {
    const slot = s[slotAt]!;
    const word = s[claims[slot]!]!;
    const generation = s[generations[slot]!]!;
    if (word & FINISHED) { // its reply settles it
      s[slotAt] = 0;
      return main;
    }
    if (word === claimOf(generation, QUEUED)) {
      s[claims[slot]!] = claimOf(generation, DROPPED);
      s[cancelling] = 1;
    } else {
      s[cancelling] = (word & 7) + 1;
      if (mutation !== "leaves the claim") {
        s[claims[slot]!] = claimOf(generation, DROPPED);
      }
    }
    return afterCancel;
  });

  function stop(s: State, w: Worker): void {
    if (s[w.ended] === 1) return;
    s[w.stop] = 1;
    s[w.ended] = 1;
  }

  // settleIfDone()
  const wakeAll = wake(m, WORK, 9, main);
  const close = m.step("close the ring", (s) => {
    s[CLOSED] = 1;
    return wakeAll;
  });

  m.at(main, "event loop", (s) => {
    const moves: (() => Pc)[] = [];
    const slot = records.findIndex((at) => s[at] === 0);
    if (s[submitted]! < tasks && slot >= 0) {
      moves.push(() => {
        s[records[slot]!] = ++s[submitted]!;
        s[slotAt] = slot;
        return putClaim;
      });
    }
    workers.forEach((w, i) => {
      if (hasEnded(s, w) && s[w.noted] === 0) {
        moves.push(() => {
          // while (this.#drainWorker(worker) > 0);
          for (let k = 0; k < tasks; k++) {
            if (s[w.outbox[k]!] !== 0) takeReply(s, w, k);
          }
          s[w.noted] = s[w.t.status] === BURIED ? 3 : 2;
          s[ending] = i + 1;
          return takeOverSpinner;
        });
      }
      // Until it has really ended it may claim, or begin to spin, once more.
      if (isBuriedUnnoted(s, w)) {
        moves.push(() => {
          s[w.noted] = 3;
          s[ending] = i + 1;
          return takeOverSpinner;
        });
      }
      for (let k = 0; k < tasks; k++) {
        if (s[w.outbox[k]!] !== 0 && s[w.noted]! < 2) {
          moves.push(() => {
            takeReply(s, w, k);
            return main;
          });
        }
      }
    });
    if (s[toStop] !== 0) {
      moves.push(() => {
        stop(s, workers[s[toStop]! - 1]!);
        s[toStop] = 0;
        return main;
      });
    }
    // #reuseSlots()
    for (const record of records) {
      const w = workers[s[record]! - tasks - 1];
      if (w === undefined || !m.isFinished(s, w.t)) continue;
      moves.push(() => {
        s[record] = 0;
        return main;
      });
    }
    if (scenario === "a task cancelled" && s[cancelled] === 1) {
      s[cancelled] = 2;
      const slot = records.findIndex((at) => s[at] === 1);
      if (slot >= 0) {
        s[slotAt] = slot;
        return cancel;
      }
      return main;
    }
    if (settled.every((at) => s[at] === 1) && s[CLOSED] === 0) {
      moves.push(() => close);
    }
    return moves.length === 0 ? BLOCKED : moves[m.choose(moves.length)]!();
  });
  m.rest(main);
  pool.start = main;

  const killed = scenario === "a worker killed";
  addWorker("V", killed, false);
  addWorker("W", false, false);
  // One that is started in the place of the first to end.
  if (tasks > 1 && scenario !== "quiet" && !together) {
    addWorker("X", false, true);
  }

  if (isStopped) {
    m.event("V is told to stop", true, (s) => {
      const v = workers[0]!;
      if (s[v.stop] === 1 || s[v.t.pc] === DONE) return false;
      stop(s, v);
      return true;
    });
  }
  if (scenario === "a worker terminated") {
    m.event("V is ended by force", true, (s) => {
      const v = workers[0]!;
      if (s[v.stop] === 0 || m.isFinished(s, v.t)) return false;
      if (s[v.t.status] !== ALIVE) return false;
      m.kill(s, v.t);
      return true;
    });
  }
  if (scenario === "a task cancelled") {
    m.event("task 0 is cancelled", true, (s) => {
      if (s[cancelled] !== 0 || s[submitted] === 0) return false;
      s[cancelled] = 1;
      return true;
    });
  }
  m.heals = (s) =>
    workers.some((w) => s[w.t.status] !== ALIVE || s[w.stop] === 1);
  m.mayStay = (s, t) => {
    if (s[t.where] !== 0) return false;
    if (t !== pool) return true;
    return s[CLOSED] === 1 &&
      workers.every((w) =>
        !hasEnded(s, w) || s[w.noted]! >= 2 && !isBuriedUnnoted(s, w)
      );
  };
  m.finally = (s) => {
    for (let i = 0; i < tasks; i++) {
      if (s[settled[i]!] !== 1) return `task ${i} was never settled`;
    }
    return s[SPINNER] === 0 ? undefined : "SPINNER is set, and nobody spins";
  };
  return m;
}
