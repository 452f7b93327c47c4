import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { decode, encode, Reader, Writer } from "../_codec.ts";
import { memoryId } from "../_handle.ts";
import { describeThrown, packThrown, unpackThrown } from "../_thrown.ts";
import { Barrier } from "../barrier.ts";
import {
  BrokenBarrierError,
  ConnectionClosedError,
  QueueClosedError,
  WorkerError,
} from "../errors.ts";
import { Lock } from "../lock.ts";
import { type Connection, pipe } from "../pipe.ts";
import { Pool } from "../pool.ts";
import { Process } from "../process.ts";
import { Queue } from "../queue.ts";
import { rejection, within } from "./_within.ts";
import { sharedWords } from "./_words.ts";

function trip(
  value: unknown,
  callerStack?: string,
): Error & Record<string, unknown> {
  const w = new Writer();
  const shared = new Set<SharedArrayBuffer>();
  encode(w, packThrown(value), { shared });
  const data = decode(
    new Reader(w.bytes, 0, w.length, w.blobs.map((blob) => blob.slice())),
    { memories: new Map(Array.from(shared, (m) => [memoryId(m), m])) },
  );
  const caller = callerStack === undefined ? {} : { stack: callerStack };
  const error = unpackThrown(data, caller);
  assertInstanceOf(error, Error);
  return error as Error & Record<string, unknown>;
}

class HttpError extends RangeError {
  override name = "HttpError";
  status = 404;
  retry = (): void => {};
}

const SAME_CLASS: Error[] = [
  new Error("m"),
  new TypeError("m"),
  new RangeError("m"),
  new SyntaxError("m"),
  new ReferenceError("m"),
  new EvalError("m"),
  new URIError("m"),
  new AggregateError([], "m"),
  new SuppressedError(1, 2, "m"),
  new Deno.errors.NotFound("m"),
  new Deno.errors.PermissionDenied("m"),
  new WorkerError("m", { exitCode: 3 }),
  new QueueClosedError("m"),
  new ConnectionClosedError("m"),
  new BrokenBarrierError("m"),
  new DOMException("m", "TimeoutError"),
];

for (const error of SAME_CLASS) {
  Deno.test(`unpackThrown() gives back the class of a ${error.constructor.name}`, () => {
    const result = trip(error);
    assertStrictEquals(
      Object.getPrototypeOf(result),
      Object.getPrototypeOf(error),
    );
    assertEquals([result.name, result.message], [error.name, "m"]);
    assertEquals({ ...result }, { ...error } as Record<string, unknown>);
    assertEquals(result.stack, error.stack);
  });
}

Deno.test("the exported errors are named after their classes", () => {
  for (
    const E of [
      WorkerError,
      QueueClosedError,
      ConnectionClosedError,
      BrokenBarrierError,
    ]
  ) {
    const error = new E("m", { cause: 1 });
    assertEquals([error.name, error.message, error.cause], [E.name, "m", 1]);
    assertEquals(Object.hasOwn(error, "name"), false);
    assert(error.stack!.startsWith(`${E.name}: m\n`), error.stack);
  }
  assertEquals(new WorkerError("m", { exitCode: -9 }).exitCode, -9);
  assertEquals(new WorkerError("m").exitCode, undefined);
});

Deno.test("Errors of quotas, of WebAssembly and of other contexts keep their class", async () => {
  await using pool = new Pool(1);
  const quota = await rejection(
    pool.apply(() => void crypto.getRandomValues(new Uint8Array(70_000))),
  );
  const QuotaExceeded = (globalThis as unknown as {
    QuotaExceededError: new () => DOMException;
  }).QuotaExceededError;
  assertInstanceOf(quota, QuotaExceeded);
  const values = new (QuotaExceeded as unknown as new (
    message: string,
    values: { quota: number; requested: number },
  ) => Error)("m", { quota: 1, requested: 2 });
  const { quota: most, requested } = unpackThrown(packThrown(values)) as {
    quota?: number;
    requested?: number;
  };
  assertEquals([most, requested], [1, 2]);

  const compile = await rejection(
    pool.apply(() => void new WebAssembly.Module(new Uint8Array(3))),
  );
  assertInstanceOf(compile, WebAssembly.CompileError);

  const foreign = await rejection(pool.apply(async () => {
    const { runInNewContext } = await import("node:vm");
    runInNewContext("throw new RangeError('from elsewhere')");
  }));
  assertInstanceOf(foreign, RangeError);
  assertEquals(foreign.message, "from elsewhere");
});

Deno.test("unpackThrown() gives a DOMException its code", () => {
  const result = trip(new DOMException("late", "TimeoutError"));
  assertEquals([result.name, result["code"]], ["TimeoutError", 23]);
});

