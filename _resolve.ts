// The worker's side of a target: from its description back to the function.
//
// A self-contained function is evaluated from its source, synchronously and with no
// permission. An exported one is found by importing its module. Everything about
// *which* function is meant was decided by the sender (`_target.ts`); here it is
// only checked that what was found is what was described.
//
// Nothing here prompts: a permission is queried before it is used.

import { isMainThread } from "./_life.ts";
import type { TargetRef } from "./_target.ts";

// Code that a task runs later may patch these.
const { getOwnPropertyDescriptor, defineProperty, keys } = Object;
/** In the global scope, as it is called by another name. */
const evaluateText = eval;
const toSource = Function.prototype.call.bind(Function.prototype.toString) as (
  target: unknown,
) => string;

/** Where a refusal names the variables that turn out to be none. */
export const PLACEHOLDER = "%NAMES%";

/** Says, here and where it is described, why a function is not run. */
export function cannotRun(name: string, why: string): string {
  const shown = name === "" ? "<anonymous>" : `"${name}"`;
  return `Cannot run function ${shown} in a worker: ${why}`;
}

/** The modules whose import for a worker has not ended, oldest first. */
const importing: string[] = [];
/** The module for which the running code was started, however long ago. */
let origin: AsyncVariable | undefined;

/** Deno's own carrier of a value along promises and timers. */
interface AsyncVariable {
  enter(value: string): unknown;
  get(): unknown;
}

/** The module that is being imported for a worker by the running code, if any. */
function importInProgress(): string | undefined {
  // What the main thread imports, a barrier's action, starts its workers once.
  if (isMainThread()) return undefined;
  // With the carrier this tells a module's own code from a task that runs while
  // another task's module loads, and it still knows an unguarded `main()` that
  // first awaits something and starts workers when the import is long over.
  if (origin !== undefined) return origin.get() as string | undefined;
  return importing.at(-1);
}

/**
 * Throws if code of a module that is being imported for a worker asks to start
 * another one.
 *
 * @param what What was asked for, as in "start process".
 */
export function assertMayStart(what: string): void {
  const url = importInProgress();
  if (url !== undefined) throw new MissingGuardError(what, url);
}

class MissingGuardError extends TypeError {
  constructor(what: string, url: string) {
    super(
      `Cannot ${what} while ${url} is being imported for a worker: the module would ` +
        "start workers in every worker. Put the code that starts them under " +
        "`if (import.meta.main) { \u2026 }`, which is false in a worker, or into a " +
        "function that is called when the module has loaded",
    );
  }
}

/** Finds or makes the function that a description stands for. */
export function resolveTarget(
  ref: TargetRef,
  // deno-lint-ignore ban-types -- a class is a target, too.
): Function | Promise<Function> {
  switch (ref.kind) {
    case "source":
      return evaluate(ref);
    case "export":
      return findExport(ref);
    case "import":
      return findImport(ref);
    case "task":
      return findTask(ref);
    case "refused":
      throw new TypeError(ref.message);
  }
}

type Ref<K extends TargetRef["kind"]> = Extract<TargetRef, { kind: K }>;

// deno-lint-ignore ban-types -- a class is a target, too.
function evaluate(ref: Ref<"source">): Function {
  const missing: string[] = [];
  for (const name of ref.globals) if (!(name in globalThis)) missing.push(name);
  if (missing.length > 0) {
    throw new TypeError(
      ref.unlessGlobal.split(PLACEHOLDER).join(`"${missing.join('", "')}"`),
    );
  }
  const { code, self, name } = ref;
  const text = self === undefined
    ? `(${code}\n);`
    : `const ${self} = (${code}\n); ${self};`;
  // What stacks show instead of where this is. It counts the function's own lines.
  const shown = name.replaceAll(/[^\p{ID_Continue}$]/gu, "_") || "anonymous";
  let target;
  try {
    target = evaluateText(
      `"use strict"; ${text}\n//# sourceURL=function:${shown}`,
    );
  } catch (error) {
    throw new TypeError(
      cannotRun(
        name,
        `its text cannot be evaluated there, in strict code: ${
          (error as Error).message
        }`,
      ),
      { cause: error },
    );
  }
  const descriptor = getOwnPropertyDescriptor(target, "name");
  if (descriptor?.value !== name && descriptor?.configurable !== false) {
    if (descriptor === undefined || typeof descriptor.value === "string") {
      defineProperty(target, "name", { value: name, configurable: true });
    }
  }
  return target;
}

