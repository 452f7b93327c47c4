import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import { delay } from "@std/async";
import { ConnectionClosedError, WorkerError } from "../errors.ts";
import { Lock } from "../lock.ts";
import { pipe } from "../pipe.ts";
import { Pool, type Progress } from "../pool.ts";
import { runSource } from "./_child.ts";
import { range, square } from "./_numbers.ts";
import { longEnough, reaches, rejection, until, within } from "./_within.ts";
import { sharedWords } from "./_words.ts";

/** How far ahead of its consumer an imap may read, at most. */
const LOOK_AHEAD = 200;

const kinds = ["imap", "imapUnordered"] as const;

/** An input that tells how much of it was read, and whether it was closed. */
class Counted {
  read = 0;
  closed = 0;

  *naturals(end = Infinity): Generator<number> {
    try {
      while (this.read < end) yield this.read++;
    } finally {
      this.closed++;
    }
  }

  async *later(end = Infinity): AsyncGenerator<number> {
    try {
      while (this.read < end) {
        if (this.read % 8 === 7) {
          await delay(1);
        }
        yield this.read++;
      }
    } finally {
      this.closed++;
    }
  }
}

Deno.test("imap() gives results in the order of the input", async () => {
  await using pool = new Pool(3);
  const uneven = async (n: number) => {
    await new Promise((resolve) => setTimeout(resolve, (n * 5) % 11));
    return n * n;
  };
  for (const chunkSize of [undefined, 1, 4]) {
    const values = await within(
      Array.fromAsync(pool.imap(uneven, range(30), { chunkSize })),
    );
    assertEquals(values, range(30).map(square));
  }
});

Deno.test("imapUnordered() gives each result once, as it comes", async () => {
  await using pool = new Pool(2);
  const words = sharedWords();
  const target = ([n, words]: [number, Int32Array]) => {
    // The first waits until the last has been consumed.
    while (n === 0 && Atomics.load(words, 0) === 0) {
      Atomics.wait(words, 0, 0, 5);
    }
    return n;
  };
  const seen: number[] = [];
  const items = range(20).map((n): [number, Int32Array] => [n, words]);
  await within((async () => {
    for await (const n of pool.imapUnordered(target, items)) {
      seen.push(n);
      if (seen.length === 19) Atomics.store(words, 0, 1);
    }
  })());
  assertEquals(seen.at(-1), 0);
  assertEquals(seen.toSorted((a, b) => a - b), range(20));
});

