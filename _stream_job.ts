/**
 * `imap` and `imapUnordered`: pulling input as results are consumed.
 *
 * @module
 */

import { Audience } from "./_audience.ts";
import type { Dispatch } from "./_dispatch.ts";
import { type Arrived, letGoOf } from "./_handle.ts";
import {
  checkedResult,
  closeInput,
  expired,
  isSync,
  type JobSpec,
  newTask,
  refusalOf,
  rejectCall,
  startLimit,
} from "./_jobs.ts";
import { inspectAs } from "./_inspect.ts";
import type { PoolTask } from "./_outgoing.ts";
import { Limit } from "./_park.ts";

/** How long leaving a stream waits for an input that is busy, in milliseconds. */
const PATIENCE_MS = 100;

const AT_ONCE = Promise.resolve();

interface Place {
  task: PoolTask | undefined;
  state: "running" | "done" | "failed";
  values: unknown[];
  /** The counted handles in the values, or in the error. */
  arrived: readonly Arrived[];
  error: unknown;
  read: number;
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
  readonly #tasks = new Set<PoolTask>();
  readonly #audience = new Audience(
    () => this.#held && this.#askers.length === 0,
    () => this.#cut(),
  );
  #askers: PromiseWithResolvers<IteratorResult<unknown>>[] = [];
  #chunk: unknown[] = [];
  #completed = 0;
  #pulling = false;
  /** Whether there is no more input. */
  #dry = false;
  #over = false;
  /** Whether the pool that is being joined waits for it. */
  #held = false;
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
    this.#chunkSize = spec.options.chunkSize ?? 1;
    this.#window = Math.max(64, 8 * dispatch.processes);
    this.#isAsync = !isSync(source);
    this.#total = lengthOf(source);
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
    this.#limit = startLimit(spec.what, spec.options, (reason) => {
      this.#stop(true);
      this.#giveUp(reason);
    }, () => dispatch.catchUp());
    this.#limit.hold(false); // as long as nobody asks
    dispatch.streams.add(this);
    dispatch.jobs.add(this);
    this.#pull();
  }

  /**
   * The pool is being joined, which waits for what was accepted: an input of a known
   * length, and what somebody is reading.
   */
  join(): void {
    if (this.#dry || this.#over || this.#held) return;
    if (this.#total !== undefined) return this.#pull();
    this.#held = true;
    this.#dispatch.hold();
    if (this.#audience.exists) this.#audience.watch();
    else this.#cut();
  }

  /** Nobody reads it and the pool is being joined: what was pulled is all there is. */
  #cut(): void {
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
    if (this.#dispatch.isTermination(reason)) this.#limit.clear();
    this.#inputFailed(reason);
    this.#closeInput();
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
        const { done, value } = checkedResult(
          (this.#iterator as Iterator<unknown>).next(),
        );
        this.#pulling = false;
        if (!this.#over && !this.#dry) this.#take(done, value);
        else if (!done) this.#closeInput(); // it has ended this itself
      } catch (error) {
        this.#pulling = false;
        if (!this.#over) this.#inputFailed(error);
      }
    }
  }

  async #pullAsync(): Promise<void> {
    while (this.#wantsInput()) {
      this.#pulling = true;
      try {
        const { done, value } = checkedResult(await this.#iterator.next());
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
      this.#total = this.#pulled;
      const refusal = this.#pulled === 0 ? refusalOf(this.#spec) : undefined;
      if (refusal !== undefined) this.#error ??= { reason: refusal };
      this.#flush();
      this.#inputEnded();
      this.#answer();
    } else {
      this.#pulled++;
      this.#chunk.push(value);
      if (this.#chunk.length >= this.#chunkSize) this.#flush();
    }
  }

  #inputFailed(error: unknown): void {
    this.#chunk = [];
    this.#error ??= { reason: error };
    this.#inputEnded();
    this.#answer();
  }

  /** Tells the input that it is not read on; if it is a generator that runs, later. */
  #closeInput(): Promise<void> {
    if (this.#pulling && !this.#isAsync) return AT_ONCE;
    return closeInput(this.#iterator);
  }

  #inputEnded(): void {
    this.#dry = true;
    if (!this.#held) return;
    this.#held = false;
    this.#dispatch.release();
  }

  #flush(): void {
    const items = this.#chunk;
    if (items.length === 0) return;
    this.#chunk = [];
    const place: Place = {
      task: undefined,
      state: "running",
      values: [],
      arrived: [],
      error: undefined,
      read: 0,
    };
    const task = newTask(this.#spec, items.length, (values, arrived) => {
      if (this.#over) return letGoOf(arrived);
      place.values = values as unknown[];
      place.arrived = arrived;
      this.#settled(place, "done");
    }, (error, arrived) => {
      if (this.#over) return letGoOf(arrived);
      place.error = error;
      place.arrived = arrived;
      this.#settled(place, "failed");
    });
    place.task = task;
    this.#running++;
    this.#tasks.add(task);
    if (this.#ordered) this.#places.push(place);
    try {
      const { transfer } = this.#spec.options;
      this.#dispatch.submit(task, items, 0, items.length, transfer);
      if (this.#over) this.#dispatch.cancel(task, false); // ended by a getter
    } catch (error) {
      place.error = error;
      this.#settled(place, "failed");
    }
  }

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
          letGoOf(place.arrived);
          place.arrived = [];
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
          if (error !== undefined) {
            const { promise, reject } = this.#askers.shift()!;
            rejectCall(this.#dispatch, promise, reject, error.reason);
          }
        }
        continue;
      }
      if (place.state === "running") break;
      if (place.state === "failed") {
        const { promise, reject } = this.#askers.shift()!;
        this.#places.shift(); // it is not dropped
        this.#stop(false);
        rejectCall(this.#dispatch, promise, reject, place.error);
        continue;
      }
      const value = place.values[place.read];
      place.values[place.read++] = undefined;
      if (place.read === place.values.length) this.#places.shift();
      this.#settleAsker({ done: false, value });
    }
    if (this.#askers.length === 0) this.#limit.hold(false);
    this.#pull();
    this.#audience.watch();
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
    if (this.#over) return AT_ONCE;
    this.#over = true;
    this.#error = undefined;
    this.#limit.clear();
    this.#dispatch.jobs.delete(this);
    for (const task of this.#tasks) this.#dispatch.cancel(task, stopRunning);
    this.#tasks.clear();
    for (const { read, arrived } of this.#places) {
      if (read === 0) letGoOf(arrived);
    }
    this.#places = [];
    this.#chunk = [];
    this.#running = 0;
    this.#dispatch.streams.delete(this);
    this.#dispatch.settleIfDone();
    if (this.#dry) return AT_ONCE;
    this.#inputEnded();
    const closed = this.#closeInput();
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
    this.#audience.ask();
    const asker = Promise.withResolvers<IteratorResult<unknown>>();
    if (this.#askers.push(asker) === 1) this.#limit.hold(true);
    this.#answer();
    return asker.promise;
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
    this.#audience.loop();
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  static {
    inspectAs(StreamJob, () => "AsyncIterableIterator {}");
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
