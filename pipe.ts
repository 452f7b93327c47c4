/**
 * Pipes between two workers: {@linkcode pipe} and its {@linkcode Connection}s.
 *
 * ```ts
 * import { pipe } from "@parallel/multiprocessing/pipe";
 * import { assertEquals } from "@std/assert";
 *
 * const [left, right] = pipe<string, number>();
 * await left.send("how many?");
 * assertEquals(await right.recv(), "how many?");
 *
 * await right.send(42);
 * assertEquals(await left.recv(), 42);
 * ```
 *
 * A pipe is a ring for each direction (`_ring.ts`), and for each end a table of who
 * holds it (`_ends.ts`), where the questions about lost wake-ups, waiters that give up
 * and dead workers are answered.
 *
 * @module
 */

import { Channel } from "./_channel.ts";
import { checkObject, checkType } from "./_checks.ts";
import { Holders } from "./_ends.ts";
import {
  ARRIVED,
  defineHandle,
  guardHandle,
  HANDLE,
  type HandleParts,
  noteArrived,
} from "./_handle.ts";
import { inspectAs } from "./_inspect.ts";
import {
  checkTimeout,
  checkWait,
  isTimeout,
  type WaitOptions,
  wake,
} from "./_park.ts";
import { Ring } from "./_ring.ts";
import { ConnectionClosedError } from "./errors.ts";

export { ConnectionClosedError };
export type { WaitOptions };

const CAPACITY = 64 * 1024 * 1024;

/** Options for {@linkcode pipe}. */
export interface PipeOptions {
  /**
   * Whether both ends send and receive. Otherwise the first only receives and the
   * second only sends.
   *
   * @default {true}
   */
  duplex?: boolean | undefined;
}

/** Makes the only calls of the constructor that succeed. */
let making: Construction | undefined;

interface Construction {
  own: Holders;
  peer: Holders;
  outgoing: Ring | undefined;
  incoming: Ring | undefined;
}

function make(construction: Construction): Connection<unknown, unknown> {
  making = construction;
  try {
    return new Connection();
  } finally {
    making = undefined;
  }
}

/**
 * Creates a pipe. Python's `multiprocessing.Pipe`.
 *
 * @typeParam A What the first connection sends.
 * @typeParam B What the second connection sends.
 * @param options Additional options.
 * @returns The two ends. Unless `duplex`, the first receives what the second sends.
 * @throws {TypeError} If `duplex` is not a boolean.
 *
 * @example Usage
 * ```ts
 * import { pipe } from "@parallel/multiprocessing/pipe";
 * import { assertEquals } from "@std/assert";
 *
 * const [reader, writer] = pipe<never, string>({ duplex: false });
 * writer.sendSync("one way");
 *
 * assertEquals(reader.recvSync(), "one way");
 * ```
 */
export function pipe<A = unknown, B = A>(
  options: PipeOptions = {},
): [Connection<A, B>, Connection<B, A>] {
  checkObject("create pipe", options, "{ duplex: false }");
  const { duplex = true } = options;
  checkType("create pipe", "duplex", duplex, "boolean");
  const first = new Holders();
  const second = new Holders();
  const toSecond = duplex ? Ring.create({ capacity: CAPACITY }) : undefined;
  const toFirst = Ring.create({ capacity: CAPACITY });
  first.open();
  second.open();
  return [
    make({
      own: first,
      peer: second,
      outgoing: toSecond,
      incoming: toFirst,
    }) as Connection<A, B>,
    make({
      own: second,
      peer: first,
      outgoing: toFirst,
      incoming: toSecond,
    }) as Connection<B, A>,
  ];
}

/** Number of the hold a connection has without having been delivered. */
const MADE_HERE = "made here";

