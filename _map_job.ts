/**
 * `map` and `starmap`: cutting the input into chunks, putting the results together.
 *
 * Unless the caller says how large, **chunks get smaller towards the end**: each is a
 * worker's quarter of what is left, so that all workers end at about the same time
 * however long an item takes (guided self-scheduling: Polychronopoulos and Kuck, 1987;
 * with a fraction of the share, as in factoring: Hummel, Schonberg and Flynn, 1992).
 * All are handed over at once: none waits for a busy main thread.
 *
 * @module
 */

import type { Dispatch } from "./_dispatch.ts";
import { type Arrived, letGoOf } from "./_handle.ts";
import {
  checkedResult,
  checkTuple,
  closeInput,
  isSync,
  type JobSpec,
  newTask,
  refusalOf,
  startLimit,
} from "./_jobs.ts";
import type { PoolTask } from "./_outgoing.ts";
import { type Limit, timedOut } from "./_park.ts";
import { STARMAP } from "./_pool_protocol.ts";

/** A chunk is this part of a worker's share of what is left. */
const SHARES = 4;
/** And no smaller than this part of its share of all. */
const SMALLEST_SHARES = 32;
/** A chunk's frame should not get much larger than this, in bytes. */
const CHUNK_BYTES = 512 * 1024;
/** Most items of a chunk chosen by default. */
const MAX_CHUNK = 16384;
/** Items of the first chunk when their size is unknown. */
const PROBE = 128;
/** After so many items of an input that is read at once, the time is looked at. */
const LOOK_MASK = 1023;
/** A call may have this many arguments. */
const MAX_ARGUMENTS = 4096;

const { concat } = Array.prototype;
const now = performance.now.bind(performance);

/** `map` and `starmap`: every item, results in the order of the input. */
export class MapJob {
  readonly #dispatch: Dispatch;
  readonly #spec: JobSpec;
  readonly #resolve: (values: unknown[]) => void;
  readonly #reject: (error: unknown) => void;
  readonly #limit: Limit;
  readonly #tasks = new Set<PoolTask>();
  /** The values of each chunk, in the order of the input. */
  readonly #parts: unknown[][] = [];
  /** The counted handles in them. */
  readonly #arrived: Arrived[] = [];
  #items: unknown[] = [];
  /** The input, while it comes one by one. */
  #iterator: AsyncIterator<unknown> | undefined;
  /** Most items of a chunk. */
  #most: number;
  #next = 0;
  #completed = 0;
  #over = false;
  #filling = false;
  /** Whether all items are in `#items`. */
  #whole: boolean;
  #more: (() => void) | undefined;