Deno.test("unpackThrown() gives the nearest built-in class for a user's own, with name and data", () => {
  const result = trip(new HttpError("gone"));
  assertStrictEquals(Object.getPrototypeOf(result), RangeError.prototype);
  assertEquals([result.name, result.message, result["status"]], [
    "HttpError",
    "gone",
    404,
  ]);
  assertEquals(Object.keys(result), ["name", "status"]);
});

Deno.test("unpackThrown() gives back causes, also those that lead back", () => {
  const inner = new HttpError("inner");
  const outer = new TypeError("outer", { cause: inner });
  inner.cause = outer;
  const result = trip(outer);
  assertInstanceOf(result.cause, RangeError);
  assertStrictEquals(result.cause.cause, result);
  assertEquals(trip(new Error("m", { cause: { a: [1n] } })).cause, { a: [1n] });
  assert(Object.hasOwn(trip(new Error("m", { cause: undefined })), "cause"));
  assertEquals(Object.hasOwn(trip(new Error("m")), "cause"), false);
});

Deno.test("unpackThrown() gives back errors among the data as they were thrown, and each once", () => {
  const inner = new HttpError("inner");
  const error = Object.assign(new TypeError("outer", { cause: inner }), {
    inner,
    all: [inner, new TypeError("other")],
    status: 500,
  });
  Object.assign(error, { self: error });
  const result = trip(error);
  assertInstanceOf(result["inner"], RangeError);
  assertEquals(Object.entries(result["inner"]), [
    ["name", "HttpError"],
    ["status", 404],
  ]);
  assertStrictEquals(result["inner"], result.cause);
  assertStrictEquals(result["self"], result);
  const [first, second] = result["all"] as Error[];
  assertStrictEquals(first, result["inner"]);
  assertInstanceOf(second, TypeError);
  assertEquals(Object.keys(result).sort(), ["all", "inner", "self", "status"]);
});

Deno.test("unpackThrown() gives back the errors of an AggregateError", () => {
  const errors = [
    new HttpError("a"),
    "text",
    new DOMException("b", "AbortError"),
  ];
  const result = trip(
    new AggregateError(errors, "all"),
  ) as unknown as AggregateError;
  assertEquals(result.errors.map((item) => item.name ?? item), [
    "HttpError",
    "text",
    "AbortError",
  ]);
  assertInstanceOf(result.errors[2], DOMException);
});

Deno.test("unpackThrown() shows the worker's frames and then the caller's", () => {
  const error = new Error("m");
  error.stack = "Error: m\n    at worker (file:///w.ts:1:1)";
  const result = trip(
    error,
    "Error: not shown\n    at caller (file:///c.ts:2:2)\n    at main",
  );
  assertEquals(
    result.stack,
    "Error: m\n    at worker (file:///w.ts:1:1)\n    at caller (file:///c.ts:2:2)\n    at main",
  );
});

Deno.test("A worker's stack tells where in the function, and not how that was called", async () => {
  function outer(n: number): number {
    function inner(): number {
      if (n > 0) throw new RangeError("too much");
      return n;
    }
    return inner();
  }
  function caller(pool: Pool): Promise<number[]> {
    return pool.map(outer, [1]);
  }
  await using pool = new Pool(1);
  const { stack } = await rejection(caller(pool));
  const frames = stack!.split("\n").slice(1, 4).map((line) => line.trim());
  assertMatch(frames[0]!, /^at inner \(function:outer, <anonymous>:3:\d+\)$/);
  assertMatch(frames[1]!, /^at outer \(function:outer, <anonymous>:6:\d+\)$/);
  assertMatch(frames[2]!, /^at caller \(.*thrown_test\.ts:\d+:\d+\)$/);
});

Deno.test("unpackThrown() wraps what is no error in a WorkerError", () => {
  for (const value of [42, "text", null, undefined, { a: 1 }]) {
    const result = trip(value, "Error\n    at caller (file:///c.ts:2:2)");
    assertInstanceOf(result, WorkerError);
    assertEquals(result.cause, value);
    assertEquals(
      result.message,
      `Worker threw a non-error: ${Deno.inspect(value)}`,
    );
    assert(result.stack!.endsWith("\n    at caller (file:///c.ts:2:2)"));
  }
  assertEquals(trip(Symbol("s")).cause, "Symbol(s)");
});

