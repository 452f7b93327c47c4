/**
 * Numbers in shared memory: {@linkcode SharedValue} and {@linkcode SharedArray}.
 *
 * ```ts
 * import { SharedArray, SharedValue } from "@parallel/multiprocessing/shared";
 * import { assertEquals } from "@std/assert";
 *
 * const hits = new SharedValue("i32", 0);
 * hits.add(5);
 * assertEquals(hits.value, 5);
 *
 * const samples = new SharedArray("f64", 3);
 * samples.view[0] = 0.5;
 * assertEquals([...samples], [0.5, 0, 0]);
 * ```
 *
 * All memory is the numbers themselves, written by anyone; there is nothing to wait
 * for and nothing a dead worker could leave half done but what it was computing, for
 * which there is the lock (see `abandoned` of its guard).
 *
 * @module
 */

import { typeName } from "./_checks.ts";
import {
  defineHandle,
  guardHandle,
  HANDLE,
  type HandleParts,
  takeParts,
} from "./_handle.ts";
import { inspectAs } from "./_inspect.ts";
import { type LockGuard, RLock, type WaitOptions } from "./lock.ts";

export { type LockGuard, RLock, type WaitOptions };

/** Which view each {@linkcode ElementType} has. */
export interface ElementViews {
  /** 8-bit integers, -128 to 127. */
  i8: Int8Array<SharedArrayBuffer>;
  /** 8-bit integers, 0 to 255. */
  u8: Uint8Array<SharedArrayBuffer>;
  /** 16-bit integers, -32768 to 32767. */
  i16: Int16Array<SharedArrayBuffer>;
  /** 16-bit integers, 0 to 65535. */
  u16: Uint16Array<SharedArrayBuffer>;
  /** 32-bit integers, -2147483648 to 2147483647. */
  i32: Int32Array<SharedArrayBuffer>;
  /** 32-bit integers, 0 to 4294967295. */
  u32: Uint32Array<SharedArrayBuffer>;
  /** 32-bit floating-point numbers. */
  f32: Float32Array<SharedArrayBuffer>;
  /** 64-bit floating-point numbers: any JavaScript number. */
  f64: Float64Array<SharedArrayBuffer>;
  /** 64-bit integers as `bigint`, signed. */
  i64: BigInt64Array<SharedArrayBuffer>;
  /** 64-bit integers as `bigint`, unsigned. */
  u64: BigUint64Array<SharedArrayBuffer>;
}

/** The type of a shared number. */
export type ElementType = keyof ElementViews;

/** The JavaScript type of a number of type `T`: `bigint` for `"i64"` and `"u64"`. */
export type ElementOf<T extends ElementType> = T extends "i64" | "u64" ? bigint
  : number;

const VIEWS = {
  i8: Int8Array,
  u8: Uint8Array,
  i16: Int16Array,
  u16: Uint16Array,
  i32: Int32Array,
  u32: Uint32Array,
  f32: Float32Array,
  f64: Float64Array,
  i64: BigInt64Array,
  u64: BigUint64Array,
};

type IntegerView = Int32Array<SharedArrayBuffer>;

function checkType(what: string, type: unknown): asserts type is ElementType {
  if (typeof type !== "string" || !Object.hasOwn(VIEWS, type)) {
    const names = Object.keys(VIEWS).join(", ");
    throw new TypeError(
      `Cannot create ${what}: type must be one of ${names}, received ${
        typeof type === "string" ? type : typeName(type)
      }`,
    );
  }
}

function checkElement(what: string, type: ElementType, value: unknown): void {
  const big = type === "i64" || type === "u64";
  if (big ? typeof value === "bigint" : typeof value === "number") return;
  throw new TypeError(
    `Cannot ${what}: a value of type ${type} must be a ${
      big ? "bigint" : "number"
    }, received ${typeName(value)}`,
  );
}

