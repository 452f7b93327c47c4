import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  decode,
  encode,
  type EncodeContext,
  encodeItems,
  Reader,
  Writer,
} from "../_codec.ts";
import {
  adoptMemory,
  defineHandle,
  guardHandle,
  HANDLE,
  memoryId,
} from "../_handle.ts";
import {
  forgetMemory,
  type HandleParts,
  UnknownHandleKind,
} from "../_handle.ts";
import { takesLess } from "./_within.ts";

/** What a message becomes on its way: bytes copied, blobs each in a buffer of their own. */
function travel(w: Writer): Reader {
  const offset = 8;
  const bytes = new Uint8Array(w.length + 16);
  bytes.set(w.bytes.subarray(0, w.length), offset);
  return new Reader(
    bytes,
    offset,
    offset + w.length,
    w.blobs.map((blob) => blob.slice()),
  );
}

function trip(
  value: unknown,
  context?: EncodeContext,
  moved?: unknown[],
): unknown {
  const w = new Writer(16);
  encode(w, value, context);
  const r = travel(w);
  const memories = memoriesOf(context?.shared);
  const result = decode(r, moved === undefined ? { memories } : { moved });
  assertEquals(r.position, r.end);
  return result;
}

/** What comes beside a message that mentions these. */
function memoriesOf(
  shared: Iterable<SharedArrayBuffer> = [],
): Map<number, SharedArrayBuffer> {
  return new Map(Array.from(shared, (memory) => [memoryId(memory), memory]));
}

/** Fails unless two values are alike in every way structured clone defines. */
function assertSame(
  actual: unknown,
  expected: unknown,
  path = "",
  pairs = new Map(),
): void {
  if (typeof expected !== "object" || expected === null) {
    if (!Object.is(actual, expected)) {
      assertStrictEquals(actual, expected, path);
    }
    return;
  }
  if (typeof actual !== "object" || actual === null) {
    throw new Error(`${path}: it is no object`);
  }
  if (pairs.has(expected)) {
    return assert(
      pairs.get(expected) === actual,
      `${path}: it is another object`,
    );
  }
  pairs.set(expected, actual);
  assertStrictEquals(
    Object.getPrototypeOf(actual),
    Object.getPrototypeOf(expected),
    path,
  );
  const tag = Object.prototype.toString.call(expected);
  assertEquals(Object.prototype.toString.call(actual), tag, path);
  if (ArrayBuffer.isView(expected)) {
    const view = actual as Uint8Array;
    assertEquals(view.byteOffset, expected.byteOffset, path);
    assertEquals(view.byteLength, expected.byteLength, path);
    return assertSame(view.buffer, expected.buffer, `${path}.buffer`, pairs);
  }
  if (expected instanceof ArrayBuffer) {
    const buffer = actual as ArrayBuffer;
    assertEquals(buffer.resizable, expected.resizable, path);
    assertEquals(buffer.maxByteLength, expected.maxByteLength, path);
    return assertEquals(new Uint8Array(buffer), new Uint8Array(expected), path);
  }
  if (expected instanceof Date) {
    assertSame((actual as Date).getTime(), expected.getTime(), path);
  }
  if (expected instanceof RegExp) {
    assertEquals(String(actual), String(expected), path);
  }
  if (/Number|String|Boolean|BigInt/.test(tag)) {
    assertSame(
      (actual as { valueOf(): unknown }).valueOf(),
      expected.valueOf(),
      path,
    );
  }
  if (expected instanceof Map || expected instanceof Set) {
    assertSame(
      [...(actual as Set<unknown>)],
      [...expected],
      `${path}[*]`,
      pairs,
    );
  }
  if (expected instanceof Error) {
    assertEquals((actual as Error).stack, expected.stack, path);
  }
  if (expected instanceof DOMException) {
    const error = actual as DOMException;
    assertEquals([error.name, error.message, error.code], [
      expected.name,
      expected.message,
      expected.code,
    ]);
  }
  if (
    Array.isArray(expected) && expected.length > 50_000 &&
    typeof expected[0] === "number"
  ) {
    return assert(
      (actual as unknown[]).every((item, i) => Object.is(item, expected[i])),
      path,
    );
  }
  const keys = Object.getOwnPropertyNames(expected);
  assertEquals(Object.getOwnPropertyNames(actual), keys, path);
  for (const key of keys) {
    if (key === "stack") continue;
    const mine = Object.getOwnPropertyDescriptor(actual, key)!;
    const theirs = Object.getOwnPropertyDescriptor(expected, key)!;
    assertEquals(mine.enumerable, theirs.enumerable, `${path}.${key}`);
    assertSame(mine.value, theirs.value, `${path}.${key}`, pairs);
  }
}