for (const kind of kinds) {
  for (const input of ["naturals", "later"] as const) {
    Deno.test(`${kind}() over endless ${input}() reads a bounded way ahead, and break closes it`, async () => {
      await using pool = new Pool(2);
      const counted = new Counted();
      let consumed = 0;
      await within((async () => {
        for await (const _ of pool[kind](square, counted[input]())) {
          consumed++;
          assert(counted.read - consumed < LOOK_AHEAD, `${counted.read} read`);
          if (consumed === 300) break;
        }
      })());
      assertEquals(counted.closed, 1);
      const { read } = counted;
      assertEquals(await within(pool.apply(square, [3])), 9);
      assertEquals(counted.read, read);
      assert(pool.stats.queued === 0);
    });
  }

  Deno.test(`${kind}() does not read on while nobody consumes`, async () => {
    await using pool = new Pool(2);
    const counted = new Counted();
    const stream = pool[kind](square, counted.naturals());
    await within(stream.next());
    await until(() => pool.stats.running + pool.stats.queued === 0);
    const { read } = counted;
    assert(read < LOOK_AHEAD);
    await within(pool.map(square, range(100)));
    assertEquals(counted.read, read);
    await stream.return!();
    assertEquals(counted.closed, 1);
  });

  Deno.test(`${kind}() of nothing ends at once`, async () => {
    await using pool = new Pool(1);
    assertEquals(await within(Array.fromAsync(pool[kind](square, []))), []);
    const stream = pool[kind](square, (async function* () {})());
    for (let i = 0; i < 2; i++) {
      assertEquals(await within(stream.next()), {
        done: true,
        value: undefined,
      });
    }
  });

  Deno.test(`${kind}() takes any iterable, and is one`, async () => {
    await using pool = new Pool(2);
    const sorted = async (stream: AsyncIterable<unknown>) =>
      (await within(Array.fromAsync(stream))).sort();
    assertEquals(await sorted(pool[kind](square, new Set([1, 2]))), [1, 4]);
    const double = (s: string) => s + s;
    assertEquals(await sorted(pool[kind](double, "ab")), ["aa", "bb"]);
    const stream = pool[kind](square, [3]);
    assertStrictEquals(stream[Symbol.asyncIterator](), stream);
    assertEquals(await sorted(stream), [9]);
  });

  Deno.test(`${kind}() answers several next() calls made at once`, async () => {
    await using pool = new Pool(2);
    const stream = pool[kind](square, range(5));
    const answers = await within(
      Promise.all(range(7).map(() => stream.next())),
    );
    assertEquals(
      answers.map(({ done }) => done),
      [false, false, false, false, false, true, true],
    );
    const values = answers.slice(0, 5).map(({ value }) => value as number);
    assertEquals(values.sort((a, b) => a - b), range(5).map(square));
  });

  Deno.test(`${kind}() refuses what is not iterable and what is no function`, async () => {
    await using pool = new Pool(1);
    const drain = async (target: unknown, items: unknown) => {
      const stream = pool[kind](
        target as typeof square,
        items as Iterable<number>,
      );
      for await (const _ of stream) { /* nothing comes */ }
    };
    for (const items of [undefined, null, 5, {}]) {
      await assertRejects(() => drain(square, items), TypeError);
    }
    for (const target of [undefined, null, 5, "f", Math.max]) {
      await assertRejects(() => drain(target, [1]), TypeError);
    }
    const options = { chunkSize: 0 };
    await assertRejects(
      async () => {
        await Array.fromAsync(pool[kind](square, [1], options));
      },
      RangeError,
    );
  });

  Deno.test(`${kind}() that fails in the middle rejects, ends, closes its input, and the pool goes on`, async () => {
    await using pool = new Pool(1);
    const counted = new Counted();
    const seen: number[] = [];
    const stream = pool[kind]((n: number) => {
      if (n === 5) throw new RangeError("five");
      return n;
    }, counted.naturals());
    const error = await rejection((async () => {
      for await (const n of stream) seen.push(n);
    })());
    assertInstanceOf(error, RangeError);
    assertEquals(error.message, "five");
    assertEquals(seen, [0, 1, 2, 3, 4]);
    assertEquals(counted.closed, 1);
    assertEquals(await within(stream.next()), { done: true, value: undefined });
    assertEquals(await within(pool.apply(square, [3])), 9);
  });

  Deno.test(`${kind}() rejects with the error of its input, after the results before it`, async () => {
    await using pool = new Pool(1);
    function* failing() {
      yield 1;
      yield 2;
      throw new RangeError("input");
    }
    async function* failingLater() {
      yield* failing();
    }
    for (const input of [failing(), failingLater()]) {
      const seen: number[] = [];
      const error = await rejection((async () => {
        for await (const n of pool[kind](square, input)) seen.push(n);
      })());
      assertInstanceOf(error, RangeError);
      assertEquals(seen, [1, 4]);
    }
  });

  Deno.test(`${kind}() whose worker dies rejects with a WorkerError`, async () => {
    await using pool = new Pool(1);
    const error = await rejection((async () => {
      const target = (n: number) => n === 2 ? Deno.exit(8) : n;
      for await (const _ of pool[kind](target, range(5)));
    })());
    assertInstanceOf(error, WorkerError);
    assertEquals(error.exitCode, 8);
    assertEquals(await within(pool.apply(square, [3])), 9);
  });

  Deno.test(`${kind}() that times out rejects with a TimeoutError`, async () => {
    await using pool = new Pool(1);
    const words = sharedWords();
    const target = ([n, words]: [number, Int32Array]) => {
      while (n === 1 && Atomics.load(words, 0) === 0) {
        Atomics.wait(words, 0, 0, 5);
      }
      return n;
    };
    const items = [0, 1, 2].map((n): [number, Int32Array] => [n, words]);
    await within(pool.apply(square, [1])); // its start is not what is limited
    await longEnough(async (timeout) => {
      const stream = pool[kind](target, items, { timeout });
      const first = await within(stream.next().catch(() => undefined));
      if (first === undefined) return false;
      assertEquals(first, { done: false, value: 0 });
      assertEquals((await rejection(stream.next())).name, "TimeoutError");
      assertEquals(await within(stream.next()), {
        done: true,
        value: undefined,
      });
      return true;
    });
    assertEquals(await within(pool.apply(square, [3])), 9);
    Atomics.store(words, 0, 1);
  });

  Deno.test(`${kind}() that is aborted rejects with the reason, pending or later`, async () => {
    await using pool = new Pool(1);
    const reason = new Error("enough");
    async function* stuck() {
      yield 1;
      await new Promise(() => {});
    }
    for (const pending of [true, false]) {
      const controller = new AbortController();
      const { signal } = controller;
      const stream = pool[kind](square, stuck(), { signal });
      assertEquals(await within(stream.next()), { done: false, value: 1 });
      const next = pending ? stream.next() : undefined;
      controller.abort(reason);
      assertStrictEquals(await rejection(next ?? stream.next()), reason);
      assertEquals((await within(stream.next())).done, true);
    }
    assertEquals(await within(pool.apply(square, [3])), 9);
  });

  Deno.test(`${kind}() reports progress, with the total as soon as it is known`, async () => {
    await using pool = new Pool(1);
    const seen: Progress[] = [];
    const onProgress = (progress: Progress) => void seen.push(progress);
    await within(Array.fromAsync(pool[kind](square, range(3), { onProgress })));
    assertEquals(seen, [1, 2, 3].map((completed) => ({ completed, total: 3 })));
    seen.length = 0;
    const stream = pool[kind](square, new Counted().naturals(), { onProgress });
    for (let i = 0; i < 5; i++) await within(stream.next());
    assertEquals(seen[0], { completed: 1, total: undefined });
    await stream.return!();
  });

  Deno.test(`${kind}() carries locks and shared arrays`, async () => {
    await using pool = new Pool(2);
    const lock = new Lock();
    const words = sharedWords();
    const target = ([lock, words]: [Lock, Int32Array]) => {
      using _ = lock.acquireSync();
      words[0] = words[0]! + 1;
      return { lock };
    };
    const items = range(20).map((): [Lock, Int32Array] => [lock, words]);
    await within((async () => {
      for await (const result of pool[kind](target, items)) {
        assertStrictEquals(result.lock, lock);
      }
    })());
    assertEquals(words[0], 20);
  });

  Deno.test(`${kind}() left by throw, return() or disposal cancels what has not started`, async () => {
    await using pool = new Pool(1);
    const words = sharedWords();
    const target = (words: Int32Array) => {
      Atomics.add(words, 0, 1);
      while (Atomics.load(words, 1) === 0) Atomics.wait(words, 1, 0, 5);
    };
    const items = range(10).map(() => words);
    const left = pool[kind](target, items);
    await reaches(words, 0, 1);
    const pending = left.next();
    assertEquals((await within(left.return!("bye"))).value, "bye");
    assertEquals((await within(pending)).done, true);
    Atomics.store(words, 1, 1);
    assertEquals(await within(pool.apply(square, [3])), 9);
    assertEquals(words[0], 1);

    const counted = new Counted();
    await assertRejects(
      async () => {
        for await (const _ of pool[kind](square, counted.naturals())) {
          throw new SyntaxError("mine");
        }
      },
      SyntaxError,
      "mine",
    );
    assertEquals(counted.closed, 1);

    const disposed = new Counted();
    {
      await using stream = pool[kind](square, disposed.naturals()) as
        & AsyncIterableIterator<number>
        & AsyncDisposable;
      await within(stream.next());
    }
    assertEquals(disposed.closed, 1);
  });

  Deno.test(`${kind}() that is left while its input never answers does not hang`, async () => {
    await using pool = new Pool(1);
    async function* stuck() {
      yield 1;
      await new Promise(() => {});
    }
    await within((async () => {
      for await (const _ of pool[kind](square, stuck())) break;
    })());
  });

  Deno.test(`${kind}() of a pool that is closed meanwhile gives all its results`, async () => {
    const pool = new Pool(1);
    const seen: number[] = [];
    await within((async () => {
      for await (const n of pool[kind](square, range(100))) {
        if (seen.push(n) === 1) pool.close();
      }
    })());
    assertEquals(seen, range(100).map(square));
    await within(pool.join());
  });

  Deno.test(`${kind}() nobody consumes does not keep join() from resolving`, async () => {
    const pool = new Pool(1);
    const known = pool[kind](square, range(100));
    pool[kind](square, new Counted().naturals());
    async function* stuck() {
      yield 1;
      await new Promise(() => {});
    }
    pool[kind](square, stuck());
    pool.close();
    await within(pool.join());
    // What was accepted was done.
    const values = await within(Array.fromAsync(known));
    assertEquals(values, range(100).map(square));
  });
}

