/**
 * The way of a pool's tasks to its workers.
 *
 * A task is written into the ring that all workers take from, once there is a slot
 * and room for it; till then it waits here, in order. What cannot be written into a
 * ring is packed, and its frame only says so: the worker that claims it asks for it.
 *
 * Nothing here knows what becomes of a task, but for what it has to give up again,
 * see {@linkcode Outgoing.letGo}.
 *
 * @module
 */

import { encode, type EncodeContext, encodeItems, Writer } from "./_codec.ts";
import type { SentFunction } from "./_functions.ts";
import {
  type Arrived,
  bringBack,
  type Sent,
  setAside,
  takeSent,
  takeSentBack,
} from "./_handle.ts";
import { Lending } from "./_lending.ts";
import { detach, pack, type Parcel } from "./_parcel.ts";
import {
  BY_MESSAGE,
  CALL_ONE,
  callWorker,
  HAS_DEFINITION,
  HAS_MEMORIES,
  type LentMessage,
  MAP,
  type PoolBody,
} from "./_pool_protocol.ts";
import { type Message, Ring } from "./_ring.ts";
import { copyOfMessage } from "./_ring_frame.ts";
import { Slots } from "./_slots.ts";
import type { Caller } from "./_thrown.ts";

const TASK_BYTES = 64 << 20;
/** A task larger than this travels in a message, not in the ring. */
const FRAME_BYTES = 16 << 20;

/** One task, from its submission until it is settled. */
export interface PoolTask {
  fn: SentFunction;
  mode: number;
  /** How many calls it stands for. */
  count: number;
  /** Where it was submitted. */
  caller: Caller;
  /** Gets its value, and the counted handles in it, to be settled if it is dropped. */
  done(value: unknown, arrived: readonly Arrived[]): void;
  /** The same of its error. */
  failed(error: unknown, arrived: readonly Arrived[]): void;
  slot: number;
  /** Its frame, while there was no room for it in the ring. */
  frame?: Message | undefined;
  /** Its arguments, if they cannot travel in the ring, until they are sent. */
  parcel?: Parcel | undefined;
  /** The counted handles among them, until it is known that they have arrived. */
  sent?: Sent[] | undefined;
  /** The shared memories it mentions, by id. */
  memories?: number[] | undefined;
}

/** Takes counted handles back that did not arrive. */
export function takeBack(handles: Sent[] | undefined): void {
  if (handles !== undefined) {
    for (const handle of handles) {
      handle.takeBack();
    }
  }
}

/** What tasks are sent with. */
export interface OutgoingOptions {
  /** Where a worker is called for a task. */
  bell: Int32Array;
  /** Whether workers are given what memory the tasks of others mention. */
  mayLend: boolean;
  /** Posts to all workers. */
  post(message: LentMessage): void;
  /** Throws if no worker would come to do a task. */
  checkRunning(): void;
}

/** What a frame is written with. */
interface Desk {
  writer: Writer;
  /** The shared memories met. */
  shared: Set<SharedArrayBuffer>;
  context: EncodeContext;
}

function newDesk(): Desk {
  const shared = new Set<SharedArrayBuffer>();
  return { writer: new Writer(), shared, context: { shared } };
}

const ownDesk = newDesk();

/** A desk at which nothing lies: a getter among the values being written may ask for another. */
function freeDesk(): Desk {
  if (ownDesk.writer.busy) return newDesk();
  if (ownDesk.shared.size > 0) ownDesk.shared.clear();
  return ownDesk;
}

/** Tasks that no worker has taken. */
export class Outgoing {
  /** The tasks that are in the ring, or at a worker. */
  readonly slots = new Slots<PoolTask>();
  readonly #options: OutgoingOptions;
  readonly #ring = Ring.create({ capacity: TASK_BYTES });
  readonly #lending: Lending;
  #waiting: PoolTask[] = [];
  #waitingFrom = 0;

  constructor(options: OutgoingOptions) {
    this.#options = options;
    this.#lending = new Lending(options.post);
  }

  /** What workers take tasks from. */
  get memory(): Pick<PoolBody, "tasks" | "claims"> {
    return { tasks: this.#ring.memory, claims: this.slots.memory };
  }

  /** Whether another task would only wait for room. */
  get full(): boolean {
    return this.#waiting.length > 0 || this.#ring.bytes > TASK_BYTES / 8;
  }

  /**
   * Sends a task with the values `items[from..to)`.
   *
   * @returns About how many bytes they take.
   * @throws What the codec throws for values it cannot send; nothing is sent then.
   */
  send(
    task: PoolTask,
    items: ArrayLike<unknown>,
    from: number,
    to: number,
    transfer: Transferable[] | undefined,
  ): number {
    const outer = setAside();
    try {
      return transfer !== undefined && transfer.length > 0
        ? this.#sendByMessage(task, items, from, to, transfer)
        : this.#sendFrame(task, items, from, to);
    } finally {
      if (outer !== undefined) bringBack(outer);
    }
  }

  #sendFrame(
    task: PoolTask,
    items: ArrayLike<unknown>,
    from: number,
    to: number,
  ): number {
    const { writer, shared, context } = freeDesk();
    this.#startFrame(writer, task);
    try {
      if (task.mode === CALL_ONE) encode(writer, items[from], context);
      else encodeItems(writer, items, from, to, context);
      this.#options.checkRunning(); // a getter among the values may have ended it
    } catch (error) {
      takeSentBack();
      throw error;
    }
    let size = writer.length;
    for (const blob of writer.blobs) size += blob.length;
    // In a sandbox, a worker must see no memory that only others are given.
    if (size > FRAME_BYTES || shared.size > 0 && !this.#options.mayLend) {
      takeSentBack();
      return this.#sendByMessage(task, items, from, to, []);
    }
    if (shared.size > 0) this.#lend(writer, task, shared);
    if (
      this.#waiting.length > 0 || !this.#put(writer, writer.words, task)
    ) {
      task.frame = copyOfMessage(writer);
      this.#waiting.push(task);
    }
    return size;
  }