class Point {
  x = 1;
  #secret = 2;
  get sum(): number {
    return this.x + this.#secret;
  }
}

function cycle(): unknown {
  const a: Record<string, unknown> = {
    list: [1],
    map: new Map(),
    set: new Set(),
  };
  a["self"] = a;
  (a["list"] as unknown[]).push(a, a["list"]);
  (a["map"] as Map<unknown, unknown>).set(a["map"], a);
  (a["set"] as Set<unknown>).add(a["set"]).add(a);
  return a;
}

function shared(): unknown {
  const leaf = { leaf: true };
  const list = [1, 2, 3];
  const doubles = [1.5, 2.5, 3.5];
  const date = new Date(0);
  const box = Object("boxed");
  const error = new Error("shared");
  return [
    leaf,
    leaf,
    list,
    { list, leaf },
    doubles,
    doubles,
    date,
    date,
    box,
    box,
    error,
    error,
  ];
}

function views(): unknown {
  const buffer = new ArrayBuffer(64);
  new Uint8Array(buffer).forEach((_, i, all) => all[i] = i);
  return [
    new Uint8Array(buffer, 3, 5),
    buffer,
    new Float64Array(buffer, 8),
    new DataView(buffer, 1, 9),
  ];
}

function errorWith(properties: object, error: Error = new Error("m")): Error {
  for (
    const [key, value] of Object.entries(
      Object.getOwnPropertyDescriptors(properties),
    )
  ) {
    Object.defineProperty(error, key, value);
  }
  return error;
}

function resizable(length: number, max: number): ArrayBuffer {
  return new ArrayBuffer(length, { maxByteLength: max });
}

