/**
 * How a message lies in a ring's segment.
 *
 * A segment is a view of shared memory, counted in units of 8 bytes; `at` is the unit
 * at which the message begins, and at the end it goes on at the beginning:
 *
 * | units | content |
 * | --- | --- |
 * | 1 | { head's bytes, number of blobs } or { {@linkcode INT}, the integer itself } |
 * | half the number of blobs | the blobs' lengths in bytes, Int32 |
 * | as needed | the head |
 * | as needed, for each | a blob |
 *
 * All reads and writes here are plain: `_ring.ts` says who may do them when.
 *
 * A head is copied into memory of this thread which the next message overwrites, a
 * blob into a buffer of its own. No view of the shared memory gets out, and no method
 * which user code may have replaced is called with one.
 *
 * @module
 */

import type { Reader } from "./_codec.ts";

const { apply } = Reflect;
const setBytes = Object.getPrototypeOf(Uint8Array.prototype).set;
const U8 = Uint8Array;
const I32 = Int32Array;
const Unshared = ArrayBuffer;

/** Up to how many words a loop beats a call to `set`. */
const LOOP_WORDS = 96;
/** Private memory above this size is not kept. */
const KEPT_BYTES = 1 << 20;

/** First word of an integer. */
export const INT = -1;

/** What can be put: a head, and byte ranges to be sent after it. */
export interface Message {
  /** The head, in private memory at a word's boundary, and more. */
  readonly bytes: Uint8Array;
  /** How many bytes of it there are. */
  readonly length: number;
  /** The byte ranges. */
  readonly blobs: Uint8Array[];
}

/** A message that keeps what it says whatever becomes of the memory it was in. */
export function copyOfMessage({ bytes, length, blobs }: Message): Message {
  return {
    bytes: bytes.slice(0, (length + 7) & ~7),
    length,
    blobs: blobs.map((blob) => blob.slice()),
  };
}

// -- Private memory of this thread -------------------------------------------

const scratch = new U8(new Unshared(4096));
const scratchWords = new I32(scratch.buffer);
let largeScratch = scratch;
let sourceBytes: Uint8Array = scratch;
let sourceWords: Int32Array = scratchWords;

/** Words of no ring. */
export const noWords: Int32Array = new I32(0);

/** The bytes of a message as words; the last ones made are remembered if small. */
function wordsOver({ bytes, length }: Message): Int32Array {
  if (length + 3 > bytes.length) return wordsOfCopy(bytes, length);
  if (bytes === sourceBytes) return sourceWords;
  const { buffer, byteOffset, byteLength } = bytes;
  const words = new I32(buffer, byteOffset, byteLength >>> 2);
  if (byteLength <= KEPT_BYTES) {
    sourceBytes = bytes;
    sourceWords = words;
  }
  return words;
}

/** A copy that ends at a word's end, as only whole words are copied. */
function wordsOfCopy(bytes: Uint8Array, length: number): Int32Array {
  const copy = new U8(unitsOf(length) * 8);
  apply(setBytes, copy, [new U8(bytes.buffer, bytes.byteOffset, length)]);
  return new I32(copy.buffer);
}

function scratchOf(bytes: number): Uint8Array {
  if (bytes <= scratch.length) return scratch;
  if (bytes <= largeScratch.length) return largeScratch;
  let size = 8192;
  while (size < bytes) size *= 2;
  const made = new U8(new Unshared(size));
  if (size <= KEPT_BYTES) largeScratch = made;
  return made;
}

// -- Sizes ---------------------------------------------------------------------

/** How many units so many bytes take. */
export function unitsOf(bytes: number): number {
  return (bytes + 7) >>> 3;
}

/** How many units a message is going to take. */
export function unitsOfMessage({ length, blobs }: Message): number {
  let units = 1 + ((blobs.length + 1) >>> 1) + unitsOf(length);
  for (let i = 0; i < blobs.length; i++) units += unitsOf(blobs[i]!.length);
  return units;
}

/** How many units a message or integer takes where it lies. */
export function unitsOfFrame(segment: Int32Array, at: number): number {
  const length = segment[2 * at]!;
  if (length === INT) return 1;
  const count = segment[2 * at + 1]!;
  let units = 1 + ((count + 1) >>> 1) + unitsOf(length);
  for (let i = 0; i < count; i++) units += unitsOf(blobLength(segment, at, i));
  return units;
}

/** Index of the word at which the head of a message, or an integer, lies. */
export function headOf(segment: Int32Array, at: number): number {
  if (segment[2 * at] === INT) return 2 * at + 1;
  const tableUnits = (segment[2 * at + 1]! + 1) >>> 1;
  return (2 * (at + 1 + tableUnits)) % segment.length;
}

