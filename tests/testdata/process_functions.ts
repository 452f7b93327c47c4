// Functions for processes that need their module.

import { Barrier } from "../../barrier.ts";
import { Lock } from "../../lock.ts";
import {
  activeChildren,
  currentProcess,
  parentProcess,
  Process,
  type ProcessInfo,
} from "../../process.ts";
import { task } from "../../task.ts";

/** A user's own error class. */
export class OrderError extends RangeError {
  order: number;
  constructor(message: string, order: number) {
    super(message);
    this.name = "OrderError";
    this.order = order;
  }
}

export function failOrder(order: number): never {
  throw new OrderError("out of stock", order);
}

export function introduce(): {
  current: ProcessInfo;
  parent: ProcessInfo | null;
} {
  return { current: currentProcess(), parent: parentProcess() };
}

/** The same once a word is set. */
export async function introduceLater(
  words: Int32Array,
): Promise<ReturnType<typeof introduce>> {
  await waitForWord(words);
  return introduce();
}

/** What a process sees of itself, its parent and two children of its own. */
export async function introduceFamily(): Promise<{
  own: ProcessInfo;
  names: string[];
  before: string[];
  after: string[];
  child: { current: ProcessInfo; parent: ProcessInfo | null };
  alive: boolean;
}> {
  const go = flag();
  const first = new Process({ target: introduceLater, args: [go] });
  const second = new Process({ target: waitForWord, args: [flag()] });
  second.start();
  first.start();
  const before = activeChildren().map((child) => child.name);
  Atomics.store(go, 0, 1);
  const child = await first.result;
  await first.join();
  const alive = second.isAlive();
  second.terminate();
  return {
    own: currentProcess(),
    names: [first.name, second.name],
    before,
    after: activeChildren().map((child) => child.name),
    child,
    alive,
  };
}

function flag(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(4));
}

/** Waits until a word is set, with the event loop running. */
export async function waitForWord(words: Int32Array): Promise<void> {
  while (Atomics.load(words, 0) === 0) {
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Starts a child that counts, and ends. */
export async function leaveChild(words: Int32Array): Promise<void> {
  const child = new Process({ target: countForEver, args: [words] });
  child.start();
  while (Atomics.load(words, 0) === 0) {
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Counts in the first word, a life long. */
export async function countForEver(words: Int32Array): Promise<void> {
  while (true) {
    Atomics.add(words, 0, 1);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** Takes the lock, says so, and ends in the given way. */
export async function endHolding(
  lock: Lock,
  words: Int32Array,
  how: "return" | "throw" | "exit" | "close" | "wait" | "spin" | "block",
): Promise<void> {
  lock.acquireSync();
  if (how === "block" && Deno.build.os === "linux") {
    const path = Deno.readLinkSync("/proc/thread-self");
    words[9 + Atomics.add(words, 8, 1)] = Number(path.split("/").at(-1));
  }
  Atomics.store(words, 0, 1);
  Atomics.notify(words, 0);
  if (how === "throw") throw new Error("holding");
  if (how === "exit") Deno.exit(3);
  if (how === "close") self.close();
  if (how === "wait") await new Promise(() => setInterval(() => {}, 1000));
  if (how === "spin") { while (Atomics.load(words, 1) === 0); }
  if (how === "block") new Lock().acquireSync() && lock.acquireSync();
}

/** Doubles in a grandchild. */
export async function doubleInChild(value: number): Promise<number> {
  const child = new Process({ target: (n: number) => n * 2, args: [value] });
  child.start();
  return await child.result;
}

/** Moves a buffer on to a child. */
export async function moveToChild(size: number): Promise<[number, number]> {
  const buffer = new ArrayBuffer(size);
  const child = new Process({
    target: (received: ArrayBuffer) => received.byteLength,
    args: [buffer],
    transfer: [buffer],
  });
  child.start();
  return [buffer.byteLength, await child.result];
}

/** Makes a barrier whose action has to be imported where it arrives. */
export function makeBarrier(): Barrier {
  const url = import.meta.resolve("./sync_scenarios.ts");
  return new Barrier(1, { action: task(url, "moduleAction") });
}
