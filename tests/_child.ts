/**
 * Runs a Deno program in a child process with a deadline, so that a program
 * which hangs is a failed test and never a hung suite.
 *
 * ```ts ignore
 * const out = await runSource(`
 *   import { Lock } from "@parallel/multiprocessing";
 *   console.log(new Lock().locked);
 * `);
 * assertEquals(out.stdout, "false\n");
 * assertEquals(out.code, 0);
 * ```
 *
 * @module
 */

import { DEADLINE } from "./_within.ts";

/** The folder of the repository, as a URL that ends in a slash. */
export const ROOT: URL = new URL("../", import.meta.url);

/** Options for {@linkcode runFile} and {@linkcode runSource}. */
export interface ChildOptions {
  /**
   * Flags between `deno run` and the script, such as `--allow-read`.
   *
   * @default {["-A"]}
   */
  flags?: readonly string[] | undefined;
  /** Arguments of the script, its `Deno.args`. */
  args?: readonly string[] | undefined;
  /** Variables added to the environment of this process. */
  env?: Record<string, string> | undefined;
  /**
   * The folder to run in.
   *
   * @default {the repository}
   */
  cwd?: URL | string | undefined;
  /**
   * Milliseconds after which the child is killed.
   *
   * @default {60000}
   */
  deadline?: number | undefined;
  /**
   * Whether the repository's `deno.json` applies, so that the package can be
   * imported by its own name from anywhere.
   *
   * @default {true}
   */
  config?: boolean | undefined;
  /** Text for the child's standard input, which is otherwise empty. */
  stdin?: string | undefined;
}

/** What became of a child process. */
export interface ChildResult {
  /** The exit code; 128 + signal number if a signal ended it. */
  code: number;
  /** The signal which ended it, if one did. */
  signal: Deno.Signal | null;
  /** Everything it wrote to standard output. */
  stdout: string;
  /** Everything it wrote to standard error. */
  stderr: string;
  /** Whether it was killed because its deadline passed. */
  timedOut: boolean;
  /** Milliseconds from start to end, Deno's own start-up included. */
  elapsed: number;
  /** Milliseconds from its first output to its end. */
  talked: number;
}

/**
 * Runs a script file to its end, or until the deadline.
 *
 * Never rejects because of what the script does: look at `timedOut` and `code`.
 *
 * @param script The script: a path relative to the repository, a `file:` URL, or any specifier that `deno run` takes.
 * @param options Additional options.
 * @returns What became of the child process.
 */
export async function runFile(
  script: string | URL,
  options: ChildOptions = {},
): Promise<ChildResult> {
  const { flags = ["-A"], args = [], config = true, deadline = DEADLINE } =
    options;
  const settings = config
    ? [`--config=${filePath(new URL("deno.json", ROOT))}`, "--no-lock"]
    : ["--no-config", "--no-lock"];
  const started = performance.now();
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--quiet",
      "--no-prompt",
      ...settings,
      ...flags,
      script instanceof URL ? script.href : script,
      ...args,
    ],
    cwd: options.cwd ?? ROOT,
    env: { NO_COLOR: "1", ...options.env },
    stdin: options.stdin === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    child.kill("SIGKILL");
  }, deadline);
  try {
    if (options.stdin !== undefined) {
      const writer = child.stdin.getWriter();
      await writer.write(new TextEncoder().encode(options.stdin));
      await writer.close();
    }
    let stdout = "";
    let heard = NaN;
    const [{ code, signal }, stderr] = await Promise.all([
      child.status,
      new Response(child.stderr).text(),
      (async () => {
        const texts = child.stdout.pipeThrough(new TextDecoderStream());
        for await (const text of texts) {
          if (stdout === "") heard = performance.now();
          stdout += text;
        }
      })(),
    ]);
    const ended = performance.now();
    return {
      code,
      signal,
      stdout,
      stderr,
      timedOut,
      elapsed: ended - started,
      talked: ended - heard,
    };
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Runs source text as a script: it is written to a file in a temporary folder of
 * its own, which is removed afterwards.
 *
 * With `config` (the default) the script may import `@parallel/multiprocessing`
 * and its entry points by name.
 *
 * @param source The text of the script, TypeScript.
 * @param options Additional options, and `files`: other modules to write beside it, by file name.
 * @returns What became of the child process.
 */
export async function runSource(
  source: string,
  options: ChildOptions & { files?: Record<string, string> | undefined } = {},
): Promise<ChildResult> {
  const folder = await Deno.makeTempDir({ prefix: "multiprocessing_" });
  try {
    for (const [name, text] of Object.entries(options.files ?? {})) {
      await Deno.writeTextFile(`${folder}/${name}`, text);
    }
    await Deno.writeTextFile(`${folder}/main.ts`, source);
    return await runFile(`${folder}/main.ts`, { cwd: folder, ...options });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/**
 * Says everything known about a child, for the message of a failed assertion.
 *
 * @param result What became of the child process.
 * @returns Several lines of text.
 */
export function describe(result: ChildResult): string {
  const { code, signal, timedOut, elapsed, stdout, stderr } = result;
  const end = timedOut ? "killed at its deadline" : signal ?? `exit ${code}`;
  return `${end} after ${Math.round(elapsed)} ms\n` +
    `stdout: ${stdout}\nstderr: ${stderr}`;
}

function filePath(url: URL): string {
  const path = decodeURIComponent(url.pathname);
  return Deno.build.os === "windows" ? path.slice(1) : path;
}
