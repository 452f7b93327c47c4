/**
 * Objects that live in one worker and are used by all: {@linkcode Manager}.
 *
 * ```ts
 * import { Manager } from "@parallel/multiprocessing/manager";
 * import { Pool } from "@parallel/multiprocessing/pool";
 * import { assertEquals } from "@std/assert";
 *
 * await using manager = new Manager();
 * await using pool = new Pool(2);
 *
 * const lengths = await manager.dict<string, number>();
 * await pool.starmap(
 *   (words: typeof lengths, word: string) => words.set(word, word.length),
 *   [[lengths, "a"], [lengths, "bb"]],
 * );
 *
 * assertEquals(await lengths.get("bb"), 2);
 * ```
 *
 * Each call is a round trip of some microseconds to the worker that owns the object.
 * Numbers that many workers count up fast are better kept in a `SharedValue`.
 *
 * @module
 */

import { checkArray } from "./_checks.ts";
import {
  defineHandle,
  guardHandle,
  HANDLE,
  type HandleParts,
  takeParts,
} from "./_handle.ts";
import { inspectAs } from "./_inspect.ts";
import { pathBelow, TERMINATED } from "./_life.ts";
import type { Link } from "./_manager_link.ts";
import { checkClass } from "./_manager_objects.ts";
import {
  createMemory,
  DISPOSED,
  ENDED,
  FACTORY,
  INSTANCE,
  type ManagerMemory,
} from "./_manager_protocol.ts";
import { entriesOf, itemsOf, linkTo, propertiesOf } from "./_manager_proxy.ts";
import { pack, transferOf } from "./_parcel.ts";
import { assertMayStart } from "./_resolve.ts";
import { ChildWorker } from "./_child_worker.ts";
import { describeAny } from "./_target.ts";
import { Task } from "./task.ts";

export { Task };

/**
 * What a {@linkcode Manager} makes an object of: a class that stands on its own, one
 * that its module exports, or a `task()` that names one.
 *
 * @typeParam A The parameters of the constructor.
 * @typeParam T The type of the instances.
 */
// deno-lint-ignore no-explicit-any -- the default must accept every class.
export type ClassTarget<A extends unknown[] = any[], T = any> =
  | (new (...args: A) => T)
  | Task<A, T>;

/** A key of a {@linkcode DictProxy}: a primitive value, or a proxy. */
export type DictKey =
  | string
  | number
  | bigint
  | boolean
  | null
  | undefined
  | AnyProxy;

/** Any proxy of a manager. */
export interface AnyProxy {
  /** The same methods, blocking the thread until they are done. */
  readonly sync: object;
}

/**
 * The methods of a proxy, blocking the thread until they are done.
 *
 * @typeParam P The type with the methods that return promises.
 */
export type Blocking<P> = {
  readonly [
    K in keyof P as P[K] extends (...args: never[]) => Promise<unknown> ? K
      : never
  ]: P[K] extends (...args: infer A) => Promise<infer R> ? (...args: A) => R
    : never;
};

/**
 * A `Map` in the manager.
 *
 * **Copies:** what `get` and the like give is a copy; changing it changes nothing in
 * the dict. Set it again, or keep a proxy of another dict or list as the value.
 *
 * **Atomic:** each call, `update` and `getOrInsert` included. Two calls are not:
 * between a `get` and a `set` others may have their turn. Use a class and
 * {@linkcode Manager.create} for more.
 *
 * **Iteration** is over what `keys`, `values`, `entries` or `snapshot` give, which do
 * not change any more.
 *
 * @typeParam K The type of the keys.
 * @typeParam V The type of the values.
 *
 * @example Usage
 * ```ts
 * import { Manager } from "@parallel/multiprocessing/manager";
 * import { assertEquals } from "@std/assert";
 *
 * await using manager = new Manager();
 * const prices = await manager.dict({ apple: 3, pear: 4 });
 * await prices.set("plum", 2);
 *
 * let sum = 0;
 * for (const price of await prices.values()) sum += price;
 * assertEquals(sum, 9);
 * ```
 */
