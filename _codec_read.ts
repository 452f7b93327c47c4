/**
 * Bytes to values. The format is described in `_codec.ts`, which re-exports this module.
 *
 * Nothing read is believed before it is checked against the end of the message, so damaged bytes
 * end in an error: each step consumes at least one byte, and no count is used for an allocation
 * before it fits into the bytes that are left.
 *
 * @module
 */

import { readExotic } from "./_codec_read_exotic.ts";

/** How often a shape is read before its objects are made by a function of its own. */
const COMPILE_AFTER = 8;
const SHAPE_SLOTS = 512;
/** Longer arrays are grown as they are filled. */
const PRESIZE_LIMIT = 1 << 16;

/** How many arguments a call may have. */
const CALL_LIMIT = 1 << 13;

const { defineProperty } = Object;
const { apply } = Reflect;
const { of: arrayOf } = Array;
const F64 = Float64Array;
const { fromCharCode } = String;
const DECODER = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });

/** What the caller of {@linkcode decode} received beside the message. */
export interface DecodeContext {
  /** The objects that moved, by index. */
  moved?: unknown[];
  /** The shared memories it may name, by id. Without it there are none, whatever this thread has. */
  memories?: ReadonlyMap<number, SharedArrayBuffer>;
  /** Whether the sender may be foreign code, of which nothing is to run here. */
  foreign?: boolean;
}

/** Makes an object of a shape with the values that follow in the message. */
type Make = (r: Reader, read: (r: Reader) => unknown) => object;

/** A list of keys as it was read. */
interface KnownShape {
  readonly bytes: Uint8Array;
  readonly keys: string[];
  uses: number;
  make: Make | undefined;
}

const KNOWN: (KnownShape | undefined)[] = new Array(SHAPE_SLOTS).fill(
  undefined,
);

const NO_WORDS = new Int32Array(0);

/** A message in private memory, and how far it has been read. */
export class Reader {
  /** The memory that holds the message. */
  bytes: Uint8Array;
  /** Index of the next byte. */
  position: number;
  /** Index after the last byte. */
  end: number;
  /** The long byte ranges, each alone in a buffer of its own. */
  blobs: Uint8Array[];
  /** The same memory, in words, if a ring has filled it. */
  words: Int32Array = NO_WORDS;
  /** @ignore Over the memory of `viewed`. */
  view: DataView;
  /** @ignore The `bytes` that `view` was made for. */
  viewed: Uint8Array;
  /** @ignore Whether the message names objects by number. */
  graph = false;
  /** @ignore The objects by number. */
  refs: unknown[] = [];
  /** @ignore The shapes met, by number. */
  shapes: KnownShape[] = [];
  /** @ignore */
  context: DecodeContext | undefined;