/**
 * An end of a pipe. Python's `multiprocessing.connection.Connection`.
 *
 * - **Messages** arrive whole, in the order they were sent, each at one receiver. They
 *   are copied as `structuredClone` would copy them, when they are sent. One that
 *   cannot be cloned raises `DataCloneError` in the sender, and one that holds a
 *   handle or a `SharedArrayBuffer` a `TypeError`.
 * - **Backpressure:** the pipe has a buffer of its own for each direction, of 64 MiB,
 *   taken as needed; a send waits while it is full. A message may have that size.
 * - **Ends are counted per worker.** Passing a connection to a worker (in `args`, pool
 *   items or initializer arguments) gives it a copy; closing yours leaves the other
 *   open. A copy that came with a pool task is closed when that task settles. A
 *   worker's copies are closed when it ends.
 * - **The other end is gone** when all its copies are closed: what was sent can still
 *   be received, then `recv` rejects with {@linkcode ConnectionClosedError}; `send`
 *   rejects at once. **Your own copy of the other end counts**, as in Python: close it
 *   after handing it on, or you will never see the end of the stream.
 * - **If a worker ends**, even by being killed in the middle of a send, its messages
 *   are there whole or not at all, and the other end learns of it within about 100 ms.
 * - **Blocking:** the `…Sync` forms block the thread and may be used in every thread.
 *
 * @typeParam Send What this end sends.
 * @typeParam Receive What this end receives.
 *
 * @example The end of a stream
 * ```ts
 * import { ConnectionClosedError, pipe } from "@parallel/multiprocessing/pipe";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const [reader, writer] = pipe<never, number>({ duplex: false });
 * await writer.send(1);
 * writer.close();
 *
 * assertEquals(await reader.recv(), 1);
 * await assertRejects(() => reader.recv(), ConnectionClosedError);
 * ```
 */
export class Connection<
  // deno-lint-ignore no-explicit-any -- as `new Map()` is a `Map<any, any>`.
  Send = any,
  // deno-lint-ignore no-explicit-any -- likewise.
  Receive = any,
