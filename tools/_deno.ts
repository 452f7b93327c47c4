/**
 * What the tools share: running this Deno, choosing where `@std` comes from, and the
 * steps that are tasks of their own and a part of the gate.
 *
 * `deno.json` names `@std/assert` and `@std/async` from JSR. On a machine which
 * cannot reach JSR the same code comes from npm, through `import_map.npm.json`.
 *
 * @module
 */

/** The folder of the repository, as a URL that ends in a slash. */
export const ROOT: URL = new URL("../", import.meta.url);

/** Milliseconds that JSR has to answer in. */
const PROBE_TIMEOUT = 1500;

/**
 * Asks JSR for std, and returns the flags that make `@std` resolve.
 *
 * Prints one line if the npm copy is used.
 *
 * @returns No flags where JSR answers, otherwise the one for the import map.
 */
export async function importFlags(): Promise<string[]> {
  if (await jsrAnswers()) return [];
  console.error("JSR does not answer: using the copy of @std from npm");
  return ["--import-map=import_map.npm.json"];
}

/**
 * Runs this Deno in the repository, with inherited output, and waits for its end.
 *
 * @param args The arguments.
 * @param env Variables added to its environment.
 * @returns The exit code.
 */
export async function deno(
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<number> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [...args],
    env,
    cwd: ROOT,
    stdin: "null",
  }).spawn();
  return (await child.status).code;
}

/**
 * Type-checks every file of the repository, and the examples in the docs.
 *
 * @param imports What {@linkcode importFlags} returned.
 * @returns The exit code.
 */
export function checkTypes(imports: readonly string[]): Promise<number> {
  return deno(["check", "--quiet", "--doc", ...imports, "."]);
}

/**
 * Checks the docs of all entry points.
 *
 * @returns The exit code.
 */
export async function lintDocs(): Promise<number> {
  return await deno(["doc", "--lint", "--quiet", ...await entryPoints()]);
}

/**
 * Runs tests and doc tests, without checking types.
 *
 * Files run side by side, one more than there are cores, unless `DENO_JOBS` says
 * otherwise: much of their time goes by in waiting.
 *
 * @param imports What {@linkcode importFlags} returned.
 * @param args Further arguments of `deno test`.
 * @returns The exit code.
 */
export function runTests(
  imports: readonly string[],
  args: readonly string[] = [],
): Promise<number> {
  const jobs = Deno.env.get("DENO_JOBS") ??
    `${navigator.hardwareConcurrency + 1}`;
  return deno([
    "test",
    "--allow-all",
    "--no-check",
    "--parallel",
    "--doc",
    ...imports,
    ...args,
  ], { DENO_JOBS: jobs });
}

/** The paths of all entry points in `deno.json`, such as `./mod.ts`. */
async function entryPoints(): Promise<string[]> {
  const text = await Deno.readTextFile(new URL("deno.json", ROOT));
  const { exports } = JSON.parse(text) as { exports: Record<string, string> };
  return Object.values(exports);
}

async function jsrAnswers(): Promise<boolean> {
  const registry = Deno.env.get("JSR_URL") || "https://jsr.io/";
  try {
    const response = await fetch(
      new URL("/@std/assert/meta.json", registry),
      { signal: AbortSignal.timeout(PROBE_TIMEOUT) },
    );
    const meta = await response.json();
    return response.ok && typeof meta.versions === "object";
  } catch {
    return false;
  }
}