export interface DictProxy<K extends DictKey, V> extends AnyProxy {
  /** The value of a key, `undefined` if there is none. */
  get(key: K): Promise<V | undefined>;
  /** Gives a key a value. */
  set(key: K, value: V): Promise<void>;
  /** Whether there is a key. */
  has(key: K): Promise<boolean>;
  /** Removes a key; whether it was there. */
  delete(key: K): Promise<boolean>;
  /** The value of a key, which is given this one if there is none. */
  getOrInsert(key: K, value: V): Promise<V>;
  /** Removes a key and gives its value, `undefined` if there was none. */
  pop(key: K): Promise<V | undefined>;
  /** Removes all keys. */
  clear(): Promise<void>;
  /** How many keys there are. */
  size(): Promise<number>;
  /** The keys, in the order of their first setting. */
  keys(): Promise<K[]>;
  /** The values, in the order of the keys. */
  values(): Promise<V[]>;
  /** The keys with their values. */
  entries(): Promise<[K, V][]>;
  /** Sets many keys at once. */
  update(entries: Entries<K, V>): Promise<void>;
  /** A copy of all of it. */
  snapshot(): Promise<Map<K, V>>;
  /** The same methods, blocking the thread until they are done. */
  readonly sync: Blocking<Omit<DictProxy<K, V>, "sync">>;
}

/**
 * What a dict can be filled from: pairs, or the properties of an object.
 *
 * @typeParam K The type of the keys.
 * @typeParam V The type of the values.
 */
export type Entries<K, V> =
  | Iterable<readonly [K, V]>
  | { readonly [name: string]: V };

/**
 * An array in the manager.
 *
 * **Copies:** what `get` and the like give is a copy; changing it changes nothing in
 * the list. For the same reason `includes` and `indexOf` never find an object, only
 * primitive values and proxies.
 *
 * **Atomic:** each call.
 *
 * @typeParam T The type of the items.
 *
 * @example Usage
 * ```ts
 * import { Manager } from "@parallel/multiprocessing/manager";
 * import { assertEquals } from "@std/assert";
 *
 * await using manager = new Manager();
 * const fruits = await manager.list(["apple"]);
 * await fruits.push("pear", "plum");
 *
 * assertEquals(await fruits.get(-1), "plum");
 * assertEquals(await fruits.snapshot(), ["apple", "pear", "plum"]);
 * ```
 */
export interface ListProxy<T> extends AnyProxy {
  /** The item at an index, which counts from the end if it is negative. */
  get(index: number): Promise<T | undefined>;
  /** Replaces the item at an index; a `RangeError` if there is none. */
  set(index: number, item: T): Promise<void>;
  /** Appends items; the new length. */
  push(...items: T[]): Promise<number>;
  /** Removes the last item and gives it. */
  pop(): Promise<T | undefined>;
  /** Removes the first item and gives it. */
  shift(): Promise<T | undefined>;
  /** Puts items in front; the new length. */
  unshift(...items: T[]): Promise<number>;
  /** Removes items, puts others in their place, and gives those removed. */
  splice(start: number, deleteCount?: number, ...items: T[]): Promise<T[]>;
  /** A copy of a part. */
  slice(start?: number, end?: number): Promise<T[]>;
  /** Reverses the order. */
  reverse(): Promise<void>;
  /**
   * Sorts numbers or bigints by their value, or strings by their UTF-16 units; a
   * `TypeError` if there are others, or several of these.
   */
  sort(): Promise<void>;
  /** Whether an item is in the list. */
  includes(item: T, fromIndex?: number): Promise<boolean>;
  /** The index of an item, or -1. */
  indexOf(item: T, fromIndex?: number): Promise<number>;
  /** How many items there are. */
  length(): Promise<number>;
  /** A copy of all of it. */
  snapshot(): Promise<T[]>;
  /** The same methods, blocking the thread until they are done. */
  readonly sync: Blocking<Omit<ListProxy<T>, "sync">>;
}

/**
 * The properties of an object in the manager.
 *
 * **Copies:** what `get` gives is a copy. **Atomic:** each call.
 *
 * @typeParam T The type of the object.
 *
 * @example Usage
 * ```ts
 * import { Manager } from "@parallel/multiprocessing/manager";
 * import { assertEquals } from "@std/assert";
 *
 * await using manager = new Manager();
 * const settings = await manager.namespace({ depth: 3, name: "deep" });
 * await settings.set("depth", 4);
 *
 * assertEquals(await settings.snapshot(), { depth: 4, name: "deep" });
 * ```
 */
