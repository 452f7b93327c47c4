/**
 * The package as its users get it: imported from a `jsr:` specifier, by a script
 * in a folder of its own, with no permission flag, no config and an empty cache.
 */
import { assert, assertEquals } from "@std/assert";
import { describe, ROOT, runFile, runSource } from "./_child.ts";
import { type Registry, startRegistry } from "./_registry.ts";

const PACKAGE = "jsr:@parallel/multiprocessing";

async function assertPrints(
  registry: Registry,
  source: string,
  expected: string,
): Promise<void> {
  const cache = await Deno.makeTempDir({ prefix: "multiprocessing_cache_" });
  try {
    const child = await runSource(source, {
      config: false,
      flags: [],
      env: { JSR_URL: registry.url, DENO_DIR: cache },
    });
    assertEquals(child.stdout, expected, describe(child));
    assertEquals(child.code, 0, describe(child));
  } finally {
    await Deno.remove(cache, { recursive: true });
  }
}

Deno.test("deno publish ships the library and nothing else", async () => {
  await using registry = await startRegistry();
  const library = /^\/[^/]+\.ts$/;
  const others = registry.files.filter((path) => !library.test(path)).sort();
  assertEquals(others, [
    "/CHANGELOG.md",
    "/LICENSE",
    "/README.md",
    "/SECURITY.md",
    "/deno.json",
  ]);
  assert(registry.files.includes("/mod.ts"));
});

Deno.test("every public module is an entry point with a line in the import map", async () => {
  const [{ name, exports }, { imports }] = await Promise.all(
    ["deno.json", "import_map.npm.json"].map(async (file) =>
      JSON.parse(await Deno.readTextFile(new URL(file, ROOT)))
    ),
  );
  const mapped = Object.entries<string>(exports).map((
    [key, path],
  ) => [name + key.slice(1), path]);
  for (const [specifier, path] of mapped) {
    assertEquals(imports[specifier!], path, `import map: ${specifier}`);
  }
  const entryPoints = Object.values<string>(exports).sort();
  const modules: string[] = [];
  for await (const { name: file } of Deno.readDir(ROOT)) {
    if (/^[a-z].*\.ts$/.test(file)) modules.push(`./${file}`);
  }
  assertEquals(modules.sort(), entryPoints);
});

Deno.test("Pool.map() works for a jsr: consumer without permissions", async () => {
  await using registry = await startRegistry();
  await assertPrints(
    registry,
    `import * as mp from "${PACKAGE}";

await using pool = new mp.Pool(2);
console.log(JSON.stringify(await pool.map((n: number) => n * n, [1, 2, 3])));
`,
    "[1,4,9]\n",
  );
});

Deno.test("Process, Queue and Lock work for a jsr: consumer without permissions", async () => {
  await using registry = await startRegistry();
  await assertPrints(
    registry,
    `import * as mp from "${PACKAGE}";

const queue = new mp.Queue<number>();
const lock = new mp.Lock();
const processes = [1, 2].map((n) =>
  new mp.Process({
    target: async (queue: mp.Queue<number>, lock: mp.Lock, n: number) => {
      using _held = await lock.acquire();
      await queue.put(n * 10);
    },
    args: [queue, lock, n],
  })
);
for (const p of processes) p.start();
for (const p of processes) await p.join();
const got = [await queue.get(), await queue.get()].sort();
console.log(JSON.stringify(got), lock.locked);
`,
    "[10,20] false\n",
  );
});

Deno.test("every entry point loads for a jsr: consumer", async () => {
  await using registry = await startRegistry();
  const { exports } = JSON.parse(
    await Deno.readTextFile(new URL("deno.json", ROOT)),
  ) as { exports: Record<string, string> };
  const names = Object.keys(exports).map((key) => PACKAGE + key.slice(1));
  await assertPrints(
    registry,
    names.map((name, i) => `import * as m${i} from "${name}";\n`).join("") +
      `const all = [${names.map((_, i) => `m${i}`).join(", ")}];\n` +
      `console.log(all.every((m) => Object.keys(m).length > 0));\n`,
    "true\n",
  );
});

Deno.test("what was cached beforehand starts workers of every kind offline", async () => {
  const folder = await Deno.makeTempDir({ prefix: "multiprocessing_cache_" });
  const script = `${folder}/main.ts`;
  await Deno.writeTextFile(
    script,
    `import * as mp from "${PACKAGE}";

const square = (n: number) => n * n;
const results = [];
for (const kind of [{}, { worker: "node" }, { permissions: "none" }] as const) {
  await using pool = new mp.Pool({ processes: 1, ...kind });
  const p = new mp.Process({ target: square, args: [3], ...kind }).start();
  results.push(await pool.apply(square, [2]), await p.result);
}
await using manager = new mp.Manager();
const list = await manager.list([4]);
results.push(...await list.snapshot());
// Whoever blocks leaves the watching to a worker of its own.
const leaving = new mp.Process({ target: () => self.close() }).start();
leaving.joinSync();
console.log(results.join(), leaving.exitCode);
`,
  );
  const env: Record<string, string> = { DENO_DIR: `${folder}/deno` };
  try {
    {
      await using registry = await startRegistry();
      env.JSR_URL = registry.url;
      const cached = await new Deno.Command(Deno.execPath(), {
        args: ["cache", "--quiet", "--no-config", script],
        cwd: folder,
        env,
      }).output();
      assert(cached.success, new TextDecoder().decode(cached.stderr));
    }
    const child = await runFile(script, {
      config: false,
      flags: ["--cached-only", "--unstable-worker-options"],
      cwd: folder,
      env,
    });
    assertEquals(child.stdout, "4,9,4,9,4,9,4 0\n", describe(child));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
