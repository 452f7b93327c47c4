import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { takeSent } from "../_handle.ts";
import { HANDLE } from "../_handle.ts";
import { bury, claimToken } from "../_life.ts";
import { pack, unpack } from "../_parcel.ts";
import { Connection, ConnectionClosedError, pipe } from "../pipe.ts";
import { Pool } from "../pool.ts";
import { Process } from "../process.ts";
import { Queue } from "../queue.ts";
import { Peer } from "./_ring_peers.ts";
import { DEADLINE, reaches, takesLess, within } from "./_within.ts";
import { seeded, sharedWords } from "./_words.ts";

const GONE = ConnectionClosedError;

// -- One thread -----------------------------------------------------------------

Deno.test("pipe() connects two ends in both directions", async () => {
  const [left, right] = pipe<unknown>();
  const next = seeded(5);
  const toRight: unknown[] = [];
  const toLeft: unknown[] = [];
  for (let i = 0; i < 2000; i++) {
    const [from, to, twin] = next(2) === 0
      ? [left, right, toRight] as const
      : [right, left, toLeft] as const;
    const value = [i, `text ${i}`, { i }, new Uint8Array(i * 10)][next(4)];
    if (next(2) === 0) {
      if (next(2) === 0) from.sendSync(value);
      else await from.send(value);
      twin.push(value);
    } else if (twin.length === 0) {
      assertEquals(await to.poll(), false);
    } else {
      assertEquals(to.pollSync(), true);
      assertEquals(
        next(2) === 0 ? to.recvSync() : await to.recv(),
        twin.shift(),
      );
    }
  }
});

Deno.test("pipe({ duplex: false }) gives a reader and a writer", async () => {
  const [reader, writer] = pipe<never, string>({ duplex: false });
  await writer.send("a");
  assertEquals(await reader.recv(), "a");
  const nothing = "b" as never;
  assertThrows(() => reader.sendSync(nothing), TypeError, "only receives");
  await assertRejects(() => reader.send(nothing), TypeError, "only receives");
  await assertRejects(
    () => reader.sendBytes(new Uint8Array(1)),
    TypeError,
    "only receives",
  );
  assertThrows(() => writer.recvSync(), TypeError, "only sends");
  await assertRejects(() => writer.recv(), TypeError, "only sends");
  await assertRejects(() => writer.poll(), TypeError, "only sends");
  assertThrows(() => writer.recvBytesSync(), TypeError, "only sends");
});

Deno.test("pipe() and Connection() refuse wrong use", () => {
  assertThrows(
    () => pipe({ duplex: 1 as unknown as boolean }),
    TypeError,
    "duplex",
  );
  assertThrows(() => new Connection(), TypeError, "pipe()");
});

Deno.test("Connection carries bytes as bytes", async () => {
  const [left, right] = pipe<unknown>();
  for (const size of [0, 1, 3, 512, 513, 8193, 5 << 20]) {
    const bytes = new Uint8Array(size + 2).map((_, i) => i);
    await left.sendBytes(bytes.subarray(1, size + 1));
    const got = await right.recvBytes();
    assertEquals(got.length, size);
    assertEquals(got.buffer.byteLength, size);
    assert(got.every((b, i) => b === ((i + 1) & 255)));
  }
  left.sendBytesSync(new Uint16Array([1, 258]));
  assertEquals(right.recvBytesSync(), new Uint8Array([1, 0, 2, 1]));
  left.sendBytesSync(new ArrayBuffer(2));
  assertEquals(right.recvSync(), new Uint8Array(2));
  left.sendSync("text");
  left.sendSync(1);
  assertThrows(() => right.recvBytesSync(), TypeError, "not bytes");
  await assertRejects(() => right.recvBytes(), TypeError, "not bytes");
  const wrong = "text" as unknown as Uint8Array;
  assertThrows(() => left.sendBytesSync(wrong), TypeError, "string");
  await assertRejects(() => left.sendBytes(wrong), TypeError, "string");
});

