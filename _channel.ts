/**
 * Values through a ring: what queues and pipes have in common.
 *
 * It owns no shared words. A value is encoded before, and decoded after, any lock of
 * the ring is held, so code of the user (getters) never runs under one, and a value
 * that cannot be cloned is refused before anything has happened.
 *
 * - **No wake-up is lost**: it waits at the ring's spots with attempts that look at
 *   the ring first and at its end (closed, other side gone) second, and once more at
 *   the ring if that is so. What ends a ring comes after the last put.
 * - **A waiter that gives up** has taken nothing: taking is the last thing an attempt
 *   does.
 * - **Order**: while async puts (gets) of this thread wait, later ones queue up behind
 *   them. A blocking put does, too, and makes those before it itself; a blocking get
 *   does not.
 *
 * @module
 */

import { typeName } from "./_checks.ts";
import { decode, encode, Reader, Writer } from "./_codec.ts";
import { checkStop } from "./_life.ts";
import {
  checkWait,
  lookAgain,
  PENDING,
  ready,
  Spins,
  waitAsync,
  type WaitOptions,
  waitSync,
} from "./_park.ts";
import {
  type Message,
  type Ring,
  type Spot,
  TAKE_EMPTY,
  TAKE_INT,
  type TakeResult,
} from "./_ring.ts";
import { copyOfMessage } from "./_ring_frame.ts";

const rejected = Promise.reject.bind(Promise);

/** First byte of a message that is bytes as they are. The codec never begins so. */
const RAW = 0;
/** Longer bytes travel beside the head. */
const INLINE_BYTES = 512;

/** Says when it is over. */
export interface Ends {
  /** Why nothing can be put any more. */
  putEnded(): Error | undefined;
  /** Why nothing can be got any more once the ring is empty. */
  getEnded(): Error | undefined;
}

// -- This thread's memory -----------------------------------------------------

const reader = new Reader();
let spare: Writer | undefined;

/** Takes the writer, since getters that run while it is used may put something too. */
function takeWriter(): Writer {
  const writer = spare ?? new Writer();
  spare = undefined;
  writer.reset();
  return writer;
}

function giveBack(writer: Writer): void {
  if (writer.blobs.length > 0) writer.blobs = [];
  spare = writer;
}

function encoded(value: unknown): Writer {
  const writer = takeWriter();
  let done = false;
  try {
    encode(writer, value);
    done = true;
  } finally {
    if (!done) giveBack(writer);
  }
  return writer;
}

function isInt32(value: unknown): value is number {
  return typeof value === "number" && (value | 0) === value &&
    (value !== 0 || 1 / value > 0);
}

// -- Channel ------------------------------------------------------------------

/** This thread's access to the values in a ring. */
export class Channel {
  /** What carries the values. */
  readonly ring: Ring;

