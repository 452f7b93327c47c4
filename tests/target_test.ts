import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { describe as show, runFile, runSource } from "./_child.ts";
import { describeTarget, targetName } from "../_target.ts";
import { resolveTarget } from "../_resolve.ts";
import { readFunction, readText } from "../_scope.ts";
import { mayDeclare } from "../_target_module.ts";
import { type Task, task } from "../task.ts";
import { run, send } from "./testdata/target_run.ts";
import standard, {
  box,
  change,
  changing,
  Counter,
  grow,
  isMain,
  later,
  readOrigin,
  resolved,
  scale,
  tripled,
  twin,
} from "./testdata/target_module.ts";

const MODULE = new URL("./testdata/target_module.ts", import.meta.url);
const factor = 4;

export function exportedHere(x: number): number {
  return x * factor;
}

function free(source: string): string[] {
  return [...readFunction(source).free.keys()].sort();
}

async function assertRuns(
  target: unknown,
  args: unknown[],
  value: unknown,
  kind = "source",
): Promise<void> {
  const outcome = await run(target, ...args);
  assertEquals(outcome.error, undefined);
  assertEquals(outcome.value, value);
  assertEquals(outcome.kind, kind);
  assertEquals(outcome.sync, kind === "source");
}

/** Serves a module that cannot be read, under any path. */
function serveModule(text: string): Deno.HttpServer<Deno.NetAddr> {
  const headers = { "content-type": "text/javascript" };
  return Deno.serve(
    { port: 0, onListen() {} },
    () => new Response(text, { headers }),
  );
}

async function assertRefused(
  target: unknown,
  ...patterns: RegExp[]
): Promise<void> {
  const outcome = await run(target, 1);
  assertEquals(outcome.value, undefined);
  assertMatch(outcome.error ?? "nothing", /^TypeError: /);
  for (const pattern of patterns) assertMatch(outcome.error!, pattern);
}

// --- the free names of a function ---

Deno.test("readFunction() finds the free names", () => {
  const cases: [string, string[]][] = [
    ["(n) => n * n", []],
    ["x => y => x + y + z", ["z"]],
    [
      "async ({ a = p, b: { c } = {}, ...d }, [e] = [], ...f) => a + c + d + e + f",
      ["p"],
    ],
    ["function f(n) { return n < 2 ? 1 : n * f(n - 1); }", []],
    [
      "function () { for (const k of a) for (var [i, j = k] of b) i; return i + j + k; }",
      [
        "a",
        "b",
        "k",
      ],
    ],
    ["() => `a${`b${c}` + { k: `}` }.k}${(() => { return `${d}`; })()}`", [
      "c",
      "d",
    ]],
    ["(x) => /[/`'\"]=>/g.test(x) ? x / y / 2 : y++ / 2", ["y"]],
    ["() => typeof maybe + typeof other.x", ["maybe", "other"]],
    [
      "() => { l: for (;;) break l; try { a; } catch ({ message: m }) { m; } }",
      ["a"],
    ],
    [
      "() => ({ k: v, s, ['c' + w]: 1, m() { return super.m(); }, get g() { return t; } })",
      [
        "s",
        "t",
        "v",
        "w",
      ],
    ],
    [
      "class A extends B { #p = c; static { d; } m() { return this.#p ?? super.m(); } }",
      [
        "B",
        "c",
        "d",
      ],
    ],
    ["m(x) { return super.m(x) + this.#p; }", ["#p", "super", "this"]],
    ["m() { return { n() { return this; } }.n(); }", []],
    ["function () { return this; }", []],
    ["async [Symbol.iterator](x) { await x; }", []],
    ["get(x) { return x; }", []],
    ["async(x) { return x; }", []],
    ["if(x) { return x; }", []],
    ["() => this + arguments[0]", ["arguments", "this"]],
    ["function () { return () => [this, arguments, new.target]; }", []],
    ["() => import.meta.url + import('./x.ts') + import('npm:x')", [
      'import("./x.ts")',
      "import.meta",
    ]],
    ["(x = y) => { var y = 1; return x + y; }", ["y"]],
    [
      "() => { ({ a, b: c.d, ...e } = f); [g = 1] = h; }",
      "a c e f g h".split(" "),
    ],
    [
      "async () => { for await (using_ of a) await using_; { using b = a; b; } }",
      [
        "a",
        "using_",
      ],
    ],
    ["() => a?.b?.[c]?.(d) ?? (e ? (x) => x : (y) => y / 2)", [
      "a",
      "c",
      "d",
      "e",
    ]],
  ];
  for (const [source, names] of cases) {
    assertEquals(free(source), names, source);
  }
});

