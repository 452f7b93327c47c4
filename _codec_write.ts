/**
 * Values to bytes. The format is described in `_codec.ts`, which re-exports this module.
 *
 * @module
 */

import { isProxy, Refused, writeExotic } from "./_codec_write_exotic.ts";

/** Byte ranges longer than this travel beside the head, uncopied. */
export const INLINE_LIMIT = 8192;
/** Strings up to this length are copied character by character. */
const SHORT_STRING = 40;
/** Up to this many objects a message's identity table is a plain list. */
const LIST_LIMIT = 32;
/** Shapes kept per thread, and the most keys a shape may have. */
const SHAPE_LIMIT = 1024;
const SHAPE_KEYS = 64;
const SHAPE_CHARS = 1024;
/** How often a shape is written before it gets a function of its own. */
const COMPILE_AFTER = 8;

/** From this length on, an array of numbers is written as a column. */
const COLUMN = 64;
/**
 * How deep a value may be: what a reader that has just started finds room for on its
 * stack, for it has the only copy. A writer's room depends on what has been compiled.
 */
const MOST_LEVELS = 1500;

const { isArray } = Array;
const { every, slice } = Array.prototype;
const { isFinite } = Number;
const { set: setAll, includes } = Float64Array.prototype;
const F64 = Float64Array;
const { keys: keysOf, values: valuesOf, hasOwn } = Object;
const { iterator } = Symbol;
const ENCODER = new TextEncoder();

/** What the caller of {@linkcode encode} allows in a message. */
export interface EncodeContext {
  /**
   * Collects the shared memories met. Without it handles and shared memory are refused with a
   * `TypeError`.
   */
  shared?: Set<SharedArrayBuffer>;
  /** Says which handles are allowed where `shared` is absent. Called right before their parts are asked for. */
  admits?: (handle: object) => boolean;
  /** Objects that move by message instead of being encoded, with their index there. */
  moved?: Map<object, number>;
}

/** A list of keys that objects share. */
interface Shape {
  readonly keys: string[];
  /** The key list as it is written; made when the shape is seen the second time. */
  bytes: Uint8Array | undefined;
  /** The message this shape was last written in, and its number there. */
  message: number;
  index: number;
  uses: number;
  writeAll: WriteAll | undefined;
}

/** Writes the properties of an object of a shape. */
type WriteAll = (
  w: Writer,
  v: Record<string, unknown>,
  write: (w: Writer, v: unknown) => void,
) => void;

const SHAPES = new Map<string, Shape[]>();
let shapeCount = 0;
/** The shape found last: rows follow rows. */
let lastShape: Shape | undefined;
let messages = 0;

/** A growing message in private memory. */
export class Writer {
  /** The memory written so far, up to `length`. Replaced when it grows. */
  bytes: Uint8Array<ArrayBuffer>;
  /** Number of bytes written. */
  length = 0;
  /** Long byte ranges, not copied, in the order the head names them. */
  blobs: Uint8Array[] = [];
  /** Whether an {@linkcode encode} is under way: a getter it reads may run any code. */
  busy = false;
  /** The same memory, in words. */
  words: Int32Array;
  /** @ignore Same memory as `bytes`. */
  view: DataView;
  /** @ignore Objects met in this message, by their number. */
  seen: (object | undefined)[] = [];
  /** @ignore How many objects were met. */
  seenCount = 0;
  /** @ignore Replaces `seen` in long messages. */
  seenSet: Set<object | undefined> | undefined;
  /** @ignore Replaces `seenSet` once an object was met twice. */
  seenMap: Map<object | undefined, number> | undefined;
  /** @ignore Whether an object was met twice. */
  graph = false;
  /** How deep in the value it is. */
  depth = 0;
  /** @ignore The number of this message in this thread, for shapes. */
  message = 0;
  /** @ignore Shapes written in this message. */
  shapeCount = 0;
  /** @ignore */
  context: EncodeContext | undefined;

  /**
   * Constructs a new instance.
   *
   * @param capacity Bytes to start with, a multiple of 4.
   */
  constructor(capacity = 1024) {
    this.bytes = new Uint8Array(capacity);
    this.words = new Int32Array(this.bytes.buffer);
    this.view = new DataView(this.bytes.buffer);
  }

  /** Forgets what was written and keeps the memory. */
  reset(): void {
    if (this.busy) {
      throw new TypeError("Cannot reset a Writer: an encode is under way");
    }
    this.length = 0;
    if (this.blobs.length > 0) this.blobs = [];
    if (this.bytes.length > 1 << 20) this.#use(new Uint8Array(4096));
  }

