/**
 * Bytes to values, the rarer kinds: the counterpart of `_codec_write_exotic.ts`.
 *
 * @module
 */

import { reviveHandle } from "./_handle.ts";
import { ERROR_KINDS, VIEW_KINDS } from "./_codec_write_exotic.ts";
import { damaged, keep, read, type Reader, readString } from "./_codec_read.ts";

const { defineProperty } = Object;

/**
 * Reads the rest of an object that is neither an array nor plain.
 *
 * @param r Where from.
 * @param tag The tag that was read.
 * @returns The object.
 */
export function readExotic(r: Reader, tag: number): unknown {
  switch (tag) {
    case 0x20:
      return keep(r, new Date(r.readF64()));
    case 0x21: {
      const source = readString(r);
      return keep(r, regExp(source, readString(r)));
    }
    case 0x22: {
      const n = r.readU32();
      if (2 * n > r.end - r.position) {
        throw damaged("a Map has more entries than bytes");
      }
      const map = keep(r, new Map<unknown, unknown>());
      for (let i = 0; i < n; i++) {
        const key = read(r);
        map.set(key, read(r));
      }
      return map;
    }
    case 0x23: {
      const n = r.readU32();
      if (n > r.end - r.position) {
        throw damaged("a Set has more items than bytes");
      }
      const set = keep(r, new Set<unknown>());
      for (let i = 0; i < n; i++) set.add(read(r));
      return set;
    }
    case 0x24: {
      const value = read(r);
      if (value === null || typeof value === "object" || value === undefined) {
        throw damaged("a boxed primitive is none");
      }
      return keep(r, Object(value));
    }
    case 0x25:
      return readView(r);
    case 0x26:
    case 0x27:
    case 0x28:
    case 0x29:
      return keep(r, readBuffer(r, tag));
    case 0x2a: {
      const memory = r.context?.memories?.get(r.readF64());
      if (memory === undefined) {
        throw damaged("it names a shared memory that did not come with it");
      }
      return keep(r, memory);
    }
    case 0x2b:
      return readHandle(r);
    case 0x2c: {
      const index = r.readU32();
      const moved = r.context?.moved;
      if (moved === undefined || index >= moved.length) {
        throw damaged("a moved object is missing");
      }
      return keep(r, moved[index]);
    }
    case 0x2d:
      return readError(r);
    case 0x2e: {
      const message = readString(r);
      const error = keep(
        r,
        withoutStack(() => new DOMException(message, readString(r))),
      );
      setStack(error, read(r));
      return error;
    }
    default:
      throw damaged(`unknown tag 0x${tag.toString(16)}`);
  }
}

function regExp(source: string, flags: string): RegExp {
  try {
    return new RegExp(source, flags);
  } catch (error) {
    throw damaged("a regular expression is malformed", error);
  }
}

function readBuffer(r: Reader, tag: number): ArrayBuffer {
  let bytes: Uint8Array;
  if ((tag & 1) === 0) bytes = r.readBytes(r.readU32());
  else {
    const blob = r.blobs[r.readU32()];
    if (blob === undefined) throw damaged("a blob is missing");
    bytes = blob.byteLength === blob.buffer.byteLength &&
        blob.buffer instanceof ArrayBuffer
      ? blob
      : blob.slice();
  }
  if (tag < 0x28) return bytes.buffer as ArrayBuffer;
  const maxByteLength = r.readF64();
  try {
    const buffer = new ArrayBuffer(bytes.length, { maxByteLength });
    new Uint8Array(buffer).set(bytes);
    return buffer;
  } catch (error) {
    throw damaged("a resizable buffer cannot be made", error);
  }
}

function readView(r: Reader): object {
  const at = r.take(17);
  const kind = r.bytes[at]!;
  const offset = r.view.getFloat64(at + 1, true);
  const length = r.view.getFloat64(at + 9, true);
  const number = r.graph ? r.refs.push(undefined) - 1 : -1;
  const buffer = read(r);
  const name = VIEW_KINDS[kind & 0x7f];
  if (name === undefined) throw damaged("a view is of no known kind");
  if (
    !(buffer instanceof ArrayBuffer) && !(buffer instanceof SharedArrayBuffer)
  ) {
    throw damaged("a view has no buffer");
  }
  const View = (globalThis as unknown as Record<
    string,
    new (buffer: ArrayBufferLike, offset: number, length?: number) => object
  >)[name];
  if (View === undefined) throw damaged(`there is no ${name} here`);
  let view: object;
  try {
    view = (kind & 0x80) === 0
      ? new View(buffer, offset, length)
      : new View(buffer, offset);
  } catch (error) {
    throw damaged("a view exceeds its buffer", error);
  }
  if (number >= 0) r.refs[number] = view;
  return view;
}

function readHandle(r: Reader): object {
  const number = r.graph ? r.refs.push(undefined) - 1 : -1;
  const kind = readString(r);
  const n = r.readU32();
  if (n > r.end - r.position) {
    throw damaged("a handle has more parts than bytes");
  }
  const parts: unknown[] = [];
  for (let i = 0; i < n; i++) parts.push(read(r));
  const handle = reviveHandle(kind, parts, r.context?.foreign);
  if (number >= 0) r.refs[number] = handle;
  return handle;
}

function readError(r: Reader): Error {
  const bits = r.readU8();
  const name = ERROR_KINDS[bits & 0x3f];
  if (name === undefined) throw damaged("an error is of no known class");
  const ErrorClass =
    (globalThis as unknown as Record<string, new () => Error>)[name]!;
  const error = keep(r, withoutStack(() => new ErrorClass()));
  if ((bits & 0x40) !== 0) setHidden(error, "message", readString(r));
  setStack(error, read(r));
  if ((bits & 0x80) !== 0) setHidden(error, "cause", read(r));
  return error;
}

function setHidden(error: Error, key: string, value: unknown): void {
  defineProperty(error, key, {
    value,
    writable: true,
    enumerable: false,
    configurable: true,
  });
}

function setStack(error: Error, stack: unknown): void {
  if (stack !== undefined && typeof stack !== "string") {
    throw damaged("a stack is no text");
  }
  error.stack = stack as string;
}

/** Makes an error without collecting a stack that is replaced anyway. */
function withoutStack<T>(make: () => T): T {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  try {
    return make();
  } finally {
    Error.stackTraceLimit = limit;
  }
}
