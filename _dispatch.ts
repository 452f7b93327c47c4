/**
 * What becomes of a pool's tasks: results for whoever waits, failures, cancellation,
 * and the end. How they get to the workers is left to `_outgoing.ts`, how replies are
 * waited for to `_replies.ts`, and who the workers are to `_crew.ts`.
 *
 * One thread, the pool's, writes tasks and reads replies. Between two readings of
 * the replies nothing here waits, so its own state needs no protection; what is
 * shared with the workers is described in `_pool_protocol.ts`.
 *
 * @module
 */

import { decode, type Reader } from "./_codec.ts";
import { Crew, type CrewOptions, type PoolWorker } from "./_crew.ts";
import { Functions } from "./_functions.ts";
import { type Arrived, letGoOf, type Sent } from "./_handle.ts";
import { isDead, KILLED, TERMINATED } from "./_life.ts";
import { Outgoing, type PoolTask, takeBack } from "./_outgoing.ts";
import { type Parcel, transferOf, unpack } from "./_parcel.ts";
import {
  callIn,
  eventLoopTurn,
  PENDING,
  waitAsync,
  type WaitOptions,
  wake,
} from "./_park.ts";
import {
  ALL_ENDED,
  arrivalOf,
  BELL_BYTES,
  callWorker,
  DONE,
  FAILED,
  LEARNED,
  type PoolMessage,
  type PoolReply,
  READY,
  REPLIES,
  RETIRED,
  SPINNER,
  WANT_ARGUMENTS,
  WANT_FUNCTION,
  WORK,
} from "./_pool_protocol.ts";
import { Replies } from "./_replies.ts";
import type { Slots } from "./_slots.ts";
import { HOLDS_PROGRAM } from "./_thread.ts";
import type { TargetRef } from "./_target.ts";
import { calledFrom, unpackThrown } from "./_thrown.ts";
import { WorkerError } from "./errors.ts";
import type { PoolStats } from "./pool.ts";

const { compareExchange } = Atomics;

/** How long an answer of a worker that has sent it may be on its way. */
const ANSWER_MS = 1000;
/** How often, every 50 ms, an answer is looked for of a worker that has ended. */
const ANSWER_LOOKS = 20;

/** What a pool's workers are. */
export interface DispatchOptions extends CrewOptions {
  initializer:
    | { target: TargetRef; args: Parcel; sent: Sent[] }
    | undefined;
}

const NONE_ARRIVED: readonly Arrived[] = [];

/** Hands tasks to a crew of workers. */
export class Dispatch {
  readonly #options: DispatchOptions;
  readonly #bell = new Int32Array(new SharedArrayBuffer(BELL_BYTES));
  readonly #outgoing: Outgoing;
  readonly #slots: Slots<PoolTask>;
  readonly #crew: Crew;
  readonly #replies: Replies;
  /** Those of the crew. */
  readonly #workers: ReadonlyMap<number, PoolWorker>;
  /** The functions that tasks may name. */
  readonly functions = new Functions();
  /** How many workers it keeps running. */
  readonly processes: number;
  /** The streams of results that have not ended. */
  readonly streams = new Set<{ join(): void }>();
  /** The calls of many tasks that have not ended. */
  readonly jobs = new Set<{ fail(reason: unknown): void }>();
  /** Whether somebody waits for the end. */
  joining = false;
  #terminated: unknown;
  /** Counts the tasks that failed. */
  failures = 0;
  /** Work accepted and not yet submitted. */
  #held = 0;
  /** Tasks not yet settled. */
  #outstanding = 0;
  #closing = false;
  /** Whether all work is done and no more is taken. */
  #over = false;
  /** Whether all workers have ended, too. */
  #finished = false;
  #broken: unknown;
  #completed = 0;
  #queuedCalls = 0;

