import { assert, assertEquals, assertThrows } from "@std/assert";
import { readFunction, readText } from "../_scope.ts";

function free(source: string): string[] {
  return [...readFunction(source).free.keys()].sort();
}

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
