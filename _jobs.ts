/**
 * Calls that are many tasks: cutting input into chunks, putting results together.
 *
 * @module
 */

import type { Dispatch, SentFunction, Task } from "./_dispatch.ts";
import {
  checkWait,
  MAX_TIMER_MS,
  timedOut,
  type WaitOptions,
} from "./_park.ts";

/** A chunk's frame should not get much larger than this, in bytes. */
const CHUNK_BYTES = 512 * 1024;
/** Most items of a chunk chosen by default. */
const MAX_CHUNK = 16384;
/** Items of the first chunk when their size is unknown. */
const PROBE = 128;
/** How long leaving a stream waits for an input that is busy, in milliseconds. */
const PATIENCE_MS = 100;
/** A call may have this many arguments. */
const MAX_ARGUMENTS = 4096;

const { concat } = Array.prototype;
const done = Promise.resolve();

/** What a job needs to know about its tasks. */
export interface JobSpec {
  what: string;
  fn: SentFunction;
  mode: number;
  caller: { stack?: string };
  chunkSize: number | undefined;
  options: WaitOptions & {
    onProgress?:
      | ((progress: { completed: number; total: number | undefined }) => void)
      | undefined;
    transfer?: Transferable[] | undefined;
  };
}

/** Why a call is over before it begins, if it is. */
function expired(
  what: string,
  { timeout, signal }: WaitOptions,
): { reason: unknown } | undefined {
  if (signal?.aborted) return { reason: signal.reason };
  if (timeout === 0) return { reason: timedOut(what, timeout) };
}

/** Watches a call's deadline and signal; `end` is called at most once. */
export class Limit {
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort: (() => void) | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * @throws {RangeError} If the timeout is negative or `NaN`.
   * @throws {DOMException & { name: "TimeoutError" }} If it is 0.
   * @throws The signal's reason, if it is already aborted.
   */
  constructor(
    what: string,
    options: WaitOptions,
    end: (reason: unknown) => void,
  ) {
    checkWait(what, options);
    const early = expired(what, options);
    if (early !== undefined) throw early.reason;
    const { timeout = Infinity, signal } = options;
    if (timeout <= MAX_TIMER_MS) {
      this.#timer = setTimeout(() => {
        this.clear();
        end(timedOut(what, timeout));
      }, timeout);
    }
    if (signal !== undefined) {
      this.#signal = signal;
      this.#onAbort = () => {
        this.clear();
        end(signal.reason);
      };
      signal.addEventListener("abort", this.#onAbort, { once: true });
    }
  }

  /** Stops watching. */
  clear(): void {
    clearTimeout(this.#timer);
    if (this.#onAbort !== undefined) {
      this.#signal!.removeEventListener("abort", this.#onAbort);
    }
  }
}

function newTask(
  spec: JobSpec,
  count: number,
  done: (value: unknown) => void,
  failed: (error: unknown) => void,
): Task {
  const { fn, mode, caller } = spec;
  return { fn, mode, count, caller, done, failed, slot: -1 };
}

// -- All results at once --------------------------------------------------------

