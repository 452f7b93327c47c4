/**
 * The shared memories that a pool's workers have been given.
 *
 * A memory travels only in a message, to a worker known beforehand; who will take a
 * task is not. So each worker is given the memories a task mentions before the task
 * is put, once, and they are let go when no task mentions them any more. Small ones
 * (locks, queues) are kept for a while: the next task will mention them again.
 *
 * @module
 */

import { forgetMemory, memoryId } from "./_handle.ts";
import type { LentMessage } from "./_pool_protocol.ts";

/** How many memories that no task mentions are kept. */
const KEPT = 64;
/** The largest that is kept, in bytes. */
const KEPT_BYTES = 1 << 20;

interface Loan {
  memory: SharedArrayBuffer;
  /** How many unsettled tasks mention it. */
  tasks: number;
}

/** What a pool has lent its workers. */
export class Lending {
  readonly #loans = new Map<number, Loan>();
  readonly #post: (message: LentMessage) => void;

  /** @param post Posts to all workers. */
  constructor(post: (message: LentMessage) => void) {
    this.#post = post;
  }

  /** Gives the workers what a task mentions; returns the ids, for {@linkcode Lending.settle}. */
  lend(memories: Iterable<SharedArrayBuffer>): number[] {
    const ids: number[] = [];
    const lent: [number, SharedArrayBuffer][] = [];
    for (const memory of memories) {
      const id = memoryId(memory);
      ids.push(id);
      let loan = this.#loans.get(id);
      if (loan === undefined) {
        this.#loans.set(id, loan = { memory, tasks: 0 });
        lent.push([id, memory]);
      }
      loan.tasks++;
    }
    if (lent.length > 0) this.#post({ lent });
    return ids;
  }

  /** A task is settled that mentioned these. */
  settle(ids: number[]): void {
    for (const id of ids) {
      const loan = this.#loans.get(id);
      if (loan === undefined || --loan.tasks > 0) continue;
      if (loan.memory.byteLength > KEPT_BYTES) this.#return([id]);
    }
    if (this.#loans.size <= KEPT) return;
    const idle: number[] = [];
    for (const [id, loan] of this.#loans) if (loan.tasks === 0) idle.push(id);
    if (idle.length > KEPT) this.#return(idle);
  }

  /** What a new worker is to be given. */
  all(): LentMessage | undefined {
    if (this.#loans.size === 0) return undefined;
    return { lent: Array.from(this.#loans, ([id, loan]) => [id, loan.memory]) };
  }

  /** The pool has ended. */
  end(): void {
    for (const id of this.#loans.keys()) forgetMemory(id);
    this.#loans.clear();
  }

  #return(ids: number[]): void {
    for (const id of ids) {
      this.#loans.delete(id);
      forgetMemory(id);
    }
    this.#post({ returned: ids });
  }
}