Deno.test("Connection sends shared bytes whole while another worker lets them grow", async () => {
  const memory = new SharedArrayBuffer(1 << 16, { maxByteLength: 1 << 25 });
  const words = sharedWords();
  const growing = new Process({
    target: (memory: SharedArrayBuffer, words: Int32Array) => {
      Atomics.store(words, 0, 1);
      while (Atomics.load(words, 0) === 1) {
        if (memory.byteLength < memory.maxByteLength) {
          memory.grow(memory.byteLength + 4096);
        }
        for (let i = 0; i < 50; i++) Atomics.pause();
      }
    },
    args: [memory, words],
  }).start();
  await within(reaches(words, 0, 1));
  const [left, right] = pipe<string, string>();
  for (let n = 0; n < 40; n++) {
    left.sendBytesSync(memory, { timeout: DEADLINE });
    assert(right.recvBytesSync({ timeout: DEADLINE }).length >= 1 << 16);
  }
  Atomics.store(words, 0, 2);
  left.sendSync("whole");
  assertEquals(right.recvSync({ timeout: DEADLINE }), "whole");
  await within(growing.join());
});

Deno.test("Connection refuses what cannot travel and goes on", async () => {
  const [left, right] = pipe<unknown>();
  await assertRejects(() => left.send(() => {}), DOMException);
  await assertRejects(() => left.send(new Queue()), TypeError);
  await assertRejects(() => left.send([right]), TypeError);
  assertThrows(() => left.sendSync(new SharedArrayBuffer(1)), TypeError);
  assertThrows(() => structuredClone(left), DOMException);
  await left.send("fine");
  assertEquals(await right.recv(), "fine");
});

Deno.test("Connection.close() lets the other end drain", async () => {
  const [left, right] = pipe<number>();
  await left.send(1);
  await left.send(2);
  left.close();
  left.close();
  assert(left.closed);
  assertEquals(await right.poll(), true);
  assertEquals(await right.recv(), 1);
  assertEquals(right.recvSync(), 2);
  assertEquals(await right.poll(), true);
  assertEquals(right.pollSync(), true);
  await assertRejects(() => right.recv(), GONE, "other end");
  assertThrows(() => right.recvSync(), GONE, "other end");
  await assertRejects(() => right.recvBytes(), GONE, "other end");
  await assertRejects(() => right.send(1), GONE, "other end");
  assertThrows(() => right.sendSync(1), GONE, "other end");
  await assertRejects(() => left.send(1), GONE, "this connection");
  assertThrows(() => left.recvSync(), GONE, "this connection");
  await assertRejects(() => left.poll(), GONE, "this connection");
  assertThrows(() => left[HANDLE](), GONE, "this connection");
});

Deno.test("Connection.close() ends what waits at both ends", async () => {
  const [left, right] = pipe<number>();
  const here = left.recv();
  const polled = left.poll({ timeout: DEADLINE });
  const there = right.recv();
  const seen = right.poll({ timeout: DEADLINE });
  left.close();
  await assertRejects(() => within(here), GONE, "this connection");
  await assertRejects(() => within(polled), GONE, "this connection");
  await assertRejects(() => within(there), GONE, "other end");
  assertEquals(await within(seen), true);
});

Deno.test("Connection.send() waits for room, and learns of the end", async () => {
  const [left, right] = pipe<Uint8Array>();
  const big = new Uint8Array(20 << 20);
  for (let i = 0; i < 3; i++) await left.send(big);
  await assertRejects(
    () => left.send(big, { timeout: 5 }),
    DOMException,
    "timed out",
  );
  const reason = new Error("enough");
  const controller = new AbortController();
  const aborted = left.send(big, { signal: controller.signal });
  const waiting = left.send(big);
  controller.abort(reason);
  assertStrictEquals(await aborted.catch((error) => error), reason);
  assertEquals((await right.recv()).length, 20 << 20);
  await within(waiting);
  const late = left.send(big);
  right.close();
  await assertRejects(() => within(late), GONE, "other end");
  await assertRejects(
    () => left.sendBytes(new Uint8Array(70 << 20)),
    GONE,
  );
});

