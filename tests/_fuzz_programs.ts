/**
 * Primitives and their twins: the same random program for both, in one thread.
 *
 * @module
 */

import fc from "npm:fast-check@4.3.0";
import { Reader } from "../_codec.ts";
import { Ring, TAKE_EMPTY, TAKE_INT } from "../_ring.ts";
import { Lock, type LockGuard, RLock } from "../lock.ts";
import { Queue, QueueClosedError } from "../queue.ts";
import {
  BoundedSemaphore,
  Semaphore,
  type SemaphoreGuard,
} from "../semaphore.ts";
import { difference } from "./_difference.ts";
import { within } from "./_within.ts";

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
  fc.tuple(fc.nat({ max: 9 }), fc.nat({ max: 7 })),
  { maxLength: 60 },
);
export type Commands = [number, number][];

/** A queue and an array. */
export function checkQueue(maxSize: number, program: Commands): void {
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
export function checkRing(
  capacity: number,
  program: Commands,
  sizes: number[],
): void {
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