/** The least and the greatest number of each integer type. */
const RANGES: { [T in ElementType]?: readonly [ElementOf<T>, ElementOf<T>] } = {
  i8: [-(2 ** 7), 2 ** 7 - 1],
  u8: [0, 2 ** 8 - 1],
  i16: [-(2 ** 15), 2 ** 15 - 1],
  u16: [0, 2 ** 16 - 1],
  i32: [-(2 ** 31), 2 ** 31 - 1],
  u32: [0, 2 ** 32 - 1],
  i64: [-(2n ** 63n), 2n ** 63n - 1n],
  u64: [0n, 2n ** 64n - 1n],
};

/** Refuses what the type would keep as another number, but for the nearest one. */
function checkStored(what: string, type: ElementType, value: unknown): void {
  checkElement(what, type, value);
  const range = RANGES[type];
  if (range === undefined) return;
  const number = value as number;
  if (number >= range[0] && number <= range[1]) {
    if (typeof value === "bigint" || Number.isInteger(value)) return;
  }
  throw new RangeError(
    `Cannot ${what}: a value of type ${type} must be a whole number from ${
      range[0]
    } to ${range[1]}, received ${value}`,
  );
}

/** Floating-point numbers are stored and loaded as the integers of their bits. */
const bits = new DataView(new ArrayBuffer(8));

/**
 * A number that all workers see. Python's `multiprocessing.Value`.
 *
 * - **Reading and writing `value` is atomic**, for every type: never half a number,
 *   and what was written before it is seen by whoever reads it.
 * - **`value.value += 1` is not atomic:** it reads, then writes, and two workers may
 *   read the same. Use {@linkcode SharedValue.add} and its like, or hold
 *   {@linkcode SharedValue.lock} meanwhile.
 * - **Range:** `value` takes what its type can hold: for integers, whole numbers of its
 *   range. The operations take any whole number, and wrap around as `Atomics` do.
 * - **Sending:** pass it to workers in `args`, pool items or initializer arguments.
 *
 * @typeParam T The type of the number.
 *
 * @example Counting
 * ```ts
 * import { SharedValue } from "@parallel/multiprocessing/shared";
 * import { assertEquals } from "@std/assert";
 *
 * const counter = new SharedValue("u32", 10);
 *
 * assertEquals(counter.add(5), 10);
 * assertEquals(counter.value, 15);
 * ```
 */
export class SharedValue<
  T extends ElementType = Exclude<ElementType, "i64" | "u64">,
