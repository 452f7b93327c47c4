import { assert, assertEquals, assertThrows } from "@std/assert";
import { bury, claimToken, livingMemory, selfToken } from "../_life.ts";
import {
  MAX_CAPACITY,
  Ring,
  TAKE_EMPTY,
  TAKE_INT,
  TAKE_MESSAGE,
} from "../_ring.ts";
import {
  check,
  fill,
  type Job,
  lengthOf,
  newMessage,
  newReader,
} from "./testdata/ring_worker.ts";
import { within } from "./_within.ts";

const WORKER = new URL("./testdata/ring_worker.ts", import.meta.url);
const PUT_LOCK = 16;
const GET_LOCK = 48;
const HEAD_SEEN = 19;
const TAIL = 32;
const TAIL_SEEN = 51;
const HEAD = 64;

function wordsOf(ring: Ring): Int32Array {
  return ring.items.words;
}

Deno.test("Ring carries integers first in, first out", () => {
  const ring = Ring.create({ capacity: 1024 });
  const reader = newReader();
  assertEquals(ring.tryTake(reader), TAKE_EMPTY);
  for (const value of [0, 1, -1, 2 ** 31 - 1, -(2 ** 31)]) {
    assert(ring.tryPutInt(value));
  }
  assertEquals(ring.size, 5);
  assertEquals(ring.bytes, 40);
  for (const value of [0, 1, -1, 2 ** 31 - 1, -(2 ** 31)]) {
    assertEquals(ring.tryTake(reader), TAKE_INT);
    assertEquals(ring.immediate, value);
  }
  assertEquals(ring.tryTake(reader), TAKE_EMPTY);
  assertEquals(ring.size, 0);
});

Deno.test("Ring.tryPut() refuses for good what can never fit", () => {
  const ring = Ring.create({ capacity: 1000 });
  const message = newMessage(4096);
  fill(message, 0, 1000);
  assert(ring.tryPut(message));
  assert(!ring.tryPut(message));
  fill(message, 0, 1100);
  assertThrows(
    () => ring.tryPut(message),
    RangeError,
    "message of 1100 bytes: the capacity is 1000 bytes",
  );
});

Deno.test("Ring grows by need and not before", () => {
  const ring = Ring.create({ capacity: 64 << 20 });
  const reader = newReader();
  const before = ring.memory.byteLength;
  assert(before < 32_000);
  for (let i = 0; i < 100_000; i++) {
    assert(ring.tryPutInt(i));
    assertEquals(ring.tryTake(reader), TAKE_INT);
  }
  assertEquals(ring.memory.byteLength, before);
  for (let i = 0; i < 100_000; i++) assert(ring.tryPutInt(i));
  assert(ring.memory.byteLength < 8 << 20);
  const big = newMessage(8);
  fill(big, 7, 8);
  big.blobs = [new Uint8Array(5 << 20).fill(9)];
  assert(ring.tryPut(big));
  assertEquals(ring.size, 100_001);
  for (let i = 0; i < 100_000; i++) {
    assertEquals(ring.tryTake(reader), TAKE_INT);
    assertEquals(ring.immediate, i);
  }
  assertEquals(ring.tryTake(reader), TAKE_MESSAGE);
  assertEquals(reader.blobs.length, 1);
  assertEquals(reader.blobs[0]!.length, 5 << 20);
  assert(reader.blobs[0]!.every((b) => b === 9));
  assertEquals(ring.bytes, 0);
});

Deno.test("Ring of the largest capacity goes round as others do", () => {
  const capacity = MAX_CAPACITY;
  const ring = Ring.create({ capacity, initial: capacity });
  const words = wordsOf(ring);
  const reader = newReader();
  // Almost twice round: where a position has the fewest bits left.
  const end = 2 * (Math.ceil(capacity / 8) + 8) - 10;
  for (const at of [TAIL, HEAD, HEAD_SEEN, TAIL_SEEN]) words[at] = end;
  for (const length of [20_000, 5, 20_000]) {
    const bytes = new Uint8Array(length).fill(length);
    assert(ring.tryPut({ bytes, length, blobs: [] }));
    assertEquals(ring.tryTake(reader), TAKE_MESSAGE);
    assertEquals(reader.bytes.slice(0, reader.end), bytes);
  }
  assert(ring.empty);
  assert(!ring.closed);
});

