/**
 * The slots of a pool's tasks, and who has which: the pool's side of the claims that
 * `_pool_protocol.ts` describes.
 *
 * A slot has a task from {@linkcode Slots.add} until {@linkcode Slots.release}, which
 * makes void whatever still names that task: its frame, a claim, a late reply.
 *
 * @module
 */

import {
  claimOf,
  DROPPED,
  FINISHED,
  OWNER_MASK,
  QUEUED,
  SLOTS,
} from "./_pool_protocol.ts";

const { compareExchange, load, store } = Atomics;

/** Where tasks of type `T` are. */
export class Slots<T> {
  readonly #claims = new Int32Array(new SharedArrayBuffer(2 * 4 * SLOTS));
  readonly #tasks: (T | undefined)[] = [];
  readonly #generations = this.#claims.subarray(SLOTS);
  /** The slots that were used and are free; those from `#unusedFrom` are, too. */
  readonly #free = new Int32Array(SLOTS);
  #freeCount = 0;
  #unusedFrom = 0;

  /** The claims and the generations, for the workers. */
  get memory(): SharedArrayBuffer {
    return this.#claims.buffer as SharedArrayBuffer;
  }

  /** Gives a task a slot, in which any worker may claim it; -1 if there is none. */
  add(task: T): number {
    let slot = this.#unusedFrom;
    if (this.#freeCount > 0) slot = this.#free[--this.#freeCount]!;
    else if (slot < SLOTS) this.#unusedFrom++;
    else return -1;
    this.#tasks[slot] = task;
    store(this.#claims, slot, claimOf(this.#generations[slot]!, QUEUED));
    return slot;
  }

  /** Has others use a slot: that of a task no worker was told of, or one vacated. */
  remove(slot: number): void {
    this.#tasks[slot] = undefined;
    this.#free[this.#freeCount++] = slot;
  }

  /** Frees the slot of a task that is over, or not wanted any more. */
  release(slot: number): void {
    this.vacate(slot);
    this.remove(slot);
  }

  /**
   * Takes a task out of its slot, whose claim stays as it is until {@linkcode remove}: as
   * long as the worker that ran the task is not dead, it must find it DROPPED.
   */
  vacate(slot: number): void {
    store(this.#generations, slot, (this.#generations[slot]! + 1) | 0);
    this.#tasks[slot] = undefined;
  }

  /** The task in a slot. */
  task(slot: number): T | undefined {
    return this.#tasks[slot];
  }

  /** Tells the task in a slot from those that were in it before. */
  generation(slot: number): number {
    return this.#generations[slot]!;
  }

  /** The index of the worker that has a slot's task, if one has. */
  owner(slot: number): number {
    return load(this.#claims, slot) & OWNER_MASK;
  }

  /** The task that a worker means, if it has it. */
  claimed(worker: number, slot: number, generation: number): T | undefined {
    const task = this.#tasks[slot];
    if (task === undefined || this.#generations[slot] !== generation) return;
    const mine = claimOf(generation, worker);
    return (load(this.#claims, slot) & ~FINISHED) === mine ? task : undefined;
  }

  /**
   * Sees to it that no worker claims the task in a slot, nor hands it back.
   *
   * @param evenClaimed Whether that is wanted of a task that a worker runs, too.
   * @returns Who had it; `undefined` if a worker goes on with it, or has answered.
   */
  drop(slot: number, evenClaimed: boolean): number | undefined {
    const generation = this.#generations[slot]!;
    const dropped = claimOf(generation, DROPPED);
    while (true) {
      const word = load(this.#claims, slot);
      const owner = word & OWNER_MASK;
      if (owner !== QUEUED && !evenClaimed || word & FINISHED) return undefined;
      if (compareExchange(this.#claims, slot, word, dropped) === word) {
        return owner;
      }
    }
  }

  /**
   * Drops, one by one, what a worker has claimed that is dead, or was told to stop.
   * The slots are still to be released.
   *
   * @param evenFinished Whether also what it has answered: no answer will come.
   */
  *dropClaimed(worker: number, evenFinished: boolean): Iterable<number> {
    for (let slot = 0; slot < this.#unusedFrom; slot++) {
      if (this.#tasks[slot] === undefined) continue;
      const word = load(this.#claims, slot);
      if ((word & OWNER_MASK) !== worker) continue;
      if (word & FINISHED && !evenFinished) continue;
      const dropped = claimOf(this.#generations[slot]!, DROPPED) |
        word & FINISHED;
      // It may be handing it back, then it is still to be had, or be done with it.
      const found = compareExchange(this.#claims, slot, word, dropped);
      if (found === word) yield slot;
    }
  }

  /** Whether the worker that has, or had, a slot's task has answered. */
  isFinished(slot: number): boolean {
    return (load(this.#claims, slot) & FINISHED) !== 0;
  }

  /** Whether answers of a worker are on their way. */
  awaitsAnswer(worker: number): boolean {
    const finished = FINISHED | worker;
    for (let slot = 0; slot < this.#unusedFrom; slot++) {
      if (this.#tasks[slot] === undefined) continue;
      const word = load(this.#claims, slot);
      if ((word & (FINISHED | OWNER_MASK)) === finished) return true;
    }
    return false;
  }

  /** Drops all tasks, releases their slots and returns them. */
  clear(): T[] {
    const tasks: T[] = [];
    for (let slot = 0; slot < this.#unusedFrom; slot++) {
      const task = this.#tasks[slot];
      if (task === undefined) continue;
      this.drop(slot, true);
      this.release(slot);
      tasks.push(task);
    }
    return tasks;
  }

  /** The tasks that workers have. */
  *running(): Iterable<T> {
    for (let slot = 0; slot < this.#unusedFrom; slot++) {
      const task = this.#tasks[slot];
      if (task !== undefined && this.owner(slot) !== QUEUED) yield task;
    }
  }
}