  #use(bytes: Uint8Array<ArrayBuffer>): void {
    this.bytes = bytes;
    this.words = new Int32Array(bytes.buffer);
    this.view = new DataView(bytes.buffer);
  }

  /** Makes room for `size` more bytes. */
  reserve(size: number): void {
    if (this.length + size > this.bytes.length) this.#grow(size);
  }

  #grow(size: number): void {
    const bytes = new Uint8Array(
      Math.max(this.bytes.length * 2, (this.length + size + 64) & ~3),
    );
    bytes.set(this.bytes.subarray(0, this.length));
    this.#use(bytes);
  }

  /** Appends four words to an empty message. */
  writeHead(word0: number, word1: number, word2: number, word3: number): void {
    const { words } = this;
    words[0] = word0;
    words[1] = word1;
    words[2] = word2;
    words[3] = word3;
    this.length = 16;
  }

  /** Appends one byte. */
  writeU8(n: number): void {
    if (this.length + 1 > this.bytes.length) this.#grow(1);
    this.bytes[this.length++] = n;
  }

  /** Appends an unsigned 32-bit number. */
  writeU32(n: number): void {
    if (this.length + 4 > this.bytes.length) this.#grow(4);
    this.view.setUint32(this.length, n, true);
    this.length += 4;
  }

  /** Appends a 64-bit float. */
  writeF64(n: number): void {
    if (this.length + 8 > this.bytes.length) this.#grow(8);
    this.view.setFloat64(this.length, n, true);
    this.length += 8;
  }

  /** Appends bytes, without their number. */
  writeBytes(u8: Uint8Array): void {
    if (this.length + u8.length > this.bytes.length) this.#grow(u8.length);
    this.bytes.set(u8, this.length);
    this.length += u8.length;
  }

  /** Appends a string that {@linkcode Reader.readString} gives back. */
  writeString(text: string): void {
    writeString(this, text);
  }
}

/**
 * Appends one value to a message.
 *
 * @param w Where to.
 * @param value The value.
 * @param context What may be in it.
 * @throws {DOMException} A `DataCloneError` if structured clone would refuse the value.
 * @throws {TypeError} If it holds a handle or shared memory and `context.shared` is absent.
 */
export function encode(
  w: Writer,
  value: unknown,
  context?: EncodeContext,
): void {
  if (typeof value === "number") writeNumber(w, value);
  else if (typeof value === "object" && value !== null) {
    encodeObject(w, value, context);
  } else if (typeof value === "function" || typeof value === "symbol") {
    throw new Refused(value).toError(value);
  } else write(w, value);
}

/**
 * Appends `items.slice(from, to)` as an array.
 *
 * @param w Where to.
 * @param items The items.
 * @param from Index of the first.
 * @param to Index after the last.
 * @param context What may be in them.
 */
export function encodeItems(
  w: Writer,
  items: ArrayLike<unknown>,
  from: number,
  to: number,
  context?: EncodeContext,
): void {
  const list: unknown[] = slice.call(items, from, to);
  if (
    !w.busy && list.length >= COLUMN && typeof list[0] === "number" &&
    writeColumn(w, list)
  ) return;
  encodeObject(w, list, context);
}

function encodeObject(
  w: Writer,
  value: object,
  context: EncodeContext | undefined,
): void {
  if (w.busy) {
    throw new TypeError(
      "Cannot encode: this Writer is in use by an encode under way",
    );
  }
  w.busy = true;
  w.context = context;
  w.message = ++messages;
  const start = w.length;
  w.writeU8(0x01 /* tree */);
  let done = false;
  try {
    writeObject(w, value);
    if (w.graph) w.bytes[start] = 0x02 /* graph */;
    done = true;
  } catch (error) {
    if (error instanceof Refused) throw error.toError(value);
    if (error instanceof TypeError && /revoked/.test(error.message)) {
      throw new DOMException(
        "Cannot send value: a revoked proxy could not be cloned",
        "DataCloneError",
      );
    }
    throw error instanceof RangeError && /call stack/.test(error.message)
      ? tooDeep()
      : error;
  } finally {
    if (!done) w.length = start;
    for (let i = 0; i < w.seenCount && i < LIST_LIMIT; i++) {
      w.seen[i] = undefined;
    }
    w.seenCount = 0;
    w.seenSet = undefined;
    w.seenMap = undefined;
    w.graph = false;
    w.depth = 0;
    w.shapeCount = 0;
    w.context = undefined;
    w.busy = false;
  }
}