const VALUES: Record<string, () => unknown> = {
  "undefined and null": () => [undefined, null],
  "booleans": () => [true, false],
  "integers": () => [0, 1, 127, 128, -1, 2 ** 31 - 1, -(2 ** 31), 2 ** 31],
  "numbers": () => [
    -0,
    NaN,
    Infinity,
    -Infinity,
    0.1,
    1e308,
    5e-324,
    2 ** 53,
    -(2 ** 31) - 1,
  ],
  "-0 among integers": () => [1, 2, -0, 4],
  "numbers, then something else":
    () => [[1, 2, 3, "x"], [1.5, 2, null], [1, 2, 2.5, "x"]],
  "small BigInts": () => [0n, -1n, 2n ** 63n - 1n, -(2n ** 63n)],
  "large BigInts": () => [
    2n ** 63n,
    -(2n ** 63n) - 1n,
    12345678901234567890123n,
    -(2n ** 500n),
  ],
  "short strings":
    () => ["", "a", "1234567", "12345678", "é", "ÿ", "€", "日本", "😀", "\0"],
  "strings of all short lengths": () =>
    Array.from({ length: 60 }, (_, i) => "é".repeat(i)),
  "long strings": () => [
    "x".repeat(41),
    "é".repeat(1000),
    "日本".repeat(5000),
    "😀".repeat(3000),
  ],
  "lone surrogates":
    () => ["\ud800", "a\udc00b", "\udc00\ud800", `${"x".repeat(3000)}\ud800`],
  "byte order marks": () => ["\ufeff", `\ufeff${"x".repeat(100)}`],
  "dates": () => [new Date(0), new Date(NaN), new Date(8.64e15)],
  "regular expressions": () => {
    const global = /a\/b[/]/giu;
    global.lastIndex = 3;
    return [global, new RegExp(""), /(?<n>x)/dsy];
  },
  "boxed primitives":
    () => [Object(1), Object(-0), Object("s"), Object(true), Object(5n)],
  "a boxed primitive with properties": () =>
    Object.assign(Object("s"), { extra: 1 }),
  "maps": () =>
    new Map<unknown, unknown>([[1, "a"], ["k", new Map()], [
      { a: 1 },
      undefined,
    ], [NaN, 0]]),
  "sets": () => new Set<unknown>([1, "a", new Set(), [], -0]),
  "subclasses of built-ins": () => [
    new (class Sub extends Map<number, number> {})([[1, 2]]),
    new (class Sub extends Uint8Array {})(3),
    (class Sub extends Array {}).from([1, 2]),
    new (class Sub extends Date {})(5),
  ],
  "arrays":
    () => [[], [1], ["a", "b"], [1, "a"], [[]], [[[]], [[], []]], [undefined], [
      null,
      true,
    ]],
  "long arrays": () => [
    Array(300).fill("x"),
    Array.from({ length: 1000 }, (_, i) => ({ i })),
  ],
  "large columns": () => [
    Array.from({ length: 70_000 }, (_, i) => i),
    Array.from({ length: 70_000 }, (_, i) => i / 2),
  ],
  "holes": () => [[, 1, , 2], [, ,], [1, , 3], [undefined, , undefined]], // deno-lint-ignore no-sparse-arrays
  "sparse arrays": () => {
    const long: unknown[] = [];
    long[4_000_000_000] = 1;
    long[7] = 2;
    return [long, new Array(100), new Array(100_000)];
  },
  "arrays with named properties": () => [
    Object.assign([1, 2], { extra: "x" }),
    Object.assign([], { extra: "x", "01": 1, "-1": 2, 4294967295: 3 }),
    Object.assign([1, , 3], { extra: 4 }), // deno-lint-ignore no-sparse-arrays
    Object.assign(Array.from("0123456789"), { extra: 4 }),
    /(?<y>\d)(-)?/.exec("1"),
  ],
  "objects": () => [{}, { a: 1 }, { a: 1, b: { c: [] } }, {
    "": 1,
    "a b": 2,
    "日": 3,
    "\ud800": 4,
  }],
  "integer keys": () => ({ b: 1, 2: 2, a: 3, 1: 4, "-1": 5 }),
  "many keys": () =>
    Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`k${i}`, i])),
  "long keys": () => ({ ["k".repeat(5000)]: 1, ["é".repeat(100)]: 2 }),
  "an own __proto__": () =>
    JSON.parse('{"a":1,"__proto__":{"b":2},"c":{"__proto__":null}}'),
  "an own constructor": () => [{ constructor: 1 }, {
    constructor: null,
    a: 1,
  }],
  "own toString and toJSON": () => ({
    toString: 1,
    toJSON: 2,
    valueOf: 3,
    hasOwnProperty: 4,
  }),
  "no prototype": () =>
    Object.assign(Object.create(null), { a: 1, b: Object.create(null) }),
  "class instances":
    () => [new Point(), new Point(), Object.create({ inherited: 1 })],
  "getters": () => ({
    get a() {
      return { read: true };
    },
  }),
  "symbol keys and hidden properties": () =>
    Object.defineProperty({ a: 1, [Symbol("s")]: 2 }, "hidden", { value: 3 }),
  "tagged objects": () => [{ [Symbol.toStringTag]: "Map", a: 1 }, Math, JSON],
  "objects with a built-in's prototype": () => [
    Object.create(Map.prototype),
    Object.create(Date.prototype),
    Object.assign(Object.create(Error.prototype), { a: 1 }),
    Object.create(Uint8Array.prototype),
  ],
  "iterable objects": () => ({ a: 1, [Symbol.iterator]: null }),
  "plain platform objects":
    () => [new Event("x"), new TextEncoder(), new EventTarget()],
  "typed arrays": () => [
    new Int8Array([-1]),
    new Uint8Array([1, 2, 3]),
    new Uint8ClampedArray([255]),
    new Int16Array([-300]),
    new Uint16Array([65535]),
    new Int32Array([1, -1]),
    new Uint32Array([2 ** 32 - 1]),
    new Float32Array([0.5]),
    new Float64Array([Math.PI, NaN, -0]),
    new BigInt64Array([-1n]),
    new BigUint64Array([2n ** 64n - 1n]),
    new Float16Array([1.5]),
    new DataView(new ArrayBuffer(8), 2, 3),
    new Uint8Array(0),
  ],
  "long typed arrays": () => [
    new Uint8Array(8192).fill(1),
    new Uint8Array(8193).fill(2),
    new Float64Array(100_000).fill(0.1),
    new ArrayBuffer(50_000),
  ],
  "views on one buffer": views,
  "a buffer before its views": () => (views() as unknown[]).reverse(),
  "resizable buffers": () => {
    const buffer = resizable(16, 64);
    return [
      buffer,
      new Uint8Array(buffer),
      new Uint8Array(buffer, 4, 4),
      resizable(9000, 20_000),
    ];
  },
  "error classes": () =>
    [
      Error,
      EvalError,
      RangeError,
      ReferenceError,
      SyntaxError,
      TypeError,
      URIError,
    ].map((E) => new E("m")),
  "errors without a message": () => [new Error(), new TypeError("")],
  "errors with causes": () => {
    const self = new Error("m");
    self.cause = self;
    return [
      new Error("m", { cause: { a: 1 } }),
      new Error("m", { cause: undefined }),
      self,
    ];
  },
  "errors with data": () => errorWith({ code: 5 }),
  "errors of other classes": () => [
    new (class Own extends RangeError {
      override name = "Own";
    })("m"),
    new (class extends RangeError {})("m"),
    new AggregateError([1], "m"),
    new Deno.errors.NotFound("m"),
  ],
  "errors with odd properties": () => [
    errorWith({ name: "TypeError" }),
    errorWith({ message: 5 }),
    errorWith({ stack: 5 }),
    errorWith({ stack: "own text" }),
    errorWith({
      get message() {
        return "got";
      },
    }),
    errorWith({ cause: 1, [Symbol.toStringTag]: "Other" }),
    Object.setPrototypeOf(new RangeError("m"), null),
  ],
  "DOMExceptions":
    () => [new DOMException("m", "TimeoutError"), new DOMException()],
  "cycles": cycle,
  "shared references": shared,
  "more objects than a list holds, some twice": () => {
    const items = Array.from({ length: 200 }, (_, i) => ({ i }));
    return [...items, ...items];
  },
  "records of one shape": () =>
    Array.from({ length: 40 }, (_, i) => ({ id: i, name: `n${i}`, ok: i > 5 })),
  "many shapes": () =>
    Array.from(
      { length: 600 },
      (_, i) => ({ [`a${i % 300}`]: i, b: { [`c${i % 7}`]: i } }),
    ),
  "deep nesting": () => {
    let value: unknown = 0;
    for (let i = 0; i < 500; i++) value = i % 2 === 0 ? [value] : { value };
    return value;
  },
};

