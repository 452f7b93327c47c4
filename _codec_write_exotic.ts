/**
 * Values to bytes, the rarer kinds: everything that is neither a primitive, a plain object nor an
 * array. Kinds are told by prototype and then by the built-in's own brand check, so an object that
 * only looks like a `Map` is sent as structured clone would: as a plain object.
 *
 * @module
 */

import {
  HANDLE,
  type HandleParts,
  isGuard,
  isHandle,
  memoryId,
  takeSentBack,
} from "./_handle.ts";
import {
  INLINE_LIMIT,
  write,
  writePlain,
  type Writer,
  writeString,
} from "./_codec_write.ts";

const { isView } = ArrayBuffer;
const { getPrototypeOf, getOwnPropertyDescriptor: descriptorOf, keys: keysOf } =
  Object;
const isError =
  (Error as unknown as { isError?: (v: unknown) => boolean }).isError ??
    isErrorTag;
const clone = structuredClone;

const getTime = uncurry<number>(Date.prototype.getTime);
const mapEach = uncurry<void>(Map.prototype.forEach);
const mapSize = uncurryGetter<number>(Map.prototype, "size");
const setEach = uncurry<void>(Set.prototype.forEach);
const setSize = uncurryGetter<number>(Set.prototype, "size");
const regExpSource = uncurryGetter<string>(RegExp.prototype, "source");
const regExpFlags = uncurryGetter<string>(RegExp.prototype, "flags");
const numberOf = uncurry<number>(Number.prototype.valueOf);
const stringOf = uncurry<string>(String.prototype.valueOf);
const booleanOf = uncurry<boolean>(Boolean.prototype.valueOf);
const bigintOf = uncurry<bigint>(BigInt.prototype.valueOf);
const bufferLength = uncurryGetter<number>(ArrayBuffer.prototype, "byteLength");
const bufferDetached = uncurryGetter<boolean>(
  ArrayBuffer.prototype,
  "detached",
);
const bufferResizable = uncurryGetter<boolean>(
  ArrayBuffer.prototype,
  "resizable",
);
const sharedLength = uncurryGetter<number>(
  SharedArrayBuffer.prototype,
  "byteLength",
);
const sharedGrowable = uncurryGetter<boolean>(
  SharedArrayBuffer.prototype,
  "growable",
);
const TypedArray = getPrototypeOf(Uint8Array) as { prototype: object };
const arrayKind = uncurryGetter<string | undefined>(
  TypedArray.prototype,
  Symbol.toStringTag,
);
const arrayBuffer = uncurryGetter<ArrayBufferLike>(
  TypedArray.prototype,
  "buffer",
);
const arrayOffset = uncurryGetter<number>(TypedArray.prototype, "byteOffset");
const arrayLength = uncurryGetter<number>(TypedArray.prototype, "length");
const arrayKeys = uncurry<unknown>((TypedArray.prototype as Uint8Array).keys);
const viewBuffer = uncurryGetter<ArrayBufferLike>(DataView.prototype, "buffer");
const viewOffset = uncurryGetter<number>(DataView.prototype, "byteOffset");
const viewLength = uncurryGetter<number>(DataView.prototype, "byteLength");
const functionText = uncurry<string>(Function.prototype.toString);
const domName = uncurryGetter<string>(DOMException.prototype, "name");

/** Class names of views by their number in a message. 0 is `DataView`. */
export const VIEW_KINDS: readonly string[] = [
  "DataView",
  "Int8Array",
  "Uint8Array",
  "Uint8ClampedArray",
  "Int16Array",
  "Uint16Array",
  "Int32Array",
  "Uint32Array",
  "Float32Array",
  "Float64Array",
  "BigInt64Array",
  "BigUint64Array",
  "Float16Array",
];

/** Class names of errors by their number in a message, those that structured clone keeps. */
export const ERROR_KINDS: readonly string[] = [
  "Error",
  "EvalError",
  "RangeError",
  "ReferenceError",
  "SyntaxError",
  "TypeError",
  "URIError",
];

