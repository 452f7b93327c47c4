/**
 * What the workers of the queue, pipe and shared tests do.
 *
 * @module
 */

import type { Connection } from "../../pipe.ts";
import {
  type JoinableQueue,
  type Queue,
  QueueClosedError,
} from "../../queue.ts";
import type { SharedArray, SharedValue } from "../../shared.ts";
import { DEADLINE } from "../_within.ts";

/** An item of the stress tests. */
export type Item = number | { id: number; text: string };

const WAIT = { timeout: DEADLINE };

function itemOf(id: number): Item {
  return id % 3 === 0 ? id : { id, text: "x".repeat(id % 200) };
}

/** Puts items with numbers of its own, blocking or not. */
export async function produce(
  queue: Queue<Item>,
  producer: number,
  count: number,
  blocking: boolean,
): Promise<void> {
  for (let i = 0; i < count; i++) {
    const item = itemOf(producer * count + i);
    if (blocking) queue.putSync(item, i % 2 === 0 ? undefined : WAIT);
    else await queue.put(item, i % 2 === 0 ? undefined : WAIT);
  }
}

/** Takes items until the end; returns what was wrong. */
export async function consume(
  queue: Queue<Item>,
  seen: Uint8Array,
  count: number,
  blocking: boolean,
): Promise<string[]> {
  const wrong: string[] = [];
  const last = new Map<number, number>();
  const note = (item: Item) => {
    const id = typeof item === "number" ? item : item.id;
    if (typeof item !== "number" && item.text.length !== id % 200) {
      wrong.push(`text of ${id}`);
    }
    if (Atomics.add(seen, id, 1) !== 0) wrong.push(`${id} twice`);
    const producer = Math.floor(id / count);
    if ((last.get(producer) ?? -1) >= id) wrong.push(`order of ${id}`);
    last.set(producer, id);
  };
  if (blocking) {
    try {
      for (let i = 0;; i++) note(queue.getSync(i % 2 === 0 ? undefined : WAIT));
    } catch (error) {
      if (!(error instanceof QueueClosedError)) wrong.push(String(error));
    }
  } else for await (const item of queue) note(item);
  return wrong;
}

/** Blocks in a get; returns how it ended. */
export function getOne(queue: Queue<unknown>, waiting: Int32Array): string {
  Atomics.add(waiting, 0, 1);
  try {
    return String(queue.getSync(WAIT));
  } catch (error) {
    return (error as Error).name;
  }
}

/** Blocks in a put; returns how it ended. */
export function putOne(queue: Queue<unknown>, waiting: Int32Array): string {
  Atomics.add(waiting, 0, 1);
  try {
    queue.putSync("late", WAIT);
    return "put";
  } catch (error) {
    return (error as Error).name;
  }
}

/** Does the tasks of a queue until it is closed. */
export function work(queue: JoinableQueue<number>, sum: Int32Array): void {
  try {
    while (true) {
      const item = queue.getSync(WAIT);
      // Tasks may bring more tasks.
      if (item > 1000) queue.putSync(item - 1000);
      Atomics.add(sum, 0, item % 1000);
      queue.taskDone();
    }
  } catch (error) {
    if (!(error instanceof QueueClosedError)) throw error;
  }
}

/** Sends back what it receives until the other end is gone; returns how many. */
export function echo(connection: Connection<unknown, unknown>): number {
  let count = 0;
  try {
    while (true) {
      connection.sendSync(connection.recvSync(WAIT), WAIT);
      count++;
    }
  } catch (error) {
    if ((error as Error).name !== "ConnectionClosedError") throw error;
  }
  return count;
}

/** Sends so many messages. */
export function stream(
  connection: Connection<unknown, unknown>,
  count: number,
): void {
  for (let i = 0; i < count; i++) connection.sendSync(i);
}

/** Keeps what it was given and never returns. */
export async function hold(
  _held: unknown,
  holding: Int32Array,
): Promise<void> {
  Atomics.store(holding, 0, 1);
  await new Promise(() => {});
}

/** Adds to a shared value in both ways. */
export function count(
  value: SharedValue<"i32">,
  guarded: SharedValue<"f64">,
  rounds: number,
): void {
  for (let i = 0; i < rounds; i++) {
    value.add(1);
    using _ = guarded.lock.acquireSync();
    guarded.value += 0.5;
  }
}

/** Fills a part of a shared array. */
export function fillPart(
  array: SharedArray<"i32">,
  view: Int32Array,
  from: number,
  to: number,
): boolean {
  for (let i = from; i < to; i++) array.view[i] = i * i;
  return view.buffer.byteLength === array.view.buffer.byteLength &&
    view[from] === from * from;
}