Deno.test("Connection waits run out of time and are aborted", async () => {
  const [left, right] = pipe<number>();
  await assertRejects(() => left.recv({ timeout: 5 }), DOMException, "timed");
  assertThrows(() => left.recvSync({ timeout: 5 }), DOMException, "timed");
  assertEquals(await left.poll({ timeout: 5 }), false);
  assertEquals(left.pollSync({ timeout: 5 }), false);
  await assertRejects(() => left.recv({ timeout: -1 }), RangeError);
  await assertRejects(() => left.poll({ timeout: NaN }), RangeError);
  assertThrows(() => left.pollSync({ timeout: -1 }), RangeError);
  const reason = new Error("enough");
  const controller = new AbortController();
  const { signal } = controller;
  const waits = [
    left.recv({ signal }),
    left.recvBytes({ signal }),
    left.poll({ signal, timeout: DEADLINE }),
  ];
  controller.abort(reason);
  for (const wait of waits) {
    assertStrictEquals(await wait.catch((error) => error), reason);
  }
  await right.send(1);
  assertStrictEquals(await left.recv({ signal }).catch((e) => e), reason);
  assertEquals(await left.recv(), 1);
});

Deno.test("Connection tells its state", () => {
  const [reader, writer] = pipe({ duplex: false });
  writer.close();
  assertEquals(
    Deno.inspect(reader),
    "Connection { readable: true, writable: false, closed: false }",
  );
  assertEquals(
    Deno.inspect(writer),
    "Connection { readable: false, writable: true, closed: true }",
  );
});

// -- Ends per worker --------------------------------------------------------------

Deno.test("Connection copies in other workers stay open", async () => {
  const [left, right] = pipe<unknown>();
  using peer = new Peer("echo", [{ deep: [right] }.deep[0]]);
  right.close(); // counted before it was sent
  for (const value of [1, "two", { three: 3 }, new Uint8Array(3 << 20)]) {
    await left.send(value);
    assertEquals(await left.recv({ timeout: DEADLINE }), value);
  }
  assertEquals(await left.poll({ timeout: 20 }), false);
  left.close();
  assertEquals(await within(peer.done), 4);
});

Deno.test("Connection ends when the worker that has the other end dies", async () => {
  await takesLess(500, async () => {
    const [left, right] = pipe<unknown>();
    const holding = sharedWords();
    const peer = new Peer("hold", [[right], holding]);
    right.close();
    await reaches(holding, 0, 1);
    const waiting = left.recv();
    assertEquals(left.pollSync({ timeout: 20 }), false);
    peer.kill();
    const begin = performance.now();
    await assertRejects(() => within(waiting), GONE, "other end");
    const took = performance.now() - begin;
    await assertRejects(() => left.send(1), GONE, "other end");
    return took;
  });
});

Deno.test("Connection ends when the worker that has the other end is stopped, though it spins", async () => {
  const [here, there] = pipe<number, number>();
  const words = sharedWords(2);
  await using pool = new Pool(1);
  const stopping = new AbortController();
  const done = pool.apply(
    (end: Connection<number, number>, words: Int32Array) => {
      end.sendSync(1);
      while (Atomics.load(words, 0) === 0);
    },
    [there, words],
    { signal: stopping.signal },
  );
  there.close();
  assertEquals(await within(here.recv()), 1);
  stopping.abort(new Error("enough"));
  await assertRejects(() => within(done), Error, "enough");
  try {
    await assertRejects(() => within(here.recv()), GONE);
    await assertRejects(() => within(here.send(2)), GONE);
  } finally {
    Atomics.store(words, 0, 1); // it spins no longer than it has to
  }
});

Deno.test("Connection of one's own keeps the stream open", async () => {
  const [left, right] = pipe<unknown>();
  using peer = new Peer("stream", [right, 3], true);
  await within(peer.done);
  for (let i = 0; i < 3; i++) {
    assertEquals(await left.recv({ timeout: DEADLINE }), i);
  }
  assertEquals(await left.poll({ timeout: 60 }), false);
  right.close();
  await assertRejects(() => left.recv(), GONE);
});

