// What the errors of workers are to those who asked for the work.

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import { WorkerError } from "../errors.ts";
import { Pool, type PoolOptions } from "../pool.ts";
import { Process } from "../process.ts";
import { rejection, within } from "./_within.ts";
import { failStock } from "./testdata/pool_functions.ts";
import { failOrder } from "./testdata/process_functions.ts";

// -- Of a process ---------------------------------------------------------------------

Deno.test("An error arrives with class, name, message, data, cause and both stacks", async () => {
  const process = new Process({
    target: function inWorker() {
      throw Object.assign(
        new RangeError("too far", { cause: new SyntaxError("root") }),
        { code: 42, list: [1] },
      );
    },
  });
  function inCaller() {
    process.start();
  }
  inCaller();
  const error = await rejection(process.result) as Error & {
    code: number;
    list: number[];
  };
  assertInstanceOf(error, RangeError);
  assertEquals([error.name, error.message], ["RangeError", "too far"]);
  assertEquals([error.code, error.list], [42, [1]]);
  assertInstanceOf(error.cause, SyntaxError);
  assertEquals(error.cause.message, "root");
  const stack = error.stack!;
  assertStringIncludes(stack, "inWorker");
  assertStringIncludes(stack, "inCaller");
  assert(stack.indexOf("inWorker") < stack.indexOf("inCaller"), stack);
});

Deno.test("AggregateError, DOMException and Deno.errors keep their class", async () => {
  const aggregate = await rejection(
    new Process({
      target: () => {
        throw new AggregateError([new TypeError("one"), 2], "both");
      },
    }).start().result,
  ) as AggregateError;
  assertInstanceOf(aggregate, AggregateError);
  assertInstanceOf(aggregate.errors[0], TypeError);
  assertEquals(aggregate.errors[1], 2);
  const exception = await rejection(
    new Process({
      target: () => {
        throw new DOMException("no", "NotFoundError");
      },
    }).start().result,
  );
  assertInstanceOf(exception, DOMException);
  assertEquals(exception.name, "NotFoundError");
  const missing = await rejection(
    new Process({ target: () => Deno.readTextFile("/no/such/file") }).start()
      .result,
  );
  assertInstanceOf(missing, Deno.errors.NotFound);
});

Deno.test("A user's own error class arrives as its nearest built-in ancestor", async () => {
  const process = new Process({ target: failOrder, args: [12] }).start();
  const error = await rejection(process.result) as Error & { order: number };
  assertInstanceOf(error, RangeError);
  assertEquals(error.name, "OrderError");
  assertEquals([error.message, error.order], ["out of stock", 12]);
});

for (const value of [5, "text", null, undefined, { a: 1 }]) {
  Deno.test(`A target that throws ${Deno.inspect(value)} rejects with a WorkerError around it`, async () => {
    const process = new Process({
      target: (value: unknown) => {
        throw value;
      },
      args: [value],
    }).start();
    const error = await rejection(process.result);
    assertInstanceOf(error, WorkerError);
    assertEquals(error.cause, value);
    assertStrictEquals(error.exitCode, undefined);
    assertEquals(process.exitCode, 1);
  });
}

// -- Of the tasks of a pool -----------------------------------------------------------

Deno.test("An error arrives with class, data, cause, and the stacks of worker and caller", async () => {
  await using pool = new Pool(1);
  function inWorker() {
    throw Object.assign(
      new SyntaxError("bad", { cause: new URIError("root") }),
      { line: 7 },
    );
  }
  function inCaller() {
    return pool.apply(inWorker);
  }
  const error = await rejection(inCaller()) as Error & { line: number };
  assertInstanceOf(error, SyntaxError);
  assertEquals([error.message, error.line], ["bad", 7]);
  assertInstanceOf(error.cause, URIError);
  assertStringIncludes(error.stack!, "inWorker");
  assertStringIncludes(error.stack!, "inCaller");
  const mapped = await rejection(pool.map(inWorker, [1]));
  assertStringIncludes(mapped.stack!, "inWorker");
  assertStringIncludes(mapped.stack!, import.meta.url);
});

Deno.test("The stack of a task's error shows where that very call was made", async () => {
  await using pool = new Pool(1);
  const target = (n: number) => {
    if (n === 0) throw new Error("zero");
    return n;
  };
  const siteA = () => pool.apply(target, [1]);
  const siteB = () => pool.apply(target, [0]);
  for (let round = 0; round < 3; round++) {
    await within(siteA());
    const error = await assertRejects(() => within(siteB()), Error, "zero");
    assertEquals(error.stack!.match(/site\w/g), ["siteB"]);
  }
});