for (const kind of kinds) {
  for (const how of ["in a loop", "by hand"]) {
    Deno.test(`${kind}() that is read ${how} while its pool is joined gives all its results`, async () => {
      const pool = new Pool(2);
      const seen: number[] = [];
      const stream = pool[kind](square, new Counted().naturals(300));
      async function byHand() {
        while (true) {
          const { done, value } = await stream.next();
          if (done) return;
          seen.push(value);
        }
      }
      async function inLoop() {
        for await (const value of stream) {
          seen.push(value);
          if (seen.length % 50 === 1) {
            await delay(1);
          }
        }
      }
      const read = how === "by hand" ? byHand() : inLoop();
      pool.close();
      await within(pool.join());
      await within(read);
      assertEquals(seen.sort((a, b) => a - b), range(300).map(square));
    });
  }

  Deno.test(`${kind}() that is not read on keeps its pool from being joined until who asked has got it`, async () => {
    const pool = new Pool(1);
    const counted = new Counted();
    const stream = pool[kind](square, counted.naturals());
    const first = stream.next();
    pool.close();
    await within(pool.join());
    assertEquals(await within(first), { done: false, value: 0 });
    assertEquals(counted.closed, 1);
    // What was read of the input was done.
    const error = await rejection((async () => {
      for await (const _ of stream);
    })());
    assertStringIncludes(error.message, "was not read to the end");
  });
}

