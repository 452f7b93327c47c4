/**
 * The worker's ends of a queue. Each serves many runs: a number from its commands
 * is how many items to put or get; the end of the commands is its end.
 *
 * @module
 */

import type { Queue } from "@parallel/multiprocessing";
import { idOf, type Kind, makeItem, type SmallObject } from "./items.ts";

type Items = Queue<number | SmallObject>;

function next(commands: Queue<number>): number | undefined {
  try {
    return commands.getSync();
  } catch {
    return undefined;
  }
}

/** Puts items. */
export function produce(
  commands: Queue<number>,
  items: Items,
  kind: Kind,
): void {
  for (let count = next(commands); count; count = next(commands)) {
    for (let i = 0; i < count; i++) items.putSync(makeItem(kind, i));
  }
}

/** Gets items, then puts the sum of their numbers. */
export function consume(
  commands: Queue<number>,
  items: Items,
  sums: Queue<number>,
): void {
  for (let count = next(commands); count; count = next(commands)) {
    let sum = 0;
    for (let i = 0; i < count; i++) sum += idOf(items.getSync());
    sums.putSync(sum);
  }
}
