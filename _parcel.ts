/**
 * A value as a message: what the codec makes of it, and beside the bytes the
 * things only a message can carry (shared memories, transferred objects).
 *
 * @module
 */

import { decode, encode, Reader, Writer } from "./_codec.ts";
import {
  adoptMemory,
  forgetMemory,
  loadHandleKind,
  memoryId,
  UnknownHandleKind,
} from "./_handle.ts";

/** A packed value, to be posted with {@linkcode transferOf} as transfer list. */
export interface Parcel {
  /** The encoded head. */
  head: ArrayBuffer;
  /** Big byte ranges, in order. */
  blobs: ArrayBuffer[];
  /** The shared memories it mentions, by id. */
  memories: [number, SharedArrayBuffer][];
  /** The objects it moves, in the order of the transfer list. */
  moved: Transferable[];
}

const writer = new Writer();

/**
 * Packs a value. Nothing is detached until the parcel is posted.
 *
 * @throws {DOMException & { name: "DataCloneError" }} If it cannot be cloned.
 */
export function pack(
  value: unknown,
  transfer: readonly Transferable[] = [],
): Parcel {
  const shared = new Set<SharedArrayBuffer>();
  const moved = new Map<object, number>();
  for (const object of transfer) moved.set(object, moved.size);
  writer.reset();
  encode(writer, value, { shared, moved });
  return {
    head: writer.bytes.slice(0, writer.length).buffer as ArrayBuffer,
    blobs: writer.blobs.map((blob) => blob.slice().buffer as ArrayBuffer),
    memories: Array.from(shared, (memory) => [memoryId(memory), memory]),
    moved: [...moved.keys()] as Transferable[],
  };
}

/** What to pass as transfer list when the parcel is posted. */
export function transferOf(parcel: Parcel): Transferable[] {
  return [parcel.head, ...parcel.blobs, ...parcel.moved];
}

/** Unpacks on the receiving side, loading the modules of handles it holds. */
export async function unpack(parcel: Parcel): Promise<unknown> {
  for (const [id, memory] of parcel.memories) adoptMemory(id, memory);
  try {
    while (true) {
      const reader = new Reader();
      reader.bytes = new Uint8Array(parcel.head);
      reader.end = reader.bytes.length;
      reader.blobs = parcel.blobs.map((blob) => new Uint8Array(blob));
      try {
        return decode(reader, { moved: parcel.moved });
      } catch (error) {
        if (!(error instanceof UnknownHandleKind)) throw error;
        await loadHandleKind(error.kind);
      }
    }
  } finally {
    for (const [id] of parcel.memories) forgetMemory(id);
  }
}
