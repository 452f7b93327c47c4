/**
 * What the workers of the soak do. Each item has an id, and what becomes of it is
 * written down in shared memory at once, so that it is known whoever dies.
 *
 * @module
 */

import type { Barrier } from "../barrier.ts";
import type { Condition } from "../condition.ts";
import type { Event } from "../event.ts";
import type { Lock, LockGuard, RLock } from "../lock.ts";
import type { ObjectProxy } from "../manager.ts";
import type { Connection } from "../pipe.ts";
import type { JoinableQueue, Queue } from "../queue.ts";
import type { Semaphore } from "../semaphore.ts";

/** How long a wait that is meant to end by itself lasts at most, in milliseconds. */
export const PATIENCE = 8000;

/** Ids in one ledger. */
export const IDS = 1 << 19;

/** What became of each item of one queue. */
export interface Ledger {
  /** [0]: the next id. [1]: 1 when it is time to stop. [2]: operations. */
  words: Int32Array;
  /** By id: 1 the put has begun, 2 it succeeded, 3 it gave up. */
  put: Uint8Array;
  /** By id: how often it was got. */
  got: Uint8Array;
}

/** Index of the next id. */
export const NEXT = 0;
/** Index of the word that says stop. */
export const STOP = 1;
/** Index of the number of operations. */
export const OPERATIONS = 2;
/** Index of the number of violations seen by workers. */
export const VIOLATIONS = 3;
/** Index of the number of waits that ended by time or signal. */
export const GIVEN_UP = 4;
/** Index of a word for those who hold a lock. */
export const INSIDE = 5;

/** The put has begun. */
export const BEGUN = 1;
/** The put has succeeded. */
export const PUT = 2;
/** The put ran out of time or was aborted: the item must never be seen. */
export const GAVE_UP = 3;

type Item = number | { id: number; text: string; bytes?: Uint8Array };

/** An empty ledger. */
export function newLedger(): Ledger {
  return {
    words: new Int32Array(new SharedArrayBuffer(64)),
    put: new Uint8Array(new SharedArrayBuffer(IDS)),
    got: new Uint8Array(new SharedArrayBuffer(IDS)),
  };
}

function dice(below: number): number {
  return Math.floor(Math.random() * below);
}

function itemOf(id: number): Item {
  switch (id % 8) {
    case 0:
      return { id, text: "", bytes: new Uint8Array(id % 30_000).fill(id) };
    case 1:
    case 2:
      return { id, text: "x".repeat(id % 300) };
  }
  return id;
}

/** The id of an item, or -1 if it is not as it was put. */
function idOf(item: Item): number {
  if (typeof item === "number") return item;
  const { id, text, bytes } = item;
  if (bytes === undefined) return text.length === id % 300 ? id : -1;
  const whole = bytes.length === id % 30_000 &&
    (bytes.length === 0 || bytes.at(-1) === (id & 255));
  return whole ? id : -1;
}

function isGivingUp(error: unknown): boolean {
  const { name } = error as Error;
  return name === "TimeoutError" || name === "AbortError";
}

/** Puts items until it is time to stop. */
export async function produce(
  queue: Queue<Item>,
  { words, put }: Ledger,
): Promise<void> {
  while (Atomics.load(words, STOP) === 0) {
    const id = Atomics.add(words, NEXT, 1);
    if (id >= IDS) return;
    Atomics.store(put, id, BEGUN);
    const item = itemOf(id);
    try {
      switch (dice(5)) {
        case 0:
          await queue.put(item);
          break;
        case 1:
          await queue.put(item, { signal: AbortSignal.timeout(dice(5)) });
          break;
        case 2:
          queue.putSync(item, { timeout: dice(5) });
          break;
        case 3:
          if (!queue.tryPut(item)) throw new DOMException("", "AbortError");
          break;
        default:
          queue.putSync(item);
      }
      Atomics.store(put, id, PUT);
      Atomics.add(words, OPERATIONS, 1);
    } catch (error) {
      if (!isGivingUp(error)) throw error;
      Atomics.store(put, id, GAVE_UP);
      Atomics.add(words, GIVEN_UP, 1);
    }
  }
}

/** Gets items until the queue is closed and drained. */
export async function consume(
  queue: Queue<Item> | JoinableQueue<Item>,
  { words, got }: Ledger,
): Promise<void> {
  const take = async (): Promise<Item> => {
    switch (dice(4)) {
      case 0:
        return await queue.get();
      case 1:
        return await queue.get({ signal: AbortSignal.timeout(dice(5)) });
      case 2:
        return queue.getSync({ timeout: dice(5) });
      default:
        return queue.getSync();
    }
  };
  while (true) {
    try {
      const id = idOf(await take());
      if (id < 0) Atomics.add(words, VIOLATIONS, 1);
      else Atomics.add(got, id, 1);
      Atomics.add(words, OPERATIONS, 1);
      if ("taskDone" in queue) queue.taskDone();
    } catch (error) {
      if ((error as Error).name === "QueueClosedError") return;
      if (!isGivingUp(error)) throw error;
      Atomics.add(words, GIVEN_UP, 1);
    }
  }
}

