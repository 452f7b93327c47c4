// Functions that are refused, and programs that are told what is wrong with them.

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
} from "@std/assert";
import { resolveTarget } from "../_resolve.ts";
import { describeTarget } from "../_target.ts";
import { pfilter, pforEach, pmap, preduce } from "../parallel.ts";
import { Pool } from "../pool.ts";
import { describe as show, runFile, runSource } from "./_child.ts";
import { rejection } from "./_within.ts";
import { assertRefused, assertRuns } from "./_targets.ts";
import { scale } from "./testdata/target_module.ts";

const MODULE = new URL("./testdata/target_module.ts", import.meta.url);

Deno.test("A function that cannot be sent is refused though there is nothing to call it with", async () => {
  const local = { factor: 2 };
  const scaled = (n: number) => n * local.factor;
  const endless = (n: number) => n > local.factor;
  await using pool = new Pool(1);
  async function* none(): AsyncGenerator<number> {}
  const calls: Promise<unknown>[] = [
    pool.map(scaled, []),
    pool.map(scaled, none()),
    pool.starmap(scaled, []),
    pool.imap(scaled, []).next(),
    pool.imap(scaled, none()).next(),
    pool.imapUnordered(scaled, []).next(),
    pmap(scaled, []),
    pfilter(endless, []),
    pforEach(scaled, []),
    preduce((a: number, b: number) => a + b * local.factor, [], 1),
  ];
  for (const call of calls) {
    const error = await rejection(call);
    assertInstanceOf(error, TypeError);
    assertMatch(error.message, /"local"/);
    assertMatch(error.stack!, /target_refusals_test/);
  }
  assertEquals(await pool.map((n: number) => n, []), []);
});

// --- programs ---

Deno.test("a guarded program that is still waiting is understood", async () => {
  const result = await runFile(
    new URL("./testdata/target_main.ts", import.meta.url),
  );
  const lines = result.stdout.trim().split("\n");
  assertEquals(
    lines.slice(0, 3),
    ["inline 8", "own 12", "imported 40"],
    show(result),
  );
  assertMatch(lines[3]!, /^local TypeError: .*factor.*target_main\.ts/);
  assertMatch(lines[4]!, /^shadow TypeError: .*task\(\)/);
  assertMatch(lines[5]!, /^shadowed TypeError: .*task\(\)/);
});