function blobLength(segment: Int32Array, at: number, index: number): number {
  return segment[(2 * (at + 1) + index) % segment.length]!;
}

// -- Writing -------------------------------------------------------------------

/** Writes a message. There must be room. */
export function writeMessage(
  segment: Int32Array,
  at: number,
  message: Message,
): void {
  const { length, blobs } = message;
  const count = blobs.length;
  segment[2 * at] = length;
  segment[2 * at + 1] = count;
  let to = 2 * at + 2;
  if (count > 0) {
    for (let i = 0; i < count; i++) {
      segment[(to + i) % segment.length] = blobs[i]!.length;
    }
    to += 2 * ((count + 1) >>> 1);
  }
  if (to >= segment.length) to %= segment.length;
  const source = wordsOver(message);
  const words = (length + 3) >>> 2;
  if (words <= LOOP_WORDS && to + words <= segment.length) {
    for (let i = 0; i < words; i++) segment[to + i] = source[i]!;
  } else copyIn(segment, to, source, words);
  if (count > 0) writeBlobs(segment, to / 2 + unitsOf(length), blobs);
}

function copyIn(
  segment: Int32Array,
  to: number,
  source: Int32Array,
  count: number,
): void {
  const { buffer, byteOffset } = source;
  const first = Math.min(count, segment.length - to);
  apply(setBytes, segment, [new I32(buffer, byteOffset, first), to]);
  if (first < count) {
    const rest = new I32(buffer, byteOffset + 4 * first, count - first);
    apply(setBytes, segment, [rest, 0]);
  }
}

function writeBlobs(
  segment: Int32Array,
  at: number,
  blobs: Uint8Array[],
): void {
  const bytes = new U8(segment.buffer, segment.byteOffset, segment.byteLength);
  const size = segment.length / 2;
  for (let i = 0; i < blobs.length; i++) {
    at %= size;
    const blob = blobs[i]!;
    const { buffer, byteOffset, length } = blob;
    const first = Math.min(length, bytes.length - 8 * at);
    apply(setBytes, bytes, [new U8(buffer, byteOffset, first), 8 * at]);
    if (first < length) {
      const rest = new U8(buffer, byteOffset + first, length - first);
      apply(setBytes, bytes, [rest, 0]);
    }
    at += unitsOf(length);
  }
}

// -- Reading -------------------------------------------------------------------

/** Reads a message and returns how many units it takes. */
export function readMessage(
  segment: Int32Array,
  at: number,
  reader: Reader,
): number {
  const length = segment[2 * at]!;
  const blobCount = segment[2 * at + 1]!;
  let units = 1 + unitsOf(length);
  let from = 2 * at + 2;
  if (blobCount > 0) {
    from += 2 * ((blobCount + 1) >>> 1);
    units = readBlobs(segment, at, reader);
  } else if (reader.blobs.length > 0) reader.blobs = [];
  if (from >= segment.length) from %= segment.length;
  const count = (length + 3) >>> 2;
  if (count <= LOOP_WORDS && from + count <= segment.length) {
    // So many words fit into the small scratch memory.
    for (let i = 0; i < count; i++) scratchWords[i] = segment[from++]!;
    reader.bytes = scratch;
    reader.words = scratchWords;
  } else {
    const bytes = scratchOf(length);
    const words = new I32(bytes.buffer);
    copyOut(segment, from, words, count);
    reader.bytes = bytes;
    reader.words = words;
  }
  reader.position = 0;
  reader.end = length;
  return units;
}

function copyOut(
  segment: Int32Array,
  from: number,
  target: Int32Array,
  count: number,
): void {
  const { buffer, byteOffset } = segment;
  const first = Math.min(count, segment.length - from);
  apply(setBytes, target, [new I32(buffer, byteOffset + 4 * from, first), 0]);
  if (first < count) {
    apply(setBytes, target, [
      new I32(buffer, byteOffset, count - first),
      first,
    ]);
  }
}

function readBlobs(segment: Int32Array, at: number, reader: Reader): number {
  const { buffer, byteOffset, byteLength } = segment;
  const count = segment[2 * at + 1]!;
  let units = 1 + ((count + 1) >>> 1) + unitsOf(segment[2 * at]!);
  const blobs: Uint8Array[] = [];
  for (let i = 0; i < count; i++) {
    const length = blobLength(segment, at, i);
    const blob = new U8(new Unshared(length));
    const from = (8 * (at + units)) % byteLength;
    const first = Math.min(length, byteLength - from);
    apply(setBytes, blob, [new U8(buffer, byteOffset + from, first), 0]);
    if (first < length) {
      apply(setBytes, blob, [
        new U8(buffer, byteOffset, length - first),
        first,
      ]);
    }
    blobs[i] = blob;
    units += unitsOf(length);
  }
  reader.blobs = blobs;
  return units;
}