  readonly #ends: Ends;
  /** How many async puts and gets of this thread wait. */
  #putsWaiting = 0;
  #getsWaiting = 0;
  readonly #putOver = (): void => {
    this.#putsWaiting--;
  };
  readonly #getOver = (): void => {
    this.#getsWaiting--;
  };
  /** How long to look again before sleeping: longer where it has paid off. */
  readonly #putSpins = new Spins(32);
  readonly #getSpins = new Spins(32);

  /**
   * Constructs a new instance.
   *
   * @param ring What carries the values.
   * @param ends Says when it is over.
   */
  constructor(ring: Ring, ends: Ends) {
    this.ring = ring;
    this.#ends = ends;
  }

  // -- Putting ----------------------------------------------------------------

  put(what: string, value: unknown, options?: WaitOptions): Promise<void> {
    try {
      if (options !== undefined) checkWait(what, options);
      if (isInt32(value)) {
        if (this.#putsWaiting === 0 && this.ring.tryPutInt(value)) {
          return ready(undefined);
        }
        return this.#putLater(what, value, options);
      }
      return this.#putMessage(what, encoded(value), options);
    } catch (error) {
      return rejected(error);
    }
  }

  putSync(what: string, value: unknown, options?: WaitOptions): void {
    if (options !== undefined) checkWait(what, options);
    checkStop();
    if (isInt32(value)) {
      if (this.#putsWaiting > 0 || !this.ring.tryPutInt(value)) {
        this.#putNow(what, value, options);
      }
    } else this.#putMessageNow(what, encoded(value), options);
  }

  tryPut(value: unknown): boolean {
    checkStop();
    const mayGo = this.#putsWaiting === 0;
    if (isInt32(value)) return mayGo && this.ring.tryPutInt(value);
    const writer = encoded(value);
    try {
      if (mayGo) return this.ring.tryPut(writer);
      this.ring.unitsFor(writer);
      return false;
    } finally {
      giveBack(writer);
    }
  }

  putBytes(
    what: string,
    bytes: ArrayBufferView | ArrayBufferLike,
    options?: WaitOptions,
  ): Promise<void> {
    try {
      if (options !== undefined) checkWait(what, options);
      return this.#putMessage(what, rawMessage(what, bytes), options);
    } catch (error) {
      return rejected(error);
    }
  }

  putBytesSync(
    what: string,
    bytes: ArrayBufferView | ArrayBufferLike,
    options?: WaitOptions,
  ): void {
    if (options !== undefined) checkWait(what, options);
    checkStop();
    this.#putMessageNow(what, rawMessage(what, bytes), options);
  }

  #putMessage(
    what: string,
    writer: Writer,
    options: WaitOptions | undefined,
  ): Promise<void> {
    let message: Message;
    try {
      if (this.#putsWaiting > 0) this.ring.unitsFor(writer);
      else if (this.ring.tryPut(writer)) return ready(undefined);
      message = copyOfMessage(writer); // what it was made of may change meanwhile
    } finally {
      giveBack(writer);
    }
    return this.#putLater(what, message, options);
  }

  #putMessageNow(
    what: string,
    writer: Writer,
    options: WaitOptions | undefined,
  ): void {
    try {
      if (this.#putsWaiting > 0) this.ring.unitsFor(writer);
      else if (this.ring.tryPut(writer)) return;
      this.#putNow(what, writer, options);
    } finally {
      giveBack(writer);
    }
  }

  #putLater(
    what: string,
    item: number | Message,
    options: WaitOptions | undefined,
  ): Promise<void> {
    this.#putsWaiting++;
    const attempt = () => this.#putOnce(item);
    return wait(what, this.ring.space, attempt, options, this.#putOver);
  }

  #putNow(
    what: string,
    item: number | Message,
    options: WaitOptions | undefined,
  ): void {
    if (options === undefined && !this.ring.closed) {
      const spins = this.#putSpins;
      for (let i = 0; i < spins.limit; i++) {
        spins.pause();
        if (this.#isNext() && this.#offer(item)) return spins.found();
      }
      spins.missed();
    }
    const { words, at } = this.ring.space;
    waitSync<void>(
      what,
      words,
      at,
      () => this.#isNext() ? this.#putOnce(item) : PENDING,
      options,
    );
  }

  /** Whether no async put comes before a blocking one, or none any more. */
  #isNext(): boolean {
    if (this.#putsWaiting === 0) return true;
    const { words, at } = this.ring.space;
    lookAgain(words, at);
    return this.#putsWaiting === 0;
  }

  #offer(item: number | Message): boolean {
    return typeof item === "number"
      ? this.ring.tryPutInt(item)
      : this.ring.tryPut(item);
  }

  #putOnce(item: number | Message): undefined | typeof PENDING {
    const error = this.#ends.putEnded();
    if (error !== undefined) throw error;
    return this.#offer(item) ? undefined : PENDING;
  }

  // -- Getting ----------------------------------------------------------------

  get(what: string, options?: WaitOptions): Promise<unknown> {
    try {
      if (options !== undefined) checkWait(what, options);
      if (this.#getsWaiting === 0) {
        const kind = this.ring.tryTake(reader);
        if (kind !== TAKE_EMPTY) return ready(this.#value(kind));
      }
      return this.#getLater(what, () => this.#getOnce(), options);
    } catch (error) {
      return rejected(error);
    }
  }

  getSync(what: string, options?: WaitOptions): unknown {
    if (options !== undefined) checkWait(what, options);
    checkStop();
    let kind = this.ring.tryTake(reader);
    if (kind === TAKE_EMPTY && options === undefined) kind = this.#spinTake();
    if (kind !== TAKE_EMPTY) return this.#value(kind);
    const { words, at } = this.ring.items;
    return waitSync(what, words, at, () => this.#getOnce(), options);
  }

  /** Takes a value if one is there, `undefined` if none is. */
  tryGet(): { value: unknown } | undefined {
    checkStop();
    const kind = this.ring.tryTake(reader);
    return kind === TAKE_EMPTY ? undefined : { value: this.#value(kind) };
  }

  /** Gets values until the end. Leaving a loop over them early leaves the rest. */
  values(what: string): AsyncIterableIterator<unknown, undefined> {
    let hasLeft = false;
    return {
      next: () => hasLeft ? ready(end()) : this.#next(what, () => hasLeft),
      return: () => {
        hasLeft = true;
        // Whoever asked for a value does not get one any more.
        const { words, at } = this.ring.items;
        lookAgain(words, at);
        return ready(end());
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }

  #next(
    what: string,
    hasLeft: () => boolean,
  ): Promise<IteratorResult<unknown, undefined>> {
    try {
      if (this.#getsWaiting === 0) {
        const kind = this.ring.tryTake(reader);
        if (kind !== TAKE_EMPTY) {
          return ready({ done: false, value: this.#value(kind) });
        }
      }
      const attempt = () => hasLeft() ? end() : this.#nextOnce();
      return this.#getLater(what, attempt, undefined);
    } catch (error) {
      return rejected(error);
    }
  }

  getBytes(
    what: string,
    options?: WaitOptions,
  ): Promise<Uint8Array<ArrayBuffer>> {
    try {
      if (options !== undefined) checkWait(what, options);
      return this.#getLater(what, () => this.#getBytesOnce(what), options);
    } catch (error) {
      return rejected(error);
    }
  }

  getBytesSync(what: string, options?: WaitOptions): Uint8Array<ArrayBuffer> {
    checkStop();
    const { words, at } = this.ring.items;
    const attempt = () => this.#getBytesOnce(what);
    return waitSync(what, words, at, attempt, options);
  }

  /** Waits until something can be got or never will be. */
  poll(what: string, options?: WaitOptions): Promise<true> {
    return this.#getLater(what, () => this.#pollOnce(), options);
  }

  pollSync(what: string, options?: WaitOptions): true {
    const { words, at } = this.ring.items;
    return waitSync<true>(
      what,
      words,
      at,
      () => this.#pollOnce(),
      options,
    );
  }

  #getLater<T>(
    what: string,
    attempt: () => T | typeof PENDING,
    options: WaitOptions | undefined,
  ): Promise<T> {
    this.#getsWaiting++;
    return wait(what, this.ring.items, attempt, options, this.#getOver);
  }

  #spinTake(): TakeResult {
    const spins = this.#getSpins;
    const { ring } = this;
    for (let i = 0; i < spins.limit; i++) {
      spins.pause();
      const kind = ring.tryTake(reader);
      if (kind !== TAKE_EMPTY) {
        spins.found();
        return kind;
      }
    }
    spins.missed();
    return TAKE_EMPTY;
  }

  /** Takes, and looks for the end only if there is nothing to take. */
  #takeOnce(): TakeResult | Error {
    const kind = this.ring.tryTake(reader);
    if (kind !== TAKE_EMPTY) return kind;
    const error = this.#ends.getEnded();
    if (error === undefined) return TAKE_EMPTY;
    // What was put before the end.
    const last = this.ring.tryTake(reader);
    return last === TAKE_EMPTY ? error : last;
  }

  #getOnce(): unknown | typeof PENDING {
    const kind = this.#takeOnce();
    if (typeof kind !== "number") throw kind;
    return kind === TAKE_EMPTY ? PENDING : this.#value(kind);
  }

  #nextOnce(): IteratorResult<unknown, undefined> | typeof PENDING {
    const kind = this.#takeOnce();
    if (typeof kind !== "number") return end();
    if (kind === TAKE_EMPTY) return PENDING;
    return { done: false, value: this.#value(kind) };
  }

  #getBytesOnce(what: string): Uint8Array<ArrayBuffer> | typeof PENDING {
    const kind = this.#takeOnce();
    if (typeof kind !== "number") throw kind;
    if (kind === TAKE_EMPTY) return PENDING;
    if (kind === TAKE_INT || reader.bytes[0] !== RAW) {
      throw new TypeError(
        `Cannot ${what}: the message is a value, not bytes`,
      );
    }
    return rawBytes();
  }

  #pollOnce(): true | typeof PENDING {
    if (!this.ring.empty || this.#ends.getEnded() !== undefined) return true;
    return PENDING;
  }

  #value(kind: TakeResult): unknown {
    if (kind === TAKE_INT) return this.ring.immediate;
    if (reader.bytes[0] === RAW) return rawBytes();
    return decode(reader);
  }
}

