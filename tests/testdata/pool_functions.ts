// Functions for pools that need their module.

import { Lock } from "../../lock.ts";
import { Pool } from "../../pool.ts";
import { currentProcess } from "../../process.ts";

let prepared: unknown;

/** An initializer. */
export function prepare(value: unknown): void {
  prepared = value;
}

/** An initializer that takes its time. */
export async function prepareLater(value: unknown): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 10));
  prepared = value;
}

/** An initializer that keeps a lock and shared words. */
export function prepareShared(shared: Map<string, unknown>): void {
  prepared = shared;
}

/** What the initializer left. */
export function readPrepared(): unknown {
  return prepared;
}

/** Adds to a word under the initializer's lock, not atomically. */
export function addUnderLock(times: number): boolean {
  const { lock, words } = Object.fromEntries(
    prepared as Map<string, unknown>,
  ) as { lock: Lock; words: Int32Array };
  for (let i = 0; i < times; i++) {
    using _ = lock.acquireSync();
    words[0] = words[0]! + 1;
  }
  return lock instanceof Lock;
}

/** The name of the process it runs in. */
export function processName(): string {
  return currentProcess().name;
}

/** Squares in a pool of its own. */
export async function squareInPool(numbers: number[]): Promise<number[]> {
  await using pool = new Pool(2);
  return await pool.map((n: number) => n * n, numbers);
}

export class StockError extends TypeError {
  constructor(message: string, readonly item: string) {
    super(message);
    this.name = "StockError";
    this.item = item;
  }
}

export function failStock(item: string): never {
  throw new StockError("none left", item);
}
