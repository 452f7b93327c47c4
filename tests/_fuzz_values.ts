/**
 * Generated values of all kinds that structured clone knows.
 *
 * @module
 */

import fc from "npm:fast-check@4.3.0";

/** Makes a value; `made` has the objects made before, to be used again. */
export type Builder = (made: object[]) => unknown;

/** A plain object's keys, the awkward ones too. */
const key = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom("a", "b", "id", "name", "x") },
  fc.string({ maxLength: 6 }),
  fc.string({ unit: "binary", maxLength: 4 }),
  fc.constantFrom("0", "7", "-1", "4294967295", "__proto__", "constructor", ""),
);

const codeUnits = fc.array(fc.integer({ min: 0, max: 0xffff }), {
  maxLength: 60,
}).map((units) => String.fromCharCode(...units));

const primitive = fc.oneof(
  fc.constantFrom<unknown>(undefined, null, true, false, -0, 0, NaN, Infinity),
  fc.integer(),
  fc.double(),
  fc.string(),
  fc.string({ unit: "binary" }),
  codeUnits,
  fc.string({ unit: "grapheme", maxLength: 40 }),
  fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }),
  fc.bigInt(),
);

const bytes = fc.oneof(
  { weight: 8, arbitrary: fc.uint8Array({ maxLength: 64 }) },
  // Longer than what the codec copies: these travel as blobs.
  fc.integer({ min: 8100, max: 9000 }).map((n) => new Uint8Array(n).fill(n)),
);

type ViewClass = new (
  buffer: ArrayBuffer,
  offset: number,
  length: number,
) => ArrayBufferView;

const VIEWS: (ViewClass & { BYTES_PER_ELEMENT?: number })[] = [
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
  DataView,
];

const ERRORS = [
  Error,
  EvalError,
  RangeError,
  ReferenceError,
  SyntaxError,
  TypeError,
  URIError,
] as const;

/** Remembers an object before it gets its content, so that cycles can be made. */
function keep<T extends object>(made: object[], value: T): T {
  made.push(value);
  return value;
}

function put(target: object, name: string, value: unknown): void {
  Object.defineProperty(target, name, {
    value,
    writable: true,
    enumerable: true,
    configurable: true,
  });
}

