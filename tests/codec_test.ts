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
import { Point, resizable, VALUES } from "./_clonable.ts";
import { difference } from "./_difference.ts";

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
function assertSame(actual: unknown, expected: unknown, what?: string): void {
  assertEquals(difference(actual, expected), "", what);
}

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