  /** Gives the workers what the frame mentions, and notes it there. */
  #lend(writer: Writer, task: PoolTask, shared: Set<SharedArrayBuffer>): void {
    task.memories = this.#lending.lend(shared);
    task.sent = takeSent();
    for (const id of task.memories) writer.writeF64(id);
    writer.writeU32(task.memories.length);
    writer.words[3]! |= HAS_MEMORIES;
  }

  #sendByMessage(
    task: PoolTask,
    items: ArrayLike<unknown>,
    from: number,
    to: number,
    transfer: Transferable[],
  ): number {
    const value = task.mode === CALL_ONE
      ? items[from]
      : Array.prototype.slice.call(items, from, to);
    // The list is for all items of a call; it goes with those that need it.
    const parcel = pack(value, transfer, task.mode >= MAP);
    try {
      this.#options.checkRunning();
      if (transfer.length > 0) detach(parcel);
    } catch (error) {
      takeSentBack();
      throw error;
    }
    task.parcel = parcel;
    task.sent = takeSent();
    task.mode |= BY_MESSAGE;
    this.#waiting.push(task);
    this.refill();
    return parcel.head.byteLength;
  }

  /** Begins a frame; the first two words of its head are left to `#put`. */
  #startFrame(writer: Writer, task: PoolTask): void {
    const { fn } = task;
    writer.reset();
    if (fn.known) return writer.writeHead(0, 0, fn.id, task.mode);
    writer.writeHead(0, 0, fn.id, task.mode | HAS_DEFINITION);
    writer.writeU32(fn.definition.length);
    writer.writeBytes(fn.definition);
  }

  /** Puts a frame, of these words, into the ring; `false` if there is no room. */
  #put(frame: Message, words: Int32Array, task: PoolTask): boolean {
    const slot = this.slots.add(task);
    if (slot < 0) return false;
    words[0] = slot;
    words[1] = this.slots.generation(slot);
    if (!this.#ring.tryPut(frame)) {
      this.slots.remove(slot);
      return false;
    }
    task.slot = slot;
    callWorker(this.#options.bell);
    return true;
  }

  /**
   * Puts tasks that found no room into the ring, in their order. There may be room
   * again whenever a task is over, and when a worker has met a frame that was dropped,
   * of which it says nothing: so it has to be tried now and then, too.
   */
  refill(): void {
    if (this.#waiting.length === 0) return;
    while (this.#waitingFrom < this.#waiting.length) {
      const task = this.#waiting[this.#waitingFrom]!;
      if (!this.#putWaiting(task)) return this.#trim();
      task.frame = undefined;
      this.#waitingFrom++;
    }
    this.#waiting = [];
    this.#waitingFrom = 0;
  }

  #putWaiting(task: PoolTask): boolean {
    const { frame } = task;
    if (frame !== undefined) {
      return this.#put(frame, new Int32Array(frame.bytes.buffer, 0, 2), task);
    }
    const { writer } = freeDesk();
    this.#startFrame(writer, task);
    return this.#put(writer, writer.words, task);
  }

  /** Drops those that wait no more, if they are most of the list. */
  #trim(): void {
    if (2 * this.#waitingFrom <= this.#waiting.length) return;
    this.#waiting.splice(0, this.#waitingFrom);
    this.#waitingFrom = 0;
  }

  /** Takes back a task that waits for room; whether it does. */
  withdraw(task: PoolTask): boolean {
    const index = this.#waiting.indexOf(task, this.#waitingFrom);
    if (index < 0) return false;
    if (index === this.#waitingFrom) this.#waitingFrom++; // many are, in turn
    else this.#waiting.splice(index, 1);
    this.#trim();
    return true;
  }

  /** Takes back all tasks, those that workers have, too. */
  clear(): PoolTask[] {
    const tasks = this.#waiting.slice(this.#waitingFrom);
    this.#waiting = [];
    this.#waitingFrom = 0;
    tasks.push(...this.slots.clear());
    return tasks;
  }

  /** Gives up what was held for a task that is over. */
  letGo(task: PoolTask): void {
    takeBack(task.sent);
    if (task.memories !== undefined) this.#lending.settle(task.memories);
  }

  /** What a new worker is to be given. */
  get lent(): LentMessage | undefined {
    return this.#lending.all();
  }

  /** Tells workers that take tasks that there are no more to come. */
  close(): void {
    this.#ring.close();
  }

  /** The last worker has ended. */
  end(): void {
    this.#lending.end();
  }
}
