/**
 * One thread's connection to a manager: its calls, from the request to the reply.
 *
 * What is shared is described in `_manager_protocol.ts`. A promise's wait and a
 * blocking one may go on in one thread at the same time: whichever looks into the
 * box settles the calls of both.
 *
 * @module
 */

import {
  decode,
  type EncodeContext,
  encodeItems,
  Reader,
  Writer,
} from "./_codec.ts";
import { forgetMemory, memoryId } from "./_handle.ts";
import { checkStop, isDead, KILLED, selfToken } from "./_life.ts";
import {
  eventLoopTurn,
  PENDING,
  Spins,
  waitAsync,
  waitSync,
  wake,
} from "./_park.ts";
import { Ring, TAKE_EMPTY } from "./_ring.ts";
import { copyOfMessage, type Message } from "./_ring_frame.ts";
import { unpackThrown } from "./_thrown.ts";
import { WorkerError } from "./errors.ts";
import {
  bellOf,
  BOXES,
  type Described,
  DISPOSED,
  DONE,
  ENDED,
  endManager,
  exitCodeOf,
  FREE_BOX,
  type ManagerMemory,
  OPEN,
  ownerOf,
  SERVER,
  stateOf,
} from "./_manager_protocol.ts";

const { compareExchange, load, store } = Atomics;

/** How long whoever started a server may take to say how it has ended, in milliseconds. */
const LAST_WORD_MS = 200;

/** How a call has ended: with a value, an error, or the end of the manager. */
type Outcome =
  | { how: "value"; value: unknown }
  | { how: "thrown"; thrown: unknown }
  | { how: "error"; error: unknown }
  | { how: "gone" };

/** A call under way. */
interface Call {
  number: number;
  /** The request, while it has not been put. */
  request: Message | undefined;
  outcome: Outcome | undefined;
  /** Takes the outcome; absent for a blocking call, which looks for itself. */
  settle: ((outcome: Outcome) => void) | undefined;
}

/** Runs a call in this thread, which is the server's; it is given copies. */
export type LocalCall = (
  id: number,
  method: string,
  args: unknown[],
) => unknown;

const reader = new Reader();
const ownWriter = new Writer();

/** The connection whose traffic is being decoded, for proxies in it. */
let decoding: Link | undefined;

/** The connection whose traffic is being decoded. */
export function decodingLink(): Link | undefined {
  return decoding;
}

function settled(call: Call): Promise<void> {
  const { settle } = call;
  return new Promise((resolve) => {
    call.settle = (outcome) => {
      settle?.(outcome);
      resolve();
    };
  });
}

/** One thread's connection to a manager. */
export class Link {
  /** What all threads share. */
  readonly memory: ManagerMemory;
  /** The proxies of this thread, by the object's number. */
  readonly proxies: Map<number, WeakRef<object>> = new Map();
  /** Set in the server's own thread. */
  local: LocalCall | undefined;
  /** What may be in a message beside plain values. */
  readonly context: EncodeContext;

  readonly #control: Int32Array;
  readonly #requests: Ring;
  readonly #boxes: (Ring | undefined)[] = [];
  readonly #me: number = selfToken();
  /** The box this thread has, or -1. */
  #box = -1;
  /** Its ring. */
  #ring: Ring | undefined;
  #hint: number = selfToken() % BOXES;
  #lastNumber = 0;
  /** The calls whose requests have been put. */
  readonly #sent = new Map<number, Call>();
  /** The calls whose requests have not, in their order. */
  readonly #unsent: Call[] = [];
  /** The box whose bell a promise's wait listens to, or -1. */
  #watched = -1;
  #flushing = false;
  /** When the server was first seen to be dead, if nobody had said so. */
  #deadSince = -1;
  /** Whether this thread makes no more calls. */
  #closing = false;
  /** How long a blocking call looks for its reply before it sleeps. */
  readonly #spins = new Spins(64);

  /**
   * Connects this thread.
   *
   * @param memory What all threads share.
   * @param admits Whether a handle is a proxy of this connection.
   */
  constructor(
    memory: ManagerMemory,
    admits: (handle: object, link: Link) => boolean,
  ) {
    this.memory = memory;
    this.#control = new Int32Array(memory.control);
    this.#requests = new Ring(memory.requests);
    this.context = { admits: (handle) => admits(handle, this) };
  }

  // -- The manager's life ------------------------------------------------------

