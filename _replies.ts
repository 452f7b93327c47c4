/**
 * Reads what a pool's workers reply, and sleeps while none of them has replied.
 *
 * Each worker has an outbox, a ring that only it writes and only the pool's thread
 * reads; REPLIES of the pool's bell is rung after each reply, see `_pool_protocol.ts`.
 * What a reply means is not known here.
 *
 * @module
 */

import { Reader } from "./_codec.ts";
import type { PoolWorker } from "./_crew.ts";
import { KILLED } from "./_life.ts";
import { eventLoopTurn, PENDING, spin, TURN_MS, waitAsync } from "./_park.ts";
import { HEAD_BYTES, REPLIES } from "./_pool_protocol.ts";

/** How many replies are read before the waiting code gets a turn. */
const BATCH = 512;
/** How often a waking wait looks for replies. */
const SPINS = 600;
/** Most sleeps between two waking waits. */
const MAX_SLEEPS = 16;

const reader = new Reader();

/** What is asked of, and told to, whoever wants the replies. */
export interface RepliesEvents {
  /** Handles the reply in a reader, whose place is after the head. */
  onReply(worker: PoolWorker, reader: Reader): void;
  /** Replies were looked for: workers may have made room for tasks. */
  onLook(): void;
  /** Whether there are any to come. */
  expectsReplies(): boolean;
  /** There are none to come. */
  onIdle(): void;
}

/** The replies of a crew's workers. */
export class Replies {
  readonly #workers: ReadonlyMap<number, PoolWorker>;
  readonly #bell: Int32Array;
  readonly #events: RepliesEvents;
  #reading = false;
  /** Whose replies are being read. */
  #from: PoolWorker | undefined;
  // No worker has started before the first.
  #sleepsToGo = 1;
  #sleepsAfterFailure = 1;
  readonly #eachReply = () => this.#handle(this.#from!);
  readonly #areThere = () => this.#hasAny();
  /** Also over when what was expected has come in another way. */
  readonly #attempt = () => {
    this.#events.onLook();
    const isOver = !this.#events.expectsReplies() || this.#hasAny();
    return isOver ? undefined : PENDING;
  };

  constructor(
    workers: ReadonlyMap<number, PoolWorker>,
    bell: Int32Array,
    events: RepliesEvents,
  ) {
    this.#workers = workers;
    this.#bell = bell;
    this.#events = events;
  }

  /** Reads replies for as long as there are any to come. */
  read(): void {
    if (!this.#reading) this.#readOn();
  }

  async #readOn(): Promise<void> {
    this.#reading = true;
    await undefined; // the caller may have more to submit
    let turn = performance.now();
    while (this.#events.expectsReplies()) {
      if (this.#readBatch() || this.#stayAwake()) {
        if (performance.now() - turn > TURN_MS) {
          await eventLoopTurn();
          turn = performance.now();
        } else await undefined;
        continue;
      }
      await waitAsync("wait for results", this.#bell, REPLIES, this.#attempt);
      turn = performance.now();
    }
    this.#reading = false;
    this.#events.onIdle();
  }

  /** Reads the replies that are there now, but not all that come meanwhile. */
  catchUp(): void {
    for (const worker of this.#workers.values()) {
      let left = worker.outbox.size;
      while (left > 0 && worker.damage === undefined) {
        const count = this.#readFrom(worker);
        if (count === 0) break;
        left -= count;
      }
    }
  }

  /** Reads all that a worker has left. */
  readAll(worker: PoolWorker): void {
    while (this.#readFrom(worker) > 0 && worker.damage === undefined);
  }

  #hasAny(): boolean {
    for (const worker of this.#workers.values()) {
      if (!worker.outbox.empty) return true;
    }
    return false;
  }

  #readBatch(): boolean {
    let any = false;
    for (const worker of this.#workers.values()) {
      if (worker.outbox.empty) continue;
      if (this.#readFrom(worker) > 0) any = true;
    }
    this.#events.onLook();
    return any;
  }

  #readFrom(worker: PoolWorker): number {
    this.#from = worker;
    let count = 0;
    try {
      count = worker.outbox.drain(reader, this.#eachReply, BATCH);
    } catch (error) {
      worker.damage ??= error; // what is in the ring is no message
    }
    if (worker.damage !== undefined) worker.child.stop(KILLED);
    return count;
  }

  #handle(worker: PoolWorker): void {
    try {
      if (reader.end < HEAD_BYTES) {
        throw new Error("Cannot read reply: too short");
      }
      reader.position = HEAD_BYTES;
      this.#events.onReply(worker, reader);
    } catch (error) {
      // Not something a worker of ours would write.
      worker.damage ??= error;
    }
  }

  /**
   * Waits awake for a few us where that has lately been worth it: a reply that
   * comes so soon is there long before a sleeper would be awake. Each failure
   * doubles the number of sleeps until the next try, so that tasks which take
   * longer cost nothing of the kind.
   */
  #stayAwake(): boolean {
    if (this.#sleepsToGo > 0) {
      this.#sleepsToGo--;
      return false;
    }
    if (spin(this.#areThere, SPINS)) {
      this.#sleepsAfterFailure = 1;
      return true;
    }
    this.#sleepsToGo = this.#sleepsAfterFailure;
    if (this.#sleepsAfterFailure < MAX_SLEEPS) this.#sleepsAfterFailure *= 2;
    return false;
  }
}
