/**
 * Proxies: what threads hold of the objects that live in a manager's server.
 *
 * A proxy has no state but its object's number and the connection. In one thread
 * there is one proxy for each object, so proxies can be compared and be keys.
 *
 * @module
 */

import { typeName } from "./_checks.ts";
import {
  defineHandle,
  HANDLE,
  type HandleParts,
  refuseClone,
} from "./_handle.ts";
import { inspectAs } from "./_inspect.ts";
import { nameOf } from "./_life.ts";
import { decodingLink, Link } from "./_manager_link.ts";
import { Dict, List, methodsOf, Namespace } from "./_manager_objects.ts";
import {
  type Described,
  DICT,
  LIST,
  type ManagerMemory,
  NAMESPACE,
} from "./_manager_protocol.ts";

/** How many dead entries a table of proxies may have before it is swept. */
const SWEEP_AT = 256;
/** How many classes of proxies are kept. */
const CLASS_LIMIT = 500;

const links = new WeakMap<SharedArrayBuffer, Link>();

/** The proxy whose parts are about to be asked for, for this manager's own traffic. */
let admitted: object | undefined;

function admits(handle: object, link: Link): boolean {
  if (!Remote.isOf(handle)) return false;
  if (Remote.linkOf(handle) !== link) {
    throw new TypeError(
      `Cannot send a ${handle.constructor.name} to a manager: it belongs to another one`,
    );
  }
  admitted = handle;
  return true;
}

/** This thread's connection to a manager. */
export function linkTo(memory: ManagerMemory): Link {
  const { control } = memory;
  let link = links.get(control);
  if (link === undefined) links.set(control, link = new Link(memory, admits));
  return link;
}

/** The base of all proxies. */
class Remote {
  readonly #link: Link;
  readonly #described: Described;
  #sync: object | undefined;

  constructor(link: Link, described: Described) {
    this.#link = link;
    this.#described = described;
    refuseClone(this);
    Object.preventExtensions(this); // `dict.key = 1` is an error, not lost
  }

  static isOf(object: object): object is Remote {
    return #link in object;
  }

  static linkOf(proxy: Remote): Link {
    return proxy.#link;
  }

  static describedOf(proxy: Remote): Described {
    return proxy.#described;
  }

  /** The same methods, blocking. */
  get sync(): object {
    return this.#sync ??= new (kindOf(this.#described).Blocking)(this);
  }

  [HANDLE](): HandleParts {
    const { id, type, name, methods } = this.#described;
    // In the manager's own traffic the other side has the memories.
    if (admitted === this) {
      admitted = undefined;
      return { kind: "Proxy", parts: [id, type, name, methods] };
    }
    const { control, requests, boxes } = this.#link.memory;
    return {
      kind: "Proxy",
      parts: [control, requests, boxes, id, type, name, methods],
    };
  }
}

/** The base of what `sync` of a proxy gives. */
class Blocking {
  readonly #proxy: Remote;

  constructor(proxy: Remote) {
    this.#proxy = proxy;
    refuseClone(this);
    Object.preventExtensions(this);
  }

  static proxyOf(object: Blocking): Remote {
    return object.#proxy;
  }
}

// -- Classes of proxies -----------------------------------------------------------

/** What all proxies of a class have in common. */
interface ProxyKind {
  Proxy: new (link: Link, described: Described) => Remote;
  Blocking: new (proxy: Remote) => Blocking;
}

/** Makes arguments that can be sent of those of a method. */
type Prepare = (args: unknown[]) => unknown[];

const kinds = new Map<string, ProxyKind>();

const BUILT_IN: Record<number, ProxyKind> = {
  [DICT]: makeKind("Dict", methodsOf(Dict.prototype), {
    update: ([entries]) => [entriesOf("update", entries)],
  }),
  [LIST]: makeKind("List", methodsOf(List.prototype)),
  [NAMESPACE]: makeKind("Namespace", methodsOf(Namespace.prototype)),
};

/** The items of a list, as an array. */
export function itemsOf(what: string, items: unknown): unknown[] {
  if (
    typeof (items as Partial<unknown[]> | null)?.[Symbol.iterator] ===
      "function"
  ) {
    return [...items as Iterable<unknown>];
  }
  throw new TypeError(
    `Cannot ${what}: items must be iterable, received ${typeName(items)}`,
  );
}

/** The properties of a namespace, as a plain object. */
export function propertiesOf(what: string, object: unknown): object {
  if (typeof object === "object" && object !== null) return { ...object };
  throw new TypeError(
    `Cannot ${what}: its properties must be an object's, received ${
      typeName(object)
    }`,
  );
}