  /**
   * Constructs a new instance.
   *
   * @param bytes The memory that holds the message.
   * @param position Index of its first byte.
   * @param end Index after its last byte.
   * @param blobs The long byte ranges that came with it.
   */
  constructor(
    bytes: Uint8Array = new Uint8Array(0),
    position = 0,
    end: number = bytes.length,
    blobs: Uint8Array[] = [],
  ) {
    this.bytes = bytes;
    this.position = position;
    this.end = end;
    this.blobs = blobs;
    this.viewed = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** @ignore Claims `size` bytes and returns where they begin. */
  take(size: number): number {
    const at = this.position;
    if (size > this.end - at) throw damaged("it ends too early");
    if (this.viewed !== this.bytes) this.#renew();
    this.position = at + size;
    return at;
  }

  #renew(): void {
    const { bytes } = this;
    this.viewed = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Reads one byte. */
  readU8(): number {
    return this.bytes[this.take(1)]!;
  }

  /** Reads an unsigned 32-bit number. */
  readU32(): number {
    const at = this.take(4); // renews the view
    return this.view.getUint32(at, true);
  }

  /** Reads a 64-bit float. */
  readF64(): number {
    const at = this.take(8); // renews the view
    return this.view.getFloat64(at, true);
  }

  /** Reads bytes into memory of their own. */
  readBytes(size: number): Uint8Array<ArrayBuffer> {
    const at = this.take(size);
    return this.bytes.slice(at, at + size) as Uint8Array<ArrayBuffer>;
  }

  /** Reads what {@linkcode Writer.writeString} wrote. */
  readString(): string {
    return readString(this);
  }
}

/**
 * Reads one value.
 *
 * @param r Where from. Its position ends after the value, or anywhere if it throws.
 * @param context What came beside the message.
 * @returns The value.
 * @throws {UnknownHandleKind} If a handle's module is not loaded: load it, set the position back and
 * decode again.
 * @throws {Error} If the bytes are no message.
 */
export function decode(r: Reader, context?: DecodeContext): unknown {
  if (r.position < 0 || r.end > r.bytes.length) {
    throw damaged("its limits are outside its memory");
  }
  // What is not an object has nothing to remember.
  if (r.position < r.end && r.bytes[r.position]! > 0x02) return read(r);
  r.context = context;
  try {
    const tag = r.readU8();
    r.graph = tag === 0x02;
    if (tag === 0) throw damaged("unknown tag 0x0");
    return read(r);
  } catch (error) {
    if (error instanceof RangeError && /call stack/.test(error.message)) {
      throw damaged("it is nested too deeply", error);
    }
    throw error;
  } finally {
    r.context = undefined;
    if (r.graph) r.refs = [];
    if (r.shapes.length > 0) r.shapes = [];
    r.graph = false;
  }
}

/** Makes the error for bytes that are no message. */
export function damaged(detail: string, cause?: unknown): Error {
  return new Error(
    `Cannot decode message: ${detail}`,
    cause === undefined ? undefined : { cause },
  );
}

/** Reads any value: the inside of {@linkcode decode}. */
export function read(r: Reader): unknown {
  const at = r.take(1);
  const tag = r.bytes[at]!;
  if (tag >= 0x80) return tag & 0x7f;
  switch (tag) {
    case 0x03:
      return undefined;
    case 0x04:
      return null;
    case 0x05:
      return false;
    case 0x06:
      return true;
    case 0x07:
      return r.view.getInt32(r.take(4), true);
    case 0x08:
      return r.view.getFloat64(r.take(8), true);
    case 0x09:
      return readLatin1(r);
    case 0x0a:
    case 0x0b:
      r.position = at;
      return readString(r);
    case 0x0c:
      return r.view.getBigInt64(r.take(8), true);
    case 0x0d:
    case 0x0e: {
      const digits = readString(r);
      if (!/^[0-9a-f]+$/.test(digits)) throw damaged("a BigInt has no digits");
      const value = BigInt(`0x${digits}`);
      return tag === 0x0e ? -value : value;
    }
    case 0x10: {
      const index = r.readU32();
      if (index >= r.refs.length) throw damaged("it names an object before it");
      return r.refs[index];
    }
    case 0x11:
      return keep(r, {});
    case 0x12:
      return readPairs(r);
    case 0x13:
      return readShaped(r, readShape(r));
    case 0x14:
    case 0x15: {
      const shape = r.shapes[tag === 0x14 ? r.readU8() : r.readU32()];
      if (shape === undefined) throw damaged("it names a shape before it");
      return readShaped(r, shape);
    }
    case 0x18:
      return keep(r, []);
    case 0x19:
      return readItems(r, r.readU8());
    case 0x1a:
      return readItems(r, r.readU32());
    case 0x1e:
      return readColumn(r);
    case 0x1b:
      return readInts(r);
    case 0x1c:
      return readDoubles(r);
    case 0x1d:
      return readSparse(r);
    default:
      return readExotic(r, tag);
  }
}

/** Numbers an object, where the message names objects by number. */
export function keep<T>(r: Reader, v: T): T {
  if (r.graph) r.refs.push(v);
  return v;
}

/** Reads a string with its tag. */
export function readString(r: Reader): string {
  const tag = r.readU8();
  if (tag === 0x09) return readLatin1(r);
  const n = r.readU32();
  if (tag === 0x0a) {
    const at = r.take(2 * n);
    let text = "";
    for (let i = 0; i < n; i += 1024) {
      const units = new Uint16Array(Math.min(1024, n - i));
      for (let k = 0; k < units.length; k++) {
        units[k] = r.view.getUint16(at + 2 * (i + k), true);
      }
      text += fromCharCode.apply(null, units as unknown as number[]);
    }
    return text;
  }
  if (tag !== 0x0b) {
    throw damaged(`expected a string, found tag 0x${tag.toString(16)}`);
  }
  const at = r.take(n);
  try {
    return DECODER.decode(r.bytes.subarray(at, at + n));
  } catch (error) {
    throw damaged("a string is not UTF-8", error);
  }
}

function readLatin1(r: Reader): string {
  const n = r.readU8();
  let at = r.take(n);
  const b = r.bytes;
  const end = at + n;
  let text = "";
  for (; at + 8 <= end; at += 8) {
    text += fromCharCode(
      b[at]!,
      b[at + 1]!,
      b[at + 2]!,
      b[at + 3]!,
      b[at + 4]!,
      b[at + 5]!,
      b[at + 6]!,
      b[at + 7]!,
    );
  }
  switch (end - at) {
    case 0:
      return text;
    case 1:
      return text + fromCharCode(b[at]!);
    case 2:
      return text + fromCharCode(b[at]!, b[at + 1]!);
    case 3:
      return text + fromCharCode(b[at]!, b[at + 1]!, b[at + 2]!);
    case 4:
      return text + fromCharCode(b[at]!, b[at + 1]!, b[at + 2]!, b[at + 3]!);
    case 5:
      return text +
        fromCharCode(b[at]!, b[at + 1]!, b[at + 2]!, b[at + 3]!, b[at + 4]!);
    case 6:
      return text +
        fromCharCode(
          b[at]!,
          b[at + 1]!,
          b[at + 2]!,
          b[at + 3]!,
          b[at + 4]!,
          b[at + 5]!,
        );
    default:
      return text + fromCharCode(
        b[at]!,
        b[at + 1]!,
        b[at + 2]!,
        b[at + 3]!,
        b[at + 4]!,
        b[at + 5]!,
        b[at + 6]!,
      );
  }
}

function setOwn(
  object: Record<string, unknown>,
  key: string,
  value: unknown,
): void {
  // What somebody has put there, or has frozen, is not to be met.
  if (key in object) {
    defineProperty(object, key, {
      value,
      writable: true,
      enumerable: true,
      configurable: true,
    });
  } else object[key] = value;
}

function readPairs(r: Reader): object {
  const n = r.readU32();
  if (n > r.end - r.position) {
    throw damaged("an object has more properties than bytes");
  }
  const object = keep<Record<string, unknown>>(r, {});
  for (let i = 0; i < n; i++) {
    const key = readString(r);
    setOwn(object, key, read(r));
  }
  return object;
}

function readShaped(r: Reader, shape: KnownShape): object {
  if (!r.graph) {
    if (shape.make !== undefined) return shape.make(r, read);
    if (++shape.uses >= COMPILE_AFTER) shape.make = compile(shape.keys);
  }
  const object = keep<Record<string, unknown>>(r, {});
  const { keys } = shape;
  for (let i = 0; i < keys.length; i++) setOwn(object, keys[i]!, read(r));
  return object;
}

/** An object literal gives all objects of a shape one hidden class, and fills it in one go. */
function compile(keys: string[]): Make {
  const properties = keys.map(property).join(",");
  try {
    return new Function("r", "read", `return {${properties}}`) as Make;
  } catch {
    // Code from strings is switched off: `--disallow-code-generation-from-strings`.
    return function make(r) {
      const object: Record<string, unknown> = {};
      for (let i = 0; i < keys.length; i++) setOwn(object, keys[i]!, read(r));
      return object;
    };
  }
}

/** Brackets make `__proto__` a property like any other. */
function property(key: string): string {
  const name = JSON.stringify(key);
  return `${key === "__proto__" ? `[${name}]` : name}:read(r)`;
}

function readShape(r: Reader): KnownShape {
  const at = r.take(7);
  const size = r.view.getUint16(at, true);
  const slot = r.view.getUint32(at + 2, true) & (SHAPE_SLOTS - 1);
  r.take(size);
  const known = KNOWN[slot];
  if (known !== undefined && sameBytes(r, at, known.bytes)) {
    r.shapes.push(known);
    return known;
  }
  const end = r.position;
  const keys: string[] = [];
  r.position = at + 7;
  for (let i = r.bytes[at + 6]!; i > 0; i--) keys.push(readString(r));
  if (r.position !== end) throw damaged("a key list has the wrong length");
  const shape = {
    bytes: r.bytes.slice(at, end),
    keys,
    uses: 0,
    make: undefined,
  };
  KNOWN[slot] = shape;
  r.shapes.push(shape);
  return shape;
}

function sameBytes(r: Reader, at: number, expected: Uint8Array): boolean {
  if (r.position - at !== expected.length) return false;
  const { bytes } = r;
  for (let i = 0; i < expected.length; i++) {
    if (bytes[at + i] !== expected[i]) return false;
  }
  return true;
}

function readItems(r: Reader, n: number): unknown[] {
  if (n > r.end - r.position) {
    throw damaged("an array has more items than bytes");
  }
  if (!r.graph) {
    switch (n) {
      case 1:
        return [read(r)];
      case 2:
        return [read(r), read(r)];
      case 3:
        return [read(r), read(r), read(r)];
      case 4:
        return [read(r), read(r), read(r), read(r)];
    }
  }
  const array: unknown[] = keep(r, []);
  for (let i = 0; i < n; i++) array.push(read(r));
  return array;
}

function readColumn(r: Reader): number[] {
  const n = r.readU32();
  r.take(-r.position & 7);
  const at = r.take(8 * n);
  const start = r.bytes.byteOffset + at;
  let array: number[];
  if (n <= CALL_LIMIT && (start & 7) === 0) {
    // One call is faster than a loop that has not run often.
    array = apply(arrayOf, Array, new F64(r.bytes.buffer, start, n));
  } else {
    array = [];
    const { view } = r;
    for (let i = 0; i < n; i++) array.push(view.getFloat64(at + 8 * i, true));
  }
  return keep(r, array);
}

function readInts(r: Reader): number[] {
  const n = r.readU32();
  let at = r.take(4 * n);
  const { view } = r;
  const array: number[] = n > PRESIZE_LIMIT ? [] : new Array(n);
  if (n > PRESIZE_LIMIT) {
    for (let i = 0; i < n; i++, at += 4) array.push(view.getInt32(at, true));
  } else {for (let i = 0; i < n; i++, at += 4) {
      array[i] = view.getInt32(at, true);
    }}
  return keep(r, array);
}

function readDoubles(r: Reader): number[] {
  const n = r.readU32();
  let at = r.take(8 * n);
  const { view } = r;
  const array: number[] = n > PRESIZE_LIMIT ? [] : new Array(n);
  if (n > PRESIZE_LIMIT) {
    for (let i = 0; i < n; i++, at += 8) {
      array.push(view.getFloat64(at, true));
    }
  } else {for (let i = 0; i < n; i++, at += 8) {
      array[i] = view.getFloat64(at, true);
    }}
  return keep(r, array);
}

function readSparse(r: Reader): unknown[] {
  const length = r.readU32();
  const indexes = r.readU32();
  const names = r.readU32();
  if (indexes + names > r.end - r.position) {
    throw damaged("an array has more items than bytes");
  }
  const array: unknown[] = keep(r, []);
  // The longest length there is makes it a hash table: a few items then cost a few slots.
  if (length > PRESIZE_LIMIT && length > 8 * indexes) array.length = 0xffffffff;
  array.length = length;
  for (let i = 0; i < indexes; i++) {
    const index = r.readU32();
    if (index >= length) throw damaged("an array has an item past its end");
    array[index] = read(r);
  }
  for (let i = 0; i < names; i++) {
    const key = readString(r);
    if (key === "length") throw damaged("an array has two lengths");
    setOwn(array as unknown as Record<string, unknown>, key, read(r));
  }
  return array;
}
