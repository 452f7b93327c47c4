/**
 * Properties for generated values and programs, for the tests (a short run) and for
 * `deno task fuzz` (a long one).
 *
 * @module
 */

import fc from "npm:fast-check@4.3.0";
import { decode, encode, encodeItems, Reader, Writer } from "../_codec.ts";
import { VALUES } from "./_clonable.ts";
import { difference } from "./_difference.ts";
import {
  checkAsyncQueue,
  checkLock,
  checkQueue,
  checkRing,
  checkSemaphore,
  type Commands,
  commands,
} from "./_fuzz_programs.ts";
import { type Builder, builder, doubtful } from "./_fuzz_values.ts";

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

function readerOf({ bytes, blobs }: Sent, slack = 0): Reader {
  const memory = new Uint8Array(8 + bytes.length + slack);
  memory.set(bytes, 8);
  return new Reader(memory, 8, 8 + bytes.length, blobs);
}

function receive(sent: Sent, slack = 0): unknown {
  const reader = readerOf(sent, slack);
  const value = decode(reader);
  if (reader.position !== reader.end) throw new Error("Read not to its end");
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

/** `encodeItems` is `encode` of a slice. */
function checkItems(builders: Builder[], from: number, count: number): void {
  const made: object[] = [];
  const items = builders.map((build) => build(made));
  const start = Math.min(from, items.length);
  const end = Math.min(start + count, items.length);
  const expected = structuredClone(items.slice(start, end));
  writer.reset();
  encodeItems(writer, items, start, end);
  const bytes = writer.bytes.slice(0, writer.length);
  const blobs = writer.blobs.map((blob) => blob.slice());
  const found = difference(receive({ bytes, blobs }), expected);
  if (found !== "") throw new Error(`${found} in ${Deno.inspect(items)}`);
}

/** The length that the places of damage are a part of: as doubles most would be 0. */
const EVERYWHERE = 2 ** 16;

/** How bytes are damaged: how, where and by what. */
const damage = fc.array(
  fc.tuple(
    fc.oneof(
      { weight: 7, arbitrary: fc.constant("flip") },
      fc.constantFrom("set", "add", "cut", "drop", "insert", "repeat"),
    ),
    fc.nat({ max: EVERYWHERE - 1 }),
    fc.nat({ max: 255 }),
  ),
  { minLength: 1, maxLength: 6 },
);

type Damage = typeof damage extends fc.Arbitrary<infer T> ? T : never;

function damaged(bytes: Uint8Array, damage: Damage): Uint8Array {
  let list = [...bytes];
  for (const [how, where, by] of damage) {
    const at = Math.floor(where / EVERYWHERE * list.length);
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

/** No damaged message takes longer than this, in milliseconds, each time it is read. */
const SLOW_MS = 500;
const TIMES = 5;

/** How many messages were refused. */
let refusals = 0;

function checkDamaged(sent: Sent): void {
  for (let time = 1;; time++) {
    const started = performance.now();
    const isRefused = refuses(sent);
    const took = performance.now() - started;
    if (took < SLOW_MS) {
      if (isRefused) refusals++;
      return;
    }
    if (time === TIMES) throw new Error(`Took ${took} ms: [${sent.bytes}]`);
  }
}

function refuses(sent: Sent): boolean {
  const reader = readerOf(sent);
  try {
    decode(reader);
  } catch (error) {
    if (error instanceof Error && /^Cannot /.test(error.message)) return true;
    throw new Error(`Not refused: [${sent.bytes}]`, { cause: error });
  }
  if (reader.position > reader.end) throw new Error("Read beyond the end");
  return false;
}

/** What is damaged: generated values, and some of every kind that there is. */
const breakable: fc.Arbitrary<Builder> = fc.oneof(
  builder,
  fc.constantFrom(
    ...Object.entries(VALUES)
      .filter(([name]) => !/large|sparse|long typed/.test(name))
      .map(([_, make]): Builder => () => make()),
  ),
);

function checkDamage(build: Builder, how: Damage): void {
  const value = build([]);
  const clone = cloneOf(value)!;
  const { bytes, blobs } = send(value);
  if (bytes.length > 5000) return;
  const copies = blobs.map((blob) => blob.slice());
  checkDamaged({ bytes: damaged(bytes, how), blobs });
  // What was read in vain has not spoilt what comes next.
  const found = difference(receive({ bytes, blobs: copies }), clone.value);
  if (found !== "") throw new Error(`Afterwards ${found}: [${bytes}]`);
}

/** Bytes, more of those that mean something at the begin of a value. */
const noise: fc.Arbitrary<Uint8Array> = fc.oneof(
  fc.uint8Array({ maxLength: 200 }),
  fc.array(
    fc.oneof(
      { weight: 3, arbitrary: fc.nat({ max: 47 }) },
      { weight: 1, arbitrary: fc.nat({ max: 255 }) },
    ),
    { minLength: 1, maxLength: 60 },
  ).map((bytes) => Uint8Array.from(bytes)),
);

/** A property that would tell nothing if all its messages were read. */
function refusing(property: Property): Property {
  return {
    name: property.name,
    check: async (options) => {
      refusals = 0;
      await property.check(options);
      if (refusals < Math.floor(options.runs / 16)) {
        throw new Error(`Refused ${refusals} of ${options.runs}`);
      }
    },
  };
}

// -- All ---------------------------------------------------------------------------------

function parameters({ runs, seed }: FuzzOptions): fc.Parameters<unknown> {
  return { numRuns: runs, ...(seed !== undefined && { seed }) };
}

function property<Ts extends [unknown, ...unknown[]]>(
  name: string,
  arbitraries: { [K in keyof Ts]: fc.Arbitrary<Ts[K]> },
  check: (...values: Ts) => void | Promise<void>,
): Property {
  const tested = fc.asyncProperty(
    ...arbitraries,
    async (...values: Ts) => await check(...values),
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
  property<[Builder[], number, number]>(
    "some items arrive as a copy of their slice",
    [
      fc.array(builder, { maxLength: 4 }),
      fc.nat({ max: 3 }),
      fc.nat({ max: 9 }),
    ],
    checkItems,
  ),
  refusing(property<[Builder, Damage]>(
    "a damaged message ends in an error or a value, soon",
    [breakable, damage],
    checkDamage,
  )),
  refusing(property<[Uint8Array]>(
    "bytes that are no message end in an error or a value, soon",
    [noise],
    (bytes) => checkDamaged({ bytes, blobs: [] }),
  )),
];

/** What holds of the primitives. */
export const PROGRAMS: Property[] = [
  property<[number, Commands]>(
    "Queue is an array",
    [maxSize, commands],
    checkQueue,
  ),
  property<[[number, number], Commands, number[]]>(
    "Ring is an array of messages",
    [
      fc.tuple(
        fc.constantFrom(64, 200, 1000, 5000, 300_000),
        fc.constantFrom(0, 3),
      ),
      commands,
      fc.array(
        fc.oneof(
          fc.integer({ min: 8, max: 64 }),
          fc.integer({ min: 8, max: 2000 }),
        ),
        { minLength: 1, maxLength: 8 },
      ),
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
export const WAITS: Property = property<[number, Commands]>(
  "async puts and gets are served in order, or aborted",
  [maxSize, commands],
  checkAsyncQueue,
);