export interface NamespaceProxy<T extends object> extends AnyProxy {
  /** The value of a property. */
  get<K extends keyof T & string>(key: K): Promise<T[K]>;
  /** Gives a property a value. */
  set<K extends keyof T & string>(key: K, value: T[K]): Promise<void>;
  /** Whether there is a property. */
  has(key: string): Promise<boolean>;
  /** Removes a property; whether it was there. */
  delete(key: keyof T & string): Promise<boolean>;
  /** A copy of all of it. */
  snapshot(): Promise<T>;
  /** The same methods, blocking the thread until they are done. */
  readonly sync: NamespaceProxySync<T>;
}

/**
 * The methods of a {@linkcode NamespaceProxy}, blocking the thread until they are
 * done.
 *
 * @typeParam T The type of the object.
 */
export interface NamespaceProxySync<T extends object> {
  /** The value of a property. */
  get<K extends keyof T & string>(key: K): T[K];
  /** Gives a property a value. */
  set<K extends keyof T & string>(key: K, value: T[K]): void;
  /** Whether there is a property. */
  has(key: string): boolean;
  /** Removes a property; whether it was there. */
  delete(key: keyof T & string): boolean;
  /** A copy of all of it. */
  snapshot(): T;
}

/**
 * The methods of a class, each returning a promise.
 *
 * @typeParam T The type of the instances.
 */
export type Methods<T> = {
  readonly [
    K in Exclude<keyof T & string, "then" | "sync"> as T[K] extends
      (...args: never[]) => unknown ? K : never
  ]: T[K] extends (...args: infer A) => infer R
    ? (...args: A) => Promise<Awaited<R>>
    : never;
};

/**
 * An instance of a class in the manager: its methods, inherited ones included, each
 * returning a promise. Properties, getters and private methods are not there.
 *
 * @typeParam T The type of the instances.
 */
export type ObjectProxy<T> = Methods<T> & {
  /** The same methods, blocking the thread until they are done. */
  readonly sync: Blocking<Methods<T>>;
};

let created = 0;

/**
 * Owns objects in a worker of its own, and gives out proxies of them. Python's
 * `multiprocessing.Manager`.
 *
 * **Proxies** are handles: put them anywhere into the arguments and results of
 * processes and pools, and every worker uses the same object. They can be put into
 * each other: the values a manager keeps may hold its proxies, but no other handles.
 * The manager itself can be sent too, so that workers can make objects.
 *
 * **Calls** return promises; {@linkcode AnyProxy.sync} has the same methods blocking.
 * What goes in and comes out are copies, of at most 64 MiB. The calls of one thread
 * are executed in the order they were made. Methods never interleave, unless they are
 * async: then others may run while one awaits something.
 *
 * **Errors** thrown by a method reject the call, as those of a process do.
 *
 * **Life:** the worker starts at the first use and ends with the manager's disposal,
 * which waits for the calls of its thread, with {@linkcode Manager.shutdown}, which
 * does not, or with the thread that made it. The objects live as long. Pending calls
 * keep the program alive, a manager does not. Once it is gone, every call, also a
 * pending one, rejects with a `WorkerError`.
 *
 * **Deadlock:** a method that blocks its thread, waiting for what only another call
 * of the same manager can bring about, waits for ever; async methods do not. At most
 * 64 threads can have calls under way at the same time, others wait for their turn: if
 * all 64 await what only the call of another can bring about, nobody goes on. Wait for
 * that with an `Event` or a `Condition` of this package, sent beside the proxy.
 *
 * @example A class in a manager, used by a pool
 * ```ts
 * import { Manager } from "@parallel/multiprocessing/manager";
 * import { Pool } from "@parallel/multiprocessing/pool";
 * import { assertEquals } from "@std/assert";
 *
 * class Counter {
 *   #count = 0;
 *   add(n: number) {
 *     return this.#count += n;
 *   }
 * }
 *
 * await using manager = new Manager();
 * await using pool = new Pool(2);
 *
 * const counter = await manager.create(Counter);
 * await pool.starmap(
 *   (c: typeof counter, n: number) => c.add(n),
 *   [[counter, 1], [counter, 2], [counter, 3]],
 * );
 *
 * assertEquals(await counter.add(0), 6);
 * assertEquals(counter.sync.add(0), 6);
 * ```
 */
