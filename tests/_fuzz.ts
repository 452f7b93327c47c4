/**
 * Properties for generated values and programs, for the tests (a short run) and for
 * `deno task fuzz` (a long one).
 *
 * @module
 */

import fc from "npm:fast-check@4.3.0";
import { decode, encode, Reader, Writer } from "../_codec.ts";
import { Lock, type LockGuard, RLock } from "../lock.ts";
import { Queue, QueueClosedError } from "../queue.ts";
import { Ring, TAKE_EMPTY, TAKE_INT } from "../_ring.ts";
import {
  BoundedSemaphore,
  Semaphore,
  type SemaphoreGuard,
} from "../semaphore.ts";

/** How long a run may be, and where it starts. */
export interface FuzzOptions {
  /** Number of cases. */
  runs: number;
  /** For the same cases again; otherwise they are random. */
  seed?: number | undefined;
}

/** What is to be checked: a name, and a function that throws if it does not hold. */
export interface Property {
  name: string;
  check: (options: FuzzOptions) => void | Promise<void>;
}

// -- Values ------------------------------------------------------------------------

/** Makes a value; `made` has the objects made before, to be used again. */
type Builder = (made: object[]) => unknown;

/** A plain object's keys, the awkward ones too. */
const key = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom("a", "b", "id", "name", "x") },
  fc.string({ maxLength: 6 }),
  fc.string({ unit: "binary", maxLength: 4 }),
  fc.constantFrom("0", "7", "-1", "4294967295", "__proto__", "constructor", ""),
);

const codeUnits = fc.array(fc.integer({ min: 0, max: 0xffff }), {
  maxLength: 60,
}).map((units) => String.fromCharCode(...units));

const primitive = fc.oneof(
  fc.constantFrom<unknown>(undefined, null, true, false, -0, 0, NaN, Infinity),
  fc.integer(),
  fc.double(),
  fc.string(),
  fc.string({ unit: "binary" }),
  codeUnits,
  fc.string({ unit: "grapheme", maxLength: 40 }),
  fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }),
  fc.bigInt(),
);

const bytes = fc.oneof(
  { weight: 8, arbitrary: fc.uint8Array({ maxLength: 64 }) },
  // Longer than what the codec copies: these travel as blobs.
  fc.integer({ min: 8100, max: 9000 }).map((n) => new Uint8Array(n).fill(n)),
);

type ViewClass = new (
  buffer: ArrayBuffer,
  offset: number,
  length: number,
) => ArrayBufferView;

const VIEWS: (ViewClass & { BYTES_PER_ELEMENT?: number })[] = [
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
  DataView,
];

const ERRORS = [
  Error,
  EvalError,
  RangeError,
  ReferenceError,
  SyntaxError,
  TypeError,
  URIError,
] as const;

/** Remembers an object before it gets its content, so that cycles can be made. */
function keep<T extends object>(made: object[], value: T): T {
  made.push(value);
  return value;
}

function put(target: object, name: string, value: unknown): void {
  Object.defineProperty(target, name, {
    value,
    writable: true,
    enumerable: true,
    configurable: true,
  });
}