  /** Notes who the server is. */
  serverIs(token: number): void {
    store(this.#control, SERVER, token);
  }

  /** The server's token, 0 before it was started. */
  get server(): number {
    return load(this.#control, SERVER);
  }

  /** Whether the manager can no longer be used. */
  get gone(): boolean {
    const control = this.#control;
    if (stateOf(control) !== OPEN) return true;
    const server = load(control, SERVER);
    if (server === 0 || !isDead(server)) return false;
    // Whoever started it knows how it has ended, unless that thread has ended, too.
    const now = performance.now();
    if (this.#deadSince < 0) this.#deadSince = now;
    if (now - this.#deadSince < LAST_WORD_MS) return false;
    endManager(control, this.#requests, ENDED, KILLED);
    return true;
  }

  /** Ends the manager for everybody. */
  end(state: number, exitCode: number): void {
    endManager(this.#control, this.#requests, state, exitCode);
    this.#failAll();
  }

  /** Refuses further calls of this thread; resolves when those under way have settled. */
  async close(): Promise<void> {
    this.#closing = true;
    const calls = [...this.#sent.values(), ...this.#unsent];
    await Promise.all(calls.map(settled));
    await eventLoopTurn(); // those who await them come first
  }

  /** Lets go of the memories by which they are known to messages. */
  forget(): void {
    const { control, requests, boxes } = this.memory;
    for (const memory of [control, requests, ...boxes]) {
      forgetMemory(memoryId(memory));
    }
  }

  #refusal(name: string, method: string): Error {
    const what = `call ${name}.${method}`;
    return this.gone
      ? this.#goneError(what)
      : new TypeError(`Cannot ${what}: the manager is being disposed`);
  }

  #goneError(what: string): WorkerError {
    const control = this.#control;
    const exitCode = exitCodeOf(control);
    return stateOf(control) === DISPOSED
      ? new WorkerError(`Cannot ${what}: the manager was disposed`, {
        exitCode,
      })
      : new WorkerError(
        `Cannot ${what}: the manager's server has ended (exit code ${exitCode})`,
        { exitCode },
      );
  }

  // -- Calls ---------------------------------------------------------------------

  /** Calls a method of an object; for the server's own thread see `local`. */
  async call(
    { id, name }: Described,
    method: string,
    args: unknown[],
    prepare?: (args: unknown[]) => unknown[],
  ): Promise<unknown> {
    if (prepare !== undefined) args = prepare(args);
    if (this.gone || this.#closing) throw this.#refusal(name, method);
    if (this.local !== undefined) return await this.local(id, method, args);
    const outcome = await this.#begin(id, method, args);
    if (outcome.how === "value") return outcome.value;
    // Made here, an error has the frames of those who await this call.
    throw outcome.how === "gone"
      ? this.#goneError(`call ${name}.${method}`)
      : outcome.how === "error"
      ? outcome.error
      : unpackThrown(outcome.thrown, new Error());
  }

  /** The same, blocking this thread. */
  callSync(
    { id, name }: Described,
    method: string,
    args: unknown[],
  ): unknown {
    if (this.gone || this.#closing) throw this.#refusal(name, method);
    const what = `call ${name}.${method}`;
    if (this.local !== undefined) {
      const value = this.local(id, method, args);
      if (!(value instanceof Promise)) return value;
      value.catch(() => {});
      throw new TypeError(
        `Cannot ${what} blocking: it is async and this is the thread it runs in`,
      );
    }
    checkStop();
    const outcome = this.#perform(what, id, method, args);
    if (outcome.how === "value") return outcome.value;
    throw outcome.how === "gone"
      ? this.#goneError(what)
      : outcome.how === "error"
      ? outcome.error
      : unpackThrown(outcome.thrown, new Error());
  }

  #begin(id: number, method: string, args: unknown[]): Promise<Outcome> {
    const writer = this.#encode(id, method, args);
    return new Promise((settle) => {
      const call = this.#newCall(settle);
      if (!this.#trySend(call, writer)) {
        this.#postpone(call, writer);
        this.#flush();
      } else this.#watch();
    });
  }

  #perform(
    what: string,
    id: number,
    method: string,
    args: unknown[],
  ): Outcome {
    const writer = this.#encode(id, method, args);
    const call = this.#newCall(undefined);
    if (!this.#trySend(call, writer)) {
      this.#postpone(call, writer);
      this.#flushSync(what, call);
    }
    if (call.outcome === undefined) this.#spin(call);
    if (call.outcome !== undefined) return call.outcome;
    return waitSync<Outcome>(
      what,
      this.#control,
      bellOf(this.#box),
      () => {
        this.#collect();
        return call.outcome ?? PENDING;
      },
    );
  }

  /** Looks for the reply to a call a while, longer where it has paid off. */
  #spin(call: Call): void {
    const spins = this.#spins;
    const ring = this.#ring!;
    for (let i = 0; i < spins.limit; i++) {
      spins.pause();
      if (ring.empty) continue;
      this.#collect();
      if (call.outcome !== undefined) return spins.found();
    }
    spins.missed();
  }

  #newCall(settle: ((outcome: Outcome) => void) | undefined): Call {
    const number = this.#lastNumber = (this.#lastNumber + 1) >>> 0;
    return { number, request: undefined, outcome: undefined, settle };
  }

  #settle(call: Call, outcome: Outcome): void {
    call.outcome = outcome;
    call.settle?.(outcome);
  }

  // -- Requests ------------------------------------------------------------------

  #encode(id: number, method: string, args: unknown[]): Writer {
    // A getter among the arguments may come back here.
    const writer = ownWriter.busy ? new Writer() : ownWriter;
    writer.reset();
    writer.writeU32(0); // box and number: see #trySend
    writer.writeU32(this.#me);
    writer.writeU32(0);
    writer.writeU32(id);
    writer.writeString(method);
    encodeItems(writer, args, 0, args.length, this.context);
    return writer;
  }

  /** Puts the request of a call, unless others wait or there is no room. */
  #trySend(call: Call, writer: Writer): boolean {
    if (this.#unsent.length > 0 || !this.#claim()) return false;
    return this.#put(call, writer);
  }

  #put(call: Call, request: Message): boolean {
    const { bytes } = request;
    const { number } = call;
    bytes[0] = this.#box;
    bytes[8] = number;
    bytes[9] = number >>> 8;
    bytes[10] = number >>> 16;
    bytes[11] = number >>> 24;
    let done = false;
    try {
      done = this.#requests.tryPut(request);
    } catch (error) {
      this.#settle(call, { how: "error", error });
      this.#giveBackIfIdle();
      return true;
    }
    if (done) this.#sent.set(number, call);
    return done;
  }

  #postpone(call: Call, writer: Writer): void {
    call.request = copyOfMessage(writer);
    this.#unsent.push(call);
  }

  readonly #attemptClaim = (): undefined | typeof PENDING =>
    this.#unsent.length === 0 || this.#checkGone() || this.#claim()
      ? undefined
      : PENDING;

  /** Puts what waits, in its order. */
  readonly #attemptFlush = (): undefined | typeof PENDING => {
    while (this.#unsent.length > 0 && !this.#checkGone() && this.#claim()) {
      const call = this.#unsent[0]!;
      if (!this.#put(call, call.request!)) return PENDING;
      call.request = undefined;
      this.#unsent.shift();
      this.#watch();
    }
  };

  async #flush(): Promise<void> {
    if (this.#flushing) return;
    this.#flushing = true;
    const what = "call a manager";
    const { words, at } = this.#requests.space;
    while (this.#unsent.length > 0) {
      await waitAsync(what, this.#control, FREE_BOX, this.#attemptClaim);
      await waitAsync(what, words, at, this.#attemptFlush);
    }
    this.#flushing = false;
  }

  #flushSync(what: string, call: Call): void {
    const { words, at } = this.#requests.space;
    while (call.request !== undefined && call.outcome === undefined) {
      waitSync(what, this.#control, FREE_BOX, this.#attemptClaim);
      waitSync(what, words, at, this.#attemptFlush);
    }
  }

  // -- The box -------------------------------------------------------------------

  #claim(): boolean {
    if (this.#box >= 0) return true;
    const control = this.#control;
    for (let i = 0; i < BOXES; i++) {
      const box = (this.#hint + i) % BOXES;
      const at = ownerOf(box);
      const owner = load(control, at);
      if (owner !== 0 && (owner === this.#me || !isDead(owner))) continue;
      if (compareExchange(control, at, owner, this.#me) !== owner) continue;
      this.#box = this.#hint = box;
      this.#ring = this.#boxes[box] ??= new Ring(this.memory.boxes[box]!);
      return true;
    }
    return false;
  }

  #giveBackIfIdle(): void {
    if (this.#sent.size > 0 || this.#box < 0) return;
    // What waits to be sent takes a box again when it gets there.
    store(this.#control, ownerOf(this.#box), 0);
    this.#box = -1;
    wake(this.#control, FREE_BOX, 1);
  }

  /** Has the replies collected as they come, while calls are under way. */
  #watch(): void {
    const box = this.#box;
    if (box < 0 || box === this.#watched) return;
    this.#watched = box;
    waitAsync<void>(
      "call a manager",
      this.#control,
      bellOf(box),
      () => {
        this.#collect();
        if (this.#box === box && this.#watched === box) return PENDING;
        if (this.#watched === box) this.#watched = -1;
      },
    );
  }

  /** Settles the calls whose replies are there, or all if none will come. */
  #collect(): void {
    const gone = this.gone;
    while (
      this.#box >= 0 && this.#ring!.tryTake(reader) !== TAKE_EMPTY
    ) this.#takeReply();
    if (gone) this.#failAll();
  }

  #takeReply(): void {
    const token = reader.readU32();
    const number = reader.readU32();
    const status = reader.readU32();
    const call = token === this.#me ? this.#sent.get(number) : undefined;
    if (call === undefined) return;
    this.#sent.delete(number);
    this.#giveBackIfIdle();
    let value: unknown;
    try {
      value = this.decode(reader);
    } catch (error) {
      return this.#settle(call, { how: "error", error });
    }
    this.#settle(
      call,
      status === DONE
        ? { how: "value", value }
        : { how: "thrown", thrown: value },
    );
  }

  #checkGone(): boolean {
    if (!this.gone) return false;
    this.#failAll();
    return true;
  }

  #failAll(): void {
    if (this.#sent.size === 0 && this.#unsent.length === 0) return;
    const calls = [...this.#sent.values(), ...this.#unsent];
    this.#sent.clear();
    this.#unsent.length = 0;
    this.#giveBackIfIdle();
    for (const call of calls) this.#settle(call, { how: "gone" });
  }

  /** Decodes a value of this manager's traffic. */
  decode(from: Reader): unknown {
    const outer = decoding;
    decoding = this;
    try {
      return decode(from);
    } finally {
      decoding = outer;
    }
  }
}
