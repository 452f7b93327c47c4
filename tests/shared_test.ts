import {
  assert,
  assertEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { pack, unpack } from "../_parcel.ts";
import { RLock } from "../lock.ts";
import { Manager } from "../manager.ts";
import { type ElementType, SharedArray, SharedValue } from "../shared.ts";
import { Peer } from "./_ring_peers.ts";
import { within } from "./_within.ts";
import { seeded } from "./_words.ts";

const INTEGERS = ["i8", "u8", "i16", "u16", "i32", "u32"] as const;
const BIG = ["i64", "u64"] as const;
const FLOATS = ["f32", "f64"] as const;
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

Deno.test("SharedValue and SharedArray keep what a typed array of the type keeps, and refuse what it would change", () => {
  const next = seeded(3);
  const samples = [0, -0, 1, -1, 0.5, 300, -70_000, 2 ** 33, NaN, Infinity];
  for (const type of ["i8", "u8", "i16", "u16", "i32", "u32"] as const) {
    const least = 2 ** (Number(type.slice(1)) - 1);
    samples.push(
      -least - 1,
      -least,
      least - 1,
      least,
      2 * least - 1,
      2 * least,
    );
  }
  for (let i = 0; i < 100; i++) {
    samples.push(next(2 ** 31) / (next(100) + 1) - next(2 ** 20));
  }
  for (const type of [...INTEGERS, ...FLOATS]) {
    const shared = new SharedValue(type, 1);
    const twin = new VIEWS[type](1);
    for (const value of samples) {
      twin[0] = value;
      if (type.startsWith("f") || twin[0] === value) {
        shared.value = value;
        assertEquals(shared.value, twin[0]);
        assertEquals(new SharedValue(type, value).value, twin[0]);
        assertEquals([...new SharedArray(type, [value])], [...twin]);
      } else {
        const before = shared.value;
        assertThrows(() => shared.value = value, RangeError, type);
        assertEquals(shared.value, before);
        assertThrows(() => new SharedValue(type, value), RangeError, type);
        assertThrows(() => new SharedArray(type, [1, value]), RangeError, type);
      }
    }
  }
  for (const type of BIG) {
    const shared = new SharedValue(type, 5n);
    const twin = new VIEWS[type](1);
    const edges = [0n, -1n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n];
    for (
      const value of [...edges, -(2n ** 63n), -(2n ** 63n) - 1n, 2n ** 64n]
    ) {
      twin[0] = value;
      if (twin[0] === value) {
        shared.value = value;
        assertEquals(shared.value, value);
      } else {
        assertThrows(() => shared.value = value, RangeError, type);
        assertThrows(() => new SharedArray(type, [value]), RangeError, type);
      }
    }
  }
});

Deno.test("SharedValue's operations refuse what is not whole", () => {
  const shared = new SharedValue("u32", 7);
  for (const bad of [0.5, NaN, Infinity]) {
    for (const act of ["add", "sub", "and", "or", "xor", "exchange"] as const) {
      assertThrows(() => shared[act](bad), RangeError, act);
    }
    assertThrows(() => shared.compareExchange(bad, 1), RangeError);
    assertThrows(() => shared.compareExchange(7, bad), RangeError);
  }
  assertEquals(shared.value, 7);
});

Deno.test("SharedValue arithmetic is that of Atomics", () => {
  const next = seeded(9);
  const acts = ["add", "sub", "and", "or", "xor", "exchange"] as const;
  for (const type of INTEGERS) {
    const shared = new SharedValue(type, 7);
    const twin = new VIEWS[type](1);
    twin[0] = 7;
    for (let i = 0; i < 300; i++) {
      const act = acts[next(acts.length)]!;
      const operand = next(2 ** 31) - 2 ** 30;
      assertEquals(shared[act](operand), Atomics[act](twin, 0, operand));
      assertEquals(shared.value, twin[0]);
      const expected = next(2) === 0 ? twin[0]! : next(100);
      assertEquals(
        shared.compareExchange(expected, i),
        Atomics.compareExchange(twin, 0, expected, i),
      );
      assertEquals(shared.value, twin[0]);
    }
  }
  for (const type of BIG) {
    const shared = new SharedValue(type, 7n);
    assertEquals(shared.add(5n), 7n);
    assertEquals(shared.sub(2n), 12n);
    assertEquals(shared.and(6n), 10n);
    assertEquals(shared.or(1n), 2n);
    assertEquals(shared.xor(7n), 3n);
    assertEquals(shared.exchange(9n), 4n);
    assertEquals(shared.compareExchange(9n, 1n), 9n);
    assertEquals(shared.compareExchange(9n, 2n), 1n);
    assertEquals(shared.value, 1n);
  }
  for (const type of FLOATS) {
    const shared = new SharedValue(type, 1);
    for (const act of acts) {
      assertThrows(() => shared[act](1), TypeError, type);
    }
    assertThrows(() => shared.compareExchange(1, 2), TypeError, type);
  }
});

Deno.test("SharedValue and SharedArray refuse wrong types", () => {
  const wrong = "i9" as ElementType;
  assertThrows(() => new SharedValue(wrong, 0), TypeError, "i9");
  assertThrows(() => new SharedArray(wrong, 1), TypeError, "i9");
  assertThrows(() => new SharedValue("toString" as "i8"), TypeError);
  const text = "1" as unknown as number;
  const big = 1n as unknown as number;
  const shared = new SharedValue("i32", 0);
  for (const bad of [text, big, null as unknown as number]) {
    assertThrows(() => new SharedValue("i32", bad), TypeError, "number");
    assertThrows(() => shared.value = bad, TypeError, "number");
    assertThrows(() => shared.add(bad), TypeError, "number");
    assertThrows(() => shared.compareExchange(bad, 1), TypeError, "number");
    assertThrows(() => shared.compareExchange(1, bad), TypeError, "number");
    assertThrows(() => new SharedArray("f32", [1, bad]), TypeError, "number");
  }
  const number = 1 as unknown as bigint;
  assertThrows(() => new SharedValue("u64", number), TypeError, "bigint");
  assertThrows(() => new SharedArray("i64", [number]), TypeError, "bigint");
  assertEquals(shared.value, 0);
  for (const bad of [-1, 1.5, NaN, Infinity, 2 ** 40]) {
    assertThrows(() => new SharedArray("u8", bad), RangeError, "length");
  }
  for (const bad of ["3", null, undefined, {}, true]) {
    assertThrows(
      () => new SharedArray("u8", bad as unknown as number),
      TypeError,
    );
  }
});

Deno.test("SharedArray is a typed array over shared memory", () => {
  for (const type of [...INTEGERS, ...FLOATS]) {
    const array = new SharedArray(type, 3);
    assert(array.view instanceof VIEWS[type]);
    assert(array.view.buffer instanceof SharedArrayBuffer);
    assertEquals(array.view.byteLength, array.view.buffer.byteLength);
    assertEquals([...array], [0, 0, 0]);
    array.view[1] = 300;
    assertEquals([...array], [...VIEWS[type].of(0, 300, 0)]);
    assertEquals(array.length, 3);
    assertEquals([...new SharedArray(type, new Set([1, 2, 5]))], [1, 2, 5]);
  }
  for (const type of BIG) {
    const items = [1n, 0n, 2n ** 62n];
    assertEquals([...new SharedArray(type, items)], items);
  }
  assertEquals([...new SharedArray("i8", 0)], []);
  assertEquals([...new SharedArray("i8", [])], []);
});

Deno.test("SharedValue and SharedArray have a lock each", () => {
  const value = new SharedValue("f64", 1);
  const array = new SharedArray("f64", 1);
  assert(value.lock instanceof RLock);
  assertStrictEquals(value.lock, value.lock);
  assert(array.lock instanceof RLock);
  using _ = value.lock.acquireSync();
  assertEquals(value.lock.locked, true);
  assertEquals(array.lock.locked, false);
});

Deno.test("SharedValue and SharedArray tell their state", () => {
  assertEquals(
    Deno.inspect(new SharedValue("i32", 5)),
    "SharedValue { type: i32, value: 5 }",
  );
  assertEquals(
    Deno.inspect(new SharedValue("u64", 5n)),
    "SharedValue { type: u64, value: 5n }",
  );
  assertEquals(
    Deno.inspect(new SharedArray("u8", [1, 2, 3])),
    "SharedArray(3) u8 [ 1, 2, 3 ]",
  );
  assert(Deno.inspect(new SharedArray("u8", 1000)).endsWith(", … ]"));
  assertThrows(() => structuredClone(new SharedValue("i8")), DOMException);
  assertThrows(() => structuredClone([new SharedArray("i8", 1)]), DOMException);
});

Deno.test("SharedValue comes back as the same object", async () => {
  const value = new SharedValue("i16", 5);
  const array = new SharedArray("i16", 5);
  const back = await unpack(pack({ value, list: [array, array.view] })) as {
    value: unknown;
    list: unknown[];
  };
  assertStrictEquals(back.value, value);
  assertStrictEquals(back.list[0], array);
  assertStrictEquals(
    (back.list[1] as Int16Array<SharedArrayBuffer>).buffer,
    array.view.buffer,
  );
});

Deno.test("SharedValue loses no addition between workers", async () => {
  const value = new SharedValue("i32", 0);
  const guarded = new SharedValue("f64", 0);
  const rounds = 3000;
  using a = new Peer("count", [value, guarded, rounds]);
  using b = new Peer("count", [value, guarded, rounds]);
  using c = new Peer("count", [value, guarded, rounds]);
  await within(Promise.all([a.done, b.done, c.done]));
  assertEquals(value.value, 3 * rounds);
  assertEquals(guarded.value, 1.5 * rounds);
});

Deno.test("SharedArray is written by several workers at once", async () => {
  const array = new SharedArray("i32", 2000);
  using a = new Peer("fillPart", [array, array.view, 0, 1000]);
  using b = new Peer("fillPart", [array, array.view, 1000, 2000]);
  assertEquals(await within(Promise.all([a.done, b.done])), [true, true]);
  assert(array.view.every((n, i) => n === i * i));
});

Deno.test("What is assigned to no property of a shared value, array or proxy is not lost in silence", async () => {
  await using manager = new Manager();
  const objects: object[] = [
    new SharedValue("i32", 0),
    new SharedArray("i32", 2),
    await within(manager.dict({ a: 1 })),
    await within(manager.list([1])),
    await within(manager.namespace({ a: 1 })),
    (await within(manager.dict({ a: 1 }))).sync,
  ];
  for (const object of objects) {
    for (const key of [0, "a"]) {
      assertThrows(
        () => (object as Record<string | number, number>)[key] = 5,
        TypeError,
        "not extensible",
      );
    }
  }
  class Named extends SharedValue<"i32"> {
    name = "mine";
  }
  assertEquals(new Named("i32", 5).name, "mine");
});
