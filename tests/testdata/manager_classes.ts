// Classes and functions for `manager_test.ts`.

import type {
  DictProxy,
  ListProxy,
  Manager,
  ObjectProxy,
} from "../../manager.ts";

const STEP = 1;

class Base {
  inherited(): string {
    return "inherited";
  }
}

/** Uses its module's scope, so it is found by its export. */
export class Counter extends Base {
  #count: number;
  readonly label = "counter";
  doubled = (): number => this.#count * 2;

  constructor(start = 0) {
    super();
    if (typeof start !== "number") {
      throw new TypeError("Cannot count from that");
    }
    this.#count = start;
  }

  get current(): number {
    return this.#count;
  }

  then(): never {
    throw new Error("A proxy is no thenable");
  }

  count(): number {
    return this.#count;
  }

  increment(): number {
    return this.#count += STEP;
  }

  /** Others see the count in between. */
  async incrementLater(words: number): Promise<number> {
    const before = this.#count;
    for (let i = 0; i < words; i++) await null;
    return this.#count = before + STEP;
  }

  never(): Promise<never> {
    return new Promise(() => {});
  }

  fail(message: string): never {
    throw new RangeError(message, { cause: { counted: this.#count } });
  }

  async failLater(): Promise<never> {
    await null;
    throw "just a string";
  }

  /** Throws an error with a proxy and what cannot be sent, or an object with one. */
  failWith(proxy: object, isError: boolean): never {
    const data = { proxy, nested: [proxy] };
    throw isError
      ? Object.assign(new RangeError("x", { cause: proxy }), data, { f() {} })
      : data;
  }

  giveFunction(): () => void {
    return () => {};
  }

  exit(code: number): void {
    Deno.exit(code);
  }

  async readDict(dict: DictProxy<string, number>): Promise<number> {
    return (await dict.get("a"))! + dict.sync.get("b")!;
  }

  big(bytes: number): Uint8Array {
    return new Uint8Array(bytes);
  }
}

/** Those who wait are told what it is opened with. */
export class Gate {
  readonly #opened: Promise<string>;
  readonly #open: (word: string) => void;

  constructor() {
    const { promise, resolve } = Promise.withResolvers<string>();
    this.#opened = promise;
    this.#open = resolve;
  }

  wait(): Promise<string> {
    return this.#opened;
  }

  open(word: string): void {
    this.#open(word);
  }
}

export function countTo(counter: ObjectProxy<Counter>, times: number): void {
  for (let i = 0; i < times; i++) counter.sync.increment();
}

export async function countAsync(
  counter: ObjectProxy<Counter>,
  times: number,
): Promise<void> {
  const calls: Promise<number>[] = [];
  for (let i = 0; i < times; i++) calls.push(counter.increment());
  await Promise.all(calls);
}

/** Calls in both ways at once from one thread. */
export async function countBoth(
  counter: ObjectProxy<Counter>,
  times: number,
): Promise<void> {
  for (let i = 0; i < times; i++) {
    const later = counter.increment();
    counter.sync.increment();
    await later;
  }
}

export function appendAll(
  list: ListProxy<string>,
  name: string,
  n: number,
): void {
  for (let i = 0; i < n; i++) list.sync.push(`${name}${i}`);
}

export async function makeDict(
  manager: Manager,
  name: string,
): Promise<DictProxy<string, string>> {
  return await manager.dict({ name });
}

/** Waits for a call that never returns; the manager goes meanwhile. */
export function waitForever(counter: ObjectProxy<Counter>): string {
  try {
    counter.sync.never();
    return "returned";
  } catch (error) {
    return String(error);
  }
}

export async function managerOfWorker(): Promise<DictProxy<string, number>> {
  const { Manager } = await import("../../manager.ts");
  return await new Manager().dict({ a: 1 });
}
