/**
 * Primitives and their twins: the same random program for both, in one thread.
 *
 * @module
 */

import fc from "npm:fast-check@4.3.0";
import { Ring, TAKE_EMPTY, TAKE_INT, TAKE_MESSAGE } from "../_ring.ts";
import { Lock, type LockGuard, RLock } from "../lock.ts";
import { Queue, QueueClosedError } from "../queue.ts";
import {
  BoundedSemaphore,
  Semaphore,
  type SemaphoreGuard,
} from "../semaphore.ts";
import { difference } from "./_difference.ts";
import { within } from "./_within.ts";
import { check, fill, newMessage, newReader } from "./testdata/ring_worker.ts";

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

/** A program: what to do, and an argument. */
export const commands: fc.Arbitrary<Commands> = fc.array(
  fc.tuple(fc.nat({ max: 9 }), fc.nat({ max: 19 })),
  { maxLength: 300, size: "max" }, // by default they are of 10 at the most
);
export type Commands = [number, number][];

/** Items of all sizes. */
const ITEMS: unknown[] = [
  0,
  -0,
  1,
  -5,
  2 ** 31,
  2 ** 40,
  NaN,
  "",
  "text",
  "long".repeat(40),
  "long".repeat(5000),
  undefined,
  null,
  true,
  10n,
  {},
  [1, 2, 3],
  { a: 1, b: { c: [] } },
  new Map([[1, "one"]]),
  new Uint8Array(20_000).fill(3),
];

/** A queue and an array. */
export async function checkQueue(
  maxSize: number,
  program: Commands,
): Promise<void> {
  const queue = new Queue<unknown>({ maxSize, byteCapacity: 1 << 20 });
  const twin: unknown[] = [];
  let closed = false;

  function expectNext(value: unknown, what: string): void {
    const found = difference(value, twin.shift());
    if (found !== "") throw new Error(`${what}: ${found}`);
  }
  for (const [act, argument] of program) {
    const isFull = maxSize > 0 && twin.length >= maxSize;
    if (act < 5) {
      if (twin.length > 20) continue; // only maxSize is to limit it here
      const value = ITEMS[argument];
      const fits = !closed && !isFull;
      if (act < 2) expectSame(queue.tryPut(value), fits, "tryPut");
      else if (act === 4 && fits) await within(queue.put(value));
      else {
        const error = nameOfThrown(() => queue.putSync(value, { timeout: 0 }));
        const expected = closed
          ? "QueueClosedError"
          : isFull
          ? "TimeoutError"
          : "nothing";
        expectSame(error, expected, "putSync");
      }
      if (fits) twin.push(value);
    } else if (act < 7) {
      const got = queue.tryGet();
      const state = twin.length > 0 ? "ok" : closed ? "closed" : "empty";
      expectSame(got.state, state, "tryGet");
      if (got.state === "ok") expectNext(got.value, "tryGet");
    } else if (act < 9) {
      if (twin.length === 0) {
        const error = nameOfThrown(() => queue.getSync({ timeout: 0 }));
        const expected = closed ? "QueueClosedError" : "TimeoutError";
        expectSame(error, expected, "getSync");
      } else if (act === 7) expectNext(queue.getSync(), "getSync");
      else expectNext(await within(queue.get()), "get");
    } else if (argument === 0) {
      queue.close();
      closed = true;
    }
    expectSame(queue.size, twin.length, "size");
    expectSame(queue.empty(), twin.length === 0, "empty");
    expectSame(queue.full(), maxSize > 0 && twin.length >= maxSize, "full");
    expectSame(queue.closed, closed, "closed");
  }
}

/** A message of a ring's twin. */
interface RingItem {
  id: number;
  isInt: boolean;
  /** What it takes of the capacity, at the most. */
  bytes: number;
}

/** A ring that grows, with messages of all sizes, and an array. */
export function checkRing(
  [capacity, maxItems]: [capacity: number, maxItems: number],
  program: Commands,
  sizes: number[],
): void {
  const ring = Ring.create({ capacity, maxItems, initial: 64 });
  const message = newMessage(Math.max(...sizes));
  const reader = newReader();
  const twin: RingItem[] = [];
  let used = 0;
  for (const [id, [act, argument]] of program.entries()) {
    if (act < 6) {
      const isInt = act < 2;
      let bytes = 8;
      if (!isInt) {
        fill(message, id, sizes[argument % sizes.length]!);
        bytes += message.length + 8;
        // As `_ring_frame.ts` lays it out.
        let units = 1 + Math.ceil(message.blobs.length / 2) +
          Math.ceil(message.length / 8);
        for (const { length } of message.blobs) {
          bytes += length + 12;
          units += Math.ceil(length / 8);
        }
        if (units * 8 > capacity + 64) {
          const error = nameOfThrown(() => ring.tryPut(message));
          expectSame(error, "RangeError", "tryPut of too much");
          continue;
        }
      }
      const done = isInt ? ring.tryPutInt(id) : ring.tryPut(message);
      if (maxItems > 0 && twin.length >= maxItems) {
        expectSame(done, false, "tryPut of one more");
      } else if (twin.length === 0 || used + bytes <= capacity) {
        expectSame(done, true, "tryPut");
      }
      if (done) {
        twin.push({ id, isInt, bytes });
        used += bytes;
      }
    } else {
      const kind = ring.tryTake(reader);
      const item = twin.shift();
      if (item === undefined) expectSame(kind, TAKE_EMPTY, "tryTake");
      else {
        used -= item.bytes;
        expectSame(kind, item.isInt ? TAKE_INT : TAKE_MESSAGE, "tryTake");
        const taken = item.isInt ? ring.immediate : check(reader);
        expectSame(taken, item.id, "item");
      }
    }
    expectSame(ring.size, twin.length, "size");
    expectSame(ring.empty, twin.length === 0, "empty");
    if (ring.bytes > capacity + 64) throw new Error("More than its capacity");
  }
}

/** A semaphore and a number. */
export function checkSemaphore(
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
      expectSame(guard.permits, permits, "permits");
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

/** The hold of a guard that has been released: once more, and it does nothing. */
const NEVER = 0;

/** A lock and a depth. */
export function checkLock(isReentrant: boolean, program: Commands): void {
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
      const taken = guards[argument % (guards.length || 1)];
      if (taken === undefined) continue;
      taken.guard.release();
      if (taken.hold === hold && depth > 0) depth--;
      taken.hold = NEVER;
    } else {
      const error = nameOfThrown(() => lock.release());
      expectSame(error, depth === 0 ? "TypeError" : "nothing", "release");
      if (depth > 0) depth--;
    }
    expectSame(lock.locked, depth > 0, "locked");
  }
}

/** Async gets, some of them aborted, and a list of who waits. */
export async function checkAsyncQueue(
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
    } else if (argument < 3) {
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