const { value: builder } = fc.letrec<{ value: Builder }>((tie) => {
  const item = tie("value");
  const items = fc.array(item, { maxLength: 6 });
  const entries = fc.array(fc.tuple(key, item), { maxLength: 6 });
  const object = entries.map((entries): Builder => (made) => {
    const object = keep(made, {});
    for (const [name, build] of entries) put(object, name, build(made));
    return object;
  });
  const rows = fc.tuple(fc.uniqueArray(key, { maxLength: 4 }), items).map(
    ([keys, items]): Builder => (made) => {
      const rows: unknown[] = keep(made, []);
      for (const build of items) {
        const row = keep(made, {});
        for (const name of keys) put(row, name, build(made));
        rows.push(row);
      }
      return rows;
    },
  );
  const array = items.map((items): Builder => (made) => {
    const array: unknown[] = keep(made, []);
    for (const build of items) array.push(build(made));
    return array;
  });
  const column = fc.array(fc.oneof(fc.integer(), fc.double()), {
    maxLength: 80,
  }).map((numbers): Builder => (made) => keep(made, numbers.slice()));
  const sparse = fc.tuple(
    fc.array(fc.tuple(fc.integer({ min: 0, max: 99 }), item), { maxLength: 4 }),
    entries,
    fc.integer({ min: 0, max: 120 }),
  ).map(([indexed, named, length]): Builder => (made) => {
    const array: unknown[] = keep(made, []);
    array.length = length;
    for (const [index, build] of indexed) array[index] = build(made);
    for (const [name, build] of named) {
      if (name !== "length") put(array, name, build(made));
    }
    return array;
  });
  const map = fc.array(fc.tuple(item, item), { maxLength: 5 }).map(
    (pairs): Builder => (made) => {
      const map = keep(made, new Map());
      for (const [a, b] of pairs) map.set(a(made), b(made));
      return map;
    },
  );
  const set = items.map((items): Builder => (made) => {
    const set = keep(made, new Set());
    for (const build of items) set.add(build(made));
    return set;
  });
  const date = fc.date({ noInvalidDate: false })
    .map((date): Builder => (made) => keep(made, new Date(date)));
  const regexp = fc.tuple(
    fc.constantFrom("a", "a/b", "[/]", "(?<n>x)", "\\n", ""),
    fc.constantFrom("", "g", "gi", "dsy", "u", "v"),
  ).map(([source, flags]): Builder => (made) =>
    keep(made, new RegExp(source, flags))
  );
  const boxed = fc.oneof(
    fc.integer(),
    fc.double(),
    fc.string(),
    fc.boolean(),
    fc.bigInt(),
  ).map((value): Builder => (made) => keep(made, Object(value)));
  const error = fc.tuple(
    fc.constantFrom(...ERRORS),
    fc.string({ maxLength: 10 }),
    fc.option(item, { nil: undefined }),
  ).map(([Class, message, cause]): Builder => (made) => {
    const error = keep(made, new Class(message));
    if (cause !== undefined) error.cause = cause(made);
    return error;
  });
  const exception = fc.constantFrom("AbortError", "DataCloneError", "Mine")
    .map((name): Builder => (made) => keep(made, new DOMException("m", name)));
  const buffer = fc.tuple(bytes, fc.integer({ min: -1, max: 40 })).map((
    [bytes, more],
  ): Builder =>
  (made) => {
    const { length } = bytes;
    const buffer = more < 0
      ? new ArrayBuffer(length)
      : new ArrayBuffer(length, { maxByteLength: length + more });
    new Uint8Array(buffer).set(bytes);
    return keep(made, buffer);
  });
  const view = fc.tuple(
    bytes,
    fc.constantFrom(...VIEWS),
    fc.nat({ max: 3 }),
    fc.nat({ max: 3 }),
  ).map(([bytes, View, skip, drop]): Builder => (made) => {
    const { buffer } = keep(made, bytes.slice());
    made[made.length - 1] = buffer;
    const size = View.BYTES_PER_ELEMENT ?? 1;
    const offset = Math.min(skip, Math.floor(bytes.length / size)) * size;
    const most = Math.floor((bytes.length - offset) / size);
    return keep(made, new View(buffer, offset, Math.max(0, most - drop)));
  });
  const again = fc.nat().map((n): Builder => (made) =>
    made.length === 0 ? null : made[n % made.length]
  );
  const leaf = primitive.map((value): Builder => () => value);
  return {
    value: fc.oneof(
      { depthSize: "medium", withCrossShrink: true },
      { weight: 8, arbitrary: leaf },
      { weight: 4, arbitrary: object },
      { weight: 3, arbitrary: array },
      { weight: 2, arbitrary: rows },
      { weight: 2, arbitrary: again },
      column,
      sparse,
      map,
      set,
      date,
      regexp,
      boxed,
      error,
      exception,
      buffer,
      view,
    ),
  };
});

const REFUSED: Builder[] = [
  () => () => 1,
  () => Symbol("s"),
  () => new WeakMap(),
  () => Promise.resolve(),
  () => new Proxy(() => {}, {}),
];

/** Like `builder`, with something in it now and then that cannot be cloned. */
const doubtful = fc.tuple(
  builder,
  fc.option(fc.constantFrom(...REFUSED), { nil: undefined, freq: 20 }),
).map(([build, refused]): Builder => (made) => {
  const value = build(made);
  return refused === undefined ? value : [value, refused(made)];
});

// -- Comparing -----------------------------------------------------------------------

/** Says where two values differ in anything that structured clone defines. */
export function difference(actual: unknown, expected: unknown): string {
  return differ(actual, expected, "value", new Map());
}