Deno.test("A pool that is joined in the loop that reads it, or whose loop is never gone on with, is joined", async () => {
  const pool = new Pool(1);
  const seen: number[] = [];
  const error = await rejection((async () => {
    for await (const n of pool.imap(square, new Counted().naturals())) {
      if (seen.push(n) > 1) continue;
      pool.close();
      await within(pool.join());
    }
  })());
  assertStringIncludes(error.message, "was not read to the end");
  assertEquals(seen, range(seen.length).map(square));

  const other = new Pool(1);
  const counted = new Counted();
  async function* wrapped() {
    for await (const n of other.imap(square, counted.naturals())) yield n;
  }
  assertEquals(await within(wrapped().next()), { done: false, value: 0 });
  other.close();
  await within(other.join());
  assertEquals(counted.closed, 1);
});

Deno.test("A program waits for the end of a pool whose input pauses", async () => {
  const { code, stdout } = await runSource(`
    import { Pool } from "@parallel/multiprocessing";
    async function* slowly() {
      for (let n = 0; n < 3; n++) {
        yield n;
        await new Promise((resolve) => setTimeout(resolve, 300));
      }
    }
    async function main() {
      let results;
      {
        await using pool = new Pool(1);
        results = pool.map((n: number) => n, slowly());
      }
      console.log(await results);
      const pool = new Pool(1);
      const loop = (async () => {
        for await (const n of pool.imap((n: number) => n, slowly())) console.log(n);
      })();
      await new Promise((resolve) => setTimeout(resolve, 100));
      pool.close();
      await pool.join();
      await loop;
      console.log("end");
    }
    main();
  `);
  assertEquals([code, stdout], [0, "[ 0, 1, 2 ]\n0\n1\n2\nend\n"]);
});

Deno.test("An input that ends its pool is closed, once, when it can be", async () => {
  for (const kind of kinds) {
    const pool = new Pool(1);
    const counted = new Counted();
    const stream = pool[kind](
      square,
      function* () {
        try {
          yield 1;
          pool.terminate();
          yield 2;
        } finally {
          counted.closed++;
        }
      }(),
    );
    assertEquals((await rejection(Array.fromAsync(stream))).name, "AbortError");
    assertEquals(counted.closed, 1);

    const other = new Pool(1);
    let closed = 0;
    other[kind](square, {
      next: () => ({ done: false, value: 1 }),
      return() {
        closed++;
        other.terminate();
        return { done: true, value: undefined };
      },
      [Symbol.iterator]() {
        return this as unknown as Iterator<number>;
      },
    } as unknown as Iterable<number>);
    other.terminate();
    assertEquals(closed, 1);
  }
});

Deno.test("imap() with a slow consumer gets everything, in bounded memory", async () => {
  await using pool = new Pool(2);
  const counted = new Counted();
  let sum = 0;
  let consumed = 0;
  await within((async () => {
    for await (
      const bytes of pool.imap(
        (n: number) => new Uint8Array(10_000).fill(n),
        counted.naturals(300),
      )
    ) {
      sum += bytes[0]!;
      assert(counted.read - ++consumed < LOOK_AHEAD);
      if (consumed % 16 === 0) {
        await delay(1);
      }
    }
  })());
  assertEquals(counted.read, 300);
  assertEquals(sum, range(300).reduce((total, n) => total + n % 256, 0));
});

