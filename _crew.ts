/**
 * The workers of a pool: started, watched, replaced, and rested for want of work.
 *
 * A crew knows nothing of tasks. What becomes of those of a worker that has ended,
 * and whether there is work for another, it leaves to whoever it was made for, see
 * {@linkcode CrewEvents}.
 *
 *   a worker is | in `workers` | until
 *   ------------+--------------+------------------------------------------------------
 *   started     | yes          | READY, sent when its initializer has run
 *   ready       | yes          | it is told to stop, retires by itself, or dies
 *   ended       | no           | its thread is dead; till then it may claim tasks
 *
 * @module
 */

import { isDead, KILLED, pathBelow, TERMINATED } from "./_life.ts";
import { Guest, type Parcel, unpack } from "./_parcel.ts";
import { addDuty, holdByTimer, removeDuty } from "./_park.ts";
import { DROPPED, type PoolBody, type PoolReply } from "./_pool_protocol.ts";
import { Ring } from "./_ring.ts";
import type { Sent } from "./_handle.ts";
import { ChildWorker } from "./_child_worker.ts";
import type { TargetRef } from "./_target.ts";
import type { WorkerKind } from "./_thread.ts";
import { calledFrom, type Caller, unpackThrown } from "./_thrown.ts";
import type { UpMessage } from "./_worker.ts";
import { WorkerError } from "./errors.ts";

const RESULT_BYTES = 64 << 20;
/** How many workers in a row may end soon and without having begun a task. */
const FALSE_STARTS = 3;
/** How soon, in milliseconds. */
const SOON_ENDED_MS = 2000;
/** How long idle workers stay if they keep the program alive. */
const LINGER_MS = 500;

/** A worker of a pool. */
export interface PoolWorker {
  readonly index: number;
  readonly name: string;
  readonly child: ChildWorker;
  /** What it may name, if it runs foreign code. */
  readonly guest: Guest | undefined;
  readonly outbox: Ring;
  ended: boolean;
  /** Whether its last word, why it ends, is here. */
  hasWord: boolean;

  // What is learned from its replies:
  /** When it said that it was ready, if it has. */
  readySince: number | undefined;
  /** Whether it has begun a task. */
  served: boolean;
  /** Whether it was to end, and a successor is no restart. */
  retired: boolean;
  /** What was wrong with a reply, which ends the worker. */
  damage: unknown;
  /** How often it was looked for what it left since it has ended. */
  looks: number;
  /** The slots of tasks that it was running when it was stopped. */
  readonly vacated: number[];
  /** The counted handles last sent to it, and how it says that they have arrived. */
  sent: { arrival: number; handles: Sent[] } | undefined;
}

/** What a crew's workers are. */
export interface CrewOptions extends WorkerKind {
  processes: number;
  initializer: { target: TargetRef; args: Parcel } | undefined;
  /** How many tasks a worker does before it is replaced. */
  maxTasks: number;
  name: string;
  /** Where it was made. */
  caller: Caller;
}

/** The memory that all workers of a crew share. */
export type CrewMemory = Pick<PoolBody, "tasks" | "claims" | "bell">;

/** What a crew tells, and asks, those it works for. */
export interface CrewEvents {
  /** A worker was started, and can be posted to. */
  onStart(worker: PoolWorker): void;
  /** A worker has posted a reply. If this rejects, the worker is stopped. */
  onReply(worker: PoolWorker, reply: PoolReply): Promise<void>;
  /** A worker has ended, and is still one of `workers`: its replies are to be read. */
  onEnd(worker: PoolWorker): void;
  /** It no longer is. What it left is to be cleared up before it is replaced. */
  onRemoved(worker: PoolWorker, cause: unknown): void;
  /**
   * A worker that was removed may have run until now: to be cleared up again. Called
   * until its thread is dead, and once then, or until this returns `false`.
   */
  onLeaving(worker: PoolWorker, cause: unknown): boolean;
  /** Workers cannot be started, or end again and again before they begin a task. */
  onBroken(error: unknown): void;
  /** Whether there is work, or more may come. */
  needsWorkers(): boolean;
  /** Whether all work is done, and more may come. */
  isIdle(): boolean;
}