function differ(
  actual: unknown,
  expected: unknown,
  path: string,
  pairs: Map<object, object>,
): string {
  if (typeof expected !== "object" || expected === null) {
    return Object.is(actual, expected) ? "" : `${path}: another value`;
  }
  if (typeof actual !== "object" || actual === null) {
    return `${path}: no object`;
  }
  const known = pairs.get(expected);
  if (known !== undefined) return known === actual ? "" : `${path}: a copy`;
  pairs.set(expected, actual);
  if (Object.getPrototypeOf(actual) !== Object.getPrototypeOf(expected)) {
    return `${path}: another class`;
  }
  const parts = [partsOf(actual), partsOf(expected)] as const;
  if (parts[0].length !== parts[1].length) return `${path}: another size`;
  for (let i = 0; i < parts[0].length; i++) {
    const found = differ(parts[0][i], parts[1][i], `${path}<${i}>`, pairs);
    if (found !== "") return found;
  }
  const isView = ArrayBuffer.isView(expected);
  const keys = isView ? [] : Object.getOwnPropertyNames(expected);
  const others = isView ? [] : Object.getOwnPropertyNames(actual);
  if (keys.length !== others.length) return `${path}: other keys`;
  for (let i = 0; i < keys.length; i++) {
    const name = keys[i]!;
    if (others[i] !== name) return `${path}: other keys`;
    const mine = Object.getOwnPropertyDescriptor(actual, name)!;
    const theirs = Object.getOwnPropertyDescriptor(expected, name)!;
    if (mine.enumerable !== theirs.enumerable) {
      return `${path}.${name}: hidden?`;
    }
    if (name === "stack") continue;
    const found = differ(mine.value, theirs.value, `${path}.${name}`, pairs);
    if (found !== "") return found;
  }
  return "";
}

/** What is in an object beside its properties. */
function partsOf(value: object): unknown[] {
  if (ArrayBuffer.isView(value)) {
    return [value.buffer, value.byteOffset, value.byteLength];
  }
  if (value instanceof ArrayBuffer) {
    const { resizable, maxByteLength } = value;
    return [resizable, maxByteLength, ...new Uint8Array(value)];
  }
  if (value instanceof Map) return [...value].flat();
  if (value instanceof Set) return [...value];
  if (value instanceof Date) return [value.getTime()];
  if (value instanceof RegExp) return [String(value), value.lastIndex];
  if (value instanceof DOMException) {
    return [value.name, value.message, value.code];
  }
  if (value instanceof Error) return [value.stack];
  const tag = Object.prototype.toString.call(value);
  if (/Number|String|Boolean|BigInt/.test(tag)) return [value.valueOf()];
  return [tag];
}

// -- The codec -------------------------------------------------------------------------

const writer = new Writer(16);

/** An encoded value, as another thread would get it. */
interface Sent {
  bytes: Uint8Array;
  blobs: Uint8Array[];
}

function send(value: unknown): Sent {
  writer.reset();
  encode(writer, value);
  return {
    bytes: writer.bytes.slice(0, writer.length),
    blobs: writer.blobs.map((blob) => blob.slice()),
  };
}

function receive({ bytes, blobs }: Sent, slack = 0): unknown {
  const memory = new Uint8Array(8 + bytes.length + slack);
  memory.set(bytes, 8);
  const reader = new Reader(memory, 8, 8 + bytes.length, blobs);
  const value = decode(reader);
  if (reader.position > reader.end) throw new Error("read beyond the end");
  return value;
}

function cloneOf(value: unknown): { value: unknown } | undefined {
  try {
    return { value: structuredClone(value) };
  } catch {
    return undefined;
  }
}

function checkClone(build: Builder): void {
  const value = build([]);
  const clone = cloneOf(value);
  let sent: Sent;
  try {
    sent = send(value);
  } catch (error) {
    if (clone === undefined && error instanceof DOMException) return;
    throw new Error(`Refused: ${Deno.inspect(value)}`, { cause: error });
  }
  if (clone === undefined) throw new Error(`Sent: ${Deno.inspect(value)}`);
  const copies = sent.blobs.map((blob) => blob.slice());
  const found = difference(receive(sent, 5), clone.value) ||
    difference(receive({ bytes: sent.bytes, blobs: copies }), clone.value);
  if (found !== "") throw new Error(`${found} in ${Deno.inspect(value)}`);
}

/** How bytes are damaged: where and how, as fractions and bytes. */
const damage = fc.array(
  fc.tuple(
    fc.constantFrom("set", "add", "flip", "cut", "drop", "insert", "repeat"),
    fc.double({ min: 0, max: 1, noNaN: true }),
    fc.nat({ max: 255 }),
  ),
  { minLength: 1, maxLength: 6 },
);