function tooDeep(): RangeError {
  return new RangeError(
    `Cannot send value: it is nested too deeply, more than ${MOST_LEVELS} levels or than the stack has room for`,
  );
}

/** Appends any value: the inside of {@linkcode encode}. */
export function write(w: Writer, v: unknown): void {
  switch (typeof v) {
    case "number":
      return writeNumber(w, v);
    case "string":
      return writeString(w, v);
    case "object":
      if (v === null) return w.writeU8(0x04);
      if (++w.depth > MOST_LEVELS) throw tooDeep();
      writeObject(w, v);
      w.depth--;
      return;
    case "boolean":
      return w.writeU8(v ? 0x06 : 0x05);
    case "undefined":
      return w.writeU8(0x03);
    case "bigint":
      return writeBigInt(w, v);
    default:
      throw new Refused(v);
  }
}

function writeNumber(w: Writer, v: number): void {
  if (w.length + 9 > w.bytes.length) w.reserve(9);
  const at = w.length;
  if ((v | 0) === v && (v !== 0 || 1 / v > 0)) {
    if (v >= 0 && v < 128) {
      w.bytes[at] = 0x80 | v;
      w.length = at + 1;
    } else {
      w.bytes[at] = 0x07;
      w.view.setInt32(at + 1, v, true);
      w.length = at + 5;
    }
  } else {
    w.bytes[at] = 0x08;
    w.view.setFloat64(at + 1, v, true);
    w.length = at + 9;
  }
}

/** Appends a string with its tag. */
export function writeString(w: Writer, v: string): void {
  const n = v.length;
  if (n > SHORT_STRING) return writeLongString(w, v);
  if (w.length + 2 + n > w.bytes.length) w.reserve(2 + n);
  const { bytes } = w;
  const at = w.length;
  bytes[at] = 0x09;
  bytes[at + 1] = n;
  const to = at + 2;
  for (let i = 0; i < n; i++) {
    const c = v.charCodeAt(i);
    if (c > 255) return writeUnits(w, v);
    bytes[to + i] = c;
  }
  w.length = at + 2 + n;
}

function writeLongString(w: Writer, v: string): void {
  if (!v.isWellFormed()) return writeUnits(w, v);
  w.reserve(v.length + 16);
  const at = w.length;
  w.bytes[at] = 0x0b;
  w.length = at + 5;
  let { read, written } = ENCODER.encodeInto(v, w.bytes.subarray(w.length));
  w.length += written;
  if (read < v.length) {
    const rest = v.slice(read);
    w.reserve(rest.length * 3);
    ({ read, written } = ENCODER.encodeInto(rest, w.bytes.subarray(w.length)));
    w.length += written;
  }
  w.view.setUint32(at + 1, w.length - at - 5, true);
}

function writeUnits(w: Writer, v: string): void {
  const n = v.length;
  w.reserve(5 + 2 * n);
  w.bytes[w.length] = 0x0a;
  w.view.setUint32(w.length + 1, n, true);
  const { view } = w;
  let to = w.length + 5;
  for (let i = 0; i < n; i++, to += 2) {
    view.setUint16(to, v.charCodeAt(i), true);
  }
  w.length = to;
}

function writeBigInt(w: Writer, v: bigint): void {
  if (BigInt.asIntN(64, v) === v) {
    w.reserve(9);
    w.bytes[w.length] = 0x0c;
    w.view.setBigInt64(w.length + 1, v, true);
    w.length += 9;
    return;
  }
  w.writeU8(v < 0n ? 0x0e : 0x0d);
  writeString(w, (v < 0n ? -v : v).toString(16));
}

/** Returns the number of an object met before, or -1 after numbering it. */
function number(w: Writer, v: object): number {
  const { seen, seenCount, seenSet } = w;
  if (seenSet === undefined) {
    for (let i = 0; i < seenCount; i++) if (seen[i] === v) return i;
    if (seenCount < LIST_LIMIT) seen[seenCount] = v;
    else w.seenSet = new Set<object | undefined>(seen).add(v);
  } else {
    if (w.seenMap !== undefined) {
      const known = w.seenMap.get(v);
      if (known !== undefined) return known;
      w.seenMap.set(v, seenCount);
    } else if (seenSet.add(v).size === seenCount) {
      // A set is faster to add to, and gives the numbers by its order once they are asked for.
      const map = w.seenMap = new Map<object | undefined, number>();
      for (const object of seenSet) map.set(object, map.size);
      return map.get(v)!;
    }
  }
  w.seenCount = seenCount + 1;
  return -1;
}