for (const [name, make] of Object.entries(VALUES)) {
  Deno.test(`decode() gives what structuredClone() gives: ${name}`, () => {
    // Several times, since shapes and makers of objects are remembered.
    for (let i = 0; i < (/l(ar|on)ge?|sparse/.test(name) ? 2 : 12); i++) {
      const value = make();
      const expected = structuredClone(value);
      assertSame(trip(value), expected, name);
      if (!Array.isArray(expected) || i > 1) continue;
      for (const item of value as unknown[]) {
        assertSame(trip(item), structuredClone(item));
      }
    }
  });
}

function detached(): ArrayBuffer {
  const buffer = new ArrayBuffer(8);
  buffer.transfer();
  return buffer;
}

function outOfBounds(): Uint8Array {
  const buffer = resizable(8, 8);
  const view = new Uint8Array(buffer, 4, 4);
  buffer.resize(6);
  return view;
}

const REFUSED: Record<string, () => unknown> = {
  "a function": () => () => {},
  "a class": () => Point,
  "a symbol": () => Symbol("s"),
  "a boxed symbol": () => Object(Symbol("s")),
  "a proxy": () => new Proxy({ a: 1 }, {}),
  "a proxy of an array": () => new Proxy([1], {}),
  "a proxy of an instance": () => new Proxy(new Point(), {}),
  "a WeakMap": () => new WeakMap(),
  "a WeakSet": () => new WeakSet(),
  "a WeakRef": () => new WeakRef({}),
  "a promise": () => Promise.resolve(),
  "a generator": () => (function* () {})(),
  "an async generator": () => (async function* () {})(),
  "an iterator": () => [1][Symbol.iterator](),
  "a Map's iterator": () => new Map().entries(),
  "arguments": () =>
    (function () {
      return arguments;
    })(),
  "a detached buffer": detached,
  "a view on a detached buffer": () => {
    const view = new Uint8Array(8);
    view.buffer.transfer();
    return view;
  },
  "a view out of bounds": outOfBounds,
  "a formatter": () => new Intl.NumberFormat(),
  "a URL": () => new URL("http://localhost/"),
  "Headers": () => new Headers(),
  "a stream": () => new ReadableStream(),
  "a port": () => {
    const { port1, port2 } = new MessageChannel();
    port2.close();
    port1.close();
    return port1;
  },
  "an error with an unsendable cause": () =>
    new Error("m", { cause: () => {} }),
};

