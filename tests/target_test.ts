import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { resolveTarget } from "../_resolve.ts";
import { describeTarget } from "../_target.ts";
import { type Task, task } from "../task.ts";
import { describe as show, runSource } from "./_child.ts";
import { assertRefused, assertRuns } from "./_targets.ts";
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
import { run, send } from "./testdata/target_run.ts";

const MODULE = new URL("./testdata/target_module.ts", import.meta.url);
const factor = 4;

export function exportedHere(x: number): number {
  return x * factor;
}

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

Deno.test("a worker names the globals that it lacks", async () => {
  const scope = globalThis as unknown as { onlyHere?: number };
  scope.onlyHere = 1;
  try {
    const target = new Function("return onlyHere");
    await assertRefused(target, /workers have no "onlyHere", which it uses/);
    const ref = describeTarget(new Function("return postMessage"), "test", run);
    assertEquals((await send(ref, [])).error?.includes("postMessage("), false);
  } finally {
    delete scope.onlyHere;
  }
});

Deno.test("an evaluated function keeps strict mode and its name", async () => {
  const strict = function (this: unknown): unknown {
    return this === undefined;
  };
  await assertRuns(strict, [], true);
  assertEquals((await run(strict)).name, "strict");
  const ref = describeTarget((x: number) => x, "test", assertRuns);
  assertEquals(ref.name, "");
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
  const thisFile = import.meta.url.split("/").at(-1)!;
  const captured = 5;
  const local = (x: number) => x + captured;
  await assertRefused(
    local,
    /"local"/,
    /captured/,
    new RegExp(RegExp.escape(thisFile)),
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

// --- descriptions ---

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