function end(): IteratorResult<never, undefined> {
  return { done: true, value: undefined };
}

/**
 * Waits at a spot; the promise may be awaited after it was rejected.
 *
 * @param over Called when the wait is over in any way, at that very moment.
 */
function wait<T>(
  what: string,
  { words, at }: Spot,
  attempt: () => T | typeof PENDING,
  options: WaitOptions | undefined,
  over: () => void,
): Promise<T> {
  const done = waitAsync<T>(
    what,
    words,
    at,
    () => {
      let value: T | typeof PENDING;
      try {
        value = attempt();
      } catch (error) {
        over();
        throw error;
      }
      if (value !== PENDING) over();
      return value;
    },
    options,
    over,
  );
  done.catch(() => {});
  return done;
}

// -- Bytes as they are --------------------------------------------------------

function rawMessage(
  what: string,
  bytes: ArrayBufferView | ArrayBufferLike,
): Writer {
  const view = bytesOf(what, bytes);
  const writer = takeWriter();
  writer.writeU8(RAW);
  if (view.length <= INLINE_BYTES) writer.writeBytes(view);
  else writer.blobs = [view];
  return writer;
}

function bytesOf(
  what: string,
  bytes: ArrayBufferView | ArrayBufferLike,
): Uint8Array {
  if (ArrayBuffer.isView(bytes)) {
    return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  if (bytes instanceof ArrayBuffer || bytes instanceof SharedArrayBuffer) {
    // With a length of its own: another thread may let the buffer grow meanwhile.
    return new Uint8Array(bytes, 0, bytes.byteLength);
  }
  throw new TypeError(
    `Cannot ${what}: expected an ArrayBuffer or a view of one, received ${
      typeName(bytes)
    }`,
  );
}

function rawBytes(): Uint8Array<ArrayBuffer> {
  return (reader.blobs.length > 0
    ? reader.blobs[0]!
    : reader.bytes.slice(1, reader.end)) as Uint8Array<ArrayBuffer>;
}