Deno.test("readFunction() reads names that are not ASCII whole", () => {
  assertEquals(
    free(
      "(gr\u00f6\u00dfe, a\u00e9b) => gr\u00f6\u00dfe + a\u00e9b + na\u00eff + \u00fcn + x\u{1d4b3}y",
    ),
    ["na\u00eff", "x\u{1d4b3}y", "\u00fcn"],
  );
});

Deno.test("readFunction() knows generators by their text", () => {
  assert(readFunction("*m() { yield 1; }").generator);
  assert(readFunction("async function* f() { yield* g(); }").generator);
  assert(!readFunction("() => function* () { yield; }").generator);
});

Deno.test("readFunction() refuses what it does not understand", () => {
  for (
    const source of ["(x) => { with (x) y; }", "() => \\u0061b", "() => #"]
  ) {
    assertThrows(() => readFunction(source), Error, "Cannot read source");
  }
});

Deno.test("readText() names functions as the language does", () => {
  const { nodes, links } = readText(
    "#!/usr/bin/env deno\nimport d, * as n from 'x'; export { d as e }; export * from 'y';" +
      "export const a = (x) => x, { b = () => 1 } = n; const o = { c: () => 2, ['k']: () => 3 };" +
      "export default () => 4; let f; f = function () {}; export class G { static h = () => 5 }",
  );
  assertEquals(nodes.map(({ name }) => name), [
    "a",
    "b",
    "c",
    "k",
    "default",
    "f",
    "h",
    "G",
  ]);
  assertEquals(
    links.filter(({ exported }) => exported).map(({ exported, local }) =>
      `${exported}=${local}`
    ),
    ["e=d", "*=undefined", "a=a", "b=b", "default=*default*", "G=G"],
  );
});

Deno.test("mayDeclare() passes over uses only", () => {
  const declares = (text: string) => {
    const module = { url: "file:///x.ts", text, imports: [], readings: [] };
    return mayDeclare(
      { roots: [], modules: [module], closed: [], denied: [] },
      ["name", "$"],
    );
  };
  for (
    const text of [
      "const name = 1",
      "let a, name;",
      "function* name() {}",
      "class name<T> {}",
      "import {\n a, // c\n name } from 'x'",
      "import * as name from 'x'",
      "const { a: name } = b",
      "(private name: string) => 1",
      "(a, ...name) => 1",
      "name => 1",
      "export const /* c */ $ = 1",
      "const // c\n name = 1",
      "const u = '//',\n name = 1",
      `class /* ${"c".repeat(5000)} */ name {}`,
      `const // ${"c".repeat(5000)}\n name = 1`,
      `let a, // c\n${"// c\n".repeat(500)} name = 1`,
      `(/* c */ name /* ${"c".repeat(5000)} */) => 1`,
      `f(name) /* ${"c".repeat(5000)} */ { }`,
      "function f(name) {}",
      "function f(a, name) {}",
      "function f(name?: string) {}",
      "({ f(name): void {} })",
      "(name) => 1",
      "(a, name = 1) => 1",
      "({ a: name }) => 1",
      "(b, { a: name = 1 }) => 1",
      "const [name] = b",
      "const { name = 1 } = b",
      "const [{ a: [b, name] }] = c",
      "import { a as name } from 'x'",
      "import { a as name, b } from 'x'",
      "try { } catch (name) { }",
      "let a, name\nlet b",
    ]
  ) assert(declares(text), text);
  for (
    const text of [
      "name.x; x.name = 1; new name()",
      "return name;",
      "$(1)",
      "const name1 = 1",
      "(a: name) => 1",
      "function f(a: name, b: string) {}",
      "const a: name = 1",
      "class A { private a?: name = 1 }",
      "a.map(name);",
      "f(a, name);",
      "(name as string).x",
      "f(name instanceof b)",
      "x = y as name;",
      "x = { name: 1 }",
      "x = [name | 1]",
      "import { name as a } from 'x'",
    ]
  ) {
    assert(!declares(text), text);
  }
});

