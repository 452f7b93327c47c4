/**
 * A thrown value as plain data, and back.
 *
 * Structured clone keeps seven error classes and drops what was added to an error. Here an error
 * crosses with its nearest built-in class (those seven, `AggregateError`, `SuppressedError`,
 * `DOMException`, `Deno.errors.*` and this package's own), `name`, `message`, `stack`, own
 * enumerable data and `cause`, in which handles and shared memory are as in results. Packing never
 * throws, whatever getters the value has: what cannot be read or sent is left out, or replaced by
 * its text.
 *
 * @module
 */

import { decode, Reader } from "./_codec_read.ts";
import { encode, Writer } from "./_codec_write.ts";
import {
  accept,
  forgetMemory,
  letGoOf,
  memoryId,
  takeArrived,
  takeSent,
  takeSentBack,
} from "./_handle.ts";
import {
  BrokenBarrierError,
  ConnectionClosedError,
  QueueClosedError,
  WorkerError,
} from "./errors.ts";

// A test of the user's, or a library for errors, may put others in their place.
const { DOMException: NativeDOMException, Error: NativeError } = globalThis;

const LIBRARY = new URL(".", import.meta.url).href;
const LIBRARY_FILE =
  /^(?:_\w+|process|pool|queue|lock|semaphore|condition|event|barrier|pipe|shared|parallel|manager|task|errors|mod)\.[jt]s$/;
/** Where a frame of a stack is. */
const FRAME = /^ +at (?:.*[ (])?(\w+:.*?)(?::\d+)*\)?$/;

/** Deeper causes are sent as text. */
const DEPTH_LIMIT = 64;
/** The most levels of packed data between an error and its cause, or what else it holds. */
const LEVELS = 4;
/** Longer texts of thrown values are cut. */
const TEXT_LIMIT = 500;

/** Properties with a place of their own in {@linkcode PackedError}. */
const OWN_PLACE = new Set([
  "name",
  "message",
  "stack",
  "cause",
  "sendThroughArgs",
]);
/** Properties of built-in errors that are not enumerable, and hold anything. */
const HIDDEN_DATA: Record<string, readonly string[]> = {
  AggregateError: ["errors"],
  SuppressedError: ["error", "suppressed"],
  QuotaExceededError: ["quota", "requested"],
};

/** A thrown error. */
interface PackedError {
  kind: "error";
  /** Nearest class that exists in every thread. */
  class: string;
  name: string;
  /** Whether the name is own enumerable data of the error. */
  ownName: boolean;
  message: string;
  stack: string;
  /** Own enumerable properties that are no errors. */
  data: [key: string, value: unknown][];
  /** Own properties that are errors, errors in a list, or anything thrown. */
  links: [key: string, value: Packed | Packed[], enumerable: boolean][];
}

/** A thrown value that is no error. */
interface PackedValue {
  kind: "value";
  value: unknown;
  text: string;
}

type Packed = PackedError | PackedValue;

/** What `Error.captureStackTrace` was called with where work was asked for. */
export interface Caller {
  /** Read only when it is needed, which is when V8 makes it. */
  stack?: string;
}

/**
 * Copies a value as if it had been sent, so that sending it runs no code and cannot fail.
 *
 * @param depth How deep it will be in what is sent.
 * @throws If it cannot be sent.
 */
export type Copy = (value: unknown, depth: number) => unknown;

/** A packing under way. */
interface Packing {
  copy: Copy;
  seen: Map<object, Packed>;
}

type ErrorClass = { new (message?: string): Error; prototype: Error };

let classes: Map<string, ErrorClass> | undefined;
let names: Map<object, string> | undefined;

function loadClasses(): void {
  classes = new Map<string, ErrorClass>();
  names = new Map<object, string>();
  const { QuotaExceededError, SuppressedError } = globalThis as {
    QuotaExceededError?: unknown;
    SuppressedError?: unknown;
  };
  const known: unknown[] = [
    NativeError,
    EvalError,
    RangeError,
    ReferenceError,
    SyntaxError,
    TypeError,
    URIError,
    AggregateError,
    SuppressedError,
    NativeDOMException,
    QuotaExceededError,
    WebAssembly.CompileError,
    WebAssembly.LinkError,
    WebAssembly.RuntimeError,
    WorkerError,
    QueueClosedError,
    ConnectionClosedError,
    BrokenBarrierError,
  ];
  for (const value of known) {
    if (typeof value === "function") {
      addClass(value.name, value as unknown as ErrorClass);
    }
  }
  for (const [name, value] of Object.entries(Deno.errors)) {
    addClass(`Deno.errors.${name}`, value as unknown as ErrorClass);
  }
}