Deno.test("a program without a guard is told so", async () => {
  const file = new URL("./testdata/target_unguarded.ts", import.meta.url);
  for (const late of ["0", "1"]) {
    const result = await runFile(file, { env: { TARGET_LATE: late } });
    assertMatch(result.stdout, /value: 2\b/, show(result));
    assertMatch(
      result.stdout,
      /Cannot start process while .*import\.meta\.main/,
    );
    if (late === "1") assertMatch(result.stdout, /value: "8 /);
  }
});

Deno.test("a module that may not be imported names the flag", async () => {
  const result = await runSource(
    `
    import { describeTarget } from "${new URL(
      "../_target.ts",
      import.meta.url,
    )}";
    import { resolveTarget } from "${new URL(
      "../_resolve.ts",
      import.meta.url,
    )}";
    import { task } from "${new URL("../task.ts", import.meta.url)}";
    const one = 1;
    for (const target of [(x) => x * 2, (x) => x + Math.abs(one), task("${MODULE}"),
      task("https://example.invalid/x.js")]) {
      try {
        console.log((await resolveTarget(describeTarget(target, "test", main)))(2));
      } catch (error) {
        console.log(String(error));
      }
    }
    function main() {}
  `,
    { flags: ["--no-prompt"] },
  );
  const lines = result.stdout.trim().split("\n");
  assertEquals(lines[0], "4", show(result));
  assertMatch(lines[1]!, /TypeError: .* "one" .*--allow-read/);
  assertMatch(lines[2]!, /TypeError: .*target_module\.ts.*--allow-read/);
  assertMatch(lines[3]!, /TypeError: .*--allow-import=example\.invalid/);
});

// --- what cannot be sent ---

Deno.test("what cannot be sent is refused with the way out", async () => {
  const K = [1];
  class Calc {
    factor = 3;
    times(n: number): number {
      return n * this.factor;
    }
    static push(n: number): number {
      return K.push(n);
    }
  }
  const cases: [unknown, RegExp][] = [
    [Math.sqrt, /native.*wrap it, as in `\(\.\.\.args\) => Math\.sqrt\(/],
    [new Proxy(() => {}, {}), /native.*gets it from a global or an import/],
    [btoa, /a built-in.*`\(\.\.\.args\) => btoa\(\.\.\.args\)`/],
    [crypto.randomUUID, /a built-in.*=> crypto\.randomUUID\(/],
    [Calc, /"Calc" is a class, which cannot be called/],
    [new Calc().times, /uses "this" from.*Export a function that calls it/],
    [Calc.push, /uses "K" from.*Export a function that calls it/],
    [(n: number) => [assert, n], /uses "assert".*import "assert" in it, with/],
    [(n: number) => [assert, K, n], /uses "assert", "K".*as arguments\. If/],
    [() => scale, /uses "scale".*or pass what it uses as arguments\. If/],
    [function* () {}, /the target <anonymous> is a generator/],
  ];
  for (const [target, message] of cases) {
    const error = await assertRejects(
      async () =>
        await resolveTarget(describeTarget(target, "test", assertRejects)),
      TypeError,
    );
    assertMatch(error.message, message);
  }
});

declare const maybeGlobal: unknown;

Deno.test("functions that only look like classes, built-ins or doubtful are sent", async () => {
  const odd = {
    class(x: number) {
      return x + 1;
    },
    class$(x: number) {
      return x + 2;
    },
    ["\ud800"]: (x: number) => x + 3,
  };
  await assertRuns(odd.class, [1], 2);
  await assertRuns(odd.class$, [1], 3);
  await assertRuns(odd["\ud800"], [1], 4);
  const scope = globalThis as unknown as Record<string, unknown>;
  scope.registry = {
    get load(): never {
      throw new Error("ran");
    },
  };
  scope.helper = function helper(x: number): number {
    return typeof maybeGlobal === "undefined" ? x : NaN;
  };
  try {
    await assertRuns(scope.helper, [1], 1);
    const K = 1;
    const load = (x: number) => x + K;
    await assertRefused(load, /uses "K" from/);
  } finally {
    delete scope.registry;
    delete scope.helper;
  }
});

Deno.test("A function that is none in strict code is refused by name", async () => {
  const sloppy = new Function("n", "var static = n; return static;");
  await assertRefused(sloppy, /"anonymous"/, /strict code/);
});

// --- modules that cannot be read ---

/** Serves a module that cannot be read, under any path. */
function serveModule(text: string): Deno.HttpServer<Deno.NetAddr> {
  const headers = { "content-type": "text/javascript" };
  return Deno.serve(
    { port: 0, onListen() {} },
    () => new Response(text, { headers }),
  );
}

Deno.test("a function that stands in a module that can be read may use any global, whoever calls", async () => {
  await using server = serveModule("export const call = (run) => run();");
  const result = await runSource(`
    import { call } from "http://127.0.0.1:${server.addr.port}/call.js";
    import { Pool } from "@parallel/multiprocessing";
    await using pool = new Pool(1);
    console.log(await call(() => pool.apply(() => name)));
  `);
  assertEquals(result.stdout, "PoolWorker-1\n", show(result));
});

Deno.test("a function of a module that cannot be read, imported into one that can, has no doubtful globals", async () => {
  await using server = serveModule(
    "const name = 'mine'; export const whose = () => name;",
  );
  const result = await runSource(`
    import { whose } from "http://127.0.0.1:${server.addr.port}/whose.js";
    import { Pool } from "@parallel/multiprocessing";
    await using pool = new Pool(1);
    console.log(await pool.apply(whose).catch((error) => error.message));
  `);
  assertMatch(result.stdout, /uses "name", which may be a variable of http/);
});

Deno.test("a name that may be a variable of a module that cannot be read is no global", async () => {
  const source = `
    import { describeTarget } from "${new URL(
    "../_target.ts",
    import.meta.url,
  )}";
    function main(name: string) {
      const targets = [
        (n: number) => n + name,
        (n: number) => n + globalThis.name,
        (n: number) => n + performance.now(),
      ];
      for (const target of targets) {
        const ref = describeTarget(target, "test", main);
        console.log(ref.kind, ref.kind === "refused" ? ref.message : "");
      }
    }
    main("Ann");
  `;
  const denied = await runSource(source, { flags: [] });
  const [name, global, clock] = denied.stdout.split("\n");
  assertMatch(
    name!,
    /^refused .*uses "name", which may be a variable of .*: add --allow-read, pass it as an argument, or write globalThis\.name/,
    show(denied),
  );
  assertEquals([global, clock], ["source ", "source "], show(denied));
});

Deno.test("a module from the network is found by its import", async () => {
  await using server = serveModule(
    "const k = 5; export function far(x) { return x + k; }",
  );
  const result = await runSource(`
    import { run } from "${new URL(
    "./testdata/target_run.ts",
    import.meta.url,
  )}";
    import { far } from "http://127.0.0.1:${server.addr.port}/far.js";
    if (import.meta.main) console.log((await run(far, 4)).value);
  `);
  assertEquals(result.stdout, "9\n", show(result));
});

Deno.test("a twin that can be read is not taken for what is imported from the network", async () => {
  const text = "export function add(n) { return n + K; }";
  await using server = serveModule(`const K = 1000; ${text}`);
  const twin = `data:text/javascript,const K = 1; ${text}`;
  const result = await runSource(`
    import { Pool } from "@parallel/multiprocessing";
    import { add } from "http://127.0.0.1:${server.addr.port}/add.js";
    import { add as twin } from ${JSON.stringify(twin)};
    import * as all from "http://127.0.0.1:${server.addr.port}/add.js";
    await using pool = new Pool(1);
    console.log(add(1), twin(1));
    for (const target of [add, all.add]) {
      console.log(await pool.apply(target, [1]).catch((error) => error.name));
    }
  `);
  assertEquals(result.stdout, "1001 2\nTypeError\nTypeError\n", show(result));
});

// --- modules with JSX ---

Deno.test("An export of a module with JSX is refused with the reason", async () => {
  const folder = await Deno.makeTempDir({ prefix: "multiprocessing_jsx_" });
  try {
    const main = `${folder}/main.tsx`;
    await Deno.writeTextFile(
      main,
      `import { Pool } from "${new URL("../mod.ts", import.meta.url)}";
       const React = { createElement: (tag: string) => tag };
       const K = 1;
       export const add = (n: number) => n + K;
       export const element = <b />;
       await using pool = new Pool(1);
       console.log(await pool.apply(add, [1]).catch((error) => error.message));`,
    );
    const result = await runFile(main, { flags: ["-A", "--no-check"] });
    assertMatch(
      result.stdout,
      /uses "K" from outside itself and may be an export of .*main\.tsx, which has JSX.*name it with task\(\)/,
      show(result),
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