// --- self-contained functions ---

Deno.test("a self-contained function needs no module", async () => {
  const fact = (n: number): number => n < 2 ? 1 : n * fact(n - 1);
  await assertRuns((x: number) => x * 2, [4], 8);
  await assertRuns(fact, [5], 120);
  await assertRuns(
    function fib(n: number): number {
      return n < 2 ? n : fib(n - 1) + fib(n - 2);
    },
    [10],
    55,
  );
  await assertRuns(async (x: number) => await Promise.resolve(Math.sqrt(x)), [
    16,
  ], 4);
});

Deno.test("methods and accessors are functions, too", async () => {
  const key = "k";
  const object = {
    double(x: number) {
      return 2 * x;
    },
    async "q-r"(x: number) {
      return await x;
    },
    [key](x: number) {
      return x + 1;
    },
    12(x: number) {
      return x;
    },
    get(x: number) {
      return -x;
    },
    get size() {
      return 7;
    },
  };
  const { get } = Object.getOwnPropertyDescriptor(object, "size")!;
  for (
    const [target, value] of [
      [object.double, 8],
      [object["q-r"], 4],
      [object[key], 5],
      [object[12], 4],
      [object.get, -4],
      [get!, 7],
    ] as const
  ) {
    const outcome = await run(target, 4);
    assertEquals(outcome, {
      kind: "source",
      sync: true,
      name: target.name,
      value,
    });
  }
});

Deno.test("a class can be a target", async () => {
  class Point {
    x: number;
    constructor(x: number) {
      this.x = x;
    }
  }
  await assertRuns(Point, [3], { x: 3 });
  await assertRuns(Counter, [], { value: 10 }, "export");
});

Deno.test("a free name that is a global means the global", async () => {
  // deno-lint-ignore no-explicit-any -- not declared anywhere.
  type Any = any;
  await assertRuns(
    () => typeof performance.now() + typeof structuredClone,
    [],
    "numberfunction",
  );
  await assertRuns(() => typeof (globalThis as Any).maybe, [], "undefined");
  // `origin` is the module's where it is declared.
  await assertRuns(readOrigin, [], "the module's", "export");
});

Deno.test("an evaluated function keeps strict mode and its name", async () => {
  const strict = function (this: unknown): unknown {
    return this === undefined;
  };
  await assertRuns(strict, [], true);
  assertEquals((await run(strict)).name, "strict");
  const ref = describeTarget((x: number) => x, "test", assertRuns);
  assertEquals(targetName(ref), "<anonymous>");
  assertEquals((resolveTarget(ref) as (x: number) => number)(3), 3);
});

Deno.test("source with regular expressions and templates is evaluated", async () => {
  await assertRuns(
    (s: string) => `${s.replace(/[`'"/]+/g, (m) => `<${m.length}>`)}\n`,
    ["a`'b"],
    "a<2>b\n",
  );
});

// --- exported functions ---

Deno.test("an exported function is found in its module", async () => {
  await assertRuns(exportedHere, [2], 8, "export");
  await assertRuns(scale, [2], 20, "export");
  await assertRuns(grow, [2], 20, "export");
  await assertRuns(standard, [2], 12, "export");
  await assertRuns(later, [2], -8, "export");
  await assertRuns(resolved, [2], 9, "export");
  await assertRuns(isMain, [], false, "export");
});

Deno.test("identity proves what the text cannot", async () => {
  await assertRefused(box.twin, /"twin".*factor.*task\(\)/);
  await assertRuns(twin, [2], 12, "export");
  await assertRuns(tripled, [2], 16, "export");
});

Deno.test("an export that was replaced is not mistaken", async () => {
  await assertRuns(changing, [2], 12, "export");
  change();
  await assertRefused(changing, /another function/);
});