type Damage = typeof damage extends fc.Arbitrary<infer T> ? T : never;

function damaged(bytes: Uint8Array, damage: Damage): Uint8Array {
  let list = [...bytes];
  for (const [how, where, by] of damage) {
    const at = Math.floor(where * list.length);
    if (how === "set") list[at] = by;
    else if (how === "add") list[at] = (list[at] ?? 0) + by & 255;
    else if (how === "flip") list[at] = (list[at] ?? 0) ^ 1 << (by & 7);
    else if (how === "cut") list = list.slice(0, at);
    else if (how === "drop") list.splice(at, by & 7);
    else if (how === "insert") list.splice(at, 0, by, by >> 4);
    else list.splice(at, 0, ...list.slice(at, at + by));
  }
  return Uint8Array.from(list);
}

/** No damaged message takes longer than this, in milliseconds. */
const SLOW_MS = 1500;

function checkDamaged(bytes: Uint8Array, blobs: Uint8Array[]): void {
  const started = performance.now();
  try {
    receive({ bytes, blobs });
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    if (/^read beyond/.test(error.message)) throw error;
  }
  const took = performance.now() - started;
  if (took > SLOW_MS) throw new Error(`Took ${took} ms: [${bytes}]`);
}

function checkDamage(build: Builder, how: Damage): void {
  const value = build([]);
  const clone = cloneOf(value)!;
  const { bytes, blobs } = send(value);
  const copies = blobs.map((blob) => blob.slice());
  checkDamaged(damaged(bytes, how), blobs);
  // What was read in vain has not spoilt what comes next.
  const found = difference(receive({ bytes, blobs: copies }), clone.value);
  if (found !== "") throw new Error(`Afterwards ${found}: [${bytes}]`);
}

// -- Programs ----------------------------------------------------------------------------

function expectSame(actual: unknown, expected: unknown, what: string): void {
  if (Object.is(actual, expected)) return;
  throw new Error(
    `${what}: ${Deno.inspect(actual)} is not ${Deno.inspect(expected)}`,
  );
}

function nameOfThrown(run: () => unknown): string {
  try {
    run();
    return "nothing";
  } catch (error) {
    return (error as Error).name;
  }
}

const commands = fc.array(
  fc.tuple(fc.nat({ max: 9 }), fc.nat({ max: 7 })),
  { maxLength: 60 },
);
type Commands = [number, number][];

/** A queue and an array. */
function checkQueue(maxSize: number, program: Commands): void {
  const queue = new Queue<unknown>({ maxSize, byteCapacity: 4096 });
  const twin: unknown[] = [];
  let closed = false;
  const values = [
    1,
    -0,
    "text",
    undefined,
    "long".repeat(40),
    2 ** 40,
    null,
    {},
  ];
  for (const [act, argument] of program) {
    const isFull = maxSize > 0 && twin.length >= maxSize;
    if (act < 5) {
      if (twin.length > 12) continue; // only maxSize is to limit it here
      const value = values[argument];
      const fits = !closed && !isFull;
      expectSame(queue.tryPut(value), fits, "tryPut");
      if (fits) twin.push(value);
    } else if (act < 8) {
      const got = queue.tryGet();
      const state = twin.length > 0 ? "ok" : closed ? "closed" : "empty";
      expectSame(got.state, state, "tryGet");
      if (got.state === "ok") {
        const found = difference(got.value, twin.shift());
        if (found !== "") throw new Error(`tryGet: ${found}`);
      }
    } else if (act === 8) {
      const error = nameOfThrown(() => queue.getSync({ timeout: 0 }));
      const expected = twin.length > 0
        ? "nothing"
        : closed
        ? "QueueClosedError"
        : "TimeoutError";
      expectSame(error, expected, "getSync");
      twin.shift();
    } else if (argument === 0) {
      queue.close();
      closed = true;
    }
    expectSame(queue.size, twin.length, "size");
    expectSame(queue.empty(), twin.length === 0, "empty");
    expectSame(queue.closed, closed, "closed");
  }
}