Deno.test("imap() over 30 000 items keeps up with its consumer", async () => {
  await using pool = new Pool(2);
  const counted = new Counted();
  let next = 0;
  await within((async () => {
    for await (
      const value of pool.imap(square, counted.naturals(30_000), {
        chunkSize: 50,
      })
    ) {
      assertStrictEquals(value, next * next);
      next++;
    }
  })());
  assertEquals(next, 30_000);
  assertEquals(counted.closed, 1);
});

Deno.test("Two imaps and a map share a pool", async () => {
  await using pool = new Pool(2);
  const [a, b, c] = await within(Promise.all([
    Array.fromAsync(pool.imap(square, range(200))),
    Array.fromAsync(pool.imapUnordered(square, range(200))),
    pool.map(square, range(200), { chunkSize: 1 }),
  ]));
  assertEquals(a, range(200).map(square));
  assertEquals(b.sort((x, y) => x - y), a);
  assertEquals(c, a);
});

Deno.test("Input whose next() gives no object rejects, as it does in for await", async () => {
  await using pool = new Pool(1);
  const next = () => 5 as unknown as IteratorResult<number>;
  const inputs: AsyncIterable<number>[] = [
    { [Symbol.asyncIterator]: () => ({ next: () => Promise.resolve(next()) }) },
    { [Symbol.iterator]: () => ({ next }) } as unknown as AsyncIterable<number>,
  ];
  const same = (n: number) => n;
  for (const input of inputs) {
    await assertRejects(() => within(pool.map(same, input)), TypeError, "5");
    const results = pool.imap(same, input);
    await assertRejects(() => within(results.next()), TypeError, "5");
  }
});

Deno.test("A connection among results that nobody gets is closed", async () => {
  await using pool = new Pool(1);
  const same = <T>(value: T) => value;
  const fail = (item: unknown) => {
    if (item === null) throw new RangeError("expected");
    return item;
  };
  const ways: ((item: unknown) => Promise<unknown>)[] = [
    (item) => rejection(pool.map(fail, [item, null], { chunkSize: 1 })),
    async (item) => {
      const { completed } = pool.stats;
      const stream = pool.imap(fail, [0, item]);
      await stream.next();
      await until(() => pool.stats.completed === completed + 2);
      await stream.return!();
    },
    (item) =>
      rejection(pool.apply(same, [item], {
        onProgress: () => {
          throw new RangeError("expected");
        },
      })),
    (item) =>
      rejection(pool.map(same, [item], {
        onProgress: () => {
          throw new RangeError("expected");
        },
      })),
  ];
  for (const way of ways) {
    const [ours, theirs] = pipe();
    const over = way(theirs);
    theirs.close();
    await within(over);
    await assertRejects(() => within(ours.recv()), ConnectionClosedError);
  }
});

Deno.test("An error of the input is thrown once", async () => {
  await using pool = new Pool(1);
  function* failing() {
    yield 1;
    throw new RangeError("expected: input");
  }
  for (const kind of kinds) {
    const results = pool[kind](square, failing());
    assertEquals(await within(results.next()), { done: false, value: 1 });
    assertInstanceOf(await rejection(results.next()), RangeError);
    for (let i = 0; i < 2; i++) {
      const over = await within(results.next());
      assertEquals(over, { done: true, value: undefined });
    }
  }
});

Deno.test("A timeout does not keep the program alive for an imap that nobody reads on", async () => {
  const result = await runSource(`
    import { Pool } from "@parallel/multiprocessing";
    const square = (n) => n * n;
    function* naturals() {
      for (let n = 0;; n++) yield n;
    }
    const options = { timeout: 2 ** 30 };
    const closed = new Pool(1);
    const all = closed.imap(square, [1, 2], options);
    console.log((await all.next()).value, (await all.next()).value);
    closed.close();
    await closed.join();
    const terminated = new Pool(1);
    console.log((await terminated.imap(square, [3], options).next()).value);
    terminated.terminate();
    const forgotten = new Pool(1).imap(square, naturals(), options);
    await forgotten.next();
    console.log("end", (await forgotten.next()).value);
  `);
  assertEquals(result.stdout, "1 4\n9\nend 1\n");
  assertEquals([result.code, result.stderr], [0, ""]);
});
