/**
 * Values of all kinds that structured clone knows, one by one.
 *
 * @module
 */

/** An instance has a private field. */
export class Point {
  x: number = 1;
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

export function resizable(length: number, max: number): ArrayBuffer {
  return new ArrayBuffer(length, { maxByteLength: max });
}

/** What makes them, by name. */
export const VALUES: Record<string, () => unknown> = {
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