const values = fc.letrec<{ value: Builder }>((tie) => {
  const item = tie("value");
  const items = fc.array(item, { maxLength: 6 });
  const entries = fc.array(fc.tuple(key, item), { maxLength: 6 });
  const object = entries.map((entries): Builder => (made) => {
    const object = keep(made, {});
    for (const [name, build] of entries) put(object, name, build(made));
    return object;
  });
  const rows = fc.tuple(fc.uniqueArray(key, { maxLength: 4 }), items).map(
    ([keys, items]): Builder => (made) => {
      const rows: unknown[] = keep(made, []);
      for (const build of items) {
        const row = keep(made, {});
        for (const name of keys) put(row, name, build(made));
        rows.push(row);
      }
      return rows;
    },
  );
  const array = items.map((items): Builder => (made) => {
    const array: unknown[] = keep(made, []);
    for (const build of items) array.push(build(made));
    return array;
  });
  const column = fc.array(fc.oneof(fc.integer(), fc.double()), {
    maxLength: 80,
  }).map((numbers): Builder => (made) => keep(made, numbers.slice()));
  const sparse = fc.tuple(
    fc.array(fc.tuple(fc.integer({ min: 0, max: 99 }), item), { maxLength: 4 }),
    entries,
    fc.integer({ min: 0, max: 120 }),
  ).map(([indexed, named, length]): Builder => (made) => {
    const array: unknown[] = keep(made, []);
    array.length = length;
    for (const [index, build] of indexed) array[index] = build(made);
    for (const [name, build] of named) {
      if (name !== "length") put(array, name, build(made));
    }
    return array;
  });
  const map = fc.array(fc.tuple(item, item), { maxLength: 5 }).map(
    (pairs): Builder => (made) => {
      const map = keep(made, new Map());
      for (const [a, b] of pairs) map.set(a(made), b(made));
      return map;
    },
  );
  const set = items.map((items): Builder => (made) => {
    const set = keep(made, new Set());
    for (const build of items) set.add(build(made));
    return set;
  });
  const date = fc.date({ noInvalidDate: false })
    .map((date): Builder => (made) => keep(made, new Date(date)));
  const regexp = fc.tuple(
    fc.constantFrom("a", "a/b", "[a-z]", "(?<n>x)", "\\n", ""),
    fc.constantFrom("", "g", "gi", "dsy", "u", "v"),
  ).map(([source, flags]): Builder => (made) =>
    keep(made, new RegExp(source, flags))
  );
  const boxed = fc.oneof(
    fc.integer(),
    fc.double(),
    fc.string(),
    fc.boolean(),
    fc.bigInt(),
  ).map((value): Builder => (made) => keep(made, Object(value)));
  const error = fc.tuple(
    fc.constantFrom(...ERRORS),
    fc.string({ maxLength: 10 }),
    fc.option(item, { nil: undefined }),
  ).map(([Class, message, cause]): Builder => (made) => {
    const error = keep(made, new Class(message));
    if (cause !== undefined) error.cause = cause(made);
    return error;
  });
  const exception = fc.constantFrom("AbortError", "DataCloneError", "Mine")
    .map((name): Builder => (made) => keep(made, new DOMException("m", name)));
  const buffer = fc.tuple(bytes, fc.integer({ min: -1, max: 40 })).map((
    [bytes, more],
  ): Builder =>
  (made) => {
    const { length } = bytes;
    const buffer = more < 0
      ? new ArrayBuffer(length)
      : new ArrayBuffer(length, { maxByteLength: length + more });
    new Uint8Array(buffer).set(bytes);
    return keep(made, buffer);
  });
  const view = fc.tuple(
    bytes,
    fc.constantFrom(...VIEWS),
    fc.nat({ max: 3 }),
    fc.nat({ max: 3 }),
  ).map(([bytes, View, skip, drop]): Builder => (made) => {
    const { buffer } = keep(made, bytes.slice());
    made[made.length - 1] = buffer;
    const size = View.BYTES_PER_ELEMENT ?? 1;
    const offset = Math.min(skip, Math.floor(bytes.length / size)) * size;
    const most = Math.floor((bytes.length - offset) / size);
    return keep(made, new View(buffer, offset, Math.max(0, most - drop)));
  });
  const again = fc.nat().map((n): Builder => (made) =>
    made.length === 0 ? null : made[n % made.length]
  );
  const leaf = primitive.map((value): Builder => () => value);
  return {
    value: fc.oneof(
      { depthSize: "medium", withCrossShrink: true },
      { weight: 8, arbitrary: leaf },
      { weight: 4, arbitrary: object },
      { weight: 3, arbitrary: array },
      { weight: 2, arbitrary: rows },
      { weight: 2, arbitrary: again },
      column,
      sparse,
      map,
      set,
      date,
      regexp,
      boxed,
      error,
      exception,
      buffer,
      view,
    ),
  };
});

/** Any value that can be cloned, with cycles and shared parts. */
export const builder: fc.Arbitrary<Builder> = values.value;

const REFUSED: Builder[] = [
  () => () => 1,
  () => Symbol("s"),
  () => new WeakMap(),
  () => Promise.resolve(),
  () => new Proxy(() => {}, {}),
];

/** Like `builder`, with something in it now and then that cannot be cloned. */
export const doubtful: fc.Arbitrary<Builder> = fc.tuple(
  builder,
  fc.option(fc.constantFrom(...REFUSED), { nil: undefined, freq: 20 }),
).map(([build, refused]): Builder => (made) => {
  const value = build(made);
  return refused === undefined ? value : [value, refused(made)];
});