> {
  readonly #type: T;
  readonly #view: ElementViews[T];
  readonly #lock: RLock;
  /** The integers atomic operations see; the bits if the type is `f32` or `f64`. */
  readonly #atoms: Int32Array | BigInt64Array;

  /**
   * Creates a shared number.
   *
   * @param type Its type.
   * @param initial Its value, zero if not given.
   * @throws {RangeError} If the value is out of the type's range, or has a fraction
   * and the type is an integer one.
   * @throws {TypeError} If there is no such type, or the value is not of it.
   *
   * @example Usage
   * ```ts
   * import { SharedValue } from "@parallel/multiprocessing/shared";
   * import { assertEquals } from "@std/assert";
   *
   * assertEquals(new SharedValue("f64", 0.5).value, 0.5);
   * assertEquals(new SharedValue("i64", 5n).value, 5n);
   * ```
   */
  constructor(type: T, initial?: ElementOf<T>) {
    const parts = takeParts();
    checkType("shared value", type);
    const memory = (parts?.[0] ?? new SharedArrayBuffer(8)) as
      & SharedArrayBuffer
      & ArrayBuffer;
    this.#type = type;
    const view = new VIEWS[type](memory, 0, 1);
    this.#view = view as unknown as ElementViews[T];
    this.#atoms = type === "f32"
      ? new Int32Array(memory, 0, 1)
      : type === "f64"
      ? new BigInt64Array(memory)
      : view as unknown as IntegerView;
    this.#lock = (parts?.[2] ?? new RLock()) as RLock;
    if (initial !== undefined) {
      checkStored("create shared value", type, initial);
      this.#view[0] = initial;
    }
    guardHandle(this, memory);
    // A misspelled `value = 1` is an error, not lost. A subclass may have properties.
    if (new.target === SharedValue) Object.preventExtensions(this);
  }

  /**
   * The number. Each reading and each writing of it is atomic.
   *
   * @returns The number.
   *
   * @example Usage
   * ```ts
   * import { SharedValue } from "@parallel/multiprocessing/shared";
   * import { assertEquals } from "@std/assert";
   *
   * const value = new SharedValue("f32", 1);
   * value.value = 0.25;
   *
   * assertEquals(value.value, 0.25);
   * ```
   */
  get value(): ElementOf<T> {
    const atom = Atomics.load(this.#atoms as Int32Array, 0) as unknown;
    if (this.#type === "f32") {
      bits.setInt32(0, atom as number);
      return bits.getFloat32(0) as ElementOf<T>;
    }
    if (this.#type === "f64") {
      bits.setBigInt64(0, atom as bigint);
      return bits.getFloat64(0) as ElementOf<T>;
    }
    return atom as ElementOf<T>;
  }

  /**
   * Sets the number.
   *
   * @param value The number.
   * @throws {RangeError} If it is out of the type's range, or has a fraction and the
   * type is an integer one.
   * @throws {TypeError} If it is not a `number`, or a `bigint` where one is needed.
   */
  set value(value: ElementOf<T>) {
    checkStored("set shared value", this.#type, value);
    let atom: unknown = value;
    if (this.#type === "f32") {
      bits.setFloat32(0, value as number);
      atom = bits.getInt32(0);
    } else if (this.#type === "f64") {
      bits.setFloat64(0, value as number);
      atom = bits.getBigInt64(0);
    }
    Atomics.store(this.#atoms as Int32Array, 0, atom as number);
  }

  /**
   * The lock that comes with the number, for changes of more than one step. Nothing
   * takes it by itself.
   *
   * @returns The lock, the same in all workers.
   *
   * @example Usage
   * ```ts
   * import { SharedValue } from "@parallel/multiprocessing/shared";
   * import { assertEquals } from "@std/assert";
   *
   * const value = new SharedValue("f64", 2);
   * {
   *   using _ = await value.lock.acquire();
   *   value.value *= 1.5;
   * }
   *
   * assertEquals(value.value, 3);
   * ```
   */
  get lock(): RLock {
    return this.#lock;
  }

  /**
   * Adds to the number, atomically.
   *
   * @param value What to add.
   * @returns The number before.
   * @throws {RangeError} If `value` is not whole.
   * @throws {TypeError} If the number is of type `f32` or `f64`.
   *
   * @example Usage
   * ```ts
   * import { SharedValue } from "@parallel/multiprocessing/shared";
   * import { assertEquals } from "@std/assert";
   *
   * const value = new SharedValue("i32", 1);
   *
   * assertEquals(value.add(2), 1);
   * assertEquals(value.value, 3);
   * ```
   */
  add(value: ElementOf<T>): ElementOf<T> {
    const atoms = this.#integers("add", value);
    return Atomics.add(atoms, 0, value as number) as ElementOf<T>;
  }

  /**
   * Subtracts from the number, atomically.
   *
   * @param value What to subtract.
   * @returns The number before.
   * @throws {RangeError} If `value` is not whole.
   * @throws {TypeError} If the number is of type `f32` or `f64`.
   *
   * @example Usage
   * ```ts
   * import { SharedValue } from "@parallel/multiprocessing/shared";
   * import { assertEquals } from "@std/assert";
   *
   * const value = new SharedValue("i32", 1);
   *
   * assertEquals(value.sub(2), 1);
   * assertEquals(value.value, -1);
   * ```
   */
  sub(value: ElementOf<T>): ElementOf<T> {
    const atoms = this.#integers("sub", value);
    return Atomics.sub(atoms, 0, value as number) as ElementOf<T>;
  }

  /**
   * Keeps only the bits which are set in `value` too, atomically.
   *
   * @param value The bits to keep.
   * @returns The number before.
   * @throws {RangeError} If `value` is not whole.
   * @throws {TypeError} If the number is of type `f32` or `f64`.
   *
   * @example Usage
   * ```ts
   * import { SharedValue } from "@parallel/multiprocessing/shared";
   * import { assertEquals } from "@std/assert";
   *
   * const value = new SharedValue("u8", 0b110);
   *
   * assertEquals(value.and(0b011), 0b110);
   * assertEquals(value.value, 0b010);
   * ```
   */
  and(value: ElementOf<T>): ElementOf<T> {
    const atoms = this.#integers("and", value);
    return Atomics.and(atoms, 0, value as number) as ElementOf<T>;
  }

  /**
   * Sets the bits which are set in `value`, atomically.
   *
   * @param value The bits to set.
   * @returns The number before.
   * @throws {RangeError} If `value` is not whole.
   * @throws {TypeError} If the number is of type `f32` or `f64`.
   *
   * @example Usage
   * ```ts
   * import { SharedValue } from "@parallel/multiprocessing/shared";
   * import { assertEquals } from "@std/assert";
   *
   * const value = new SharedValue("u8", 0b110);
   *
   * assertEquals(value.or(0b011), 0b110);
   * assertEquals(value.value, 0b111);
   * ```
   */
  or(value: ElementOf<T>): ElementOf<T> {
    const atoms = this.#integers("or", value);
    return Atomics.or(atoms, 0, value as number) as ElementOf<T>;
  }

  /**
   * Flips the bits which are set in `value`, atomically.
   *
   * @param value The bits to flip.
   * @returns The number before.
   * @throws {RangeError} If `value` is not whole.
   * @throws {TypeError} If the number is of type `f32` or `f64`.
   *
   * @example Usage
   * ```ts
   * import { SharedValue } from "@parallel/multiprocessing/shared";
   * import { assertEquals } from "@std/assert";
   *
   * const value = new SharedValue("u8", 0b110);
   *
   * assertEquals(value.xor(0b011), 0b110);
   * assertEquals(value.value, 0b101);
   * ```
   */
  xor(value: ElementOf<T>): ElementOf<T> {
    const atoms = this.#integers("xor", value);
    return Atomics.xor(atoms, 0, value as number) as ElementOf<T>;
  }

  /**
   * Replaces the number, atomically.
   *
   * @param value The new number.
   * @returns The number before.
   * @throws {RangeError} If `value` is not whole.
   * @throws {TypeError} If the number is of type `f32` or `f64`.
   *
   * @example Usage
   * ```ts
   * import { SharedValue } from "@parallel/multiprocessing/shared";
   * import { assertEquals } from "@std/assert";
   *
   * const value = new SharedValue("i32", 1);
   *
   * assertEquals(value.exchange(7), 1);
   * assertEquals(value.value, 7);
   * ```
   */
  exchange(value: ElementOf<T>): ElementOf<T> {
    const atoms = this.#integers("exchange", value);
    return Atomics.exchange(atoms, 0, value as number) as ElementOf<T>;
  }

  /**
   * Replaces the number if it is as expected, atomically.
   *
   * @param expected What the number must be to be replaced.
   * @param replacement The new number.
   * @returns The number before: it was replaced if that is `expected`.
   * @throws {RangeError} If one of them is not whole.
   * @throws {TypeError} If the number is of type `f32` or `f64`.
   *
   * @example Usage
   * ```ts
   * import { SharedValue } from "@parallel/multiprocessing/shared";
   * import { assertEquals } from "@std/assert";
   *
   * const value = new SharedValue("i32", 1);
   *
   * assertEquals(value.compareExchange(1, 2), 1);
   * assertEquals(value.compareExchange(1, 3), 2);
   * assertEquals(value.value, 2);
   * ```
   */
  compareExchange(
    expected: ElementOf<T>,
    replacement: ElementOf<T>,
  ): ElementOf<T> {
    const atoms = this.#integers("compareExchange", expected);
    this.#integers("compareExchange", replacement);
    return Atomics.compareExchange(
      atoms,
      0,
      expected as number,
      replacement as number,
    ) as ElementOf<T>;
  }

  #integers(what: string, value: unknown): IntegerView {
    if (this.#type === "f32" || this.#type === "f64") {
      throw new TypeError(
        `Cannot ${what}: a value of type ${this.#type} has no atomic arithmetic, use its lock`,
      );
    }
    checkElement(what, this.#type, value);
    if (typeof value === "number" && !Number.isInteger(value)) {
      throw new RangeError(
        `Cannot ${what}: the operand must be a whole number, received ${value}`,
      );
    }
    return this.#atoms as IntegerView;
  }

  /** @ignore */
  [HANDLE](): HandleParts {
    return {
      kind: "SharedValue",
      parts: [this.#view.buffer, this.#type, this.#lock],
    };
  }

  static {
    defineHandle(
      "SharedValue",
      ([_, type]) => new SharedValue(type as ElementType),
    );
    inspectAs<SharedValue<ElementType>>(SharedValue, (shared) => {
      const { value } = shared;
      return `SharedValue { type: ${shared.#type}, value: ${show(value)} }`;
    });
  }
}

function show(value: number | bigint): string {
  return typeof value === "bigint" ? `${value}n` : `${value}`;
}

/**
 * An array of numbers that all workers see. Python's `multiprocessing.Array`.
 *
 * - **{@linkcode SharedArray.view}** is a typed array over the shared memory: use it
 *   as any other, numbers out of range included. It can be sent to workers by itself,
 *   and is shared, not copied.
 * - **Plain reads and writes are not synchronized.** Between a worker that writes and
 *   one that reads there must be something: the {@linkcode SharedArray.lock}, a queue,
 *   the end of a process. `Atomics` work on `view` if its type is an integer one.
 * - **Sending:** pass it to workers in `args`, pool items or initializer arguments.
 *
 * @typeParam T The type of the numbers.
 *
 * @example Usage
 * ```ts
 * import { SharedArray } from "@parallel/multiprocessing/shared";
 * import { assertEquals } from "@std/assert";
 *
 * const squares = new SharedArray("i32", 4);
 * for (let i = 0; i < squares.length; i++) squares.view[i] = i * i;
 *
 * assertEquals([...squares], [0, 1, 4, 9]);
 * ```
 */
export class SharedArray<
  T extends ElementType = Exclude<ElementType, "i64" | "u64">,
> {
  readonly #type: T;
  readonly #view: ElementViews[T];
  readonly #lock: RLock;

  /**
   * Creates a shared array.
   *
   * @param type The type of its numbers.
   * @param content Its length, all numbers being zero, or the numbers.
   * @throws {RangeError} If the length is negative, fractional or too large, or a
   * number is out of the type's range, or has a fraction and the type is an integer one.
   * @throws {TypeError} If there is no such type, or a number is not of it.
   *
   * @example Usage
   * ```ts
   * import { SharedArray } from "@parallel/multiprocessing/shared";
   * import { assertEquals } from "@std/assert";
   *
   * assertEquals(new SharedArray("f32", 100).length, 100);
   * assertEquals([...new SharedArray("u8", [1, 2, 3])], [1, 2, 3]);
   * ```
   */
  constructor(type: T, content: number | Iterable<ElementOf<T>>) {
    const parts = takeParts();
    checkType("shared array", type);
    this.#type = type;
    const memory = (parts?.[0] ?? filled(type, content)) as
      & SharedArrayBuffer
      & ArrayBuffer;
    const view: unknown = new VIEWS[type](memory);
    this.#view = view as ElementViews[T];
    this.#lock = (parts?.[2] ?? new RLock()) as RLock;
    guardHandle(this, memory);
    // `array[0] = 1` is an error, not lost. A subclass may have properties.
    if (new.target === SharedArray) Object.preventExtensions(this);
  }

  /**
   * The numbers: a typed array over the shared memory.
   *
   * @returns The typed array, the same object each time.
   *
   * @example Usage
   * ```ts
   * import { SharedArray } from "@parallel/multiprocessing/shared";
   * import { assertEquals } from "@std/assert";
   *
   * const array = new SharedArray("u16", 8);
   * array.view.fill(7, 2, 4);
   *
   * assertEquals(array.view.indexOf(7), 2);
   * ```
   */
  get view(): ElementViews[T] {
    return this.#view;
  }

  /**
   * The lock that comes with the array. Nothing takes it by itself.
   *
   * @returns The lock, the same in all workers.
   *
   * @example Usage
   * ```ts
   * import { SharedArray } from "@parallel/multiprocessing/shared";
   * import { assertEquals } from "@std/assert";
   *
   * const array = new SharedArray("f64", [1, 2]);
   * {
   *   using _ = await array.lock.acquire();
   *   array.view.reverse();
   * }
   *
   * assertEquals([...array], [2, 1]);
   * ```
   */
  get lock(): RLock {
    return this.#lock;
  }

  /**
   * How many numbers there are. Fixed.
   *
   * @returns The length.
   *
   * @example Usage
   * ```ts
   * import { SharedArray } from "@parallel/multiprocessing/shared";
   * import { assertEquals } from "@std/assert";
   *
   * assertEquals(new SharedArray("i8", 5).length, 5);
   * ```
   */
  get length(): number {
    return this.#view.length;
  }

  /**
   * Iterates over the numbers.
   *
   * @returns An iterator.
   *
   * @example Usage
   * ```ts
   * import { SharedArray } from "@parallel/multiprocessing/shared";
   * import { assertEquals } from "@std/assert";
   *
   * let sum = 0;
   * for (const n of new SharedArray("i32", [1, 2, 3])) sum += n;
   *
   * assertEquals(sum, 6);
   * ```
   */
  [Symbol.iterator](): IterableIterator<ElementOf<T>> {
    const view = this.#view as unknown as Iterable<ElementOf<T>>;
    return view[Symbol.iterator]() as IterableIterator<ElementOf<T>>;
  }

  /** @ignore */
  [HANDLE](): HandleParts {
    return {
      kind: "SharedArray",
      parts: [this.#view.buffer, this.#type, this.#lock],
    };
  }

  static {
    defineHandle(
      "SharedArray",
      ([_, type]) => new SharedArray(type as ElementType, 0),
    );
    inspectAs<SharedArray<ElementType>>(SharedArray, (shared) => {
      const shown = Array.from<number | bigint>(shared.#view.subarray(0, 20));
      const more = shared.length > shown.length ? ", …" : "";
      const items = shown.map(show).join(", ");
      return `SharedArray(${shared.length}) ${shared.#type} [ ${items}${more} ]`;
    });
  }
}

function filled(type: ElementType, content: unknown): SharedArrayBuffer {
  const { BYTES_PER_ELEMENT } = VIEWS[type];
  if (typeof content === "number") {
    const most = Math.floor((2 ** 32 - 1) / BYTES_PER_ELEMENT);
    if (!Number.isInteger(content) || content < 0 || content > most) {
      throw new RangeError(
        `Cannot create shared array as its length must be a whole number from 0 to ${most}: current value is ${content}`,
      );
    }
    return new SharedArrayBuffer(content * BYTES_PER_ELEMENT);
  }
  const iterable = content as Iterable<unknown> | null | undefined;
  if (
    typeof content !== "object" || typeof iterable?.[Symbol.iterator] !==
      "function"
  ) {
    throw new TypeError(
      `Cannot create shared array: expected a length or an iterable, received ${
        typeName(content)
      }`,
    );
  }
  const items = [...iterable];
  for (const item of items) checkStored("create shared array", type, item);
  const memory = new SharedArrayBuffer(items.length * BYTES_PER_ELEMENT);
  const view: unknown = new VIEWS[type](
    memory as SharedArrayBuffer & ArrayBuffer,
  );
  (view as Int32Array).set(items as number[]);
  return memory;
}