/** Keeps a number of workers running. */
export class Crew {
  readonly #workers = new Map<number, PoolWorker>();
  /** The workers that have not ended, by index. */
  readonly workers: ReadonlyMap<number, PoolWorker> = this.#workers;
  /** Whether they were ended for want of work, see {@linkcode resume}. */
  resting = false;
  /**
   * How many workers in a row have ended soon and without having begun a task. Whoever
   * sees that one has begun a task sets it to 0.
   */
  falseStarts = 0;
  /** Counts the workers that took the place of one that was not to end. */
  restarted = 0;
  readonly #options: CrewOptions;
  readonly #memory: CrewMemory;
  readonly #events: CrewEvents;
  #lastIndex = 0;
  #spawned = 0;
  #lingering: ReturnType<typeof setTimeout> | undefined;
  /** Workers that were told to stop and may still run, and why they ended. */
  readonly #leaving = new Map<PoolWorker, unknown>();
  readonly #watchLeaving = () => this.#watchLeavingNow();

  constructor(options: CrewOptions, memory: CrewMemory, events: CrewEvents) {
    this.#options = options;
    this.#memory = memory;
    this.#events = events;
  }

  /**
   * Starts all workers.
   *
   * @throws What starting one throws; the others are told to stop then.
   */
  start(): void {
    try {
      this.resume();
    } catch (error) {
      this.stop();
      throw error;
    }
  }

