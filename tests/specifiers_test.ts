// What a specifier means in a module that has a configuration of its own.

import { assertEquals } from "@std/assert";
import { meaningsOf, resolveSpecifier } from "../_specifiers.ts";

async function inFolder(
  files: Record<string, string>,
  use: (folder: URL) => void,
): Promise<void> {
  const path = await Deno.makeTempDir();
  try {
    const folder = new URL(`file://${path}/`);
    for (const [name, text] of Object.entries(files)) {
      const url = new URL(name, folder);
      await Deno.mkdir(new URL(".", url), { recursive: true });
      await Deno.writeTextFile(url, text);
    }
    use(folder);
  } finally {
    await Deno.remove(path, { recursive: true });
  }
}

Deno.test("a specifier is resolved by the nearest deno.json that knows it", () =>
  inFolder({
    "deno.jsonc": `{
      // Comments and "quotes" in them, and a last comma:
      "imports": { "#top": "./top.ts", "a//": "./a/", "app": "npm:a@1", },
    }`,
    "app/deno.json": JSON.stringify({
      imports: {
        "~/": "./src/",
        "~/deep/": "./else/",
        "app": "./app.ts",
        "lib": "jsr:@a/lib@1",
      },
      scopes: { "./old/": { "lib": "jsr:@a/lib@0" } },
    }),
  }, (folder) => {
    const { href } = folder;
    const expected: [base: string, specifier: string, found: unknown][] = [
      ["app/main.ts", "~/x.ts", `${href}app/src/x.ts`],
      ["app/main.ts", "~/deep/x.ts", `${href}app/else/x.ts`],
      ["app/a/b/main.ts", "app", `${href}app/app.ts`],
      ["main.ts", "app", "npm:a@1"],
      ["app/main.ts", "#top", `${href}top.ts`],
      ["app/main.ts", "lib", "jsr:@a/lib@1"],
      ["app/old/main.ts", "lib", "jsr:@a/lib@0"],
      ["main.ts", "a//x.ts", `${href}a/x.ts`],
      ["app/main.ts", "nothing", undefined],
      ["app/main.ts", "./y.ts", `${href}app/y.ts`],
      ["app/main.ts", "https://a.example/x.ts", "https://a.example/x.ts"],
    ];
    for (const [base, specifier, found] of expected) {
      const message = `${specifier} in ${base}`;
      assertEquals(resolveSpecifier(specifier, href + base), found, message);
    }
  }));

Deno.test("a specifier is resolved by a package.json's imports and dependencies", () =>
  inFolder({
    "package.json": JSON.stringify({
      imports: {
        "#src/*": "./never/*",
        "#util": "./src/util.ts",
        "#u*": "./never/*",
        "#src/own.js": "./own.ts",
        "#flags": { "mine": "./a.ts", "default": "./b.ts" },
        "#deep": { "require": "./a.ts", "import": { "node": "./c.ts" } },
        "#src/*.js": { types: "./types/*.d.ts", node: "./src/*.ts" },
      },
      dependencies: {
        "ms": "^2.1.3",
        "@a/b": "1.x",
        "alias": "npm:is-odd@3",
        "mine": "workspace:*",
      },
      devDependencies: { "dev": "~1.0.0" },
    }),
  }, ({ href }) => {
    const expected: [specifier: string, found: string | undefined][] = [
      ["#util", `${href}src/util.ts`],
      ["#src/a/b.js", `${href}src/a/b.ts`],
      ["#src/own.js", `${href}own.ts`],
      ["#src/$&.js", `${href}src/$&.ts`],
      ["#flags", undefined],
      ["#deep", `${href}c.ts`],
      ["#none", undefined],
      ["ms", "npm:ms@^2.1.3"],
      ["@a/b/c", "npm:@a/b@1.x/c"],
      ["alias", "npm:is-odd@3"],
      ["mine", undefined],
      ["dev", "npm:dev@~1.0.0"],
    ];
    for (const [specifier, found] of expected) {
      assertEquals(resolveSpecifier(specifier, `${href}a/main.ts`), found);
    }
  }));

Deno.test("what the program's import map and the nearest configuration say may differ", () =>
  inFolder({
    "deno.json": JSON.stringify({ imports: { "@std/assert": "./mine.ts" } }),
  }, ({ href }) => {
    const anywhere = import.meta.resolve("@std/assert");
    const base = `${href}main.ts`;
    assertEquals(resolveSpecifier("@std/assert", base), anywhere);
    assertEquals([...meaningsOf("@std/assert", base)], [
      anywhere,
      `${href}mine.ts`,
    ]);
    assertEquals([...meaningsOf("./x.ts", base)], [`${href}x.ts`]);
    assertEquals([...meaningsOf("@std/none", base)], []);
  }));

Deno.test("a configuration that cannot be read is none", () =>
  inFolder({ "deno.json": "{", "package.json": "[]" }, ({ href }) => {
    assertEquals(resolveSpecifier("x", `${href}main.ts`), undefined);
    assertEquals(resolveSpecifier("x", "https://a.example/m.ts"), undefined);
  }));