Deno.test("The error of a worker that has died names it and shows where the work was asked for", async () => {
  function inCaller(options: PoolOptions, target: () => unknown) {
    const pool = new Pool(options);
    return rejection(pool.apply(target)).finally(() => pool.terminate());
  }
  const died = await inCaller(
    { name: "Crew", processes: 1 },
    () => Deno.exit(3),
  );
  assertMatch(died.message, /worker "Crew-\d+" ended while running it/);
  assertStringIncludes(died.stack!, "inCaller");
  assertStringIncludes(died.stack!, died.message);
  const initializer = () => {
    throw new RangeError("expected: initializer");
  };
  const failed = await inCaller({ initializer }, () => 5);
  assertInstanceOf(failed, RangeError);
  assertStringIncludes(failed.stack!, "inCaller");
  const ended = await inCaller({ initializer: () => Deno.exit(4) }, () => 5);
  assertInstanceOf(ended, WorkerError);
  assertStringIncludes(ended.stack!, "inCaller");
});

Deno.test("Pool errors keep their classes; a user's class becomes its built-in ancestor", async () => {
  await using pool = new Pool(1);
  const stock = await rejection(pool.map(failStock, ["bolts"])) as Error & {
    item: string;
  };
  assertInstanceOf(stock, TypeError);
  assertEquals([stock.name, stock.message, stock.item], [
    "StockError",
    "none left",
    "bolts",
  ]);
  const aggregate = await rejection(
    pool.apply(() => Promise.any([Promise.reject(new RangeError("one"))])),
  );
  assertInstanceOf(aggregate, AggregateError);
  assertInstanceOf(aggregate.errors[0], RangeError);
  const missing = await rejection(
    pool.apply(() => Deno.readTextFileSync("/no/such")),
  );
  assertInstanceOf(missing, Deno.errors.NotFound);
  const exception = await rejection(pool.apply(() => {
    throw new DOMException("gone", "InvalidStateError");
  }));
  assertInstanceOf(exception, DOMException);
  assertEquals(exception.name, "InvalidStateError");
});

Deno.test("A task that throws a non-error rejects with a WorkerError around it", async () => {
  await using pool = new Pool(1);
  for (const value of [5, "x", null, undefined, { a: [1] }]) {
    const error = await rejection(pool.apply((value: unknown) => {
      throw value;
    }, [value]));
    assertInstanceOf(error, WorkerError);
    assertEquals(error.cause, value);
    assertStrictEquals(error.exitCode, undefined);
  }
  assertInstanceOf(
    await rejection(pool.apply(() => Promise.reject(7))),
    WorkerError,
  );
});

Deno.test("A task that settles and then throws in the same turn has failed", async () => {
  await using pool = new Pool(1);
  const target = () =>
    new Promise((resolve) => {
      setTimeout(() => {
        resolve(1);
        throw new RangeError("expected: settled, and thrown");
      });
    });
  const error = await rejection(pool.apply(target));
  assertInstanceOf(error, WorkerError);
  assertInstanceOf(error.cause, RangeError);
});

// -- Of both --------------------------------------------------------------------------

Deno.test("Work fails with its error whatever Error.prepareStackTrace makes of stacks", async () => {
  await using pool = new Pool(1);
  const target = () => {
    throw new RangeError("expected");
  };
  for (
    const prepare of [
      () => [],
      () => undefined,
      () => {
        throw new SyntaxError("no stack");
      },
    ]
  ) {
    // V8 has it, TypeScript does not know.
    const global = Error as { prepareStackTrace?: unknown };
    const before = global.prepareStackTrace;
    global.prepareStackTrace = prepare;
    let errors: unknown[];
    try {
      const process = new Process({ target: () => Deno.exit(3) }).start();
      errors = await within(Promise.all(
        [
          pool.apply(target),
          pool.map(target, [1]),
          pool.apply(() => Deno.exit(3)),
          process.result,
        ].map((call) => call.catch((error: unknown) => error)),
      ));
    } finally {
      global.prepareStackTrace = before;
    }
    assertInstanceOf(errors[0], RangeError);
    assertInstanceOf(errors[1], RangeError);
    assertInstanceOf(errors[2], WorkerError);
    assertInstanceOf(errors[3], WorkerError);
  }
});

Deno.test("A worker's errors keep their classes when it has replaced Error and DOMException", async () => {
  await using pool = new Pool(1);
  const fail = (kind: string) => {
    globalThis.Error = class extends Error {} as ErrorConstructor;
    globalThis.DOMException = class extends DOMException {};
    if (kind === "dom") throw new DOMException("gone", "AbortError");
    if (kind === "range") throw new RangeError("too far");
    throw new Error("any");
  };
  const failures = ["range", "any", "dom"].map((kind) =>
    rejection(pool.apply(fail, [kind]))
  );
  const [range, any, dom] = await Promise.all(failures);
  assertInstanceOf(range, RangeError);
  assertEquals(range.message, "too far");
  assertInstanceOf(any, Error);
  assertEquals([any.name, any.message], ["Error", "any"]);
  assertInstanceOf(dom, DOMException);
  assertEquals([dom.name, dom.message], ["AbortError", "gone"]);
});

Deno.test("A revoked proxy that is thrown arrives as a WorkerError, and the worker goes on", async () => {
  await using pool = new Pool(1);
  const target = () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    throw proxy;
  };
  assertInstanceOf(await rejection(pool.apply(target)), WorkerError);
  assertEquals(pool.stats.restarted, 0);
  const process = new Process({ target }).start();
  assertInstanceOf(await rejection(process.result), WorkerError);
});