function addClass(name: string, value: ErrorClass): void {
  classes!.set(name, value);
  names!.set(value.prototype, name);
}

/**
 * Turns anything thrown into plain data that the codec can encode.
 *
 * @param value The thrown value.
 * @param copy Copies what it holds. If not given, that may be what results may hold.
 * @returns Data for {@linkcode unpackThrown}.
 */
export function packThrown(value: unknown, copy: Copy = copyOf): unknown {
  return pack(value, { copy, seen: new Map() }, 0);
}

function pack(value: unknown, packing: Packing, depth: number): Packed {
  const { seen } = packing;
  if (!isError(value)) return packValue(value, packing, depth);
  const known = seen.get(value);
  if (known !== undefined) return known;
  if (depth >= DEPTH_LIMIT) {
    return { kind: "value", value: describe(value), text: describe(value) };
  }
  const name = textOf(attempt(() => value.name), "Error");
  const message = textOf(attempt(() => value.message), "");
  const stack = attempt(() => value.stack as unknown);
  const packed: PackedError = {
    kind: "error",
    class: classOf(value),
    name,
    ownName:
      attempt(() =>
        Object.prototype.propertyIsEnumerable.call(value, "name")
      ) === true,
    message,
    stack: typeof stack === "string"
      ? withoutCallers(stack)
      : headOf(name, message),
    data: [],
    links: [],
  };
  seen.set(value, packed);
  const hidden = HIDDEN_DATA[packed.class] ?? [];
  for (const key of attempt(() => Object.keys(value)) ?? []) {
    if (OWN_PLACE.has(key) || hidden.includes(key)) continue;
    packData(value, key, packed, packing, depth);
  }
  for (const key of ["cause", ...hidden]) {
    packLink(value, key, packed, packing, depth);
  }
  return packed;
}

/** Adds what is in an error's own enumerable property. */
function packData(
  error: Error,
  key: string,
  { data, links }: PackedError,
  packing: Packing,
  depth: number,
): void {
  const read = readProperty(error, key);
  if (read === undefined) return;
  const [value] = read;
  const link = attempt(() =>
    isError(value)
      ? pack(value, packing, depth + 1)
      : areErrors(value)
      ? packList(value, packing, depth + 1)
      : undefined
  );
  if (link !== undefined) return void links.push([key, link, true]);
  const copy = tryCopy(value, packing, depth);
  if (copy !== undefined) data.push([key, copy[0]]);
}

/** Adds its cause, or what a property of its class holds, which is not enumerable. */
function packLink(
  error: Error,
  key: string,
  { links }: PackedError,
  packing: Packing,
  depth: number,
): void {
  const isThere = () =>
    key === "cause" ? Object.hasOwn(error, key) : key in error;
  if (attempt(isThere) !== true) return;
  const value = readProperty(error, key)?.[0];
  const link = attempt(() =>
    key === "errors" && Array.isArray(value)
      ? packList(value, packing, depth + 1)
      : pack(value, packing, depth + 1)
  );
  if (link !== undefined) links.push([key, link, false]);
}

/** What a property holds; `undefined` if it cannot be read. */
function readProperty(error: Error, key: string): [unknown] | undefined {
  return attempt(() => [(error as unknown as Record<string, unknown>)[key]]);
}

function packList(
  values: readonly unknown[],
  packing: Packing,
  depth: number,
): Packed[] {
  return Array.from(values, (value) => pack(value, packing, depth));
}

/** Whether it is a list of errors, without holes. */
function areErrors(value: unknown): value is Error[] {
  return Array.isArray(value) && isError(value[0]) &&
    value.findIndex((item) => !isError(item)) < 0;
}

function packValue(
  value: unknown,
  packing: Packing,
  depth: number,
): PackedValue {
  const text = describe(value);
  const copy = tryCopy(value, packing, depth);
  return { kind: "value", value: copy === undefined ? text : copy[0], text };
}