Deno.test("packThrown() leaves out what cannot be sent", () => {
  const error = Object.assign(new Error("m", { cause: () => {} }), {
    good: new Map([[1, 2]]),
    fn: () => {},
    nested: { promise: Promise.resolve() },
  });
  const result = trip(error);
  assertEquals(Object.keys(result), ["good"]);
  assertEquals(result["good"], new Map([[1, 2]]));
  assertEquals(typeof result.cause, "string");
});

Deno.test("packThrown() keeps handles and shared memory, as results do", () => {
  const lock = new Lock();
  const words = sharedWords();
  const error = new Error("m", { cause: lock });
  const result = trip(Object.assign(error, { words, nested: [{ lock }] }));
  assertStrictEquals(result.cause, lock);
  assertStrictEquals((result["words"] as Int32Array).buffer, words.buffer);
  assertStrictEquals((result["nested"] as [{ lock: Lock }])[0].lock, lock);
  assertStrictEquals(trip(lock).cause, lock);
});

Deno.test("packThrown() sends what is nested too deeply as text, or leaves it out", () => {
  let nested: unknown = 0;
  for (let level = 1; level < 1500; level++) nested = [nested];
  assertEquals(typeof trip(nested).cause, "string");
  const result = trip(Object.assign(new Error("m"), { nested, a: 1 }));
  assertEquals(Object.keys(result), ["a"]);
});

function fail(): never {
  throw new Error("from a getter");
}

Deno.test("packThrown() survives errors that throw when looked at", () => {
  const error = new TypeError("m");
  for (const key of ["name", "message", "stack", "cause", "data"]) {
    Object.defineProperty(error, key, { get: fail, enumerable: true });
  }
  assertInstanceOf(trip(error), TypeError);
  const handler = new Proxy({}, { get: () => fail });
  assertInstanceOf(trip(new Proxy(error, handler)), WorkerError);
  assertInstanceOf(trip(new Proxy({}, handler)), WorkerError);
  assertInstanceOf(trip(Object.create(Error.prototype)), Error);
  assertInstanceOf(
    trip({ [Symbol.for("Deno.customInspect")]: fail }),
    WorkerError,
  );
  assertEquals(
    trip(Object.assign(new Error(), { message: { toString: fail } })).message,
    "",
  );
});

Deno.test("packThrown() sends long chains of causes as far as it is sensible", () => {
  let error = new Error("0");
  for (let i = 1; i < 5000; i++) error = new Error(String(i), { cause: error });
  let length = 0;
  for (let e: unknown = trip(error); e instanceof Error; e = e.cause) length++;
  assertEquals(length, 64);
});

Deno.test("unpackThrown() of foreign data is a WorkerError", () => {
  for (const data of [undefined, null, 5, { kind: "other" }]) {
    assertInstanceOf(unpackThrown(data), WorkerError);
  }
});

Deno.test("describeThrown() prints the stack and those of the causes", () => {
  const inner = new Error("inner");
  inner.stack = "Error: inner\n    at b";
  const outer = new TypeError("outer", { cause: inner });
  outer.stack = "TypeError: outer\n    at a";
  assertEquals(
    describeThrown(outer),
    "TypeError: outer\n    at a\nCaused by: Error: inner\n    at b",
  );
  inner.cause = outer;
  assert(describeThrown(outer).endsWith("\nCaused by: [Circular]"));
  inner.cause = 5;
  assert(describeThrown(outer).endsWith("\nCaused by: 5"));
});

Deno.test("describeThrown() shows the errors of an AggregateError indented", () => {
  const part = new Error("part");
  part.stack = "Error: part\n    at p";
  const error = new AggregateError([part, 7], "all");
  error.stack = "AggregateError: all\n    at a";
  assertEquals(
    describeThrown(error),
    "AggregateError: all\n    at a\n    Error: part\n        at p\n    Uncaught 7",
  );
});

Deno.test("describeThrown() shows what is no error", () => {
  assertEquals(describeThrown(42), "Uncaught 42");
  assertEquals(describeThrown("text"), 'Uncaught "text"');
  assertEquals(
    typeof describeThrown(new Proxy({}, { get: fail, getPrototypeOf: fail })),
    "string",
  );
});

// -- From workers -----------------------------------------------------------------

/** What a worker throws: an error or another object, with these in it. */
function throwWith(
  how: "error" | "object",
  queue: Queue<number>,
  words: Int32Array,
): void {
  const data = { queue, words, a: 1, nested: [queue] };
  throw how === "error"
    ? Object.assign(new RangeError("x", { cause: { queue } }), data)
    : data;
}

