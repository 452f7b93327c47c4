// Where a function is looked for, and what is not taken for it.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { mayDeclare } from "../_target_module.ts";
import { describe as show, runFile, runSource } from "./_child.ts";

// --- names ---

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

// --- programs ---

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
      const path = `${folder}/${name}`;
      await Deno.mkdir(path.replace(/[^/]*$/, ""), { recursive: true });
      await Deno.writeTextFile(path, text);
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

Deno.test("What a CommonJS module exports, as itself, is its default export", () =>
  assertPrints({
    "main.ts": `
      import { attempt } from "./try.js";
      import add from "./add.cjs";
      import { named } from "./named.cjs";
      if (import.meta.main) {
        await attempt(add, 1);
        await attempt(named, 1);
      }`,
    "add.cjs":
      "const K = 1; module.exports = function add(n) { return n + K; };",
    "named.cjs": "const K = 2; exports.named = (n) => n + K;",
  }, ["2", "3"]));

Deno.test("An export of the main module is found whatever else has its name", () =>
  assertPrints({
    "main.ts": `
      import { join as inner } from "node:path";
      import { attempt } from "./try.js";
      import { made } from "./node_modules/made/index.js";
      const K = "k";
      export function join(a) { return inner(a, K); }
      if (import.meta.main) {
        await attempt(join, "j");
        console.log(made());
      }`,
    "node_modules/made/index.js": `
      import { join } from "node:path";
      export const made = Function("return 5");
      export { join };`,
  }, ["j/k", "5"]));

Deno.test("What a module that was not loaded imports by the name of an export is no twin", () =>
  assertPrints({
    "main.ts": `
      import { attempt } from "./try.js";
      const K = 5;
      ${ADD}
      if (import.meta.main) {
        await attempt(add, 1);
        if (Deno.args.length > 0) await import("./never.ts");
      }`,
    "never.ts": `import { add } from "never-configured"; console.log(add);`,
  }, ["6"]));

Deno.test("A function is found by its text if one of its name cannot be read", async () => {
  const text = "export const add = (n) => n * 2;";
  await using server = Deno.serve(
    { port: 0, onListen() {} },
    () =>
      new Response(text, { headers: { "content-type": "text/javascript" } }),
  );
  await assertPrints({
    "main.ts": `
      import { attempt } from "./try.js";
      import { add as other } from "http://127.0.0.1:${server.addr.port}/add.js";
      const K = 5;
      ${ADD}
      if (import.meta.main) await attempt(add, other(1));`,
  }, ["7"]);
});

Deno.test("The default of what a CommonJS module exports is not taken for its twin", () =>
  assertPrints({
    "main.ts": `
      import { attempt } from "./try.js";
      import twins from "./twins.cjs";
      if (import.meta.main) {
        await attempt(twins, 1);
        await attempt(twins.default, 1);
      }`,
    "twins.cjs": `
      const make = (k) => function add(n) { return n + k; };
      module.exports = make(1);
      module.exports.default = make(1000);`,
  }, ["2", "TypeError with task()"]));

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