> {
  readonly #own: Holders;
  readonly #peer: Holders;
  readonly #outgoing: Channel | undefined;
  readonly #incoming: Channel | undefined;
  /** Why this thread holds the end: how it came by it. */
  readonly #holds: Set<string> = new Set();
  /** Of these, what is still counted as sent, too. */
  readonly #unaccepted: Set<string> = new Set();

  /**
   * Connections are made by {@linkcode pipe}.
   *
   * @throws {TypeError} Always.
   */
  constructor() {
    if (making === undefined) {
      throw new TypeError("Cannot create connection: use pipe()");
    }
    const { own, peer, outgoing, incoming } = making;
    this.#own = own;
    this.#peer = peer;
    const ends = {
      putEnded: () => this.#sendEnded(),
      getEnded: () => this.#recvEnded(),
    };
    if (outgoing !== undefined) this.#outgoing = new Channel(outgoing, ends);
    if (incoming !== undefined) this.#incoming = new Channel(incoming, ends);
    this.#holds.add(MADE_HERE);
    guardHandle(this, own.memory);
  }

  /**
   * Sends a message, waiting until there is room. Never blocks the event loop.
   *
   * @param message The message. It is copied before this returns.
   * @param options Additional options.
   * @returns A promise that resolves when the message is in the pipe.
   * @throws {ConnectionClosedError} If this end is closed or the other is gone.
   * @throws {RangeError} If the message is larger than the pipe's buffer.
   * @throws {DOMException & { name: "DataCloneError" }} If it cannot be cloned.
   * @throws {TypeError} If this end only receives, or the message holds a handle.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   * @throws The signal's reason, if `options.signal` aborts first.
   *
   * @example Usage
   * ```ts
   * import { pipe } from "@parallel/multiprocessing/pipe";
   * import { assertEquals } from "@std/assert";
   *
   * const [left, right] = pipe<{ id: number }>();
   * await left.send({ id: 1 });
   *
   * assertEquals(await right.recv(), { id: 1 });
   * ```
   */
  send(message: Send, options?: WaitOptions): Promise<void> {
    try {
      return this.#writable("send").put("send", message, options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Sends a message, blocking this thread until there is room.
   *
   * @param message The message.
   * @param options Additional options.
   * @throws {ConnectionClosedError} If this end is closed or the other is gone.
   * @throws {RangeError} If the message is larger than the pipe's buffer.
   * @throws {DOMException & { name: "DataCloneError" }} If it cannot be cloned.
   * @throws {TypeError} If this end only receives, or the message holds a handle.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   *
   * @example Usage
   * ```ts
   * import { pipe } from "@parallel/multiprocessing/pipe";
   * import { assertEquals } from "@std/assert";
   *
   * const [left, right] = pipe<string>();
   * left.sendSync("hello", { timeout: 1000 });
   *
   * assertEquals(right.recvSync(), "hello");
   * ```
   */
  sendSync(message: Send, options?: Pick<WaitOptions, "timeout">): void {
    this.#writable("send").putSync("send", message, options);
  }

  /**
   * Receives the next message, waiting until there is one. Never blocks the event
   * loop, and keeps the program alive while it waits.
   *
   * @param options Additional options.
   * @returns A promise for the message.
   * @throws {ConnectionClosedError} If this end is closed, or the other is gone and
   * everything was received.
   * @throws {TypeError} If this end only sends.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   * @throws The signal's reason, if `options.signal` aborts first.
   *
   * @example Usage
   * ```ts
   * import { pipe } from "@parallel/multiprocessing/pipe";
   * import { assertEquals } from "@std/assert";
   *
   * const [left, right] = pipe<string>();
   * const message = left.recv();
   * await right.send("hello");
   *
   * assertEquals(await message, "hello");
   * ```
   */
  recv(options?: WaitOptions): Promise<Receive> {
    try {
      const channel = this.#readable("receive");
      return channel.get("receive", options) as Promise<Receive>;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Receives the next message, blocking this thread until there is one.
   *
   * @param options Additional options.
   * @returns The message.
   * @throws {ConnectionClosedError} If this end is closed, or the other is gone and
   * everything was received.
   * @throws {TypeError} If this end only sends.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   *
   * @example Usage
   * ```ts
   * import { pipe } from "@parallel/multiprocessing/pipe";
   * import { assertThrows } from "@std/assert";
   *
   * const [left] = pipe<string>();
   *
   * assertThrows(() => left.recvSync({ timeout: 10 }), DOMException, "timed out");
   * ```
   */
  recvSync(options?: Pick<WaitOptions, "timeout">): Receive {
    const channel = this.#readable("receive");
    return channel.getSync("receive", options) as Receive;
  }

  /**
   * Returns whether `recv` would not have to wait: there is a message, or the end of
   * the stream.
   *
   * @param options Additional options. The timeout is `0` if not given: it only looks.
   * @returns `true` if there is something, `false` if the timeout elapsed first.
   * @throws {ConnectionClosedError} If this end is closed.
   * @throws {TypeError} If this end only sends.
   * @throws The signal's reason, if `options.signal` aborts first.
   *
   * @example Usage
   * ```ts
   * import { pipe } from "@parallel/multiprocessing/pipe";
   * import { assertEquals } from "@std/assert";
   *
   * const [left, right] = pipe<string>();
   * assertEquals(await left.poll(), false);
   *
   * const polled = left.poll({ timeout: 1000 });
   * await right.send("hello");
   * assertEquals(await polled, true);
   * ```
   */
  async poll(options: WaitOptions = {}): Promise<boolean> {
    const channel = this.#readable("poll");
    const { timeout = 0, signal } = options;
    checkWait("poll", options);
    try {
      return await channel.poll("poll", { timeout, signal }) &&
        this.#stillMine();
    } catch (error) {
      if (isTimeout(error, signal)) return false;
      throw error;
    }
  }

  /**
   * Returns whether `recvSync` would not block, blocking this thread meanwhile.
   *
   * @param options Additional options. The timeout is `0` if not given: it only looks.
   * @returns `true` if there is something, `false` if the timeout elapsed first.
   * @throws {ConnectionClosedError} If this end is closed.
   * @throws {TypeError} If this end only sends.
   *
   * @example Usage
   * ```ts
   * import { pipe } from "@parallel/multiprocessing/pipe";
   * import { assertEquals } from "@std/assert";
   *
   * const [left, right] = pipe<string>();
   * assertEquals(left.pollSync({ timeout: 10 }), false);
   *
   * right.close();
   * assertEquals(left.pollSync(), true); // the end of the stream
   * ```
   */
  pollSync(options: Pick<WaitOptions, "timeout"> = {}): boolean {
    const channel = this.#readable("poll");
    const { timeout = 0 } = options;
    checkTimeout("poll", options);
    try {
      return channel.pollSync("poll", { timeout });
    } catch (error) {
      if (isTimeout(error)) return false;
      throw error;
    }
  }

  /**
   * Sends bytes as a message, waiting until there is room.
   *
   * @param bytes A buffer or a view; of a view only the bytes it covers. They are
   * copied, also if they are in shared memory.
   * @param options Additional options.
   * @returns A promise that resolves when the message is in the pipe.
   * @throws {ConnectionClosedError} If this end is closed or the other is gone.
   * @throws {RangeError} If the message is larger than the pipe's buffer.
   * @throws {TypeError} If this end only receives, or `bytes` is something else.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   * @throws The signal's reason, if `options.signal` aborts first.
   *
   * @example Usage
   * ```ts
   * import { pipe } from "@parallel/multiprocessing/pipe";
   * import { assertEquals } from "@std/assert";
   *
   * const [left, right] = pipe();
   * await left.sendBytes(new Uint8Array([1, 2, 3]).subarray(1));
   *
   * assertEquals(await right.recvBytes(), new Uint8Array([2, 3]));
   * ```
   */
  sendBytes(
    bytes: ArrayBufferView | ArrayBufferLike,
    options?: WaitOptions,
  ): Promise<void> {
    try {
      const channel = this.#writable("send bytes");
      return channel.putBytes("send bytes", bytes, options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Sends bytes as a message, blocking this thread until there is room.
   *
   * @param bytes A buffer or a view; of a view only the bytes it covers. They are
   * copied, also if they are in shared memory.
   * @param options Additional options.
   * @throws {ConnectionClosedError} If this end is closed or the other is gone.
   * @throws {RangeError} If the message is larger than the pipe's buffer.
   * @throws {TypeError} If this end only receives, or `bytes` is something else.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   *
   * @example Usage
   * ```ts
   * import { pipe } from "@parallel/multiprocessing/pipe";
   * import { assertEquals } from "@std/assert";
   *
   * const [left, right] = pipe();
   * left.sendBytesSync(new TextEncoder().encode("hello"));
   *
   * assertEquals(new TextDecoder().decode(right.recvBytesSync()), "hello");
   * ```
   */
  sendBytesSync(
    bytes: ArrayBufferView | ArrayBufferLike,
    options?: Pick<WaitOptions, "timeout">,
  ): void {
    this.#writable("send bytes").putBytesSync("send bytes", bytes, options);
  }

  /**
   * Receives a message of bytes, waiting until there is one. (`recv` gives such a
   * message as a `Uint8Array` too.)
   *
   * @param options Additional options.
   * @returns A promise for the bytes.
   * @throws {ConnectionClosedError} If this end is closed, or the other is gone and
   * everything was received.
   * @throws {TypeError} If this end only sends, or the message was not sent as bytes:
   * it is received and lost then.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   * @throws The signal's reason, if `options.signal` aborts first.
   *
   * @example Usage
   * ```ts
   * import { pipe } from "@parallel/multiprocessing/pipe";
   * import { assertEquals } from "@std/assert";
   *
   * const [left, right] = pipe();
   * await left.sendBytes(new Uint8Array(4 * 1024 * 1024));
   *
   * assertEquals((await right.recvBytes()).length, 4 * 1024 * 1024);
   * ```
   */
  recvBytes(options?: WaitOptions): Promise<Uint8Array<ArrayBuffer>> {
    try {
      const channel = this.#readable("receive bytes");
      return channel.getBytes("receive bytes", options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Receives a message of bytes, blocking this thread until there is one.
   *
   * @param options Additional options.
   * @returns The bytes.
   * @throws {ConnectionClosedError} If this end is closed, or the other is gone and
   * everything was received.
   * @throws {TypeError} If this end only sends, or the message was not sent as bytes:
   * it is received and lost then.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   *
   * @example Usage
   * ```ts
   * import { pipe } from "@parallel/multiprocessing/pipe";
   * import { assertEquals } from "@std/assert";
   *
   * const [left, right] = pipe();
   * left.sendBytesSync(new Uint8Array([7]));
   *
   * assertEquals(right.recvBytesSync(), new Uint8Array([7]));
   * ```
   */
  recvBytesSync(
    options?: Pick<WaitOptions, "timeout">,
  ): Uint8Array<ArrayBuffer> {
    const channel = this.#readable("receive bytes");
    return channel.getBytesSync("receive bytes", options);
  }

  /**
   * Whether this worker's copy of the end is closed.
   *
   * @returns `true` after {@linkcode Connection.close}.
   *
   * @example Usage
   * ```ts
   * import { pipe } from "@parallel/multiprocessing/pipe";
   * import { assertEquals } from "@std/assert";
   *
   * const [left, right] = pipe();
   * left.close();
   *
   * assertEquals(left.closed, true);
   * assertEquals(right.closed, false);
   * ```
   */
  get closed(): boolean {
    return this.#holds.size === 0;
  }

  /**
   * Closes this worker's copy of the end. Copies in other workers stay open. What
   * waits on it here rejects. Idempotent.
   *
   * @example Usage
   * ```ts
   * import { ConnectionClosedError, pipe } from "@parallel/multiprocessing/pipe";
   * import { assertRejects } from "@std/assert";
   *
   * const [left, right] = pipe<string>();
   * right.close();
   *
   * await assertRejects(() => left.send("hello"), ConnectionClosedError);
   * ```
   */
  close(): void {
    if (this.#holds.size === 0) return;
    this.#holds.clear();
    this.#letGo();
  }

  /**
   * Calls {@linkcode Connection.close}.
   *
   * @example Usage
   * ```ts
   * import { pipe } from "@parallel/multiprocessing/pipe";
   * import { assertEquals } from "@std/assert";
   *
   * const [left, right] = pipe<string>();
   * {
   *   using sender = right;
   *   await sender.send("hello");
   * }
   *
   * assertEquals(await left.recv(), "hello");
   * assertEquals(await left.poll(), true);
   * ```
   */
  [Symbol.dispose](): void {
    this.close();
  }

  #letGo(): void {
    this.#own.close();
    // Those at the other end, and what waits here.
    for (const channel of [this.#outgoing, this.#incoming]) {
      if (channel === undefined) continue;
      const { items, space } = channel.ring;
      wake(items.words, items.at, Infinity);
      wake(space.words, space.at, Infinity);
    }
  }

  #writable(what: string): Channel {
    if (this.#outgoing === undefined) {
      throw new TypeError(`Cannot ${what}: this end of the pipe only receives`);
    }
    const error = this.#sendEnded();
    if (error !== undefined) throw error;
    return this.#outgoing;
  }

  #readable(what: string): Channel {
    if (this.#incoming === undefined) {
      throw new TypeError(`Cannot ${what}: this end of the pipe only sends`);
    }
    if (this.closed) throw this.#closedError(what);
    return this.#incoming;
  }

  #closedError(what: string): ConnectionClosedError {
    return new ConnectionClosedError(
      `Cannot ${what}: this connection is closed`,
    );
  }

  #sendEnded(): Error | undefined {
    if (this.closed) return this.#closedError("send");
    if (this.#peer.isHeld()) return undefined;
    return new ConnectionClosedError("Cannot send: the other end is closed");
  }

  #recvEnded(): Error | undefined {
    if (this.closed) return this.#closedError("receive");
    if (this.#peer.isHeld()) return undefined;
    return new ConnectionClosedError(
      "Cannot receive: the other end is closed and everything was received",
    );
  }

  #stillMine(): true {
    if (this.closed) throw this.#closedError("poll");
    return true;
  }

  /** @ignore */
  [HANDLE](): HandleParts {
    if (this.closed) throw this.#closedError("pass on");
    return {
      kind: "Connection",
      parts: [
        this.#own.memory,
        this.#peer.memory,
        this.#outgoing?.ring.memory,
        this.#incoming?.ring.memory,
        ...this.#own.send(),
      ],
    };
  }

  /** @ignore */
  [ARRIVED](parts: unknown[]): void {
    const [, , , , sender, delivery] = parts as unknown as number[];
    const hold = `${sender} ${delivery}`;
    // A message is decoded again after a class it needs was loaded.
    if (!this.#holds.has(hold)) {
      this.#holds.add(hold);
      this.#unaccepted.add(hold);
      this.#own.open();
    }
    noteArrived({
      accept: () => {
        if (this.#unaccepted.delete(hold)) this.#own.arrive(sender!);
      },
      settle: () => {
        if (this.#holds.delete(hold) && this.closed) this.#letGo();
      },
    });
  }

  static {
    defineHandle("Connection", (parts) => {
      const [own, peer, outgoing, incoming] = parts as SharedArrayBuffer[];
      const connection = make({
        own: new Holders(own),
        peer: new Holders(peer),
        outgoing: outgoing && new Ring(outgoing),
        incoming: incoming && new Ring(incoming),
      });
      connection.#holds.clear();
      return connection;
    });
    inspectAs<Connection<unknown, unknown>>(Connection, (connection) => {
      const readable = connection.#incoming !== undefined;
      const writable = connection.#outgoing !== undefined;
      const { closed } = connection;
      return `Connection { readable: ${readable}, writable: ${writable}, closed: ${closed} }`;
    });
  }
}