for (const [name, make] of Object.entries(REFUSED)) {
  Deno.test(`encode() refuses what structuredClone() refuses: ${name}`, () => {
    assertThrows(() => structuredClone(make()), DOMException);
    const w = new Writer();
    encode(w, "before");
    const { length } = w;
    for (
      const value of [
        make(),
        [make()],
        { a: { b: make() } },
        new Map([[1, make()]]),
      ]
    ) {
      const error = assertThrows(
        () => encode(w, value),
        DOMException,
        "could not be cloned",
      );
      assertEquals((error as DOMException).name, "DataCloneError");
      assertEquals([w.length, w.busy], [length, false]);
    }
    encode(w, { after: 1 });
    const r = travel(w);
    assertEquals([decode(r), decode(r)], ["before", { after: 1 }]);
  });
}

Deno.test("encode() refuses a module namespace", async () => {
  const namespace = await import("../errors.ts");
  assertThrows(
    () => encode(new Writer(), namespace),
    DOMException,
    "could not be cloned",
  );
});

Deno.test("encode() tells a handle of another copy of this library", () => {
  const lock = { sendThroughArgs() {} };
  assertThrows(
    () => encode(new Writer(), { a: [lock] }),
    DOMException,
    "Cannot send value at .a[0]: it is of another copy, or version, of this library",
  );
});

Deno.test("encode() refuses a function whose name cannot be had", () => {
  const { proxy, revoke } = Proxy.revocable(() => {}, {});
  revoke();
  class Nameless {
    static get name(): string {
      throw new Error("Not to be asked");
    }
  }
  for (const value of [proxy, Nameless]) {
    const refuse = () => encode(new Writer(), [value]);
    assertEquals(assertThrows(refuse, DOMException).name, "DataCloneError");
  }
});

Deno.test("encode() names the way to the value it refuses", () => {
  const refused = (value: unknown): string =>
    assertThrows(() => encode(new Writer(), value), DOMException).message;
  assertEquals(
    refused(Symbol("s")),
    "Cannot send value: Symbol(s) could not be cloned",
  );
  assertEquals(
    refused({ a: [1, 2, parseInt] }),
    "Cannot send value at .a[2]: function parseInt() { [native code] } could not be cloned",
  );
  assertEquals(
    refused({ "b c": new Map([["k", Symbol("s")]]) }),
    'Cannot send value at ["b c"].get("k"): Symbol(s) could not be cloned',
  );
});

Deno.test("encode() passes on what a getter throws", () => {
  const value = {
    get a(): never {
      throw new RangeError("mine");
    },
  };
  assertThrows(() => encode(new Writer(), value), RangeError, "mine");
});

Deno.test("encode() refuses a Writer that a getter uses while it is being written", () => {
  const w = new Writer();
  const value = {
    get a(): number {
      assertThrows(() => encode(w, [1]), TypeError, "in use");
      assertThrows(() => w.reset(), TypeError, "under way");
      return 1;
    },
  };
  encode(w, value);
  assertEquals(decode(travel(w)), { a: 1 });
});