/** The pairs of a dict, as an array, from whatever names them. */
export function entriesOf(what: string, entries: unknown): unknown[] {
  if (typeof entries !== "object" || entries === null) {
    throw new TypeError(
      `Cannot ${what}: entries must be an object or an iterable of pairs, received ${
        typeName(entries)
      }`,
    );
  }
  if (!(Symbol.iterator in entries)) return Object.entries(entries);
  const pairs = [...entries as Iterable<unknown>];
  for (const pair of pairs) {
    if (typeof pair === "object" && pair !== null) continue;
    throw new TypeError(
      `Cannot ${what}: each entry must be a pair of key and value, received ${
        typeName(pair)
      }`,
    );
  }
  return pairs;
}

function kindOf({ type, name, methods }: Described): ProxyKind {
  const builtIn = BUILT_IN[type];
  if (builtIn !== undefined) return builtIn;
  const key = `${name}\0${methods.join("\0")}`;
  let kind = kinds.get(key);
  if (kind === undefined) {
    if (kinds.size >= CLASS_LIMIT) kinds.clear();
    kinds.set(key, kind = makeKind(name, methods));
  }
  return kind;
}

function makeKind(
  name: string,
  methods: readonly string[],
  prepare: Record<string, Prepare> = {},
): ProxyKind {
  const ProxyClass = class extends Remote {};
  const BlockingClass = class extends Blocking {};
  rename(ProxyClass, `${name}Proxy`);
  rename(BlockingClass, `${name}ProxySync`);
  for (const method of methods) {
    const prepared = Object.hasOwn(prepare, method)
      ? prepare[method]
      : undefined;
    define(ProxyClass.prototype, method, asyncMethod(method, prepared));
    define(BlockingClass.prototype, method, blockingMethod(method, prepared));
  }
  inspectAs(ProxyClass, describe);
  inspectAs(
    BlockingClass,
    (object) => `${describe(Blocking.proxyOf(object))}.sync`,
  );
  return { Proxy: ProxyClass, Blocking: BlockingClass };
}

function asyncMethod(method: string, prepare: Prepare | undefined): Method {
  return rename(function (this: Remote, ...args) {
    return Remote.linkOf(this).call(
      Remote.describedOf(this),
      method,
      args,
      prepare,
    );
  } as Method, method);
}

function blockingMethod(method: string, prepare: Prepare | undefined): Method {
  return rename(function (this: Blocking, ...args) {
    const proxy = Blocking.proxyOf(this);
    return Remote.linkOf(proxy).callSync(
      Remote.describedOf(proxy),
      method,
      prepare === undefined ? args : prepare(args),
    );
  } as Method, method);
}

type Method = (...args: unknown[]) => unknown;

function rename<F extends { readonly name: string }>(
  named: F,
  name: string,
): F {
  Object.defineProperty(named, "name", { value: name, configurable: true });
  return named;
}

function define(prototype: object, name: string, value: Method): void {
  Object.defineProperty(prototype, name, {
    value,
    writable: true,
    configurable: true,
  });
}

function describe(proxy: Remote): string {
  const link = Remote.linkOf(proxy);
  const { id } = Remote.describedOf(proxy);
  const server = nameOf(link.server) ?? "a manager";
  return `${proxy.constructor.name} { #${id} of ${server}${
    link.gone ? ", which is gone" : ""
  } }`;
}

// -- Proxies ------------------------------------------------------------------------

/** This thread's proxy for an object. */
export function proxyFor(link: Link, described: Described): object {
  const { proxies } = link;
  const known = proxies.get(described.id)?.deref();
  if (known !== undefined) return known;
  if (proxies.size >= SWEEP_AT && (proxies.size & (proxies.size - 1)) === 0) {
    for (const [id, proxy] of proxies) {
      if (proxy.deref() === undefined) proxies.delete(id);
    }
  }
  const proxy = new (kindOf(described).Proxy)(link, described);
  proxies.set(described.id, new WeakRef(proxy));
  return proxy;
}

defineHandle("Proxy", (parts) => {
  const link = decodingLink();
  if (link !== undefined && typeof parts[0] === "number") {
    return proxyFor(link, describedBy(parts));
  }
  const [control, requests, boxes, ...rest] = parts;
  return proxyFor(
    linkTo({ control, requests, boxes } as ManagerMemory),
    describedBy(rest),
  );
}, true);

function describedBy([id, type, name, methods]: unknown[]): Described {
  return { id, type, name, methods } as Described;
}