function writeObject(w: Writer, v: object): void {
  const known = number(w, v);
  if (known >= 0) {
    w.graph = true;
    w.writeU8(0x10);
    w.writeU32(known);
  } else if (isArray(v)) {
    if (isProxy(v)) throw new Refused(v);
    writeArray(w, v);
  } else if (
    v.constructor === Object &&
    (v as { [iterator]?: unknown })[iterator] === undefined
  ) {
    if (isProxy(v)) throw new Refused(v);
    writePlain(w, v as Record<string, unknown>);
  } else writeExotic(w, v);
}

/** Appends the own enumerable properties of any object as a plain object. */
export function writePlain(w: Writer, v: Record<string, unknown>): void {
  const keys = keysOf(v);
  const count = keys.length;
  if (count === 0) return w.writeU8(0x11);
  const shape = count > SHAPE_KEYS ? undefined : shapeOf(keys, count);
  if (shape === undefined) {
    w.writeU8(0x12);
    w.writeU32(count);
    for (let i = 0; i < count; i++) {
      const key = keys[i]!;
      writeString(w, key);
      write(w, v[key]);
    }
    return;
  }
  if (shape.message === w.message) {
    const { index } = shape;
    w.reserve(5);
    if (index < 256) {
      w.bytes[w.length] = 0x14;
      w.bytes[w.length + 1] = index;
      w.length += 2;
    } else {
      w.bytes[w.length] = 0x15;
      w.view.setUint32(w.length + 1, index, true);
      w.length += 5;
    }
  } else {
    shape.message = w.message;
    shape.index = w.shapeCount++;
    const list = shape.bytes!;
    const size = list.length;
    w.reserve(size + 1);
    const { bytes } = w;
    let to = w.length;
    bytes[to++] = 0x13;
    if (size > 64) {
      bytes.set(list, to);
      to += size;
    } else for (let i = 0; i < size; i++) bytes[to++] = list[i]!;
    w.length = to;
  }
  const { writeAll } = shape;
  if (writeAll !== undefined) return writeAll(w, v, write);
  if (++shape.uses >= COMPILE_AFTER) shape.writeAll = compile(shape.keys);
  const own = shape.keys;
  for (let i = 0; i < count; i++) write(w, v[own[i]!]);
}

/** Straight code with one inline cache for each property. */
function compile(keys: string[]): WriteAll {
  const calls = keys.map((key) => `write(w,v[${JSON.stringify(key)}])`).join(
    ";",
  );
  try {
    return new Function("w", "v", "write", calls) as WriteAll;
  } catch {
    // Code from strings is switched off: `--disallow-code-generation-from-strings`.
    return function writeAll(w, v) {
      for (let i = 0; i < keys.length; i++) write(w, v[keys[i]!]);
    };
  }
}

/** Finds the shape of a key list that was seen before; otherwise remembers it for next time. */
function shapeOf(keys: string[], count: number): Shape | undefined {
  if (lastShape !== undefined && hasKeys(lastShape, keys, count)) {
    return lastShape;
  }
  const first = keys[0]!;
  let bucket = SHAPES.get(first);
  if (bucket !== undefined) {
    for (let s = 0; s < bucket.length; s++) {
      const shape = bucket[s]!;
      if (!hasKeys(shape, keys, count)) continue;
      if (shape.bytes === undefined) shape.bytes = keyListBytes(shape.keys);
      return lastShape = shape;
    }
  }
  let chars = 0;
  for (let i = 0; i < count; i++) chars += keys[i]!.length;
  if (chars > SHAPE_CHARS) return undefined;
  if (++shapeCount > SHAPE_LIMIT) {
    SHAPES.clear();
    shapeCount = 1;
    bucket = undefined;
  }
  const shape = {
    keys,
    bytes: undefined,
    message: 0,
    index: 0,
    uses: 0,
    writeAll: undefined,
  };
  if (bucket === undefined) SHAPES.set(first, [shape]);
  else if (bucket.length < 16) bucket.push(shape);
  else bucket[shapeCount & 15] = shape;
  return undefined;
}

function hasKeys(shape: Shape, keys: string[], count: number): boolean {
  const own = shape.keys;
  if (own.length !== count) return false;
  for (let i = 0; i < count; i++) if (own[i] !== keys[i]) return false;
  return true;
}