Deno.test("decode() keeps whether a view follows the length of its buffer", () => {
  for (const length of [16, 64]) {
    const buffer = resizable(length, 64);
    const value = [
      new Uint8Array(buffer),
      new Uint8Array(buffer, 8),
      new DataView(buffer, 8),
    ];
    const fixed = [
      new Uint8Array(buffer, 0, length),
      new DataView(buffer, 8, length - 8),
    ];
    const result = trip([...value, ...fixed]) as [
      Uint8Array,
      ...ArrayBufferView[],
    ];
    (result[0].buffer as ArrayBuffer).resize(12);
    assertEquals(result.slice(0, 3).map((view) => view.byteLength), [12, 4, 4]);
    assertEquals(result[3]!.byteLength, 0);
    assertThrows(() => result[4]!.byteLength, TypeError);
  }
});

Deno.test("encode() leaves long byte ranges where they are", () => {
  const bytes = new Uint8Array(100_000).fill(7);
  const w = new Writer();
  encode(w, { bytes, again: bytes });
  assertEquals(w.blobs.length, 1);
  assertStrictEquals(w.blobs[0]!.buffer, bytes.buffer);
  assert(w.length < 200);
});

Deno.test("encodeItems() encodes a part of a list", () => {
  const w = new Writer();
  encodeItems(w, [0, "a", { b: 1 }, 3], 1, 3);
  assertEquals(decode(travel(w)), ["a", { b: 1 }]);
});

Deno.test("a Reader reads back the headers a Writer wrote", () => {
  const w = new Writer(4);
  w.writeU8(7);
  w.writeU32(4_000_000_000);
  w.writeF64(-0.5);
  w.writeString("hé€");
  w.writeBytes(new Uint8Array([1, 2]));
  encode(w, [1]);
  const r = travel(w);
  assertEquals([r.readU8(), r.readU32(), r.readF64(), r.readString()], [
    7,
    4_000_000_000,
    -0.5,
    "hé€",
  ]);
  assertEquals(r.readBytes(2), new Uint8Array([1, 2]));
  assertEquals(decode(r), [1]);
  assertThrows(() => r.readU8(), Error, "Cannot decode message");
});

Deno.test("a Reader follows its memory when that is replaced", () => {
  const w = new Writer();
  encode(w, [1.5, "x"]);
  const r = new Reader(new Uint8Array(4));
  r.bytes = w.bytes;
  r.position = 0;
  r.end = w.length;
  assertEquals(decode(r), [1.5, "x"]);
});

/** A minimal handle. */
class Thing {
  readonly memory: SharedArrayBuffer;
  readonly more: unknown[];
  constructor(memory = new SharedArrayBuffer(8), more: unknown[] = []) {
    this.memory = memory;
    this.more = more;
    guardHandle(this, memory);
  }
  [HANDLE](): HandleParts {
    return { kind: "Thing", parts: [this.memory, ...this.more] };
  }
}

function reviveThing(parts: unknown[]): object {
  return new Thing(parts[0] as SharedArrayBuffer, parts.slice(1));
}

Deno.test("decode() gives this thread's own object for a handle, wherever it sits", () => {
  defineHandle("Thing", reviveThing);
  const thing = new Thing();
  const outer = new Thing(undefined, [thing, "plain"]);
  const met = new Set<SharedArrayBuffer>();
  const value = { thing, list: [thing], map: new Map([[thing, outer]]) };
  const result = trip(value, { shared: met }) as typeof value;
  assertStrictEquals(result.thing, thing);
  assertStrictEquals(result.list[0], thing);
  assertStrictEquals(result.map.get(thing), outer);
  assertEquals([...met], [thing.memory, outer.memory]);
});

Deno.test("decode() makes a handle once from a memory that is new to this thread", () => {
  defineHandle("Thing", reviveThing);
  const memory = new SharedArrayBuffer(8);
  const id = memoryId(memory);
  const w = new Writer();
  encode(w, [
    Object.assign(Object.create(Thing.prototype), { memory, more: [1] }),
  ], {
    shared: new Set(),
  });
  const memories = memoriesOf([memory]);
  const first = decode(travel(w), { memories }) as [Thing];
  assertInstanceOf(first[0], Thing);
  assertEquals(first[0].more, [1]);
  const second = decode(travel(w), { memories }) as [Thing];
  assertStrictEquals(second[0], first[0]);
  forgetMemory(id);
  assertStrictEquals(adoptMemory(id, new SharedArrayBuffer(8)), memory);
});