/** `map` and `starmap`: every item, results in the order of the input. */
export class MapJob {
  readonly #dispatch: Dispatch;
  readonly #spec: JobSpec;
  readonly #resolve: (values: unknown[]) => void;
  readonly #reject: (error: unknown) => void;
  readonly #limit: Limit;
  readonly #tasks = new Set<Task>();
  /** The values of each chunk, in the order of the input. */
  readonly #parts: unknown[][] = [];
  #items: unknown[] = [];
  /** The input, while it comes one by one. */
  #iterator: AsyncIterator<unknown> | undefined;
  #chunkSize: number;
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
    this.#limit = new Limit(spec.what, spec.options, (reason) => {
      this.#end(true);
      reject(reason);
    });
    this.#whole = isSync(source);
    this.#chunkSize = spec.chunkSize ?? 1;
    dispatch.jobs.add(this);
    try {
      if (isSync(source)) {
        // What the caller does to its array later is of no consequence.
        this.#items = [...source];
        this.#chunkSize = spec.chunkSize ?? this.#goodSize(this.#items);
      } else this.#iterator = source[Symbol.asyncIterator]();
    } catch (error) {
      this.fail(error);
      return;
    }
    if (this.#whole) this.#fill();
    else this.#collect(this.#iterator!);
  }

  #goodSize(items: ArrayLike<unknown>): number {
    const share = Math.ceil(items.length / (this.#dispatch.processes * 4));
    // Numbers are small; of other things the first chunk tells.
    const most = typeof items[0] === "number" ? MAX_CHUNK : PROBE;
    return Math.max(1, Math.min(share, most));
  }

  async #collect(iterator: AsyncIterator<unknown>): Promise<void> {
    this.#dispatch.hold();
    try {
      while (!this.#over) {
        const { done, value } = await iterator.next();
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
      this.#inputEnded();
      this.#fill();
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
        if (left < this.#chunkSize && !this.#whole) break;
        this.#submit(this.#next, Math.min(this.#chunkSize, left));
      }
    } catch (error) {
      this.fail(error);
    }
    this.#filling = false;
    if (
      this.#whole && this.#tasks.size === 0 && this.#next === length &&
      !this.#over
    ) {
      this.#end(false);
      this.#resolve(joined(this.#parts));
    }
  }

  #submit(from: number, count: number): void {
    const part = this.#parts.push([]) - 1;
    const task = newTask(
      this.#spec,
      count,
      (values) => this.#done(task, part, values as unknown[]),
      (error) => {
        this.#tasks.delete(task);
        this.fail(error);
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
    this.#next = from + count;
    if (this.#spec.chunkSize === undefined && this.#whole) {
      const { length } = this.#items;
      const share = Math.ceil(length / (this.#dispatch.processes * 4));
      const fitting = Math.floor(CHUNK_BYTES * count / bytes);
      this.#chunkSize = Math.max(1, Math.min(share, fitting, MAX_CHUNK));
    }
  }

  #done(task: Task, part: number, values: unknown[]): void {
    this.#tasks.delete(task);
    if (this.#over) return;
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
    if (this.#over) return;
    this.#end(false);
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

function isSync(
  source: Iterable<unknown> | AsyncIterable<unknown>,
): source is Iterable<unknown> {
  // `in` would refuse a string.
  return (source as AsyncIterable<unknown>)[Symbol.asyncIterator] === undefined;
}

/** Tells an iterator that nothing more is wanted; resolves when it has taken note. */
async function closeInput(
  iterator: Iterator<unknown> | AsyncIterator<unknown>,
): Promise<void> {
  try {
    await iterator.return?.();
  } catch {
    // The consumer leaves; nobody is left to be told.
  }
}

/** Resolves with the promise, or else after {@linkcode PATIENCE_MS}. */
function orSoon(promise: Promise<void>): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, PATIENCE_MS);
    promise.then(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}

function joined(parts: unknown[][]): unknown[] {
  if (parts.length === 1) return parts[0]!;
  if (parts.length <= MAX_ARGUMENTS) return concat.apply([], parts);
  const all: unknown[] = [];
  for (const part of parts) for (const value of part) all.push(value);
  return all;
}

// -- Results as they come ---------------------------------------------------------

interface Place {
  task: Task | undefined;
  state: "running" | "done" | "failed";
  values: unknown[];
  error: unknown;
  read: number;
}

interface Asker {
  resolve(result: IteratorResult<unknown>): void;
  reject(error: unknown): void;
}

/**
 * `imap` and `imapUnordered`: input is pulled as results are consumed.
 *
 * At any time at most `#window` chunks are submitted or done and not yet
 * consumed, which bounds the memory however long the input is.
 */
export class StreamJob implements AsyncIterableIterator<unknown> {
  readonly #dispatch: Dispatch;
  readonly #spec: JobSpec;
  readonly #ordered: boolean;
  readonly #iterator: Iterator<unknown> | AsyncIterator<unknown>;
  readonly #isAsync: boolean;
  readonly #window: number;
  readonly #chunkSize: number;
  #total: number | undefined;
  readonly #limit: Limit;
  #pulled = 0;
  /** In the order they are to be consumed; without the running ones, if unordered. */
  #places: Place[] = [];
  #running = 0;
  #askers: Asker[] = [];
  #chunk: unknown[] = [];
  #completed = 0;
  #pulling = false;
  /** Whether there is no more input. */
  #dry = false;
  #over = false;
  #error: { reason: unknown } | undefined;

  constructor(
    dispatch: Dispatch,
    spec: JobSpec,
    source: Iterable<unknown> | AsyncIterable<unknown>,
    ordered: boolean,
  ) {
    this.#dispatch = dispatch;
    this.#spec = spec;
    this.#ordered = ordered;
    this.#chunkSize = spec.chunkSize ?? 1;
    this.#window = Math.max(16, 4 * dispatch.processes);
    this.#isAsync = !isSync(source);
    this.#total = lengthOf(source);
    checkWait(spec.what, { timeout: spec.options.timeout });
    const early = expired(spec.what, spec.options);
    this.#iterator = isSync(source)
      ? source[Symbol.iterator]()
      : source[Symbol.asyncIterator]();
    if (early !== undefined) {
      // Whoever asks for the first result is told.
      this.#over = this.#dry = true;
      this.#error = early;
      this.#limit = new Limit(spec.what, {}, () => {});
      return;
    }
    this.#limit = new Limit(spec.what, spec.options, (reason) => {
      this.#stop(true);
      this.#giveUp(reason);
    });
    dispatch.streams.add(this);
    dispatch.jobs.add(this);
    this.#pull();
  }

  /** The pool is being joined: what was pulled is all there is. */
  cut(): void {
    if (this.#dry || this.#over) return;
    if (this.#total !== undefined) return this.#pull(); // all of it was accepted
    this.#flush();
    this.fail(
      new TypeError(
        `Cannot ${this.#spec.what}: the pool is closed and its input was not read to the end`,
      ),
    );
  }

  /** Reads no more input; after the results that come there is this error. */
  fail(reason: unknown): void {
    if (this.#dry || this.#over) return;
    this.#dry = true;
    this.#chunk = [];
    closeInput(this.#iterator);
    this.#error ??= { reason };
    this.#answer();
  }

  // -- Input ---------------------------------------------------------------------

  #wantsInput(): boolean {
    if (this.#over || this.#dry || this.#pulling) return false;
    if (this.#dispatch.joining && this.#total !== undefined) return true;
    const ahead = this.#places.length + (this.#ordered ? 0 : this.#running);
    return ahead < this.#window || ahead < this.#askers.length;
  }

  #pull(): void {
    if (this.#isAsync) return void this.#pullAsync();
    while (this.#wantsInput()) {
      this.#pulling = true;
      try {
        const { done, value } = (this.#iterator as Iterator<unknown>).next();
        this.#pulling = false;
        this.#take(done, value);
      } catch (error) {
        this.#pulling = false;
        this.#inputFailed(error);
      }
    }
  }

  async #pullAsync(): Promise<void> {
    while (this.#wantsInput()) {
      this.#pulling = true;
      try {
        const { done, value } = await this.#iterator.next();
        this.#pulling = false;
        if (!this.#over && !this.#dry) this.#take(done, value);
      } catch (error) {
        this.#pulling = false;
        if (!this.#over) this.#inputFailed(error);
      }
    }
  }

  #take(done: boolean | undefined, value: unknown): void {
    if (done) {
      this.#dry = true;
      this.#total = this.#pulled;
      this.#flush();
      this.#answer();
    } else {
      this.#pulled++;
      this.#chunk.push(value);
      if (this.#chunk.length >= this.#chunkSize) this.#flush();
    }
  }

  #inputFailed(error: unknown): void {
    this.#dry = true;
    this.#chunk = [];
    this.#error ??= { reason: error };
    this.#answer();
  }

  #flush(): void {
    const items = this.#chunk;
    if (items.length === 0) return;
    this.#chunk = [];
    const place: Place = {
      task: undefined,
      state: "running",
      values: [],
      error: undefined,
      read: 0,
    };
    const task = newTask(this.#spec, items.length, (values) => {
      place.values = values as unknown[];
      this.#settled(place, "done");
    }, (error) => {
      place.error = error;
      this.#settled(place, "failed");
    });
    place.task = task;
    this.#running++;
    this.#tasks.add(task);
    if (this.#ordered) this.#places.push(place);
    try {
      const { transfer } = this.#spec.options;
      this.#dispatch.submit(task, items, 0, items.length, transfer);
    } catch (error) {
      place.error = error;
      this.#settled(place, "failed");
    }
  }

  readonly #tasks = new Set<Task>();

  #settled(place: Place, state: "done" | "failed"): void {
    if (this.#over) return;
    place.state = state;
    this.#tasks.delete(place.task!);
    place.task = undefined;
    this.#running--;
    if (!this.#ordered) this.#places.push(place);
    if (state === "done") {
      this.#completed += place.values.length;
      const { onProgress } = this.#spec.options;
      if (onProgress !== undefined) {
        try {
          onProgress({ completed: this.#completed, total: this.#total });
        } catch (error) {
          place.state = "failed";
          place.error = error;
        }
      }
    }
    this.#answer();
  }

  // -- Output --------------------------------------------------------------------

  /** Serves those who ask, in their order. */
  #answer(): void {
    while (this.#askers.length > 0) {
      const place = this.#places[0];
      if (place === undefined) {
        if (this.#over) this.#settleAsker({ done: true, value: undefined });
        else if (!this.#dry || this.#running > 0) break;
        else {
          const error = this.#error;
          this.#stop(false);
          if (error !== undefined) this.#askers.shift()!.reject(error.reason);
        }
        continue;
      }
      if (place.state === "running") break;
      if (place.state === "failed") {
        this.#places.shift();
        const asker = this.#askers.shift()!;
        this.#stop(false);
        asker.reject(place.error);
        continue;
      }
      const value = place.values[place.read];
      place.values[place.read++] = undefined;
      if (place.read === place.values.length) this.#places.shift();
      this.#settleAsker({ done: false, value });
    }
    this.#pull();
  }

  #settleAsker(result: IteratorResult<unknown>): void {
    this.#askers.shift()!.resolve(result);
  }

  #giveUp(reason: unknown): void {
    const [first, ...rest] = this.#askers;
    this.#askers = [];
    if (first === undefined) this.#error = { reason };
    else first.reject(reason);
    for (const asker of rest) asker.resolve({ done: true, value: undefined });
  }

  /** Nothing more is wanted; resolves when the input has taken note. */
  #stop(stopRunning: boolean): Promise<void> {
    if (this.#over) return done;
    this.#over = true;
    this.#limit.clear();
    this.#dispatch.jobs.delete(this);
    for (const task of this.#tasks) this.#dispatch.cancel(task, stopRunning);
    this.#tasks.clear();
    this.#places = [];
    this.#chunk = [];
    this.#running = 0;
    this.#dispatch.streams.delete(this);
    this.#dispatch.settleIfDone();
    if (this.#dry) return done;
    this.#dry = true;
    const closed = closeInput(this.#iterator);
    // An async generator that is being asked answers that first, if ever.
    return this.#pulling ? orSoon(closed) : closed;
  }

  /** The next result. */
  next(): Promise<IteratorResult<unknown>> {
    if (this.#over) {
      const error = this.#error;
      this.#error = undefined;
      if (error !== undefined) return Promise.reject(error.reason);
      return Promise.resolve({ done: true, value: undefined });
    }
    return new Promise((resolve, reject) => {
      this.#askers.push({ resolve, reject });
      this.#answer();
    });
  }

  /** Cancels what has not started. */
  async return(value?: unknown): Promise<IteratorResult<unknown>> {
    this.#error = undefined;
    const closed = this.#stop(false);
    while (this.#askers.length > 0) {
      this.#settleAsker({ done: true, value: undefined });
    }
    await closed;
    return { done: true, value };
  }

  /** Cancels what has not started. */
  async throw(error?: unknown): Promise<IteratorResult<unknown>> {
    await this.return();
    throw error;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }
}

function lengthOf(source: object): number | undefined {
  if (Array.isArray(source) || ArrayBuffer.isView(source)) {
    return (source as unknown[]).length;
  }
  return source instanceof Set || source instanceof Map
    ? source.size
    : undefined;
}
