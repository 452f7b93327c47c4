/**
 * A value as a message: what the codec makes of it, and beside the bytes the
 * things only a message can carry (shared memories, transferred objects).
 *
 * @module
 */

import { damaged, decode, Reader } from "./_codec_read.ts";
import { encode, Writer } from "./_codec_write.ts";
import {
  adoptMemory,
  type Arrived,
  bringBack,
  forgetMemory,
  isNamedBy,
  memoryId,
  type Sent,
  setAside,
  takeIn,
  takeSent,
  takeSentBack,
} from "./_handle.ts";

/** A packed value, to be posted with {@linkcode transferOf} as transfer list. */
export interface Parcel {
  /** The encoded head. */
  head: ArrayBuffer;
  /** Big byte ranges, in order. */
  blobs: ArrayBuffer[];
  /** The shared memories it mentions, by id. */
  memories: [number, SharedArrayBuffer][];
  /** The objects it moves, in the order of the transfer list; a gap for what it does not use. */
  moved: (Transferable | undefined)[];
}

/** What messages are posted to. */
export interface PostTarget {
  /** Posts a message. */
  postMessage(message: unknown, transfer?: Transferable[]): void;
}

/** How the codec begins a refusal. */
const REFUSED = /^Cannot send value/;

/**
 * What was thrown when a result was to be sent: a refusal says whose result it was.
 *
 * @param of What had the result: "the task".
 */
export function asRefusedResult(of: string, thrown: unknown): unknown {
  try {
    if (!(thrown instanceof DOMException)) return thrown;
  } catch {
    return thrown; // a revoked proxy
  }
  const { message, name } = thrown;
  const text = message.replace(REFUSED, "the value");
  return new DOMException(`Cannot send the result of ${of}: ${text}`, name);
}

/** A head shorter than this is copied: the first transfer of a thread takes 5 ms. */
const TRANSFERRED_HEAD_BYTES = 64 << 10;

const ownWriter = new Writer();

/**
 * Packs a value. Nothing is detached until the parcel is posted. Whoever may drop
 * the parcel calls `takeSent()` after this, or {@linkcode packCounted}.
 *
 * @param value The value.
 * @param transfer What to move rather than copy.
 * @param onlyUsed Whether to leave alone what is listed and not in the value.
 * @throws {DOMException & { name: "DataCloneError" }} If it cannot be cloned.
 */
export function pack(
  value: unknown,
  transfer: readonly Transferable[] = [],
  onlyUsed = false,
): Parcel {
  const shared = new Set<SharedArrayBuffer>();
  const moved = new Moved();
  for (const object of transfer) {
    if (moved.has(object)) {
      throw new DOMException(
        "Cannot send value: `transfer` names an object twice",
        "DataCloneError",
      );
    }
    moved.set(object, moved.size);
  }
  // A getter among the values may come back here.
  const writer = ownWriter.busy ? new Writer() : ownWriter;
  writer.reset();
  try {
    encode(writer, value, { shared, moved });
  } catch (error) {
    takeSentBack();
    throw error;
  }
  const memories = Array.from(shared, nameMemory);
  // The parcel holds them from here on.
  for (const [id] of memories) forgetMemory(id);
  return {
    head: writer.bytes.slice(0, writer.length).buffer as ArrayBuffer,
    blobs: writer.blobs.map((blob) => blob.slice().buffer as ArrayBuffer),
    memories,
    moved: Array.from(
      moved.keys(),
      (object, index) =>
        onlyUsed && !moved.used.has(index) ? undefined : object as Transferable,
    ),
  };
}

/** A transfer list by object, which notes what was found in the value. */
class Moved extends Map<object, number> {
  readonly used = new Set<number>();

  override get(object: object): number | undefined {
    const index = super.get(object);
    if (index !== undefined) this.used.add(index);
    return index;
  }
}

function nameMemory(memory: SharedArrayBuffer): [number, SharedArrayBuffer] {
  return [memoryId(memory), memory];
}