Deno.test("decode() refuses shared memory that did not come with the message, though this thread has it", () => {
  const memory = new SharedArrayBuffer(8);
  const w = new Writer();
  encode(w, [memory], { shared: new Set() });
  const others = memoriesOf([new SharedArrayBuffer(8)]);
  for (const context of [undefined, {}, { memories: others }]) {
    assertThrows(
      () => decode(travel(w), context),
      Error,
      "Cannot decode message: it names a shared memory that did not come with it",
    );
  }
});

Deno.test("decode() says which kind of handle it does not know", () => {
  const w = new Writer();
  const memory = new SharedArrayBuffer(8);
  const stranger = { [HANDLE]: () => ({ kind: "Stranger", parts: [memory] }) };
  class Stranger {
    [HANDLE] = stranger[HANDLE];
  }
  encode(w, { a: new Stranger() }, { shared: new Set() });
  const memories = memoriesOf([memory]);
  const r = travel(w);
  const { position } = r;
  assertEquals(
    assertThrows(() => decode(r, { memories }), UnknownHandleKind).kind,
    "Stranger",
  );
  defineHandle("Stranger", () => stranger);
  r.position = position;
  assertStrictEquals((decode(r, { memories }) as { a: unknown }).a, stranger);
});

Deno.test("a handle makes structuredClone() throw", () => {
  assertThrows(() => structuredClone({ a: [new Thing()] }), DOMException);
  assertThrows(
    () =>
      (new Thing() as unknown as { sendThroughArgs(): void }).sendThroughArgs(),
    TypeError,
  );
});

Deno.test("encode() refuses handles and shared memory where the context has no room for them", () => {
  const memory = new SharedArrayBuffer(8);
  for (
    const value of [
      new Thing(),
      [memory],
      { a: new Uint8Array(memory) },
      new DataView(memory),
    ]
  ) {
    const error = assertThrows(
      () => encode(new Writer(), value),
      TypeError,
      "Cannot put a ",
    );
    assert(
      error.message.includes(
        "handles and shared memory travel only as arguments",
      ),
    );
  }
});

Deno.test("decode() gives views on the same shared memory", () => {
  const memory = new SharedArrayBuffer(64);
  const met = new Set<SharedArrayBuffer>();
  const value = [
    new Int32Array(memory, 8, 4),
    new DataView(memory, 1, 2),
    memory,
  ];
  const result = trip(value, { shared: met }) as [
    Int32Array,
    DataView,
    SharedArrayBuffer,
  ];
  assertEquals([...met], [memory]);
  assertStrictEquals(result[0].buffer, memory);
  assertStrictEquals(result[1].buffer, memory);
  assertStrictEquals(result[2], memory);
  assertEquals([result[0].byteOffset, result[0].length, result[1].byteLength], [
    8,
    4,
    2,
  ]);
});

Deno.test("decode() puts moved objects in their places, and views on moved buffers", () => {
  const buffer = new ArrayBuffer(32);
  const { port1, port2 } = new MessageChannel();
  const moved = new Map<object, number>([[buffer, 0], [port1, 1]]);
  const value = { view: new Uint16Array(buffer, 4, 3), port: port1, buffer };
  const arrived = buffer.slice();
  const result = trip(value, { moved }, [arrived, port2]) as typeof value;
  assertStrictEquals(result.view.buffer, arrived);
  assertEquals([result.view.byteOffset, result.view.length], [4, 3]);
  assertStrictEquals(result.buffer, arrived);
  assertStrictEquals(result.port, port2);
  port1.close();
  port2.close();
});

/** A generator of numbers that gives the same ones in each run. */
function seeded(seed: number): (below: number) => number {
  return (below) => {
    seed = Math.imul(seed ^ (seed >>> 15), 0x2c1b3c6d) + 0x9e3779b9 | 0;
    return ((seed ^ (seed >>> 13)) >>> 0) % below;
  };
}

