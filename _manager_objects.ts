/**
 * The objects a manager's server owns: its dicts, lists and namespaces, and which
 * methods an instance of any class has.
 *
 * @module
 */

import { quote, typeName } from "./_checks.ts";
import { isHandle } from "./_handle.ts";

const { construct } = Reflect;

/** Names that cannot be methods of a proxy. */
const RESERVED = new Set(["constructor", "sendThroughArgs", "sync", "then"]);

/** Lists the methods of an instance: its own, its class's and those inherited. */
export function methodsOf(instance: object): string[] {
  const names = new Set<string>();
  for (
    let at: object | null = instance;
    at !== null && at !== Object.prototype;
    at = Object.getPrototypeOf(at)
  ) {
    for (const name of Object.getOwnPropertyNames(at)) {
      const descriptor = Object.getOwnPropertyDescriptor(at, name);
      if (typeof descriptor?.value === "function") names.add(name);
    }
  }
  return [...names].filter((name) => !RESERVED.has(name));
}

/** Refuses a function that is no class. */
// deno-lint-ignore ban-types -- a class is a function.
export function checkClass(target: Function): void {
  try {
    construct(Object, [], target); // calls no code of the target
  } catch {
    throw new TypeError(
      `Cannot create an object in a manager: ${
        quote(target.name)
      } is a function, not a class`,
    );
  }
}

function checkKey(what: string, key: unknown): void {
  if (typeof key !== "object" || key === null || isHandle(key)) return;
  throw new TypeError(
    `Cannot ${what}: a key must be a primitive value or a proxy, for an object arrives as a copy and would never be found again`,
  );
}

function checkIndex(what: string, index: unknown): void {
  if (typeof index !== "number") {
    throw new TypeError(
      `Cannot ${what}: index must be a number, received ${typeName(index)}`,
    );
  }
  if (Number.isInteger(index)) return;
  throw new RangeError(
    `Cannot ${what} as index must be a whole number: current value is ${index}`,
  );
}

/** Refuses what Python's method would take, and this one would ignore. */
function checkNone(what: string, option: string, args: unknown[]): void {
  if (args.every((arg) => arg === undefined)) return;
  throw new TypeError(`Cannot ${what}: it does not take ${option}`);
}

/** Types of items that a list can sort. */
const SORTED = new Set(["number", "bigint", "string"]);

/** A `Map`. */
export class Dict {
  readonly #map = new Map<unknown, unknown>();

  constructor(entries: Iterable<[unknown, unknown]> = []) {
    this.#setAll("create dict", entries);
  }

  get(key: unknown): unknown {
    checkKey("get", key);
    return this.#map.get(key);
  }

  set(key: unknown, value: unknown): void {
    checkKey("set", key);
    this.#map.set(key, value);
  }

  has(key: unknown): boolean {
    checkKey("look for key", key);
    return this.#map.has(key);
  }

  delete(key: unknown): boolean {
    checkKey("delete", key);
    return this.#map.delete(key);
  }

  getOrInsert(key: unknown, value: unknown): unknown {
    checkKey("get or insert", key);
    if (!this.#map.has(key)) this.#map.set(key, value);
    return this.#map.get(key);
  }

  pop(key: unknown, ...rest: unknown[]): unknown {
    checkKey("pop", key);
    checkNone("pop key", "a default, use get", rest);
    const value = this.#map.get(key);
    this.#map.delete(key);
    return value;
  }

  clear(): void {
    this.#map.clear();
  }

  size(): number {
    return this.#map.size;
  }

  keys(): unknown[] {
    return [...this.#map.keys()];
  }

  values(): unknown[] {
    return [...this.#map.values()];
  }

  entries(): [unknown, unknown][] {
    return [...this.#map];
  }

  update(entries: Iterable<[unknown, unknown]>): void {
    this.#setAll("update", entries);
  }

  snapshot(): Map<unknown, unknown> {
    return this.#map;
  }

  #setAll(what: string, entries: Iterable<[unknown, unknown]>): void {
    for (const [key] of entries) checkKey(what, key);
    for (const [key, value] of entries) this.#map.set(key, value);
  }
}

/** An array. */
export class List {
  readonly #items: unknown[];

  constructor(items: unknown[] = []) {
    this.#items = items;
  }

  get(index: number): unknown {
    checkIndex("get item", index);
    return this.#items.at(index);
  }

  set(index: number, value: unknown): void {
    checkIndex("set item", index);
    const { length } = this.#items;
    if (index < -length || index >= length) {
      throw new RangeError(
        length === 0
          ? `Cannot set item ${index}: the list is empty`
          : `Cannot set item as index must be a whole number from ${-length} to ${
            length - 1
          }: current value is ${index}`,
      );
    }
    this.#items[index < 0 ? length + index : index] = value;
  }

  push(...items: unknown[]): number {
    for (const item of items) this.#items.push(item);
    return this.#items.length;
  }

  pop(...args: unknown[]): unknown {
    checkNone("pop item", "an index, use splice", args);
    return this.#items.pop();
  }

  shift(): unknown {
    return this.#items.shift();
  }

  unshift(...items: unknown[]): number {
    return this.#items.unshift(...items);
  }

  splice(...args: [start: number, deleteCount: number]): unknown[] {
    // How many arguments there are matters.
    return this.#items.splice(...args);
  }

  slice(start?: number, end?: number): unknown[] {
    return this.#items.slice(start, end);
  }

  reverse(): void {
    this.#items.reverse();
  }

  sort(...args: unknown[]): void {
    checkNone("sort list", "a key or an order, use snapshot", args);
    const [first] = this.#items;
    if (
      !this.#items.every((item) => SORTED.has(typeof item)) ||
      this.#items.some((item) =>
        typeof item !== typeof first || Number.isNaN(item)
      )
    ) {
      throw new TypeError(
        "Cannot sort list: its items must be all numbers (but NaN), all bigints or all strings",
      );
    }
    const items = this.#items as number[];
    items.sort((a, b) => a < b ? -1 : a > b ? 1 : 0);
  }

  includes(...args: [item: unknown]): boolean {
    return this.#items.includes(...args);
  }

  indexOf(...args: [item: unknown]): number {
    return this.#items.indexOf(...args);
  }

  length(): number {
    return this.#items.length;
  }

  snapshot(): unknown[] {
    return this.#items;
  }
}

/** An object's properties. */
export class Namespace {
  readonly #properties: Map<string, unknown>;

  constructor(object: Record<string, unknown> = {}) {
    this.#properties = new Map(Object.entries(object));
  }

  get(key: string): unknown {
    return this.#properties.get(key);
  }

  set(key: string, value: unknown): void {
    if (typeof key !== "string") {
      throw new TypeError(
        `Cannot set property: its name must be a string, received ${
          typeName(key)
        }`,
      );
    }
    this.#properties.set(key, value);
  }

  has(key: string): boolean {
    return this.#properties.has(key);
  }

  delete(key: string): boolean {
    return this.#properties.delete(key);
  }

  snapshot(): Record<string, unknown> {
    return Object.fromEntries(this.#properties);
  }
}