export class Manager implements AsyncDisposable {
  readonly #link: Link;
  /** Whether the worker is this object's to start and to end. */
  readonly #own: boolean;
  #server: ChildWorker | undefined;

  /** Makes a manager. Its worker starts when it is first used. */
  constructor() {
    const parts = takeParts();
    this.#own = parts === undefined;
    const [control, requests, boxes] = parts ?? [];
    this.#link = linkTo(
      this.#own
        ? createMemory()
        : { control, requests, boxes } as ManagerMemory,
    );
    guardHandle(this, this.#link.memory.control);
  }

  static {
    defineHandle("Manager", () => new Manager());
    inspectAs(this, (manager) => {
      const link = manager.#link;
      const state = link.gone
        ? "gone"
        : link.server === 0
        ? "not started"
        : "running";
      return `Manager { ${state} }`;
    });
  }

  /** @ignore */
  [HANDLE](): HandleParts {
    this.#start();
    const { control, requests, boxes } = this.#link.memory;
    return { kind: "Manager", parts: [control, requests, boxes] };
  }

  #start(): void {
    const link = this.#link;
    if (!this.#own || this.#server !== undefined || link.gone) return;
    assertMayStart("start a manager");
    const memory = pack(link.memory);
    const name = `Manager-${++created}`;
    this.#server = new ChildWorker({
      root: "./_manager_server",
      name,
      path: pathBelow(name),
      daemon: true,
      body: memory,
      transfer: transferOf(memory),
      moved: [],
      onMessage() {},
      onEnd: (exitCode) => link.end(ENDED, exitCode),
    });
    link.serverIs(this.#server.token);
    this.#server.start();
  }

  async #make(method: string, args: unknown[]): Promise<unknown> {
    this.#start();
    const factory = {
      id: FACTORY,
      type: INSTANCE,
      name: "Manager",
      methods: [],
    };
    return await this.#link.call(factory, method, args);
  }

  /**
   * Makes a dict, which is a `Map` with promises.
   *
   * @typeParam K The type of the keys.
   * @typeParam V The type of the values.
   * @param entries What is in it at first: pairs, or an object.
   * @returns A proxy of it.
   * @throws {DOMException & { name: "DataCloneError" }} If an entry cannot be cloned.
   * @throws {WorkerError} If the manager is gone.
   *
   * @example Usage
   * ```ts
   * import { Manager } from "@parallel/multiprocessing/manager";
   * import { assertEquals } from "@std/assert";
   *
   * await using manager = new Manager();
   * const ages = await manager.dict([["Ann", 30], ["Bob", 40]]);
   *
   * assertEquals(await ages.snapshot(), new Map([["Ann", 30], ["Bob", 40]]));
   * ```
   */
  // A constraint would have `K` inferred as the very keys that are given.
  async dict<K = string, V = unknown>(
    entries?: Entries<K, V>,
  ): Promise<DictProxy<Extract<K, DictKey>, V>> {
    const args = entries === undefined
      ? []
      : [entriesOf("create dict", entries)];
    return await this.#make("dict", args) as DictProxy<
      Extract<K, DictKey>,
      V
    >;
  }

  /**
   * Makes a list, which is an array with promises.
   *
   * @typeParam T The type of the items.
   * @param items What is in it at first.
   * @returns A proxy of it.
   * @throws {TypeError} If `items` is not iterable.
   * @throws {DOMException & { name: "DataCloneError" }} If an item cannot be cloned.
   * @throws {WorkerError} If the manager is gone.
   *
   * @example Usage
   * ```ts
   * import { Manager } from "@parallel/multiprocessing/manager";
   * import { assertEquals } from "@std/assert";
   *
   * await using manager = new Manager();
   * const list = await manager.list([1, 2, 3]);
   *
   * assertEquals(await list.pop(), 3);
   * assertEquals(await list.length(), 2);
   * ```
   */
  async list<T = unknown>(items?: Iterable<T>): Promise<ListProxy<T>> {
    const args = items === undefined ? [] : [itemsOf("create list", items)];
    return await this.#make("list", args) as ListProxy<T>;
  }

  /**
   * Makes a namespace, which is an object's properties with promises.
   *
   * @typeParam T The type of the object.
   * @param object What is in it at first.
   * @returns A proxy of it.
   * @throws {TypeError} If `object` is none.
   * @throws {DOMException & { name: "DataCloneError" }} If a value cannot be cloned.
   * @throws {WorkerError} If the manager is gone.
   *
   * @example Usage
   * ```ts
   * import { Manager } from "@parallel/multiprocessing/manager";
   * import { assertEquals } from "@std/assert";
   *
   * await using manager = new Manager();
   * const point = await manager.namespace({ x: 1, y: 2 });
   *
   * assertEquals(await point.get("y"), 2);
   * ```
   */
  async namespace<T extends object = Record<string, unknown>>(
    object?: T,
  ): Promise<NamespaceProxy<T>> {
    const args = object === undefined
      ? []
      : [propertiesOf("create namespace", object)];
    return await this.#make("namespace", args) as NamespaceProxy<T>;
  }

  /**
   * Makes an instance of a class.
   *
   * The class is found as functions are: it uses only globals, or its module exports
   * it, or `task()` names it.
   *
   * @typeParam A The parameters of the constructor.
   * @typeParam T The type of the instances.
   * @param target The class.
   * @param args The constructor's arguments.
   * @returns A proxy of the instance.
   * @throws {TypeError} If the class cannot be sent.
   * @throws {WorkerError} If the manager is gone.
   * @throws What the constructor throws.
   *
   * @example Usage
   * ```ts
   * import { Manager } from "@parallel/multiprocessing/manager";
   * import { assertEquals } from "@std/assert";
   *
   * class Account {
   *   constructor(private balance: number) {}
   *   withdraw(amount: number) {
   *     if (amount > this.balance) throw new RangeError("Not enough");
   *     return this.balance -= amount;
   *   }
   * }
   *
   * await using manager = new Manager();
   * const account = await manager.create(Account, [100]);
   *
   * assertEquals(await account.withdraw(30), 70);
   * ```
   */
  async create<A extends unknown[], T>(
    target: ClassTarget<A, T>,
    args?: NoInfer<A>,
  ): Promise<ObjectProxy<T>> {
    const what = "create an object in a manager";
    if (typeof target === "function") {
      checkClass(target);
      refuseNative(target, what);
    }
    const ref = describeAny(target, what, this.create);
    checkArray(what, "args", args);
    return await this.#make("create", [ref, args ?? []]) as ObjectProxy<T>;
  }

  /**
   * Ends the worker and with it all objects at once; pending calls reject, where
   * `await using` waits for those of this thread. Idempotent.
   *
   * @example Usage
   * ```ts
   * import { Manager } from "@parallel/multiprocessing/manager";
   * import { assertRejects } from "@std/assert";
   *
   * const manager = new Manager();
   * const list = await manager.list([1]);
   * manager.shutdown();
   *
   * await assertRejects(() => list.get(0), Error, "disposed");
   * ```
   */
  shutdown(): void {
    this.#link.end(DISPOSED, TERMINATED);
    this.#server?.stop(TERMINATED);
    this.#link.forget();
  }

  /**
   * Waits for the calls this thread has made, then ends the worker and with it all
   * objects. Meanwhile this thread's further calls are refused with a `TypeError`.
   * Calls of other threads that are then pending reject.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#link.close();
    this.shutdown();
  }
}

/** A native class has no source to send, but one that extends it has. */
// deno-lint-ignore ban-types -- a class is a function.
function refuseNative(target: Function, what: string): void {
  const { name } = target;
  const source = Function.prototype.toString.call(target);
  if (!/\[native code\]\s*\}$/.test(source) || /^bound /.test(name)) return;
  throw new TypeError(
    `Cannot ${what}: "${name}" is a native class, which has no source to send: extend it, as in \`class extends ${name} {}\``,
  );
}