// Not learned from such an object: to make a `DOMException` takes a millisecond of looking up
// where in the source that was.
const { isProxy: tellsProxy = never, hostObjectBrand: HOST_BRAND } = brands();

/** Whether an object is a proxy, as far as this runtime tells. */
export const isProxy: (v: object) => boolean = tellsProxy;

type Kind =
  | "plain"
  | "opaque"
  | "date"
  | "map"
  | "set"
  | "regexp"
  | "number"
  | "string"
  | "boolean"
  | "bigint"
  | "buffer"
  | "shared";

/** What the objects of a prototype are, as far as the prototype tells. */
const KINDS = new WeakMap<object, Kind>([
  [Object.prototype, "plain"],
  [Array.prototype, "plain"],
  [Error.prototype, "plain"],
  [Date.prototype, "date"],
  [Map.prototype, "map"],
  [Set.prototype, "set"],
  [RegExp.prototype, "regexp"],
  [Number.prototype, "number"],
  [String.prototype, "string"],
  [Boolean.prototype, "boolean"],
  [BigInt.prototype, "bigint"],
  [ArrayBuffer.prototype, "buffer"],
  [SharedArrayBuffer.prototype, "shared"],
]);

/** Thrown inside an encode for a value that cannot be cloned. */
export class Refused {
  readonly #value: unknown;

  /**
   * Constructs a new instance.
   *
   * @param value The value refused.
   */
  constructor(value: unknown) {
    this.#value = value;
  }