Deno.test("Ring.tryTakeIf() drops what is not claimed", () => {
  const ring = Ring.create({ capacity: 4096 });
  const reader = newReader();
  const message = newMessage(1000);
  for (let id = 1; id <= 12; id++) {
    fill(message, id, id === 5 ? 400 : 16);
    assert(ring.tryPut(message));
  }
  assert(ring.tryPutInt(40));
  const asked: number[] = [];
  assertEquals(
    ring.tryTakeIf(reader, (id, length) => {
      asked.push(id);
      assertEquals(length, id === 5 ? 400 : 16);
      return id === 7;
    }),
    TAKE_MESSAGE,
  );
  assertEquals(asked, [1, 2, 3, 4, 5, 6, 7]);
  assertEquals(check(reader), 7);
  assertThrows(() =>
    ring.tryTakeIf(reader, () => {
      throw new Error("no");
    })
  );
  assertEquals(ring.size, 6);
  assertEquals(ring.tryTakeIf(reader, (value) => value === 40), TAKE_INT);
  assertEquals(ring.tryTakeIf(reader, () => true), TAKE_EMPTY);
  assertEquals(ring.size, 0);
});

Deno.test("Ring.drain() takes several", () => {
  const ring = Ring.create({ capacity: 4096 });
  const reader = newReader();
  for (let i = 0; i < 10; i++) ring.tryPutInt(i);
  const got: number[] = [];
  assertEquals(ring.drain(reader, () => got.push(ring.immediate), 4), 4);
  assertEquals(ring.drain(reader, () => got.push(ring.immediate), 40), 6);
  assertEquals(got, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

Deno.test("Ring.close() ends the putting, not the taking", () => {
  const ring = Ring.create({ capacity: 4096 });
  const reader = newReader();
  ring.tryPutInt(1);
  assert(!ring.closed);
  ring.close();
  ring.close();
  assert(ring.closed);
  assert(!ring.tryPutInt(2));
  assertEquals(ring.tryTake(reader), TAKE_INT);
  assertEquals(ring.tryTake(reader), TAKE_EMPTY);
});

Deno.test("Ring goes on when a thread died holding its locks", () => {
  const ring = Ring.create({ capacity: 4096, maxItems: 3 });
  const words = wordsOf(ring);
  const reader = newReader();
  for (const lock of [PUT_LOCK, GET_LOCK]) {
    const token = claimToken();
    Atomics.store(words, lock, token);
    bury(token);
  }
  assert(ring.tryPutInt(1));
  assert(ring.tryPutInt(2));
  assertEquals(words[PUT_LOCK], 0);
  assertEquals(ring.size, 2);
  assertEquals(ring.tryTake(reader), TAKE_INT);
  assertEquals(words[GET_LOCK], 0);
  assertEquals(ring.immediate, 1);
  assertEquals(ring.size, 1);
  // Also if it was this thread, which an exception threw out.
  Atomics.store(words, PUT_LOCK, selfToken());
  assert(ring.tryPutInt(3));
});

Deno.test("Ring counts right after a death before or after a commit", () => {
  const PUT = 20;
  const PUT_TO = 22;
  const PUT_WAS = 23;
  const reader = newReader();
  for (const committed of [false, true]) {
    const ring = Ring.create({ capacity: 4096, maxItems: 3 });
    const words = wordsOf(ring);
    ring.tryPutInt(1);
    // What is written between the lock and the count, in order.
    const token = claimToken();
    words[PUT_LOCK] = token;
    const seg = new Int32Array(ring.memory);
    const at = words.length + 2 * words[TAIL]!;
    seg[at] = -1;
    seg[at + 1] = 2;
    words[PUT_WAS] = words[PUT]!;
    words[PUT_TO] = words[TAIL]! + 1;
    words[PUT] = words[PUT]! + 1;
    if (committed) words[TAIL] = words[TAIL]! + 1;
    bury(token);
    assert(ring.tryPutInt(3));
    assertEquals(ring.size, committed ? 3 : 2);
    assertEquals(ring.tryPutInt(4), !committed);
    const got: number[] = [];
    while (ring.tryTake(reader) === TAKE_INT) got.push(ring.immediate);
    assertEquals(got, committed ? [1, 2, 3] : [1, 3, 4]);
    assertEquals(ring.size, 0);
  }
});

Deno.test("Ring survives a death between growing and the commit", () => {
  const ring = Ring.create({ capacity: 1 << 20, initial: 256 });
  const words = wordsOf(ring);
  const START = 112;
  const SIZE = 128;
  const END = 144;
  for (let i = 0; i < 32; i++) ring.tryPutInt(i);
  // Another thread prepared a segment of another size and died.
  const token = claimToken();
  words[PUT_LOCK] = token;
  words[END] = words[TAIL]!;
  words[START + 1] = words[START]! + words[SIZE]!;
  words[SIZE + 1] = 2000;
  ring.memory.grow(40_000);
  bury(token);
  for (let i = 32; i < 5000; i++) assert(ring.tryPutInt(i));
  const reader = newReader();
  for (let i = 0; i < 5000; i++) {
    assertEquals(ring.tryTake(reader), TAKE_INT);
    assertEquals(ring.immediate, i);
  }
  assertEquals(ring.tryTake(reader), TAKE_EMPTY);
});

// -- Stress -------------------------------------------------------------------

const workers: Worker[] = [];

function worker(index: number): Worker {
  if (workers[index] === undefined) {
    workers[index] = new Worker(WORKER, { type: "module" });
    workers[index].postMessage({ token: claimToken(), table: livingMemory() });
  }
  return workers[index];
}

async function stress(
  options: {
    producers: number;
    consumers: number;
    count: number;
    maxBytes: number;
    capacity: number;
    maxItems: number;
  },
): Promise<void> {
  const { producers, consumers, count, maxBytes } = options;
  const ring = Ring.create({ ...options, initial: 512 });
  const seen = new SharedArrayBuffer(producers * count);
  const shared = new Int32Array(new SharedArrayBuffer(16));
  shared[0] = producers * count;
  const jobs: Promise<unknown>[] = [];
  for (let i = 0; i < producers + consumers; i++) {
    const job: Job = {
      memory: ring.memory,
      act: i < producers ? "put" : "take",
      producer: i,
      count,
      maxBytes,
      seen,
      shared: shared.buffer as SharedArrayBuffer,
    };
    const thread = worker(i);
    jobs.push(
      new Promise((resolve) => thread.onmessage = (e) => resolve(e.data)),
    );
    thread.postMessage({ job });
  }
  Atomics.store(shared, 2, 1);
  Atomics.notify(shared, 2);
  const how = await within(Promise.all(jobs), wordsOf(ring));
  const state = `words: ${wordsOf(ring)}`;
  assertEquals(how, jobs.map(() => "done"), state);
  assertEquals(shared[1], 0, state);
  assert(new Uint8Array(seen).every((n) => n === 1), state);
  assertEquals(ring.size, 0, state);
}

Deno.test("Ring loses and doubles nothing between threads", async (t) => {
  for (let i = 0; i < 4; i++) worker(i);
  // All of them have entered the program.
  await Promise.all(workers.map((w) =>
    new Promise((resolve) => {
      w.onmessage = resolve;
      w.postMessage({});
    })
  ));
  for (
    const [name, producers, consumers] of [
      ["spsc", 1, 1],
      ["mpsc", 2, 1],
      ["spmc", 1, 2],
      ["mpmc", 2, 2],
    ] as const
  ) {
    for (
      const [what, count, maxBytes, capacity, maxItems] of [
        ["integers", 40_000, 0, 1 << 20, 0],
        ["integers through 3 places", 3_000, 0, 1 << 20, 3],
        ["short messages", 8_000, 200, 1 << 20, 0],
        ["long messages in little room", 1_000, 2500, 6000, 0],
      ] as const
    ) {
      await t.step(
        `${name}, ${what}`,
        () =>
          stress({ producers, consumers, count, maxBytes, capacity, maxItems }),
      );
    }
  }
  for (const w of workers) w.terminate();
});

Deno.test("lengthOf() stays within its bounds", () => {
  for (let id = 0; id < 1000; id++) {
    const length = lengthOf(id, 100);
    assert(length >= 8 && length <= 100);
  }
});
