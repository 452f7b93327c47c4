import fc from "npm:fast-check@4.3.0";
import { stripTypeScriptTypes } from "node:module";
import { assert, assertEquals } from "@std/assert";
import { glanceAt } from "../_scope_glance.ts";
import { readFunction, readText, USED } from "../_scope.ts";

/** What both readers say of a function. */
interface Said {
  kind: string;
  async: boolean;
  generator: boolean;
  name: string | undefined;
  free: [string, number][];
}

function said(
  { kind, async, generator, name, free }: NonNullable<
    ReturnType<typeof glanceAt>
  >,
): Said {
  return { kind, async, generator, name, free: [...free].sort() };
}

/** Asserts that a glance tells what the parser does, or nothing; whether it told. */
function agrees(source: string): boolean {
  const outline = glanceAt(source);
  if (outline === undefined) return false;
  const node = said(readFunction(source));
  // The parser knows also what is assigned to, which says nothing about who has it.
  for (const use of node.free) use[1] &= USED;
  assertEquals(said(outline), node, source);
  return true;
}

/** Whether this is the text of one function of a module. */
function isFunction(source: string): boolean {
  try {
    const made = new Function(`"use strict"; return (${source}\n);`)();
    return typeof made === "function" && String(made) === source;
  } catch {
    return false;
  }
}

Deno.test("glanceAt() says of the library's own functions what the parser says", async () => {
  let functions = 0;
  let plain = 0;
  const root = new URL("../", import.meta.url);
  for (const { name } of Deno.readDirSync(root)) {
    if (!name.endsWith(".ts")) continue;
    const typed = await Deno.readTextFile(new URL(name, root));
    const text = stripTypeScriptTypes(typed, { mode: "transform" });
    for (const { kind, start, end } of readText(text).nodes) {
      if (kind === "class" || kind === "method") continue;
      functions++;
      if (agrees(text.slice(start, end))) plain++;
    }
  }
  assert(functions > 500, `${functions} functions`);
  assert(plain > functions / 3, `${plain} of ${functions}`);
});

Deno.test("glanceAt() tells what plain functions use", () => {
  const sources: [string, string[]][] = [
    ["(x) => x * x", []],
    ["x=>x", []],
    ["async (a, b = 2,) => { await a; return b / 2 / a; }", []],
    ["function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }", []],
    ["function () { return Math.max(1, other); }", ["Math", "other"]],
    ["(a) => { const b = a.c?.d; { let e = b; } return e; }", ["e"]],
    ["(n) => { for (let i = 0, m = n; i < m; i++) { n += i; } }", []],
    ["(n) => { for (let i = 0; i < n; i++) { } return i; }", ["i"]],
    ["(n) => { for (const k in n, m) { m; } }", ["m"]],
    ["(n) => { for (const of of n) { of; } }", []],
    ["(n) => { try { n(); } catch (e) { throw e; } finally { e; } }", ["e"]],
    ["(n) => [...n, { ...m }, { n, o }]", ["m", "o"]],
    ["() => \"it's\" + '\"' + '\\'' // `no` /\n + /* ' */ x", ["x"]],
    ["(a) => (a) / 2 / [1][0] / a.b / 0.5 /c", ["c"]],
    ["(a) => { if (a) { return 1..x + .5 + 1e3 + 0xff; } }", []],
    ["() => new Date().getTime()", ["Date"]],
    ["(a) => { b.catch(a).of.let.class; }", ["b"]],
  ];
  for (const [source, free] of sources) {
    assertEquals([...glanceAt(source)?.free.keys() ?? ["?"]], free, source);
    assert(isFunction(source) && agrees(source));
  }
});

Deno.test("glanceAt() gives up where it would have to guess", () => {
  const sources = [
    "function* () {}",
    "async function* () {}",
    "m(a) { return a; }",
    "get a() { return 1; }",
    "class {}",
    "({ a }) => a",
    "([a]) => a",
    "(...a) => a",
    "(a = b) => a",
    "(a = 1.5) => a",
    "(a) => (b) => a",
    "(a) => a.map((b) => b)",
    "(a) => function () {}",
    "(a) => class {}",
    "(a) => `${a}`",
    "(a) => /[/]/.test(a)",
    "(a) => { if (a) /'/.test(b); }",
    "(a) => { {} /'/.test(b); }",
    "(a) => a++ / b / 2",
    "(a) => { return /'/; }",
    "() => this",
    "function () { return arguments; }",
    "function () { return new.target; }",
    "function () { return new . target; }",
    "() => import.meta",
    "() => typeof a",
    "() => { var a; }",
    "() => { { a; } let a; }",
    "() => { let a = 1, b = 2; }",
    "() => { let { a } = b; }",
    "() => { let [a] = b; }",
    "() => { let a\nb; }",
    "() => { try {} catch ({ a }) { a; } }",
    "(a) => { for (const b of a) b; }",
    "(a) => { for (let b = 0, [c] = a; ; ) { } }",
    "async (a) => { for await (const b of a) { b; } }",
    "() => { a: for (;;) break a; }",
    "() => ({ a: 1 })",
    "(b) => ({ m(a) { return a; } })",
    "(b) => ({ get [b]() { return 1; } })",
    "(b) => ({ 'm'(a) { return a; } })",
    "() => { switch (1) { case A: } }",
    "() => caf\u00e9",
    "() => \\u0061",
    "(x) => x\n-->x",
    "(x) => x<!--x",
    "() => { with (a) b; }",
    "() => #a in b",
    "() => a./* */b",
  ];
  for (const source of sources) {
    assertEquals(glanceAt(source), undefined, source);
  }
});

// Fragments of which some make functions: what one reader takes for the end of a
// bracket, a string or a declaration, the other has to as well.
const WORDS =
  "a b a b Math if else for of in let const return new await catch try " +
  "case default while do delete void throw null true of async get typeof";
const MARKS =
  "( ) ( ) { } { } [ ] , , ; ; : ? . ... ?. = = => + ++ -- - / / * < ! ' \" ` 1 .5 2. // /* */ \n";
const fragment = fc.constantFrom(
  ...`${WORDS} ${MARKS}`.split(" "),
  "for (let a = 1; ",
  "for (const b of ",
  "let a = ",
  "const b = ",
  "; let b = ",
  ") { ",
  "catch (a) {",
  "try {",
  "a.b",
  "'a'",
  "a: ",
  "if (a) ",
  "(a) => ",
  "b(a)",
  "/a/",
);

Deno.test("glanceAt() says of functions made at random what the parser says", () => {
  let plain = 0;
  fc.assert(
    fc.property(
      fc.constantFrom("(a) => ", "function a(b) ", "async (b) => ", "b => "),
      fc.array(fragment, { maxLength: 12 }),
      fc.constantFrom("", " "),
      (head, body, between) => {
        for (const [open, close] of [["{ ", " }"], ["(", ")"], ["", ""]]) {
          const source = head + open + body.join(between) + close;
          if (glanceAt(source) === undefined || !isFunction(source)) continue;
          if (agrees(source)) plain++;
        }
      },
    ),
    { numRuns: 20_000 },
  );
  assert(plain > 1000, `${plain} plain functions`);
});