  constructor(options: DispatchOptions) {
    this.#options = options;
    this.processes = options.processes;
    this.#outgoing = new Outgoing({
      bell: this.#bell,
      mayLend: options.permissions === undefined,
      post: (message) => {
        for (const worker of this.#workers.values()) worker.child.post(message);
      },
      checkRunning: () => this.#checkRunning(),
    });
    this.#slots = this.#outgoing.slots;
    this.#crew = new Crew(
      options,
      {
        ...this.#outgoing.memory,
        bell: this.#bell.buffer as SharedArrayBuffer,
      },
      {
        onStart: (worker) => this.#equip(worker),
        onReply: (worker, reply) => this.#replyByMessage(worker, reply),
        onEnd: (worker) => this.#replies.readAll(worker),
        onRemoved: (worker, cause) => this.#clearUpRemoved(worker, cause),
        onLeaving: (worker, cause) => this.#clearUpLeaving(worker, cause),
        onBroken: (error) => this.#break(error),
        needsWorkers: () => this.#broken === undefined && !this.#isDone(),
        isIdle: () => this.#outstanding === 0 && !this.#closing,
      },
    );
    this.#workers = this.#crew.workers;
    this.#replies = new Replies(this.#workers, this.#bell, {
      onReply: (worker, reader) => this.#reply(worker, reader),
      onLook: () => this.#outgoing.refill(),
      expectsReplies: () => this.#outstanding > 0,
      onIdle: () => {
        this.settleIfDone();
        if (HOLDS_PROGRAM) this.#crew.linger();
      },
    });
    try {
      this.#crew.start();
    } catch (error) {
      this.#broken = error; // those that were started are not replaced
      takeBack(options.initializer?.sent);
      throw error;
    }
    if (HOLDS_PROGRAM) this.#crew.linger();
  }

  // -- Submitting -------------------------------------------------------------

  /**
   * Accepts a task with the values `items[from..to)`.
   *
   * @returns About how many bytes they take.
   * @throws What the codec throws for values it cannot send; nothing is accepted then.
   */
  submit(
    task: PoolTask,
    items: ArrayLike<unknown>,
    from: number,
    to: number,
    transfer: Transferable[] | undefined,
  ): number {
    this.#checkRunning();
    if (this.#crew.resting) this.#crew.resume();
    const size = this.#outgoing.send(task, items, from, to, transfer);
    this.#outstanding++;
    this.#queuedCalls += task.count;
    this.#replies.read();
    return size;
  }

  /** Refuses what no worker would come to do. */
  #checkRunning(): void {
    if (this.#broken !== undefined) throw this.#broken;
    if (this.#over) {
      throw new TypeError("Cannot submit task: the pool is closed");
    }
  }

  /** Whether more work would only wait for room. */
  get full(): boolean {
    return this.#outgoing.full;
  }

  // -- Replies ------------------------------------------------------------------

  /** Reads the replies that are there now, but not all that come meanwhile. */
  catchUp(): void {
    this.#replies.catchUp();
  }

  #reply(worker: PoolWorker, reader: Reader): void {
    const { words } = reader;
    const slot = words[0]!;
    const generation = words[1]!;
    const status = words[2]!;
    const count = words[3]!;
    if (status & LEARNED) this.#learned(worker, slot);
    switch (status & ~LEARNED) {
      case READY:
        worker.readySince = performance.now();
        return;
      case RETIRED:
        worker.retired = true;
        return;
      case WANT_ARGUMENTS:
      case WANT_FUNCTION:
        return this.#send(worker, slot, generation, status & ~LEARNED);
    }
    const task = this.#take(worker, slot, generation);
    if (task === undefined) return;
    let outcome = status & ~LEARNED;
    let value: unknown;
    try {
      value = decode(reader);
      if (outcome !== DONE) value = unpackThrown(value, task.caller);
    } catch (error) {
      if (worker.guest !== undefined) worker.damage ??= error;
      outcome = FAILED;
      value = error;
    }
    this.#settle(task, outcome, count, value);
  }

  /** The task a reply is for, which is thereby over. */
  #take(
    worker: PoolWorker,
    slot: number,
    generation: number,
  ): PoolTask | undefined {
    const task = this.#claimedBy(worker, slot, generation);
    if (task === undefined) return;
    // What it was sent has arrived.
    if (task.sent !== undefined && task.parcel === undefined) {
      task.sent = undefined;
    }
    if (worker.sent?.arrival === arrivalOf(slot, generation)) {
      worker.sent = undefined;
    }
    this.#slots.release(slot);
    return task;
  }

  #claimedBy(
    worker: PoolWorker,
    slot: number,
    generation: number,
  ): PoolTask | undefined {
    const task = this.#slots.claimed(worker.index, slot, generation);
    if (task !== undefined) this.#hasBegun(worker);
    return task;
  }

  #hasBegun(worker: PoolWorker): void {
    worker.served = true;
    this.#crew.falseStarts = 0;
  }

  /** A task is over, in whatever way. */
  #forget(task: PoolTask): void {
    this.#outgoing.letGo(task);
    this.#outstanding--;
    this.#queuedCalls -= task.count;
  }

  /** A task is over: with its value if `status` is DONE, or with an error. */
  #settle(
    task: PoolTask,
    status: number,
    count: number,
    value: unknown,
    arrived: readonly Arrived[] = NONE_ARRIVED,
  ): void {
    this.#forget(task);
    if (status === DONE) {
      this.#completed += task.count;
      task.done(value, arrived);
    } else {
      this.#completed += count;
      this.failures++;
      task.failed(value, arrived);
    }
  }

  #learned(worker: PoolWorker, slot: number): void {
    const fn = this.#slots.task(slot)?.fn;
    if (fn === undefined) return;
    this.functions.learned(fn, worker.index, this.#workers.size);
  }

  #send(
    worker: PoolWorker,
    slot: number,
    generation: number,
    wanted: number,
  ): void {
    const task = this.#claimedBy(worker, slot, generation);
    if (task === undefined) return;
    const message: PoolMessage = { slot, generation };
    if (wanted === WANT_FUNCTION) {
      message.definition = task.fn.target;
      return worker.child.post(message);
    }
    message.args = task.parcel!;
    worker.guest?.give(message.args);
    const arrival = arrivalOf(slot, generation);
    worker.sent = { arrival, handles: task.sent! };
    task.parcel = undefined;
    task.sent = undefined;
    worker.child.post(message, transferOf(message.args));
  }

  async #replyByMessage(worker: PoolWorker, reply: PoolReply): Promise<void> {
    const { slot, generation, status, count, value } = reply;
    if (status & LEARNED) this.#learned(worker, slot);
    const task = this.#take(worker, slot, generation);
    const arrived: Arrived[] = [];
    let outcome = status & ~LEARNED;
    let result: unknown;
    let damage: unknown;
    try {
      const arrive = (handles: Arrived[]) => void arrived.push(...handles);
      result = await unpack(value, arrive, worker.guest);
      if (outcome !== DONE) result = unpackThrown(result, task?.caller);
    } catch (error) {
      damage = worker.guest && error;
      outcome = FAILED;
      result = error;
    }
    if (task === undefined) letGoOf(arrived);
    else {
      this.#settle(task, outcome, count, result, arrived);
      this.#ring();
    }
    if (damage !== undefined) throw damage;
  }

  /** Has whoever reads the replies look at what has changed beside them. */
  #ring(): void {
    if (this.#outstanding === 0) this.settleIfDone();
    wake(this.#bell, REPLIES, 1);
  }

  // -- Giving up ------------------------------------------------------------------

  /**
   * Drops a task that is not wanted any more, without settling it. One that runs
   * goes on, and settles when it is done, unless `stopRunning`: then its worker
   * is replaced.
   */
  cancel(task: PoolTask, stopRunning: boolean): void {
    const { slot } = task;
    if (slot < 0) {
      if (!this.#outgoing.withdraw(task)) return;
    } else {
      if (this.#slots.task(slot) !== task) return;
      const owner = this.#slots.drop(slot, stopRunning);
      if (owner === undefined) {
        if (stopRunning) this.#ignore(task);
        return;
      }
      const arrival = arrivalOf(slot, this.#slots.generation(slot));
      const worker = this.#workers.get(owner);
      if (worker === undefined) this.#slots.release(slot);
      else {
        this.#vacate(worker, slot);
        this.#hasBegun(worker);
        if (task.sent !== undefined && task.parcel === undefined) {
          // Whether it had arrived is known when the worker has ended.
          worker.sent = { arrival, handles: task.sent };
          task.sent = undefined;
        }
        this.#stop(worker);
      }
    }
    this.#giveUp(task);
  }

  /**
   * Stops a worker whose task was dropped. It takes no other; but what it has answered
   * before may be in messages, which are lost when it is stopped.
   */
  async #stop(worker: PoolWorker): Promise<void> {
    const until = performance.now() + ANSWER_MS;
    for (let turns = 0; turns < 50 || performance.now() < until; turns++) {
      if (!this.#slots.awaitsAnswer(worker.index)) break;
      await eventLoopTurn();
    }
    worker.child.stop(TERMINATED);
  }

  /**
   * Takes a task out of its slot, which is used again when its worker is dead. As long
   * as that may run, the claim keeps it from taking another task: for a moment, until
   * it knew that it was told to stop, it would seem to have failed with the worker.
   */
  #vacate(worker: PoolWorker, slot: number): void {
    this.#slots.vacate(slot);
    worker.vacated.push(slot);
  }

  #reuseSlots(worker: PoolWorker): void {
    if (worker.vacated.length === 0 || !isDead(worker.child.token)) return;
    for (const slot of worker.vacated.splice(0)) this.#slots.remove(slot);
    this.#ring();
  }

  /** Its worker has answered, and may be at another task: it need not be stopped. */
  #ignore(task: PoolTask): void {
    task.done = task.failed = (_, arrived) => letGoOf(arrived);
    callIn(ANSWER_MS, async () => {
      await eventLoopTurn();
      this.catchUp();
      const { slot } = task;
      if (this.#slots.task(slot) !== task) return;
      // It only said so.
      this.#workers.get(this.#slots.owner(slot))?.child.stop(KILLED);
      this.#slots.release(slot);
      this.#giveUp(task);
    });
  }

  #giveUp(task: PoolTask): void {
    this.#forget(task);
    this.#ring();
  }

  #failAll(error: unknown): void {
    for (const task of this.#outgoing.clear()) {
      this.#settle(task, FAILED, 0, error);
    }
    this.#ring();
  }

  // -- What the crew tells ------------------------------------------------------------

  /** Gives a new worker what the others have, and takes note of what it is sent. */
  #equip(worker: PoolWorker): void {
    const { lent } = this.#outgoing;
    if (lent !== undefined) worker.child.post(lent);
    const { initializer } = this.#options;
    if (initializer !== undefined) {
      for (const handle of initializer.sent) handle.again();
    }
    this.functions.workerStarted();
  }

  #clearUpRemoved(worker: PoolWorker, cause: unknown): void {
    const arrival = worker.child.closeArrivals();
    if (worker.sent?.arrival !== arrival) takeBack(worker.sent?.handles);
    if (arrival === 0) takeBack(this.#options.initializer?.sent);
    this.functions.workerEnded(worker.index);
    this.#clearUp(worker, cause);
    this.#ring();
  }

  #clearUpLeaving(worker: PoolWorker, cause: unknown): boolean {
    if (this.#outstanding > 0) this.#clearUp(worker, cause);
    this.#reuseSlots(worker);
    return !this.#finished;
  }

  #clearUp(worker: PoolWorker, cause: unknown): void {
    // It may have gone while it spun for others, or after it was woken for a task.
    compareExchange(this.#bell, SPINNER, worker.index, 0);
    callWorker(this.#bell);
    const exitCode = worker.child.exitCode ?? 1;
    this.#failClaimed(worker, exitCode, cause ?? worker.damage);
  }

  /** Fails the task a dead worker had claimed. */
  #failClaimed(worker: PoolWorker, exitCode: number, cause: unknown): void {
    // What it has posted may still be on its way, as long as it is not dead; but it may
    // spin for ever.
    const isGone = ++worker.looks > ANSWER_LOOKS || isDead(worker.child.token);
    for (const slot of this.#slots.dropClaimed(worker.index, isGone)) {
      const task = this.#slots.task(slot)!;
      this.#hasBegun(worker);
      const arrival = arrivalOf(slot, this.#slots.generation(slot));
      if (
        task.parcel === undefined && worker.child.closeArrivals() === arrival
      ) {
        task.sent = undefined;
      }
      if (this.#slots.isFinished(slot)) task.sent = undefined; // it has arrived
      this.#vacate(worker, slot);
      const error = new WorkerError(
        `Cannot finish task: worker "${worker.name}" ended while running it (exit code ${exitCode})`,
        cause === undefined ? { exitCode } : { exitCode, cause },
      );
      this.#settle(task, FAILED, 0, calledFrom(error, task.caller));
    }
  }

  #break(error: unknown): void {
    if (this.#broken !== undefined) return;
    this.#broken = error;
    for (const job of this.jobs) job.fail(error);
    this.#failAll(error);
    this.#crew.stop();
  }

  // -- The end ------------------------------------------------------------------------

  /** Ends the workers once everything accepted is settled. */
  close(): void {
    this.#closing = true;
    this.settleIfDone();
  }

  /** Ends the workers now; what is unsettled fails with `error`. */
  terminate(error: unknown): void {
    this.#terminated = error;
    this.#closing = true;
    this.#break(error);
    this.#crew.stop();
  }

  /** Whether an error says that somebody has terminated it, who need not look at it. */
  isTermination(error: unknown): boolean {
    return error !== undefined && error === this.#terminated;
  }

  /** Takes note that something else, still to be submitted, is accepted work. */
  hold(): void {
    this.#held++;
  }

  /** Takes one {@linkcode hold} back. */
  release(): void {
    this.#held--;
    this.settleIfDone();
  }

  /** Whether the pool is closed and all that was accepted is settled. */
  #isDone(): boolean {
    return this.#closing && this.#outstanding === 0 && this.#held === 0 &&
      (this.streams.size === 0 || this.joining);
  }

  /** Ends the workers if the pool is closed and all is done. */
  settleIfDone(): void {
    if (!this.#isDone()) return;
    this.#over = true;
    this.#outgoing.close();
    wake(this.#bell, WORK, Infinity);
    if (this.#workers.size > 0 || this.#finished) return;
    this.#finished = true;
    takeBack(this.#options.initializer?.sent);
    this.#outgoing.end();
    wake(this.#bell, ALL_ENDED, Infinity);
  }

  /** Resolves when all workers have ended. */
  join(wait?: WaitOptions): Promise<void> {
    this.joining = true;
    for (const stream of this.streams) stream.join();
    this.settleIfDone();
    return waitAsync(
      "join pool",
      this.#bell,
      ALL_ENDED,
      () =>
        this.#workers.size === 0 && this.#outstanding === 0
          ? undefined
          : PENDING,
      wait,
    );
  }

  /** How many calls are where. */
  stats(): PoolStats {
    let running = 0;
    for (const task of this.#slots.running()) running += task.count;
    return {
      queued: this.#queuedCalls - running,
      running,
      completed: this.#completed,
      failed: this.failures,
      restarted: this.#crew.restarted,
    };
  }
}