  /**
   * Makes the error the caller sees.
   *
   * @param root The value that was to be encoded, in which the refused one is searched.
   * @returns A `DataCloneError`.
   */
  toError(root: unknown): DOMException {
    let path = pathTo(root, this.#value) ?? "";
    let text = `${show(this.#value)} could not be cloned`;
    const owner = /^(.*)\.sendThroughArgs$/s.exec(path)?.[1];
    if (owner !== undefined && isGuard(this.#value)) {
      path = owner;
      text = "it is of another copy, or version, of this library";
    }
    return new DOMException(
      `Cannot send value${path === "" ? "" : ` at ${path}`}: ${text}`,
      "DataCloneError",
    );
  }
}

/**
 * Appends an object that is neither an array nor evidently plain.
 *
 * @param w Where to.
 * @param v The object, numbered by the caller.
 */
export function writeExotic(w: Writer, v: object): void {
  const index = w.context?.moved?.get(v);
  if (index !== undefined) {
    w.writeU8(0x2c);
    w.writeU32(index);
  } else if (isProxy(v)) throw new Refused(v);
  else if (isView(v)) writeView(w, v);
  else if (isHandle(v)) writeHandle(w, v);
  else if (isError(v)) writeError(w, v as Error);
  else if (HOST_BRAND !== undefined && HOST_BRAND in v) writeUnknown(w, v);
  else {
    try {
      writeKind(w, v, kindOf(v));
    } catch (error) {
      if (error !== FOREIGN) throw error;
      writeUnknown(w, v);
    }
  }
}

/** Thrown by the brand checks: the object has the prototype of a built-in but is none. */
const FOREIGN = Symbol("foreign");

function branded<T>(check: (v: object) => T, v: object): T {
  try {
    return check(v);
  } catch {
    throw FOREIGN;
  }
}

function writeKind(w: Writer, v: object, kind: Kind): void {
  switch (kind) {
    case "plain":
      return writePlain(w, v as Record<string, unknown>);
    case "date": {
      const time = branded(getTime, v);
      w.writeU8(0x20);
      return w.writeF64(time);
    }
    case "regexp": {
      const source = branded(regExpSource, v);
      // The source getter accepts the prototype itself.
      if (v === RegExp.prototype) throw FOREIGN;
      w.writeU8(0x21);
      writeString(w, source);
      return writeString(w, regExpFlags(v));
    }
    case "map": {
      const size = branded(mapSize, v);
      const entries: unknown[] = [];
      mapEach(v, (value: unknown, key: unknown) => entries.push(key, value));
      w.writeU8(0x22);
      w.writeU32(size);
      for (let i = 0; i < entries.length; i++) write(w, entries[i]);
      return;
    }
    case "set": {
      const size = branded(setSize, v);
      const items: unknown[] = [];
      setEach(v, (item: unknown) => items.push(item));
      w.writeU8(0x23);
      w.writeU32(size);
      for (let i = 0; i < items.length; i++) write(w, items[i]);
      return;
    }
    case "number":
      return writeBox(w, branded(numberOf, v));
    case "string":
      return writeBox(w, branded(stringOf, v));
    case "boolean":
      return writeBox(w, branded(booleanOf, v));
    case "bigint":
      return writeBox(w, branded(bigintOf, v));
    case "buffer":
      branded(bufferLength, v);
      return writeBuffer(w, v as ArrayBuffer);
    case "shared":
      branded(sharedLength, v);
      return writeShared(w, v as SharedArrayBuffer);
    case "opaque":
      return writeUnknown(w, v);
  }
}

function writeBox(w: Writer, v: unknown): void {
  w.writeU8(0x24);
  write(w, v);
}

/** Follows the platform where this module does not know a kind of object. */
function writeUnknown(w: Writer, v: object): void {
  let copy: unknown;
  try {
    copy = clone(v);
  } catch (error) {
    if (error instanceof DOMException && error.name === "DataCloneError") {
      throw new Refused(v);
    }
    throw error;
  }
  // What survives as an object of its own kind (a Blob, a compiled module) has no bytes to send.
  if (
    typeof copy !== "object" || copy === null ||
    getPrototypeOf(copy) !== Object.prototype
  ) {
    throw new Refused(v);
  }
  writePlain(w, v as Record<string, unknown>);
}

function kindOf(v: object): Kind {
  const prototype = getPrototypeOf(v) as object | null;
  // Only a module namespace has no prototype and a tag of its own.
  if (prototype === null) return Symbol.toStringTag in v ? "opaque" : "plain";
  let kind = KINDS.get(prototype);
  if (kind === undefined) {
    KINDS.set(prototype, kind = kindOfPrototype(prototype));
  }
  if (
    kind === "plain" && Symbol.iterator in v &&
    descriptorOf(v, "callee") !== undefined
  ) {
    return "opaque"; // `arguments`
  }
  return kind;
}

function kindOfPrototype(prototype: object): Kind {
  for (let p: object | null = prototype; p !== null; p = getPrototypeOf(p)) {
    const known = KINDS.get(p);
    if (known !== undefined) return known;
    if (Object.getOwnPropertySymbols(p).some(isBrand)) return "opaque";
    const made = descriptorOf(p, "constructor");
    if (made === undefined) {
      if (Symbol.toStringTag in p && Symbol.iterator in p) return "opaque";
    } else if (typeof made.value !== "function") return "opaque";
    else if (/\[native code\]\s*\}$/.test(functionText(made.value as object))) {
      return "opaque";
    }
  }
  return "plain";
}

/** Whether Deno marks the objects of a prototype with this symbol as its own, or as not clonable. */
function isBrand(symbol: symbol): boolean {
  const { description } = symbol;
  return description === "[[NotSerializable]]" ||
    description === "Deno.core.hostObject";
}

function writeHandle(w: Writer, v: object): void {
  const { context } = w;
  if (context?.shared === undefined && context?.admits?.(v) !== true) {
    // One that cannot leave its thread says so itself.
    const { kind } = (v as { [HANDLE](): HandleParts })[HANDLE]();
    takeSentBack();
    throw sharedRefusal(kind);
  }
  const { kind, parts } = (v as { [HANDLE](): HandleParts })[HANDLE]();
  w.writeU8(0x2b);
  writeString(w, kind);
  w.writeU32(parts.length);
  for (let i = 0; i < parts.length; i++) write(w, parts[i]);
}

function writeShared(w: Writer, v: SharedArrayBuffer): void {
  const shared = w.context?.shared;
  if (shared === undefined) throw sharedRefusal("SharedArrayBuffer");
  shared.add(v);
  w.writeU8(0x2a);
  w.writeF64(memoryId(v));
}

function sharedRefusal(name: string): TypeError {
  return new TypeError(
    `Cannot put ${
      /^[AEIOU]/.test(name) ? "an" : "a"
    } ${name} into a message, which is bytes: handles and shared memory travel only as arguments and results of processes and pool tasks`,
  );
}

function writeBuffer(w: Writer, v: ArrayBuffer): void {
  if (bufferDetached(v)) throw new Refused(v);
  const size = bufferLength(v);
  const resizable = bufferResizable(v);
  const bytes = new Uint8Array(v, 0, size);
  if (size > INLINE_LIMIT) {
    w.writeU8(resizable ? 0x29 : 0x27);
    w.writeU32(w.blobs.length);
    w.blobs.push(bytes);
  } else {
    w.writeU8(resizable ? 0x28 : 0x26);
    w.writeU32(size);
    w.writeBytes(bytes);
  }
  if (resizable) w.writeF64(v.maxByteLength);
}

/** `u8 kind (0x80: follows its buffer's length), f64 offset, f64 length, buffer`. */
function writeView(w: Writer, v: ArrayBufferView): void {
  const name = arrayKind(v);
  const kind = name === undefined ? 0 : VIEW_KINDS.indexOf(name);
  if (kind < 0) throw new Refused(v);
  let buffer: ArrayBufferLike;
  let offset: number;
  let length: number;
  try {
    if (name === undefined) {
      buffer = viewBuffer(v);
      offset = viewOffset(v);
      length = viewLength(v);
    } else {
      arrayKeys(v); // throws where the view is out of bounds
      buffer = arrayBuffer(v);
      offset = arrayOffset(v);
      length = arrayLength(v);
    }
  } catch {
    throw new Refused(v);
  }
  const tracking = followsLength(
    v,
    buffer,
    offset,
    name === undefined ? 1 : (v as Uint8Array).BYTES_PER_ELEMENT,
    length,
  );
  w.reserve(18);
  w.bytes[w.length] = 0x25;
  w.bytes[w.length + 1] = tracking ? 0x80 | kind : kind;
  w.view.setFloat64(w.length + 2, offset, true);
  w.view.setFloat64(w.length + 10, length, true);
  w.length += 18;
  write(w, buffer);
}

/** Whether a view was made without a length over a buffer that can be resized. */
function followsLength(
  v: ArrayBufferView,
  buffer: ArrayBufferLike,
  offset: number,
  size: number,
  length: number,
): boolean {
  if (buffer instanceof SharedArrayBuffer) {
    // Nothing tells without growing the memory; one that ends where the memory ends is taken to.
    return sharedGrowable(buffer) &&
      sharedLength(buffer) - offset - length * size < size;
  }
  if (
    !bufferResizable(buffer) ||
    bufferLength(buffer) - offset - length * size >= size
  ) return false;
  // Shrunk to where the view begins, one of fixed length is out of bounds.
  const copy = clone(v) as ArrayBufferView<ArrayBuffer>;
  copy.buffer.resize(length === 0 ? copy.buffer.maxByteLength : offset);
  try {
    if (length === 0) return copy.byteLength > 0;
    if (arrayKind(v) === undefined) viewLength(copy);
    else arrayKeys(copy);
    return true;
  } catch {
    return false;
  }
}

function writeError(w: Writer, v: Error): void {
  if (isDomException(v)) {
    w.writeU8(0x2e);
    writeString(w, `${v.message}`);
    writeString(w, `${v.name}`);
    return writeStack(w, v);
  }
  const kind = ERROR_KINDS.indexOf(`${v.name as unknown}`);
  const message = descriptorOf(v, "message");
  const cause = descriptorOf(v, "cause");
  const hasMessage = message !== undefined && "value" in message;
  const hasCause = cause !== undefined && "value" in cause;
  w.writeU8(0x2d);
  w.writeU8(
    Math.max(kind, 0) | (hasMessage ? 0x40 : 0) | (hasCause ? 0x80 : 0),
  );
  if (hasMessage) writeString(w, `${message.value}`);
  writeStack(w, v);
  if (hasCause) write(w, cause.value);
}

function writeStack(w: Writer, v: Error): void {
  const { stack } = v;
  write(w, typeof stack === "string" ? stack : undefined);
}

function isDomException(v: object): boolean {
  if (!(v instanceof DOMException)) return false;
  try {
    domName(v);
    return true;
  } catch {
    return false;
  }
}

/** Finds the way to a value through data properties, array items, map entries and causes. */
function pathTo(root: unknown, value: unknown): string | undefined {
  if (root === value) return "";
  if (typeof root !== "object" || root === null) return undefined;
  const queue: [object, string][] = [[root, ""]];
  const seen = new Set<object>([root]);
  for (let head = 0; head < queue.length && head < 10_000; head++) {
    const [object, path] = queue[head]!;
    for (const [step, child] of childrenOf(object)) {
      if (child === value) return path + step;
      if (typeof child !== "object" || child === null || seen.has(child)) {
        continue;
      }
      seen.add(child);
      queue.push([child, path + step]);
    }
  }
  return undefined;
}

function childrenOf(object: object): [string, unknown][] {
  const children: [string, unknown][] = [];
  if (isProxy(object) || isView(object)) return children;
  try {
    if (object instanceof Map) {
      mapEach(object, (item: unknown, key: unknown) => {
        const name = typeof key === "string" ? JSON.stringify(key) : show(key);
        children.push([".keys()", key], [`.get(${name})`, item]);
      });
    } else if (object instanceof Set) {
      setEach(object, (item: unknown) => children.push([".keys()", item]));
    } else {
      const list = Array.isArray(object);
      for (const key of isError(object) ? ["cause"] : keysOf(object)) {
        const property = descriptorOf(object, key);
        if (property === undefined || !("value" in property)) continue;
        const plain = /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(key);
        const step = list && /^\d+$/.test(key)
          ? `[${key}]`
          : plain
          ? `.${key}`
          : `[${JSON.stringify(key)}]`;
        children.push([step, property.value]);
      }
    }
  } catch {
    // The path is a courtesy.
  }
  return children;
}

function show(v: unknown): string {
  try {
    if (typeof v === "symbol") return v.toString();
    if (typeof v === "string") return JSON.stringify(v);
    if (typeof v !== "object" && typeof v !== "function" || v === null) {
      return String(v);
    }
    if (isProxy(v)) return "A Proxy";
    if (v instanceof ArrayBuffer && v.detached) return "A detached ArrayBuffer";
    if (typeof v === "function") {
      const text = functionText(v).replace(/\s+/g, " ");
      return text.length > 60 ? `${text.slice(0, 59)}\u2026` : text;
    }
    const name = (v as { constructor?: { name?: unknown } }).constructor?.name;
    return typeof name === "string" && name !== "" && name !== "Object"
      ? `#<${name}>`
      : Object.prototype.toString.call(v);
  } catch {
    return "An object";
  }
}

function isErrorTag(v: unknown): boolean {
  return v instanceof Error;
}

function uncurry<T>(method: unknown): (self: object, ...args: unknown[]) => T {
  return Function.prototype.call.bind(method as () => void) as (
    self: object,
    ...args: unknown[]
  ) => T;
}

function uncurryGetter<T>(
  prototype: object,
  key: string | symbol,
): (self: object) => T {
  return uncurry<T>(Object.getOwnPropertyDescriptor(prototype, key)!.get);
}

interface Brands {
  isProxy: (v: object) => boolean;
  hostObjectBrand: symbol;
}

/**
 * How this runtime tells proxies and its own objects. Nothing in the language tells a proxy from
 * its target, and `node:util` takes 25 ms to load in a worker, so Deno's own test is used where it
 * can be reached; where it cannot, a proxy that looks like a plain object or an array is sent as
 * what it shows.
 */
function brands(): Partial<Brands> {
  try {
    const internal = (Deno as unknown as { internal: symbol }).internal;
    return (Deno as unknown as Record<symbol, { core: Partial<Brands> }>)[
      internal
    ]!.core;
  } catch {
    return {}; // Not there in this version.
  }
}

function never(): boolean {
  return false;
}