for (const options of [{}, { worker: "node" }] as const) {
  const kind = JSON.stringify(options);
  Deno.test(`What a worker throws keeps its handles and shared arrays, ${kind}`, async () => {
    await using pool = new Pool({ processes: 1, ...options });
    const queue = new Queue<number>();
    const words = sharedWords();
    const runs = (how: "error" | "object") => [
      pool.apply(throwWith, [how, queue, words]),
      pool.starmap(throwWith, [[how, queue, words]]),
      new Process({ target: throwWith, args: [how, queue, words], ...options })
        .start().result,
    ];
    const check = (data: unknown) => {
      const { queue: q, words: w, a, nested } = data as Record<string, unknown>;
      assertStrictEquals(q, queue);
      assertStrictEquals((w as Int32Array).buffer, words.buffer);
      assertEquals(a, 1);
      assertStrictEquals((nested as unknown[])[0], queue);
    };
    for (const error of await Promise.all(runs("error").map(rejection))) {
      assertInstanceOf(error, RangeError);
      assertStrictEquals((error.cause as { queue: unknown }).queue, queue);
      check(error);
    }
    for (const error of await Promise.all(runs("object").map(rejection))) {
      assertInstanceOf(error, WorkerError);
      check(error.cause);
    }
    assertEquals(pool.stats.restarted, 0);
  });
}

Deno.test("An initializer's error keeps its handles", async () => {
  const queue = new Queue<number>();
  await using pool = new Pool({
    processes: 1,
    initializer: throwWith,
    initArgs: ["error", queue, sharedWords()],
  });
  const error = await rejection(pool.apply(() => 1));
  assertStrictEquals((error as unknown as { queue: unknown }).queue, queue);
});

Deno.test("A thrown value with what cannot be sent arrives without it, and the worker lives on", async () => {
  await using pool = new Pool(1);
  const [end] = pipe();
  const run = (how: string, end: Connection<unknown, unknown>) => {
    if (how === "closed") end.close();
    let nested: unknown = how === "deep" ? 0 : end;
    if (how === "deep") { for (let i = 1; i < 1500; i++) nested = [nested]; }
    const data = how === "function" ? [end, () => {}] : nested;
    throw how === "value"
      ? { end, f() {} }
      : Object.assign(new Error(), { data });
  };
  for (const how of ["closed", "deep", "function"]) {
    const error = await rejection(pool.apply(run, [how, end]));
    assertEquals([error.name, Object.keys(error)], ["Error", []], how);
  }
  const error = await rejection(pool.apply(run, ["value", end]));
  assertInstanceOf(error, WorkerError);
  assertEquals(typeof error.cause, "string");
  assertEquals(await within(pool.apply(() => 1)), 1);
  assertEquals(pool.stats.restarted, 0);
});

Deno.test("An end of a pipe that was thrown is open here, one that could not be sent is not", async () => {
  await using pool = new Pool(1);
  const run = (end: Connection<string, never>, whole: boolean) => {
    const error = Object.assign(new Error("thrown"), { end });
    throw whole ? error : Object.assign(error, { end: [end, () => {}] });
  };
  for (const whole of [true, false]) {
    for (
      const start of [
        (...args: Parameters<typeof run>) => pool.apply(run, args),
        (...args: Parameters<typeof run>) =>
          new Process({ target: run, args }).start().result,
      ]
    ) {
      const [reader, writer] = pipe<never, string>({ duplex: false });
      const result = start(writer, whole);
      writer.close();
      const error = await rejection(result) as Error & { end?: unknown };
      if (whole) {
        assertStrictEquals(error.end, writer);
        writer.sendSync("open");
        assertEquals(await within(reader.recv()), "open");
        writer.close();
      } else assertEquals(Object.keys(error), []);
      await assertRejects(() => within(reader.recv()), ConnectionClosedError);
    }
  }
});

Deno.test("An end of a pipe in an error that nobody is told of is closed here", async () => {
  await using pool = new Pool(2);
  const run = async (
    [end, both]: readonly [Connection<string, never>, Barrier],
  ) => {
    await both.wait();
    throw Object.assign(new Error("thrown"), { end });
  };
  for (const stream of [false, true]) {
    const both = new Barrier(2);
    const pipes = [1, 2].map(() => pipe<never, string>({ duplex: false }));
    const items = pipes.map(([, writer]) => [writer, both] as const);
    const options = { chunkSize: 1 };
    const results = stream
      ? Array.fromAsync(pool.imap(run, items, options))
      : pool.map(run, items, options);
    for (const [, writer] of pipes) writer.close();
    const error = await rejection(results) as Error & {
      end: typeof pipes[0][1];
    };
    assertEquals(error.end.closed, false);
    error.end.close();
    for (const [reader] of pipes) {
      await assertRejects(() => within(reader.recv()), ConnectionClosedError);
    }
  }
});