  /** Tells all workers to stop. */
  stop(): void {
    for (const worker of this.#workers.values()) worker.child.stop(TERMINATED);
  }

  /** Ends the workers if they have no work for {@linkcode LINGER_MS}. */
  linger(): void {
    if (this.#options.worker === "node") return;
    clearTimeout(this.#lingering);
    this.#lingering = setTimeout(() => {
      if (!this.#events.isIdle()) return;
      this.resting = true;
      for (const worker of this.#workers.values()) worker.retired = true;
      this.stop();
    }, LINGER_MS);
    holdByTimer(this.#lingering, false);
  }

  /** Starts the workers that are missing, or were ended for want of work. */
  resume(): void {
    const launched: ChildWorker[] = [];
    try {
      // Those that have not quite ended are replaced when they have.
      while (this.#workers.size < this.#options.processes) {
        launched.push(this.#spawn());
      }
    } finally {
      // Not in between: until a thread is made, nothing else gets on.
      for (const child of launched) child.attend();
    }
    this.resting = false;
  }

  // -- Starting -----------------------------------------------------------------

  /** Launches a worker, which is to be attended then. */
  #spawn(): ChildWorker {
    const index = this.#freeIndex();
    const outbox = Ring.create({ capacity: RESULT_BYTES });
    const { initializer, maxTasks, name } = this.#options;
    const body: PoolBody = {
      ...this.#memory,
      outbox: outbox.memory,
      index,
      initializer: initializer &&
        { target: initializer.target, args: initializer.args },
      maxTasks,
    };
    const ownName = `${name}-${++this.#spawned}`;
    const child = new ChildWorker({
      root: "./_pool_worker",
      name: ownName,
      path: pathBelow(ownName),
      daemon: true,
      worker: this.#options.worker,
      memoryLimit: this.#options.memoryLimit,
      permissions: this.#options.permissions,
      body,
      transfer: [],
      moved: [],
      onMessage: (message) => this.#receive(worker, message),
      onEnd: () => {
        // Its last word may still be on the way, or being read.
        if (!child.awaitsOutcome && !worker.hasWord) {
          this.#ended(worker, undefined);
        }
      },
    });
    let guest: Guest | undefined;
    if (this.#options.permissions !== undefined) {
      guest = new Guest(child.token);
      if (initializer !== undefined) guest.give(initializer.args);
    }
    const worker: PoolWorker = {
      index,
      name: ownName,
      outbox,
      readySince: undefined,
      served: false,
      retired: false,
      ended: false,
      hasWord: false,
      damage: undefined,
      looks: 0,
      vacated: [],
      sent: undefined,
      guest,
      child,
    };
    this.#workers.set(index, worker);
    try {
      child.launch();
    } catch (error) {
      this.#workers.delete(index);
      throw error;
    }
    this.#events.onStart(worker);
    return child;
  }

  /** An index no worker has; nor one that is leaving, as long as there are others. */
  #freeIndex(): number {
    const leaving = new Set(Array.from(this.#leaving.keys(), (w) => w.index));
    let spare = 0;
    for (let tried = 1; tried < DROPPED; tried++) {
      const index = (this.#lastIndex + tried - 1) % (DROPPED - 1) + 1;
      if (this.#workers.has(index)) continue;
      if (!leaving.has(index)) return this.#lastIndex = index;
      spare = index;
    }
    return this.#lastIndex = spare;
  }

  // -- Ending ---------------------------------------------------------------------

  async #receive(worker: PoolWorker, message: UpMessage): Promise<void> {
    try {
      if (message.type === "role") {
        await this.#events.onReply(worker, message.body as PoolReply);
      } else if (message.type === "failure") {
        worker.hasWord = true;
        const error = await unpack(message.error, undefined, worker.guest);
        this.#ended(worker, unpackThrown(error, this.#options.caller));
      } else if (message.type === "end") {
        worker.hasWord = true;
        this.#ended(worker, undefined);
      }
    } catch (error) {
      worker.damage ??= error;
      worker.child.stop(KILLED);
      if (worker.hasWord) this.#ended(worker, undefined);
    }
  }

  #ended(worker: PoolWorker, cause: unknown): void {
    if (worker.ended) return;
    worker.ended = true;
    this.#events.onEnd(worker);
    this.#workers.delete(worker.index);
    const exitCode = worker.child.exitCode ?? 1;
    this.#events.onRemoved(worker, cause);
    this.#leaving.set(worker, cause);
    addDuty(this.#watchLeaving);
    if (this.#isReplacing()) this.#checkStart(worker, exitCode, cause);
    if (this.#isReplacing()) {
      if (!worker.retired) this.restarted++;
      try {
        this.#spawn().attend();
      } catch (error) {
        this.#events.onBroken(error);
      }
    }
  }

  /** Whether a worker that has ended is to be replaced. */
  #isReplacing(): boolean {
    return !this.resting && this.#events.needsWorkers();
  }

  /**
   * A worker that was told to stop may run on for a while: what it then claims, or
   * spins for, is cleared up after it until its thread has really ended.
   */
  #watchLeavingNow(): void {
    for (const [worker, cause] of this.#leaving) {
      const dead = isDead(worker.child.token);
      const goOn = this.#events.onLeaving(worker, cause);
      if (dead || !goOn) this.#leaving.delete(worker);
    }
    if (this.#leaving.size === 0) removeDuty(this.#watchLeaving);
  }

  /** Gives up if workers end again and again before they have begun any task. */
  #checkStart(worker: PoolWorker, exitCode: number, cause: unknown): void {
    if (worker.served || worker.retired) return;
    const { readySince } = worker;
    if (readySince === undefined && cause !== undefined) {
      return this.#events.onBroken(cause);
    }
    if (performance.now() - (readySince ?? Infinity) > SOON_ENDED_MS) return;
    if (++this.falseStarts < FALSE_STARTS) return;
    const error = new WorkerError(
      `Cannot start pool: ${FALSE_STARTS} workers in a row ended before they began a task (exit code ${exitCode})`,
      cause === undefined ? { exitCode } : { exitCode, cause },
    );
    this.#events.onBroken(calledFrom(error, this.#options.caller));
  }
}