/** `u16 size, u32 hash, u8 count, strings`: the size is that of the strings. */
function keyListBytes(keys: string[]): Uint8Array {
  const w = new Writer(256);
  w.length = 7;
  for (const key of keys) writeString(w, key);
  let hash = 0x811c9dc5;
  for (let i = 7; i < w.length; i++) {
    hash = Math.imul(hash ^ w.bytes[i]!, 0x01000193);
  }
  w.view.setUint16(0, w.length - 7, true);
  w.view.setUint32(2, hash >>> 0, true);
  w.bytes[6] = keys.length;
  return w.bytes.slice(0, w.length);
}

function writeArray(w: Writer, v: unknown[]): void {
  const n = v.length;
  if (n === 0) {
    if (keysOf(v).length > 0) return writeSparse(w, v);
    return w.writeU8(0x18);
  }
  // Named properties and holes both show in the number of own enumerable properties, except where
  // there are as many of one as of the other: then the search for a hole below tells.
  // `values` makes no strings of indexes, `keys` is cheaper to call.
  if ((n > 4 ? valuesOf(v) : keysOf(v)).length !== n) return writeSparse(w, v);
  const start = w.length;
  if (typeof v[0] === "number" && n > 2) {
    if (n >= COLUMN && writeColumn(w, v)) return;
    if (writeInts(w, v, n) || writeDoubles(w, v, n)) return;
    w.length = start;
  }
  for (let i = 0; i < n; i++) {
    if (v[i] === undefined && !hasOwn(v, i)) return writeSparse(w, v);
  }
  w.reserve(5);
  if (n < 256) {
    w.bytes[start] = 0x19;
    w.bytes[start + 1] = n;
    w.length = start + 2;
  } else {
    w.bytes[start] = 0x1a;
    w.view.setUint32(start + 1, n, true);
    w.length = start + 5;
  }
  for (let i = 0; i < n; i++) write(w, v[i]);
}

/**
 * Writes a long array of finite numbers by calls that run at full speed even in
 * a program that has just started, where a loop would still be interpreted.
 */
function writeColumn(w: Writer, v: unknown[]): boolean {
  if (!every.call(v, isFinite)) return false;
  const n = v.length;
  w.reserve(16 + 8 * n);
  const start = w.length;
  const at = start + 12 & ~7;
  w.bytes[start] = 0x1e;
  w.view.setUint32(start + 1, n, true);
  for (let i = start + 5; i < at; i++) w.bytes[i] = 0;
  const column = new F64(w.bytes.buffer, at, n);
  setAll.call(column, v as number[]);
  // `every` passes over holes, which become NaN.
  if (includes.call(column, NaN)) return false;
  w.length = at + 8 * n;
  return true;
}

function writeInts(w: Writer, v: unknown[], n: number): boolean {
  w.reserve(5 + 4 * n);
  const { view } = w;
  let at = w.length;
  view.setUint8(at, 0x1b);
  view.setUint32(at + 1, n, true);
  at += 5;
  for (let i = 0; i < n; i++, at += 4) {
    const x = v[i] as number;
    if (typeof x !== "number" || (x | 0) !== x || (x === 0 && 1 / x < 0)) {
      return false;
    }
    view.setInt32(at, x, true);
  }
  w.length = at;
  return true;
}

function writeDoubles(w: Writer, v: unknown[], n: number): boolean {
  w.reserve(5 + 8 * n);
  const { view } = w;
  let at = w.length;
  view.setUint8(at, 0x1c);
  view.setUint32(at + 1, n, true);
  at += 5;
  for (let i = 0; i < n; i++, at += 8) {
    const x = v[i];
    if (typeof x !== "number") return false;
    view.setFloat64(at, x, true);
  }
  w.length = at;
  return true;
}

function writeSparse(w: Writer, v: unknown[]): void {
  const keys = keysOf(v);
  let indexes = 0;
  while (indexes < keys.length && isIndex(keys[indexes]!)) indexes++;
  w.writeU8(0x1d);
  w.writeU32(v.length);
  w.writeU32(indexes);
  w.writeU32(keys.length - indexes);
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i]!;
    if (i < indexes) w.writeU32(Number(key));
    else writeString(w, key);
    write(w, (v as unknown as Record<string, unknown>)[key]);
  }
}

function isIndex(key: string): boolean {
  const index = Number(key) >>> 0;
  return index !== 0xffffffff && String(index) === key;
}