// deno-lint-ignore ban-types -- a class is a target, too.
async function findExport(ref: Ref<"export">): Promise<Function> {
  const namespace = await importForWorker(ref.url, ref.name);
  const found = exportOf(namespace, ref.exported);
  if (typeof found === "function" && toSource(found) === ref.source) {
    return found;
  }
  throw new TypeError(
    cannotRun(
      ref.name,
      `the export "${ref.exported}" of ${ref.url} is ${
        typeof found === "function" ? "another function" : "not it"
      } when the module is imported there`,
    ),
  );
}

// deno-lint-ignore ban-types -- a class is a target, too.
async function findImport(ref: Ref<"import">): Promise<Function> {
  // deno-lint-ignore ban-types -- a class is a target, too.
  const found = new Set<Function>();
  let failure: unknown;
  for (const { url, imported } of ref.candidates) {
    let namespace: Record<string, unknown>;
    try {
      namespace = await importForWorker(url, ref.name);
    } catch (error) {
      if (error instanceof MissingGuardError) throw error;
      failure ??= error;
      continue;
    }
    for (const key of imported === "*" ? keys(namespace) : [imported]) {
      const value = exportOf(namespace, key);
      if (typeof value !== "function" || toSource(value) !== ref.source) {
        continue;
      }
      if (getOwnPropertyDescriptor(value, "name")?.value === ref.name) {
        found.add(value);
      }
    }
  }
  if (found.size === 1 && !(ref.all && failure !== undefined)) {
    for (const target of found) return target;
  }
  if (found.size === 0 && failure !== undefined) throw failure;
  throw new TypeError(ref.message);
}

// deno-lint-ignore ban-types -- a class is a target, too.
async function findTask(ref: Ref<"task">): Promise<Function> {
  const namespace = await importForWorker(ref.url, ref.name);
  const found = exportOf(namespace, ref.name);
  if (typeof found !== "function") {
    const names = keys(namespace);
    throw new TypeError(
      `Cannot run task "${ref.name}" of ${ref.url} in a worker: ` +
        (ref.name in namespace
          ? `that export is not a function but ${
            found === null ? "null" : typeof found
          }`
          : `the module has no such export; ${
            names.length === 0 ? "it has none" : `it has ${names.join(", ")}`
          }`),
    );
  }
  if (
    /GeneratorFunction$/.test(
      (found as { [Symbol.toStringTag]?: string })[Symbol.toStringTag] ?? "",
    )
  ) {
    throw new TypeError(
      `Cannot run task "${ref.name}" of ${ref.url} in a worker: it is a generator function`,
    );
  }
  return found;
}

/** An export of a module, or, if it is a CommonJS one, a property of what it exports. */
function exportOf(namespace: Record<string, unknown>, name: string): unknown {
  if (name in namespace) return namespace[name];
  const exports = namespace["module.exports"] as
    | Record<string, unknown>
    | null
    | undefined;
  return exports?.[name];
}

async function importForWorker(
  url: string,
  name: string,
): Promise<Record<string, unknown>> {
  const denied = await missingFlag(url);
  if (denied !== undefined) {
    throw new TypeError(
      cannotRun(
        name,
        `importing its module ${url} is not permitted, add ${denied}; ` +
          "with `permissions`, these have to allow it",
      ),
    );
  }
  importing.push(url);
  try {
    return await importAs(url);
  } catch (error) {
    if (error instanceof MissingGuardError) throw error;
    throw new TypeError(
      cannotRun(
        name,
        `importing its module ${url} failed: ${
          error instanceof Error ? error.message : String(error)
        }`,
      ),
      { cause: error },
    );
  } finally {
    importing.splice(importing.indexOf(url), 1);
  }
}