/** Takes and releases a lock; two inside at the same time are a violation. */
export async function contend(
  lock: Lock | RLock,
  words: Int32Array,
): Promise<void> {
  const me = 1 + dice(2 ** 30);
  while (Atomics.load(words, STOP) === 0) {
    let guard: LockGuard | undefined;
    try {
      switch (dice(5)) {
        case 0:
          guard = await lock.acquire();
          break;
        case 1:
          guard = await lock.acquire({ timeout: dice(3) });
          break;
        case 2:
          guard = lock.acquireSync({ timeout: dice(3) });
          break;
        case 3:
          guard = lock.tryAcquire();
          break;
        default:
          guard = lock.acquireSync();
      }
    } catch (error) {
      if (!isGivingUp(error)) throw error;
      Atomics.add(words, GIVEN_UP, 1);
    }
    if (guard === undefined) continue;
    const before = Atomics.exchange(words, INSIDE, me);
    if (before !== 0 && !guard.abandoned) Atomics.add(words, VIOLATIONS, 1);
    if (dice(20) === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    if (Atomics.compareExchange(words, INSIDE, me, 0) !== me) {
      Atomics.add(words, VIOLATIONS, 1);
    }
    guard.release();
    Atomics.add(words, OPERATIONS, 1);
  }
}

/** Takes and gives back permits; more inside than permits are a violation. */
export async function borrow(
  semaphore: Semaphore,
  permits: number,
  words: Int32Array,
): Promise<void> {
  while (Atomics.load(words, STOP) === 0) {
    try {
      const timeout = 1 + dice(20);
      const guard = dice(2) === 0
        ? semaphore.acquireSync({ timeout })
        : await semaphore.acquire({ timeout });
      const inside = Atomics.add(words, INSIDE, 1) + 1;
      if (inside > permits) Atomics.add(words, VIOLATIONS, 1);
      if (dice(20) === 0) await new Promise((next) => setTimeout(next, 1));
      Atomics.sub(words, INSIDE, 1);
      guard.release();
      Atomics.add(words, OPERATIONS, 1);
    } catch (error) {
      if (!isGivingUp(error)) throw error;
      Atomics.add(words, GIVEN_UP, 1);
    }
  }
}

/** Passes tokens through a condition: one takes what another has brought. */
export async function pass(
  condition: Condition,
  words: Int32Array,
): Promise<void> {
  const brings = dice(2) === 0;
  while (Atomics.load(words, STOP) === 0) {
    const guard = await condition.acquire();
    try {
      if (brings) {
        Atomics.add(words, INSIDE, 1);
        condition.notify();
      } else {
        const here = () => Atomics.load(words, INSIDE) > 0;
        if (dice(2) === 0) condition.waitForSync(here, { timeout: 20 });
        else await condition.waitFor(here, { timeout: 20 });
        // Under the lock nobody else can have taken it.
        if (Atomics.sub(words, INSIDE, 1) <= 0) {
          Atomics.add(words, VIOLATIONS, 1);
        }
      }
      Atomics.add(words, OPERATIONS, 1);
    } catch (error) {
      if (!isGivingUp(error)) throw error;
      Atomics.add(words, GIVEN_UP, 1);
    } finally {
      guard.release();
    }
    if (brings) await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** Meets others at a barrier, and mends it when it is broken. */
export async function meet(
  barrier: Barrier,
  words: Int32Array,
): Promise<void> {
  while (Atomics.load(words, STOP) === 0) {
    try {
      const timeout = 50 + dice(100);
      const index = dice(2) === 0
        ? barrier.waitSync({ timeout })
        : await barrier.wait({ timeout });
      if (index < 0 || index >= barrier.parties) {
        Atomics.add(words, VIOLATIONS, 1);
      }
      Atomics.add(words, OPERATIONS, 1);
    } catch (error) {
      Atomics.add(words, GIVEN_UP, 1);
      const { name } = error as Error;
      if (name !== "BrokenBarrierError" && !isGivingUp(error)) throw error;
      if (dice(3) === 0) await barrier.reset();
    }
  }
}

/** Waits for an event that others set and clear. */
export async function attend(event: Event, words: Int32Array): Promise<void> {
  while (Atomics.load(words, STOP) === 0) {
    try {
      switch (dice(4)) {
        case 0:
          event.set();
          break;
        case 1:
          event.clear();
          break;
        case 2:
          event.waitSync({ timeout: 1 + dice(10) });
          break;
        default:
          await event.wait({ timeout: 1 + dice(10) });
      }
      Atomics.add(words, OPERATIONS, 1);
    } catch (error) {
      if (!isGivingUp(error)) throw error;
      Atomics.add(words, GIVEN_UP, 1);
    }
  }
}

/** Sends back what it receives until the other end is gone. */
export async function echo(
  connection: Connection<number, number>,
): Promise<void> {
  try {
    while (true) {
      const id = dice(2) === 0
        ? connection.recvSync()
        : await connection.recv();
      if (dice(2) === 0) connection.sendSync(id);
      else await connection.send(id);
    }
  } catch (error) {
    if ((error as Error).name !== "ConnectionClosedError") throw error;
  }
}

/** What a manager keeps. */
export class Counter {
  #count = 0;

  /** Counts on. */
  add(): number {
    return ++this.#count;
  }

  /** The count. */
  read(): number {
    return this.#count;
  }
}

/** Counts through a manager; writes down what was acknowledged. */
export async function count(
  counter: ObjectProxy<Counter>,
  words: Int32Array,
): Promise<void> {
  while (Atomics.load(words, STOP) === 0) {
    if (dice(2) === 0) counter.sync.add();
    else await counter.add();
    Atomics.add(words, OPERATIONS, 1);
  }
}

/** What a task is to do. */
export type Fate = "return" | "throw" | "exit" | "wait" | "spin";

/** A task of a pool. */
export async function work(
  id: number,
  fate: Fate,
  begun: Uint8Array | undefined,
): Promise<number> {
  if (begun !== undefined) Atomics.add(begun, id, 1);
  if (fate === "throw") throw new RangeError(String(id));
  if (fate === "exit") Deno.exit(3);
  if (fate === "wait") await new Promise((resolve) => setTimeout(resolve, 500));
  while (fate === "spin");
  return id;
}

/** A task of a pool that is only bytes. */
export function double(n: number): number {
  return 2 * n;
}