function isError(value: unknown): value is Error {
  return attempt(() =>
    value instanceof NativeError || value instanceof NativeDOMException ||
    isForeignError(value)
  ) === true;
}

/** Whether it is an error of another context, made by `node:vm`. */
function isForeignError(value: unknown): boolean {
  const { isError } = NativeError as { isError?: (value: unknown) => boolean };
  return isError?.(value) === true;
}

function classOf(value: object): string {
  if (names === undefined) loadClasses();
  const found = attempt(() => {
    for (
      let p: object | null = value;
      p !== null;
      p = Object.getPrototypeOf(p)
    ) {
      const name = names!.get(p);
      if (name !== undefined) return name;
    }
    // Of another context, where the classes have the same names.
    const { name } = value as Error;
    return classes!.has(name) ? name : undefined;
  });
  return found ?? "Error";
}

function tryCopy(
  value: unknown,
  { copy }: Packing,
  depth: number,
): [unknown] | undefined {
  return attempt(() => [copy(value, LEVELS * (depth + 1))]);
}

/** A {@linkcode Copy} in which handles and shared memories are themselves. */
function copyOf(value: unknown, depth: number): unknown {
  const shared = new Set<SharedArrayBuffer>();
  const w = new Writer(256);
  w.depth = depth;
  try {
    encode(w, value, { shared });
  } catch (error) {
    takeSentBack();
    throw error;
  }
  const blobs = w.blobs.map((blob) => blob.slice());
  const memories = new Map(Array.from(shared, (m) => [memoryId(m), m]));
  try {
    return decode(new Reader(w.bytes, 0, w.length, blobs), { memories });
  } finally {
    for (const id of memories.keys()) forgetMemory(id);
    takeSent(); // which has arrived
    const arrived = takeArrived();
    accept(arrived);
    letGoOf(arrived);
  }
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/** A stack without the frames at its end, of how this library came to call the user's code. */
function withoutCallers(stack: string): string {
  const lines = stack.split("\n");
  let count = lines.length;
  while (count > 1 && isOurs(lines[count - 1]!)) count--;
  return lines.slice(0, count).join("\n");
}

function isOurs(frame: string): boolean {
  const url = FRAME.exec(frame)?.[1];
  return url !== undefined && (url.startsWith("ext:") || isLibrary(url));
}

/** Whether a module is one of this library's. */
export function isLibrary(url: string): boolean {
  return url.startsWith(LIBRARY) &&
    LIBRARY_FILE.test(url.slice(LIBRARY.length));
}

function textOf(value: unknown, fallback: string): string {
  if (value === undefined) return fallback;
  return attempt(() => `${value as string}`) ?? fallback;
}

function headOf(name: string, message: string): string {
  return message === "" ? name : `${name}: ${message}`;
}

function describe(value: unknown): string {
  const text =
    attempt(() => Deno.inspect(value, { depth: 2, colors: false })) ??
      attempt(() => Object.prototype.toString.call(value)) ??
      "a value that cannot be shown";
  return text.length > TEXT_LIMIT
    ? `${text.slice(0, TEXT_LIMIT - 1)}\u2026`
    : text;
}

/**
 * Turns the data of {@linkcode packThrown} into the value to throw.
 *
 * @param data What `packThrown` returned, after its journey.
 * @param caller Where the work was asked for: its frames are appended to the worker's.
 * @returns An error of the same class, or a `WorkerError` around a value that is no error.
 */
export function unpackThrown(data: unknown, caller?: Caller): unknown {
  const frames = framesOf(caller);
  const packed = data as Packed | undefined;
  if (packed?.kind === "error") {
    const error = unpackError(packed, new Map());
    setHidden(error, "stack", packed.stack + frames);
    return error;
  }
  const isValue = packed?.kind === "value";
  const text = isValue ? packed.text : describe(data);
  const message = `Worker threw a non-error: ${text}`;
  const error = new WorkerError(message, {
    cause: isValue ? packed.value : data,
  });
  if (frames !== "") {
    setHidden(error, "stack", `WorkerError: ${message}${frames}`);
  }
  return error;
}

/**
 * Gives an error that was made by the event loop the frames of where the work was asked for.
 *
 * @param error The error.
 * @param caller Where the work was asked for.
 * @returns The same error.
 */
export function calledFrom<E extends Error>(error: E, caller: Caller): E {
  const { name, message } = error;
  setHidden(error, "stack", headOf(name, message) + framesOf(caller));
  return error;
}

function framesOf(caller: Caller | undefined): string {
  // The user's `Error.prepareStackTrace` may make anything of it, or throw.
  const stack = attempt(() => caller?.stack as unknown);
  if (typeof stack !== "string") return "";
  const frames = stack.split("\n").filter((line) => /^\s+at /.test(line));
  return frames.length === 0 ? "" : `\n${frames.join("\n")}`;
}

function unpack(packed: Packed, seen: Map<Packed, Error>): unknown {
  return packed.kind === "error" ? unpackError(packed, seen) : packed.value;
}

function unpackError(packed: PackedError, seen: Map<Packed, Error>): Error {
  const known = seen.get(packed);
  if (known !== undefined) return known;
  const { name, message } = packed;
  const error = create(packed.class, name, message);
  seen.set(packed, error);
  setHidden(error, "stack", packed.stack);
  if (attempt(() => error.message) !== message) {
    setHidden(error, "message", message);
  }
  if (packed.ownName || attempt(() => error.name) !== name) {
    setHidden(error, "name", name, packed.ownName);
  }
  for (const [key, value] of packed.data) setHidden(error, key, value, true);
  for (const [key, link, enumerable] of packed.links) {
    const value = Array.isArray(link)
      ? link.map((item) => unpack(item, seen))
      : unpack(link, seen);
    setHidden(error, key, value, enumerable);
  }
  return error;
}

function create(className: string, name: string, message: string): Error {
  if (classes === undefined) loadClasses();
  const Class = classes!.get(className) ?? NativeError;
  if (className === "DOMException") {
    return new NativeDOMException(message, name);
  }
  if (className === "AggregateError") return new AggregateError([], message);
  if (className === "SuppressedError") {
    return new (Class as unknown as new (
      e: unknown,
      s: unknown,
      m: string,
    ) => Error)(
      undefined,
      undefined,
      message,
    );
  }
  return new Class(message);
}

function setHidden(
  error: Error,
  key: string,
  value: unknown,
  enumerable = false,
): void {
  Object.defineProperty(error, key, {
    value,
    enumerable,
    writable: true,
    configurable: true,
  });
}

/**
 * Describes anything thrown as text for stderr: the stack, and those of its causes and parts.
 *
 * @param value The thrown value.
 * @returns Plain text of one or more lines.
 */
export function describeThrown(value: unknown): string {
  if (!isError(value)) return `Uncaught ${describe(value)}`;
  const lines: string[] = [];
  describeError(value, "", new Set(), lines);
  return lines.join("\n");
}

function describeError(
  error: Error,
  indent: string,
  seen: Set<unknown>,
  lines: string[],
): void {
  seen.add(error);
  const stack = attempt(() => error.stack as unknown);
  const name = textOf(attempt(() => error.name), "Error");
  const text = typeof stack === "string" && stack !== ""
    ? withoutCallers(stack)
    : headOf(name, textOf(attempt(() => error.message), ""));
  for (const line of text.split("\n")) lines.push(indent + line);
  const errors = attempt(() => (error as { errors?: unknown }).errors);
  if (error instanceof AggregateError && Array.isArray(errors)) {
    for (const item of errors) {
      describeLink("", item, `${indent}    `, seen, lines);
    }
  }
  if (attempt(() => Object.hasOwn(error, "cause")) === true) {
    describeLink(
      "Caused by: ",
      attempt(() => error.cause),
      indent,
      seen,
      lines,
    );
  }
}

function describeLink(
  label: string,
  value: unknown,
  indent: string,
  seen: Set<unknown>,
  lines: string[],
): void {
  const first = lines.length;
  if (!isError(value)) lines.push(`${indent}Uncaught ${describe(value)}`);
  else if (seen.has(value)) lines.push(`${indent}[Circular]`);
  else if (seen.size >= DEPTH_LIMIT) lines.push(`${indent}\u2026`);
  else describeError(value, indent, seen, lines);
  if (label === "") return;
  lines[first] = indent + label +
    lines[first]!.slice(indent.length).replace(/^Uncaught /, "");
}