/** Imports a module so that its code, and what it leaves running, is known to be its. */
function importAs(url: string): Promise<Record<string, unknown>> {
  const core = isMainThread() ? undefined : asyncContext();
  if (core === undefined) return importModule(url);
  origin ??= new core.AsyncVariable();
  const outer = origin.enter(url);
  try {
    return importModule(url);
  } finally {
    core.setAsyncContext(outer);
  }
}

async function importModule(url: string): Promise<Record<string, unknown>> {
  if (!/^https?:/.test(url)) return import(url);
  // A module of the registry may not import such a module itself.
  const code = `import * as all from ${JSON.stringify(url)};export default all`;
  const wrapper = await import(
    `data:text/javascript,${encodeURIComponent(code)}`
  );
  return wrapper.default;
}

interface AsyncContext {
  AsyncVariable: new () => AsyncVariable;
  setAsyncContext(context: unknown): void;
}

/**
 * The means behind `AsyncLocalStorage`, which itself takes 20 ms to load in a worker. Where
 * they cannot be reached, only what a module does before its import ends is known to be its.
 */
function asyncContext(): AsyncContext | undefined {
  try {
    const internal = (Deno as unknown as { internal: symbol }).internal;
    const { core } =
      (Deno as unknown as Record<symbol, { core: Partial<AsyncContext> }>)[
        internal
      ]!;
    if (
      typeof core.AsyncVariable === "function" &&
      typeof core.setAsyncContext === "function"
    ) return core as AsyncContext;
  } catch {
    // Not there in this version.
  }
  return undefined;
}

/** The flag without which importing the module would prompt or fail. */
async function missingFlag(url: string): Promise<string | undefined> {
  const flag = flagFor(url);
  if (flag !== undefined || !url.startsWith("file:")) return flag;
  if (Deno.permissions.querySync({ name: "read" }).state === "granted") {
    return undefined;
  }
  // Not everything may be read: what the module imports may be what is missing. To find out
  // takes modules of this library, which may be files as well.
  const library = new URL(".", import.meta.url).href;
  if (flagFor(library) !== undefined) return undefined;
  // Not a literal specifier, so that Deno does not load them at the start of every worker.
  const { importedFrom }: typeof import("./_target_module.ts") = await import(
    new URL("./_target_module.ts", import.meta.url).href
  );
  for (const other of importedFrom([url], true)) {
    const flag = flagFor(other);
    if (flag !== undefined) return `${flag} (it imports ${other})`;
  }
  return undefined;
}

/** Of a file in Deno's cache of npm packages: `npm/<host>/<name>/<version>/`. */
const CACHED = /\/npm\/[^/]+\.[^/]+\/(?:@[^/]+\/)?[^/@]+\/\d+\.\d+\.\d[^/]*\//;

/** Whether a file is of an npm package in Deno's cache. */
export function isCachedPackage(url: string): boolean {
  return CACHED.test(url);
}

function flagFor(url: string): string | undefined {
  const { protocol, host } = new URL(url);
  if (protocol === "file:") {
    if (isCachedPackage(url)) return undefined; // which Deno decides by itself
    const path = new URL(url.replace(/[?#].*$/, ""));
    const { state } = Deno.permissions.querySync({ name: "read", path });
    return state === "granted" ? undefined : "--allow-read";
  }
  if (protocol === "http:" || protocol === "https:") {
    const { state } = Deno.permissions.querySync({ name: "import", host });
    return state === "granted" ? undefined : `--allow-import=${host}`;
  }
  return undefined;
}