/** A ring that grows, with messages of all sizes, and an array. */
function checkRing(capacity: number, program: Commands, sizes: number[]): void {
  const ring = Ring.create({ capacity, initial: 64 });
  const reader = new Reader();
  const twin: { value: number; size: number }[] = [];
  let used = 0;
  let count = 0;
  for (const [act, argument] of program) {
    if (act < 6) {
      const size = sizes[argument % sizes.length]!;
      const value = ++count;
      let done: boolean;
      let units = 1;
      if (act === 0) done = ring.tryPutInt(value);
      else {
        const head = new Uint8Array((size + 7) & ~7).fill(value);
        const blobs = act === 1 ? [new Uint8Array(size).fill(value)] : [];
        const message = { bytes: head, length: size, blobs };
        units += Math.ceil(size / 8) * (1 + blobs.length) + blobs.length;
        if (units * 8 > capacity + 64) {
          expectSame(
            nameOfThrown(() => ring.tryPut(message)),
            "RangeError",
            "put",
          );
          continue;
        }
        done = ring.tryPut(message);
      }
      if (done) {
        twin.push({ value, size: act === 0 ? -1 : size });
        used += units;
      } else if (twin.length === 0) {
        throw new Error("an empty ring has no room");
      }
      if (used * 8 > capacity + 64) throw new Error("more than its capacity");
    } else {
      const kind = ring.tryTake(reader);
      const expected = twin.shift();
      if (expected === undefined) {
        expectSame(kind, TAKE_EMPTY, "tryTake");
        continue;
      }
      if (kind === TAKE_INT) {
        expectSame(expected.size, -1, "size");
        expectSame(ring.immediate, expected.value, "tryTake");
        used--;
        continue;
      }
      const { bytes, position, end, blobs } = reader;
      expectSame(end - position, expected.size, "size");
      const all = [...bytes.subarray(position, end)];
      for (const blob of blobs) {
        expectSame(blob.length, expected.size, "blob");
        all.push(...blob);
      }
      const wrong = all.find((byte) => byte !== (expected.value & 255));
      if (wrong !== undefined) throw new Error(`a byte is ${wrong}`);
      used -= 1 + Math.ceil(expected.size / 8) * (1 + blobs.length) +
        blobs.length;
    }
    expectSame(ring.size, twin.length, "size");
  }
}

/** A semaphore and a number. */
function checkSemaphore(
  value: number,
  isBounded: boolean,
  program: Commands,
): void {
  const semaphore = new (isBounded ? BoundedSemaphore : Semaphore)(value);
  let twin = value;
  const guards: { guard: SemaphoreGuard; permits: number }[] = [];
  for (const [act, argument] of program) {
    const permits = 1 + argument % 3;
    if (act < 4) {
      if (isBounded && permits > value) continue;
      const guard = semaphore.tryAcquire({ permits });
      expectSame(guard !== undefined, twin >= permits, "tryAcquire");
      if (guard === undefined) continue;
      twin -= permits;
      guards.push({ guard, permits });
    } else if (act < 8) {
      const taken = guards[argument % (guards.length || 1)];
      const isOver = isBounded && twin + (taken?.permits ?? 0) > value;
      if (taken === undefined || isOver) continue;
      taken.guard.release();
      twin += taken.permits;
      taken.permits = 0;
    } else {
      const isOver = isBounded && twin + permits > value;
      const error = nameOfThrown(() => semaphore.release(permits));
      expectSame(error, isOver ? "RangeError" : "nothing", "release");
      if (!isOver) twin += permits;
    }
    expectSame(semaphore.value, twin, "value");
  }
}

/** A lock and a depth. */
function checkLock(isReentrant: boolean, program: Commands): void {
  const lock = isReentrant ? new RLock() : new Lock();
  let depth = 0;
  let hold = 0;
  const guards: { guard: LockGuard; hold: number }[] = [];
  for (const [act, argument] of program) {
    if (act < 4) {
      const guard = lock.tryAcquire();
      expectSame(guard !== undefined, depth === 0 || isReentrant, "tryAcquire");
      if (guard === undefined) continue;
      if (depth++ === 0) hold++;
      guards.push({ guard, hold });
    } else if (act < 7) {
      const taken = guards.splice(argument % (guards.length || 1), 1)[0];
      if (taken === undefined) continue;
      taken.guard.release();
      taken.guard.release();
      if (taken.hold === hold && depth > 0) depth--;
    } else {
      const error = nameOfThrown(() => lock.release());
      expectSame(error, depth === 0 ? "TypeError" : "nothing", "release");
      if (depth > 0) depth--;
    }
    expectSame(lock.locked, depth > 0, "locked");
  }
}