Deno.test("a function of the surroundings is refused", async () => {
  const captured = 5;
  const local = (x: number) => x + captured;
  await assertRefused(
    local,
    /"local"/,
    /captured/,
    /target_test\.ts/,
    /[Ee]xport it/,
    /arguments/,
  );
  await assertRefused((x: number) => x * factor, /factor/);
  await assertRefused(() => import.meta.url, /import\.meta/);
  await assertRefused(
    () => import("./testdata/target_reexport.ts"),
    /import\("\.\/testdata/,
  );
  function exportedHere(x: number): number {
    return x * captured;
  }
  await assertRefused(exportedHere, /captured/);
  const performance = { now: () => 1 };
  await assertRefused(() => performance.now(), /performance/);
});

Deno.test("describeTarget() throws for what never is a target", () => {
  const cases: [unknown, RegExp][] = [
    [undefined, /must be a function or a task, received undefined/],
    [null, /received null/],
    ["f", /received string/],
    [scale.bind(null), /bound/],
    [Math.sqrt, /native/],
    [function* g() {}, /generator/],
    [async function* g() {}, /generator/],
    [{ *g() {} }.g, /generator/],
  ];
  for (const [target, pattern] of cases) {
    const error = assertThrows(
      () => describeTarget(target, "start process", run),
      TypeError,
    );
    assertMatch(error.message, /^Cannot start process: /);
    assertMatch(error.message, pattern);
  }
});

Deno.test("describeTarget() gives plain data, once per function", () => {
  for (const target of [scale, (x: number) => x, task(MODULE, "scale")]) {
    const ref = describeTarget(target, "test", assertRuns);
    assertEquals(JSON.parse(JSON.stringify(ref)), ref);
    assertEquals(describeTarget(target, "test", assertRuns), ref);
  }
});

// --- tasks ---

Deno.test("task() names an export", async () => {
  const scaling = task<typeof scale>(MODULE, "scale");
  scaling satisfies Task<[x: number], number>;
  task<typeof Counter>(MODULE, "Counter") satisfies Task<[], Counter>;
  assert(Object.isFrozen(scaling));
  assertEquals([scaling.url, scaling.name], [MODULE.href, "scale"]);
  await assertRuns(scaling, [2], 20, "task");
  await assertRuns(task(MODULE), [2], 12, "task");
});

Deno.test("task() takes absolute URLs only", () => {
  assertThrows(
    () => task("./x.ts"),
    TypeError,
    'new URL("./x.ts", import.meta.url)',
  );
  assertThrows(() => task("@std/assert"), TypeError, "import.meta.resolve");
  assertThrows(
    () => task(1 as unknown as string),
    TypeError,
    "received number",
  );
  assertThrows(
    () => task(MODULE, 1 as unknown as string),
    TypeError,
    "received number",
  );
});

Deno.test("a task that is not there says what is", async () => {
  await assertRefused(
    task(MODULE, "missing"),
    /no such export/,
    /grow/,
    /target_module\.ts/,
  );
  await assertRefused(task(new URL("./no.ts", MODULE)), /no\.ts/, /importing/);
  await assertRefused(
    task("data:text/javascript,export default 1"),
    /not a function but number/,
  );
  await assertRefused(
    task("data:text/javascript,export default function* () {}"),
    /generator/,
  );
});

Deno.test("a data: module is read like a file", async () => {
  const url = "data:text/javascript," +
    encodeURIComponent(
      "const k = 3; export function f(x) { return x * k; } export const pass = (run) => run(f, 2);",
    );
  const result = await runSource(`
    import { pass } from "${url}";
    import { run } from "${new URL("testdata/target_run.ts", import.meta.url)}";
    const { value, kind } = await pass(run);
    console.log(value, kind);
  `);
  assertEquals(result.stdout, "6 export\n", show(result));
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

Deno.test("a worker names the globals that it lacks", async () => {
  const scope = globalThis as unknown as { onlyHere?: number };
  scope.onlyHere = 1;
  try {
    const target = new Function("return onlyHere");
    await assertRefused(target, /onlyHere/);
    const ref = describeTarget(new Function("return postMessage"), "test", run);
    assertEquals((await send(ref, [])).error?.includes("postMessage("), false);
  } finally {
    delete scope.onlyHere;
  }
});

/** Runs the first of some files, with what tries a call and prints what comes of it. */
async function assertPrints(
  files: Record<string, string>,
  expected: string[],
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const attempt = `
      import { Process } from "@parallel/multiprocessing";
      export async function attempt(target, ...args) {
        const process = new Process({ target, args }).start();
        const value = await process.result.catch((error) =>
          error.name + (/task\\(\\)/.test(error.message) ? " with task()" : "")
        );
        console.log(String(value));
      }`;
    for (
      const [name, text] of Object.entries({ ...files, "try.js": attempt })
    ) {
      await Deno.writeTextFile(`${folder}/${name}`, text);
    }
    const [main] = Object.keys(files);
    const result = await runFile(`${folder}/${main}`);
    assertEquals(result.stdout, `${expected.join("\n")}\n`, show(result));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const ADD = "export const add = (n: number) => n + K;";

Deno.test("A function that only looks like an export is refused, not taken for it", () =>
  assertPrints({
    "main.ts": `
      import { task } from "@parallel/multiprocessing";
      import { attempt } from "./try.js";
      import { add } from "./a.ts";
      const K = 5;
      export const own = (n: number) => n - K;
      if (import.meta.main) {
        const b = await import("./" + "b.ts");
        await attempt(add, 1);
        await attempt(b.add, 1);
        await attempt(task(import.meta.resolve("./b.ts"), "add"), 1);
        // Until its module has been evaluated, whether it is its cannot be known.
        await attempt(own, 1);
      }`,
    "a.ts": `const K = 1; ${ADD}`,
    "b.ts": `const K = 1000; ${ADD}`,
  }, ["2", "TypeError with task()", "1001", "TypeError with task()"]));

Deno.test("A twin of an export of the main module is not taken for it while that waits", () =>
  assertPrints({
    "main.ts": `
      import { attempt } from "./try.js";
      const K = 5;
      ${ADD}
      if (import.meta.main) {
        const which = "b";
        await attempt((await import(\`./${"$"}{which}.ts\`)).add, 1);
      }`,
    "b.ts": `const K = 1000; ${ADD}`,
  }, ["TypeError with task()"]));

Deno.test("What only looks like an import or an evaluation leaves an export one", () =>
  assertPrints({
    "main.ts": `
      import { attempt } from "./try.js";
      import "./other.ts";
      const K = 5; // not eval(K), nor import(K)
      type Made = (made: Function) => void;
      ${ADD}
      if (import.meta.main) await attempt(add, 1);`,
    "other.ts": `
      // like require("x") in node, see createRequire
      export class Copied { copy(): unknown { return new (this as any).constructor(); } }
      export const isIt = (value: unknown) => value instanceof Function;`,
  }, ["6"]));

Deno.test("A function that may have been made from a text is not taken for an export", () =>
  assertPrints({
    "main.ts": `
      import { attempt } from "./try.js";
      import { give } from "./made.ts";
      const K = 5;
      ${ADD}
      if (import.meta.main) await attempt(give(), 1);`,
    "made.ts": `
      const F = Function;
      const made = F("const K = 1000; const add = (n) => n + K; return add;")();
      export const give = () => made;`,
  }, ["TypeError with task()"]));

Deno.test("A function that imports what it computes is inline, unless that is relative", () =>
  assertPrints({
    "main.ts": `
      import { attempt } from "./try.js";
      export const load = async (url: string) => (await import(url)).K;
      export const near = async (name: string) => (await import(\`./${"$"}{name}\`)).K;
      const url = import.meta.resolve("./b.ts");
      if (import.meta.main) {
        await attempt(load, url);
        await attempt(async (url: string) => (await import(url)).K, url);
        await attempt(near, "b.ts");
        await attempt(async (name: string) => (await import(\`./${"$"}{name}\`)).K, "b.ts");
      }`,
    "b.ts": `export const K = 1000;`,
  }, [
    "1000",
    "1000",
    "TypeError with task()",
    "TypeError with task()",
  ]));

Deno.test("What the runtime writes for an enum hides neither a function nor its double", () =>
  assertPrints({
    "main.ts": `
      import { attempt } from "./try.js";
      import { where } from "./a.ts";
      import { double } from "./b.ts";
      const enum Paths { Root = "srv", Logs = Root + "logs" }
      const K = 1;
      export const own = (n: number) => Paths.Logs + "own" + n + K;
      if (import.meta.main) {
        await attempt(own, 1);
        await attempt(where, 1);
        await attempt(double, 1);
      }`,
    "a.ts": `
      const K = 1;
      export const where = (n: number) => "srvlogs" + n + K;`,
    "b.ts": `
      const enum Paths { Root = "srv", Logs = Root + "logs" }
      const K = 100;
      const where = (n: number) => Paths.Logs + n + K;
      export const double = where;`,
  }, ["srvlogsown11", "srvlogs11", "srvlogs1100"]));

Deno.test("A function evaluated from an export's text is not taken for it", () =>
  assertPrints({
    "main.ts": `
      import { attempt } from "./try.js";
      import { again } from "./again.ts";
      const K = 1;
      ${ADD}
      if (import.meta.main) await attempt(again(add.toString()), 1);`,
    "again.ts": `
      (globalThis as { K?: number }).K = 100;
      export const again = (text: string) =>
        globalThis.eval("const add = " + text + "; add");`,
  }, ["TypeError with task()"]));

Deno.test("A function with an enum in it is found, with what its module declares", () =>
  assertPrints({
    "main.ts": `
      import { attempt } from "./try.js";
      const name = "the module's";
      const K = 5;
      export const exported = () => { enum E { A = 1 } return K + E.A; };
      const local = () => { enum E { A = 1 } return name + E.A; };
      if (import.meta.main) {
        await attempt(exported);
        await attempt(local);
      }`,
  }, ["6", "TypeError with task()"]));

Deno.test("What stands in a module with JSX is not taken for a global", () =>
  assertPrints({
    "main.tsx": `
      import { attempt } from "./try.js";
      import { add } from "./a.ts";
      const React = { createElement: (tag: string) => tag };
      const name = "the module's";
      const element = <b />;
      if (import.meta.main) {
        await attempt(() => name);
        await attempt((n: number) => Math.abs(n), -3);
        await attempt(add, 1);
      }`,
    "a.ts": `const K = 1; ${ADD}`,
  }, ["TypeError with task()", "3", "2"]));

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

Deno.test("A function is found in the main module though another calls", () =>
  assertPrints({
    "main.ts": `
      import { later } from "./later.js";
      const K = 5, name = "the module's";
      ${ADD}
      if (import.meta.main) later([add, 1], [() => name]);`,
    "later.js": `
      import { attempt } from "./try.js";
      export function later(...calls) {
        setTimeout(async () => {
          for (const call of calls) await null, await attempt(...call);
        });
      }`,
  }, ["6", "TypeError with task()"]));

Deno.test("Exports of CommonJS modules are found, and named", () =>
  assertPrints({
    "main.ts": `
      import { task } from "@parallel/multiprocessing";
      import { attempt } from "./try.js";
      import api from "./api.cjs";
      if (import.meta.main) {
        await attempt(api.add, 1);
        await attempt(task(import.meta.resolve("./api.cjs"), "add"), 1);
        await attempt(task(import.meta.resolve("./api.cjs"), "sub"), 1);
      }`,
    "api.cjs":
      `const K = 5; const api = {}; api.add = (n) => n + K; module.exports = api;`,
  }, ["6", "6", "TypeError"]));

Deno.test("A function that is none in strict code is refused by name", async () => {
  const sloppy = new Function("n", "var static = n; return static;");
  await assertRefused(sloppy, /"anonymous"/, /strict code/);
});

Deno.test("A frozen Error keeps no process from starting", () =>
  assertPrints({
    "main.ts": `
      import { attempt } from "./try.js";
      Object.freeze(Error);
      if (import.meta.main) {
        await attempt((n: number) => Math.abs(n), -3);
        await attempt((n: number) => n * n, 3);
      }`,
  }, ["3", "9"]));

Deno.test("A module behind a link is not evaluated to find a function", () =>
  assertPrints({
    "main.ts": `
      import { attempt } from "./try.js";
      await Deno.symlink(new URL("a.ts", import.meta.url), new URL("link.ts", import.meta.url));
      const { wrapped } = await import("./link.ts");
      if (import.meta.main) await attempt(wrapped, 1);`,
    "a.ts": `
      const wrap = (wrapper) => (...wrapped) => wrapper(...wrapped);
      export const wrapped = wrap((n) => n);
      console.log("evaluated");`,
  }, ["evaluated", "TypeError with task()"]));

Deno.test("An export that cannot be proved to be the function is refused with the way to name it", async () => {
  const result = await runSource(`
    import { Pool } from "@parallel/multiprocessing";
    const K = 1;
    export const { add } = { add: (n: number) => n + K };
    await using pool = new Pool(1);
    console.log(await pool.apply(add, [1]).catch((error) => error.message));
  `);
  assertMatch(
    result.stdout,
    /uses "K" from outside itself.*task\(\)/,
    show(result),
  );
});