Deno.test("Connection that came with a task closes when that settles", async () => {
  const [reader, writer] = pipe<never, number>({ duplex: false });
  using peer = new Peer("stream", [writer, 1000], true);
  writer.close();
  let count = 0;
  try {
    while (true) {
      assertEquals(await reader.recv({ timeout: DEADLINE }), count);
      count++;
    }
  } catch (error) {
    assert(error instanceof GONE, String(error));
  }
  assertEquals(count, 1000);
  await within(peer.done);
});

Deno.test("Connection deliveries that are dropped are taken back", async () => {
  const [left, right] = pipe<unknown>();
  pack([right, { again: right }]);
  const sent = takeSent();
  assertEquals(sent.length, 1);
  right.close();
  assertEquals(await left.poll(), false);
  sent[0]!.again();
  sent[0]!.takeBack();
  assertEquals(await left.poll(), false);
  sent[0]!.takeBack();
  assertEquals(await left.poll(), true);
  await assertRejects(() => left.recv(), GONE);
});

Deno.test("Connection in a task that comes to nothing is let go of", async () => {
  await using pool = new Pool(1);
  const outer = 1;
  const unsendable = () => {};
  const shared = new SharedArrayBuffer(8) as unknown as Transferable;
  const calls = [
    (end: unknown) => pool.apply((_: unknown) => outer, [end]),
    (end: unknown) => pool.apply(() => 1, [end, unsendable] as never),
    (end: unknown) =>
      pool.apply(() => 1, [end] as never, { transfer: [shared] }),
  ];
  for (const call of calls) {
    const [left, right] = pipe<unknown>();
    await assertRejects(() => within(call(right)));
    right.close();
    await assertRejects(() => left.recv({ timeout: DEADLINE }), GONE);
  }
});

Deno.test("Connection in a result stays open when the next cannot be sent", async () => {
  await using pool = new Pool(1);
  const [left, right] = pipe<unknown>();
  await within(pool.apply(() => {}));
  const back = pool.apply((end: typeof right) => end, [right]);
  const refused = pool.apply(() => () => {});
  right.close();
  // Nothing arrives here meanwhile: only what is under way holds the other end.
  assertEquals(left.pollSync({ timeout: 100 }), false);
  await assertRejects(() => within(refused), DOMException);
  await (await within(back)).send("hello");
  assertEquals(await left.recv({ timeout: DEADLINE }), "hello");
  left.close();
});

Deno.test("Connection that comes back is the same and open again", async () => {
  const [left, right] = pipe<unknown>();
  const parcel = pack(right);
  right.close();
  const back = await unpack(parcel);
  assertStrictEquals(back, right);
  assert(!right.closed);
  await right.send("hello");
  assertEquals(await left.recv(), "hello");
  right.close();
  await assertRejects(() => left.recv(), GONE);
});

Deno.test("Connection sent by a worker that died arrives or is given up", async () => {
  await takesLess(3000, async () => {
    const [left, right] = pipe<unknown>();
    // As if a thread had sent it: its entry in the table of holders.
    const words = new Int32Array(right[HANDLE]().parts[0] as SharedArrayBuffer);
    for (const sent of takeSent()) sent.takeBack();
    const token = claimToken();
    const entry = 16 + 4 * (token & 4095);
    words[entry + 1] = ((token >>> 12) & 0xfff) << 20 | 1;
    words[entry + 2] = token;
    words[0] = entry + 4;
    right.close();
    assertEquals(await left.poll(), false);
    bury(token);
    assertEquals(await left.poll(), false);
    const begin = performance.now();
    await assertRejects(() => within(left.recv()), GONE);
    return performance.now() - begin;
  });
});

Deno.test("Connection passes a stream between two workers", async () => {
  const [a, b] = pipe<unknown>();
  using echo = new Peer("echo", [a]);
  using stream = new Peer("stream", [b, 500]);
  a.close();
  await within(stream.done);
  for (let i = 0; i < 500; i++) {
    assertEquals(b.recvSync({ timeout: DEADLINE }), i);
  }
  b.close();
  assertEquals(await b.recv().catch((error) => error.name), GONE.name);
  stream.kill();
  assertEquals(await within(echo.done), 500);
});