function anything(
  random: (below: number) => number,
  depth: number,
  pool: unknown[],
): unknown {
  const child = (): unknown => anything(random, depth - 1, pool);
  const size = (): number => random(6);
  switch (random(depth <= 0 ? 8 : 20)) {
    case 0:
      return random(1000) - 500;
    case 1:
      return (random(1000) - 500) / 7;
    case 2:
      return [
        undefined,
        null,
        true,
        false,
        NaN,
        -0,
        1n,
        -(2n ** 70n),
      ][random(8)];
    case 3:
    case 4:
      return String.fromCharCode(
        ...Array.from(
          { length: random(50) },
          () => random(12) === 0 ? random(65536) : random(128),
        ),
      );
    case 5:
      return random(2 ** 31);
    case 6:
      return new Date(random(1e9));
    case 7:
      return pool.length === 0 ? 0 : pool[random(pool.length)];
    case 8:
      return keepIn(
        pool,
        new Map(Array.from({ length: size() }, () => [child(), child()])),
      );
    case 9:
      return keepIn(pool, new Set(Array.from({ length: size() }, child)));
    case 10:
      return keepIn(pool, new Uint8Array(random(10_000)).fill(random(256)));
    case 11:
      return keepIn(
        pool,
        Array.from({ length: size() * 3 }, () => random(100)),
      );
    case 12:
      return keepIn(pool, new RangeError("m", { cause: child() }));
    case 13: {
      const array: unknown[] = keepIn(pool, []);
      for (let i = 0; i < 10; i++) if (random(2) === 0) array[i] = child();
      if (random(2) === 0) Object.assign(array, { name: child() });
      return array;
    }
    case 14:
    case 15:
      return keepIn(pool, Array.from({ length: size() }, child));
    default: {
      const object: Record<string, unknown> = keepIn(pool, {});
      for (let i = size(); i > 0; i--) {
        Object.defineProperty(
          object,
          ["a", "b", "c", "id", "7", "__proto__", "é€"][random(7)]!,
          {
            value: child(),
            enumerable: true,
            configurable: true,
          },
        );
      }
      return object;
    }
  }
}

function keepIn<T>(pool: unknown[], value: T): T {
  pool.push(value);
  return value;
}

Deno.test("decode() gives what structuredClone() gives, for thousands of random values", () => {
  const random = seeded(12345);
  for (let i = 0; i < 2000; i++) {
    const value = anything(random, 4, []);
    assertSame(trip(value), structuredClone(value), `case ${i}: `);
  }
});

Deno.test("decode() of damaged bytes returns or throws, and takes no time about it", async () => {
  const random = seeded(777);
  const makes = Object.entries(VALUES).filter(([name]) =>
    !/large|sparse|long typed/.test(name)
  );
  let refused = 0;
  for (let i = 0; i < 8_000; i++) {
    const w = new Writer();
    encode(
      w,
      i % 2 === 0 ? anything(random, 3, []) : makes[i % makes.length]![1](),
    );
    if (w.length > 5000) continue;
    const r = travel(w);
    for (let flips = 1 + random(3); flips > 0; flips--) {
      r.bytes[r.position + random(w.length)]! ^= 1 << random(8);
    }
    if (random(4) === 0) r.end -= random(w.length);
    const { position } = r;
    let isRefused = false;
    await takesLess(500, () => {
      r.position = position;
      const before = performance.now();
      try {
        decode(r);
      } catch (error) {
        assertInstanceOf(error, Error);
        if (!error.message.startsWith("Cannot ")) throw error;
        isRefused = true;
      }
      return performance.now() - before;
    });
    if (isRefused) refused++;
  }
  assert(refused > 500);
});

Deno.test("decode() of random bytes returns or throws", () => {
  const random = seeded(99);
  for (let i = 0; i < 8_000; i++) {
    const bytes = Uint8Array.from(
      { length: 1 + random(60) },
      () => random(4) === 0 ? random(256) : random(48),
    );
    try {
      decode(new Reader(bytes));
    } catch (error) {
      assertInstanceOf(error, Error);
      assert(error.message.startsWith("Cannot "), error.message);
    }
  }
});