/** Async gets, some of them aborted, and a list of who waits. */
async function checkAsyncQueue(
  maxSize: number,
  program: Commands,
): Promise<void> {
  const queue = new Queue<number>(maxSize);
  interface Wait {
    abort: AbortController;
    expected: string;
    outcome: Promise<string>;
  }
  const gets: Wait[] = [];
  const puts: (Wait & { value: number })[] = [];
  const twin: number[] = [];
  const all: Wait[] = [];
  let closed = false;
  let count = 0;

  function describe(promise: Promise<unknown>): Promise<string> {
    return promise.then(
      (value) => `${value}`,
      (error) => error instanceof QueueClosedError ? "closed" : `${error}`,
    );
  }
  /** What there is goes to who waits. */
  function serve(): void {
    while (true) {
      if (twin.length > 0 && gets.length > 0) {
        gets.shift()!.expected = `${twin.shift()}`;
      } else if (
        puts.length > 0 && !closed && (maxSize === 0 || twin.length < maxSize)
      ) {
        const { value } = puts[0]!;
        puts.shift()!.expected = "undefined";
        twin.push(value);
      } else break;
    }
    if (!closed) return;
    for (const wait of [...gets.splice(0), ...puts.splice(0)]) {
      wait.expected = "closed";
    }
  }
  for (const [act, argument] of program.slice(0, 25)) {
    const abort = new AbortController();
    const { signal } = abort;
    if (act < 3) {
      const outcome = describe(queue.get({ signal }));
      const wait = { abort, expected: "", outcome };
      gets.push(wait);
      all.push(wait);
    } else if (act < 7) {
      const value = ++count;
      const outcome = describe(queue.put(value, { signal }));
      const wait = { abort, expected: "", outcome, value };
      puts.push(wait);
      all.push(wait);
    } else if (act < 9) {
      const list: Wait[] = act === 7 ? gets : puts;
      const wait = list.splice(argument % (list.length || 1), 1)[0];
      if (wait === undefined) continue;
      wait.abort.abort("aborted");
      wait.expected = "aborted";
    } else if (argument === 0) {
      queue.close();
      closed = true;
    }
    serve();
    // Wake-ups come through the event loop.
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  queue.close();
  closed = true;
  serve();
  for (const { expected, outcome } of all) {
    expectSame(await within(outcome), expected, "outcome");
  }
  for (const value of twin) expectSame(await queue.get(), value, "left");
}

function within<T>(promise: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("Nothing within 5 s")), 5000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// -- All ---------------------------------------------------------------------------------

function parameters({ runs, seed }: FuzzOptions): fc.Parameters<unknown> {
  return { numRuns: runs, ...(seed !== undefined && { seed }) };
}

function property<Ts extends [unknown, ...unknown[]]>(
  name: string,
  arbitraries: { [K in keyof Ts]: fc.Arbitrary<Ts[K]> },
  check: (...values: Ts) => void,
): Property {
  const tested = fc.property(
    ...arbitraries,
    (...values: Ts) => check(...values),
  );
  return {
    name,
    check: (options) => fc.assert(tested, parameters(options) as object),
  };
}

const maxSize = fc.nat({ max: 4 });

/** What holds of the codec. */
export const CODEC: Property[] = [
  property<[Builder]>(
    "a value arrives as structuredClone would copy it",
    [doubtful],
    checkClone,
  ),
  property<[Builder, Damage]>(
    "a damaged message ends in an error or a value, soon",
    [builder, damage],
    checkDamage,
  ),
  property<[Uint8Array]>(
    "bytes that are no message end in an error or a value, soon",
    [fc.uint8Array({ maxLength: 200 })],
    (bytes) => checkDamaged(bytes, []),
  ),
];

/** What holds of the primitives. */
export const PROGRAMS: Property[] = [
  property<[number, Commands]>(
    "Queue is an array",
    [maxSize, commands],
    checkQueue,
  ),
  property<[number, Commands, number[]]>(
    "Ring is an array of messages",
    [
      fc.constantFrom(64, 200, 1000, 5000),
      commands,
      fc.array(fc.nat({ max: 600 }), { minLength: 1, maxLength: 8 }),
    ],
    checkRing,
  ),
  property<[number, boolean, Commands]>(
    "Semaphore is a number",
    [maxSize, fc.boolean(), commands],
    checkSemaphore,
  ),
  property<[boolean, Commands]>(
    "Lock and RLock are a depth",
    [fc.boolean(), commands],
    checkLock,
  ),
];

/** What holds of waits that are served, aborted and closed in any order. */
export const WAITS: Property = {
  name: "async puts and gets are served in order, or aborted",
  check: (options) =>
    fc.assert(
      fc.asyncProperty(maxSize, commands, checkAsyncQueue),
      parameters(options) as object,
    ),
};