/** Packs, and takes the counted handles, those of this value only. */
export function packCounted(
  value: unknown,
  transfer?: readonly Transferable[],
): [parcel: Parcel, sent: Sent[]] {
  // A getter in a message that is being packed may have come here.
  const outer = setAside();
  try {
    return [pack(value, transfer), takeSent()];
  } finally {
    if (outer !== undefined) bringBack(outer);
  }
}

/** What to pass as transfer list when the parcel is posted. */
export function transferOf(parcel: Parcel): Transferable[] {
  const rest = [...parcel.blobs, ...movedBy(parcel)];
  return parcel.head.byteLength < TRANSFERRED_HEAD_BYTES
    ? rest
    : [parcel.head, ...rest];
}

/**
 * Posts a message. Deno's first look at a transfer list takes 5 ms, even if it is
 * empty.
 */
export function postTo(
  target: PostTarget,
  message: unknown,
  transfer: Transferable[] = [],
): void {
  if (transfer.length === 0) target.postMessage(message);
  else target.postMessage(message, transfer);
}

/** The objects it moves. */
function movedBy(parcel: Parcel): Transferable[] {
  return parcel.moved.filter((object) => object !== undefined);
}

/**
 * Takes what the parcel moves away from the caller now, though it is posted later.
 *
 * @throws {DOMException & { name: "DataCloneError" }} If it cannot be moved.
 */
export function detach(parcel: Parcel): void {
  const { moved } = parcel;
  if (moved.length === 1 && moved[0] instanceof ArrayBuffer) {
    try {
      moved[0] = moved[0].transfer(); // the first clone of a thread takes 5 ms
      return;
    } catch {
      // The clone below says what is wrong with it.
    }
  }
  parcel.moved = structuredClone(moved, { transfer: movedBy(parcel) });
}

/**
 * Unpacks on the receiving side, loading the modules of handles it holds.
 *
 * @param arrive See {@linkcode takeIn}.
 * @param guest The worker it is from, if that runs foreign code.
 * @throws {Error} If it is not what a worker of ours would send.
 */
export function unpack(
  parcel: Parcel,
  arrive?: (handles: Arrived[]) => boolean | void,
  guest?: Guest,
): Promise<unknown> {
  return takeIn(() => unpackNow(parcel, guest), arrive);
}

function unpackNow(parcel: Parcel, guest: Guest | undefined): unknown {
  guest?.check(parcel);
  const reader = new Reader();
  reader.bytes = new Uint8Array(parcel.head);
  reader.end = reader.bytes.length;
  reader.blobs = parcel.blobs.map((blob) => new Uint8Array(blob));
  const memories = new Map<number, SharedArrayBuffer>();
  for (const [id, memory] of parcel.memories) {
    memories.set(id, adoptMemory(id, memory));
  }
  try {
    const foreign = guest !== undefined;
    return decode(reader, { moved: parcel.moved, memories, foreign });
  } finally {
    for (const id of memories.keys()) forgetMemory(id);
  }
}

// -- Foreign code -----------------------------------------------------------------

/**
 * A worker that runs foreign code, as its starter sees it: which shared memories it
 * may name. An id decides which memory a handle is on, here and wherever it is
 * handed on to; so it names what it was given, and what has an id of its own making.
 *
 * What it was given it may keep as long as it lives, so the ids are never dropped.
 */
export class Guest {
  readonly #token: number;
  readonly #given = new Set<number>();

  /** @param token The worker's token. */
  constructor(token: number) {
    this.#token = token;
  }

  /** Notes what a parcel gives it. */
  give(parcel: Parcel): void {
    for (const [id] of parcel.memories) this.#given.add(id);
  }

  /**
   * Refuses a parcel of its making that names the memory of others.
   *
   * @throws {Error} If it does.
   */
  check(parcel: Parcel): void {
    for (const [id, memory] of parcel.memories) {
      if (!(memory instanceof SharedArrayBuffer)) {
        throw damaged("what it calls a shared memory is none");
      }
      if (!this.#given.has(id) && !isNamedBy(id, this.#token)) {
        throw damaged("it names a shared memory its sender was not given");
      }
    }
  }
}