  constructor(
    dispatch: Dispatch,
    spec: JobSpec,
    source: Iterable<unknown> | AsyncIterable<unknown>,
    resolve: (values: unknown[]) => void,
    reject: (error: unknown) => void,
  ) {
    this.#dispatch = dispatch;
    this.#spec = spec;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#limit = startLimit(
      spec.what,
      spec.options,
      (reason) => this.#failWith(reason, true),
      () => dispatch.catchUp(),
    );
    this.#whole = isSync(source);
    this.#most = spec.options.chunkSize ?? 1;
    dispatch.jobs.add(this);
    dispatch.hold(); // the input is the user's code, which may close the pool
    try {
      if (isSync(source)) {
        this.#readAll(source);
        // Numbers are small; of other things the first chunk tells.
        const most = typeof this.#items[0] === "number" ? MAX_CHUNK : PROBE;
        this.#most = spec.options.chunkSize ?? most;
        this.#fill();
      } else {
        const iterator = source[Symbol.asyncIterator]();
        if (this.#over) closeInput(iterator);
        else this.#iterator = iterator;
      }
    } catch (error) {
      this.fail(error);
    }
    if (this.#iterator === undefined) dispatch.release();
    else this.#collect(this.#iterator);
  }

  /** Takes all items: what the caller does to its array later is of no consequence. */
  #readAll(source: Iterable<unknown>): void {
    if (Array.isArray(source) || ArrayBuffer.isView(source)) {
      this.#items = [...source];
      return;
    }
    const { what, options } = this.#spec;
    const { timeout = Infinity } = options;
    const deadline = now() + timeout;
    const items = this.#items;
    for (const item of source) {
      items.push(item);
      if ((items.length & LOOK_MASK) === 0 && now() > deadline) {
        this.#failWith(timedOut(what, timeout), true);
      }
      if (this.#over) return;
    }
  }

  /** How many items the next chunk is to have. */
  #chunkSize(): number {
    if (this.#spec.options.chunkSize !== undefined || !this.#whole) {
      return this.#most;
    }
    const { processes } = this.#dispatch;
    const { length } = this.#items;
    const share = Math.max(
      Math.ceil((length - this.#next) / (SHARES * processes)),
      Math.ceil(length / (SMALLEST_SHARES * processes)),
    );
    return Math.min(share, this.#most);
  }

  async #collect(iterator: AsyncIterator<unknown>): Promise<void> {
    try {
      while (!this.#over) {
        const { done, value } = checkedResult(await iterator.next());
        if (this.#over) return;
        if (done) break;
        this.#items.push(value);
        this.#fill();
        while (this.#tasks.size >= this.#window() && !this.#over) {
          await new Promise<void>((resolve) => this.#more = resolve);
        }
      }
      if (this.#over) return;
      this.#whole = true;
      this.#iterator = undefined;
      this.#fill(); // before the pool takes it that all is submitted
      this.#dispatch.release();
    } catch (error) {
      if (this.#over) return;
      this.#inputEnded();
      this.fail(error);
    }
  }

  #inputEnded(): void {
    this.#iterator = undefined;
    this.#dispatch.release();
  }

  #window(): number {
    return this.#dispatch.processes * 8;
  }

  /** Submits chunks while there is input and room. */
  #fill(): void {
    if (this.#over || this.#filling) return;
    this.#filling = true;
    const { length } = this.#items;
    try {
      while (this.#next < length && !this.#over) {
        if (this.#tasks.size > this.#window() && this.#dispatch.full) break;
        const left = length - this.#next;
        const size = this.#chunkSize();
        if (left < size && !this.#whole) break;
        this.#submit(this.#next, Math.min(size, left));
      }
    } catch (error) {
      this.fail(error);
    }
    this.#filling = false;
    if (
      this.#whole && this.#tasks.size === 0 && this.#next === length &&
      !this.#over
    ) {
      const refusal = length === 0 ? refusalOf(this.#spec) : undefined;
      if (refusal !== undefined) return this.fail(refusal);
      this.#end(false);
      this.#resolve(joined(this.#parts));
    }
  }

  #submit(from: number, count: number): void {
    const { what, mode } = this.#spec;
    if (mode === STARMAP) {
      for (let i = from; i < from + count; i++) {
        checkTuple(what, i, this.#items[i]);
      }
    }
    const part = this.#parts.push([]) - 1;
    const task = newTask(
      this.#spec,
      count,
      (values, arrived) => this.#done(task, part, values as unknown[], arrived),
      (error, arrived) => {
        this.#tasks.delete(task);
        if (this.#over) letGoOf(arrived);
        else this.fail(error);
      },
    );
    this.#tasks.add(task);
    let bytes: number;
    try {
      bytes = this.#dispatch.submit(
        task,
        this.#items,
        from,
        from + count,
        this.#spec.options.transfer,
      );
    } catch (error) {
      this.#tasks.delete(task);
      throw error;
    }
    if (this.#over) return this.#dispatch.cancel(task, false); // ended by a getter
    this.#next = from + count;
    if (this.#spec.options.chunkSize === undefined && this.#whole) {
      const fitting = Math.floor(CHUNK_BYTES * count / bytes);
      this.#most = Math.max(1, Math.min(fitting, MAX_CHUNK));
    }
  }

  #done(
    task: PoolTask,
    part: number,
    values: unknown[],
    arrived: readonly Arrived[],
  ): void {
    this.#tasks.delete(task);
    if (this.#over) return letGoOf(arrived);
    if (arrived.length > 0) this.#arrived.push(...arrived);
    this.#parts[part] = values;
    this.#completed += task.count;
    if (this.#spec.options.onProgress !== undefined) {
      try {
        this.#spec.options.onProgress({
          completed: this.#completed,
          total: this.#whole ? this.#items.length : undefined,
        });
      } catch (error) {
        return this.fail(error);
      }
    }
    this.#fill();
    this.#more?.();
  }

  /** Rejects, and cancels what has not started. */
  fail(error: unknown): void {
    this.#failWith(error, false);
  }

  #failWith(error: unknown, stopRunning: boolean): void {
    if (this.#over) return;
    this.#end(stopRunning);
    letGoOf(this.#arrived);
    this.#reject(error);
  }

  #end(stopRunning: boolean): void {
    this.#over = true;
    this.#limit.clear();
    this.#dispatch.jobs.delete(this);
    for (const task of this.#tasks) this.#dispatch.cancel(task, stopRunning);
    this.#tasks.clear();
    if (this.#iterator !== undefined) {
      closeInput(this.#iterator);
      this.#inputEnded();
    }
    this.#more?.();
  }
}

function joined(parts: unknown[][]): unknown[] {
  if (parts.length === 1) return parts[0]!;
  if (parts.length <= MAX_ARGUMENTS) return concat.apply([], parts);
  const all: unknown[] = [];
  for (const part of parts) for (const value of part) all.push(value);
  return all;
}
