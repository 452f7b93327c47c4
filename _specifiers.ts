/**
 * What a specifier means in a module of the user's.
 *
 * The runtime resolves what this library imports, not what others do: the import map of
 * the program is the same for all, but a member of a workspace has its own, and so has a
 * package with a `package.json`. Those are looked for beside the module and above it when
 * the runtime knows of nothing.
 *
 * @module
 */

import { isCachedPackage } from "./_resolve.ts";

/**
 * What a folder's configuration makes of specifiers in the modules below it: `undefined`
 * if it says nothing, `null` if what it says is not known here.
 */
type Resolver = (specifier: string, base: string) => string | null | undefined;

type Mapping = Record<string, unknown>;

const FILES: [name: string, resolver: (json: Mapping, url: URL) => Resolver][] =
  [
    ["deno.json", denoResolver],
    ["deno.jsonc", denoResolver],
    ["package.json", packageResolver],
  ];
const COMMENT = /("(?:[^"\\]|\\.)*")|\/\/.*|\/\*[^]*?\*\//g;
const LAST_COMMA = /("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])/g;
/** The conditions of a `package.json` under which Deno takes a path. */
const ALWAYS = new Set(["deno", "import", "module-sync", "node", "default"]);
/** Those under which it takes none; whether it does under others, flags decide. */
const NEVER = new Set(["browser", "bun", "require", "types"]);
const DEPENDENCIES = ["dependencies", "devDependencies"];

/** By folder. */
const resolvers = new Map<string, Resolver[]>();

/** Resolves a specifier as a module would; `undefined` if that is not possible. */
export function resolveSpecifier(
  specifier: string,
  base: string,
): string | undefined {
  try {
    if (isRelative(specifier)) return new URL(specifier, base).href;
    if (URL.canParse(specifier)) return specifier;
  } catch {
    return undefined;
  }
  return resolveAnywhere(specifier) ?? resolveBeside(specifier, base);
}

/**
 * All that a specifier may mean in a module: for {@linkcode resolveSpecifier} what the
 * runtime knows comes first, though the configuration beside the module may differ.
 */
export function meaningsOf(specifier: string, base: string): Set<string> {
  const meanings = [resolveSpecifier(specifier, base)];
  if (isBare(specifier)) meanings.push(resolveBeside(specifier, base));
  return new Set(meanings.filter((url) => url !== undefined));
}

function isBare(specifier: string): boolean {
  return !isRelative(specifier) && !URL.canParse(specifier);
}

/** Whether a specifier means a place beside its module, or on its host. */
export function isRelative(specifier: string): boolean {
  return /^\.{0,2}\//.test(specifier);
}

/** Whether a module is of an npm package: none of the user's own, and none to be searched. */
export function isPackaged(url: string): boolean {
  return url.startsWith("npm:") || url.startsWith("file:") &&
      (url.includes("/node_modules/") || isCachedPackage(url));
}

/** Resolves a bare specifier as any module does, this library's included. */
export function resolveAnywhere(specifier: string): string | undefined {
  try {
    return import.meta.resolve(specifier);
  } catch {
    return undefined;
  }
}

function resolveBeside(specifier: string, base: string): string | undefined {
  if (!base.startsWith("file:")) return undefined;
  let folder = new URL(".", base);
  while (true) {
    for (const resolver of resolversOf(folder)) {
      const found = resolver(specifier, base);
      if (found !== undefined) return found ?? undefined;
    }
    const above = new URL("..", folder);
    if (above.href === folder.href) return undefined;
    folder = above;
  }
}

function resolversOf(folder: URL): Resolver[] {
  let found = resolvers.get(folder.href);
  if (found === undefined) {
    found = [];
    for (const [name, resolver] of FILES) {
      const url = new URL(name, folder);
      const json = readConfig(url);
      if (json !== undefined) found.push(resolver(json, url));
    }
    // What may not be read now may be permitted later.
    if (mayRead(folder)) resolvers.set(folder.href, found);
  }
  return found;
}

function readConfig(url: URL): Mapping | undefined {
  try {
    if (!mayRead(url)) return undefined;
    const text = Deno.readTextFileSync(url);
    return asMapping(
      JSON.parse(text.replace(COMMENT, "$1").replace(LAST_COMMA, "$1")),
    );
  } catch {
    return undefined; // There is none, or none that can be read.
  }
}

/** Whether a file or folder may be read without asking. */
export function mayRead(path: URL): boolean {
  return Deno.permissions.querySync({ name: "read", path }).state === "granted";
}

function asMapping(value: unknown): Mapping | undefined {
  return typeof value === "object" && value !== null
    ? value as Mapping
    : undefined;
}

// -- deno.json: https://html.spec.whatwg.org/#import-maps ---------------------------

function denoResolver(json: Mapping, url: URL): Resolver {
  const imports = asMapping(json.imports) ?? {};
  const scopes = Object.entries(asMapping(json.scopes) ?? {})
    .map(([prefix, scope]) => ({
      prefix: new URL(prefix, url).href,
      imports: asMapping(scope) ?? {},
    }))
    .sort((a, b) => b.prefix.length - a.prefix.length);
  return (specifier, base) => {
    for (const { prefix, imports } of scopes) {
      if (
        prefix !== base && !(prefix.endsWith("/") && base.startsWith(prefix))
      ) {
        continue;
      }
      const found = mapped(imports, specifier, url);
      if (found !== undefined) return found;
    }
    return mapped(imports, specifier, url);
  };
}

/** What a map makes of a specifier: the longest key that is it, or begins it. */
function mapped(
  map: Mapping,
  specifier: string,
  url: URL,
): string | null | undefined {
  const key = Object.keys(map)
    .filter((key) =>
      key === specifier || key.endsWith("/") && specifier.startsWith(key)
    )
    .sort((a, b) => b.length - a.length)[0];
  if (key === undefined) return undefined;
  const target = map[key];
  if (typeof target !== "string") return null;
  return urlOf(target + specifier.slice(key.length), url) ?? null;
}

function urlOf(target: string, base: URL): string | undefined {
  if (isRelative(target)) return new URL(target, base).href;
  return URL.canParse(target) ? target : undefined;
}

// -- package.json: https://nodejs.org/api/packages.html#subpath-imports --------------

function packageResolver(json: Mapping, url: URL): Resolver {
  const imports = asMapping(json.imports) ?? {};
  return (specifier) => {
    if (specifier.startsWith("#")) return subpath(imports, specifier, url);
    const [name] = /^(?:@[^/]+\/)?[^/]+/.exec(specifier) ?? [];
    for (const kind of DEPENDENCIES) {
      const dependencies = asMapping(json[kind]) ?? {};
      if (!Object.hasOwn(dependencies, name!)) continue;
      const range = dependencies[name!];
      const rest = specifier.slice(name!.length);
      if (typeof range !== "string") return null;
      if (range.startsWith("npm:")) return range + rest;
      // Others are folders, or members of the workspace.
      return /^[\d^~>=<*x]/.test(range) ? `npm:${name}@${range}${rest}` : null;
    }
  };
}

/** The key that is it, or the pattern with the longest beginning, and in all. */
function subpath(
  imports: Mapping,
  specifier: string,
  url: URL,
): string | null | undefined {
  const keys = Object.keys(imports).sort((a, b) =>
    b.indexOf("*") - a.indexOf("*") || b.length - a.length
  );
  for (const key of keys.includes(specifier) ? [specifier] : keys) {
    const [start, end] = key.split("*") as [string, string?];
    const from = start.length;
    const to = specifier.length - (end?.length ?? 0);
    const isIt = end === undefined
      ? specifier === key
      : specifier.startsWith(start) && specifier.endsWith(end) && from < to;
    if (!isIt) continue;
    const target = conditional(imports[key]);
    if (target === undefined) return null;
    const part = specifier.slice(from, to);
    return urlOf(target.replaceAll("*", () => part), url) ?? null;
  }
}

/** The path that Deno takes; `undefined` if that depends on its flags. */
function conditional(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  const conditions = asMapping(value);
  if (conditions === undefined || Array.isArray(value)) return undefined;
  for (const [condition, target] of Object.entries(conditions)) {
    if (NEVER.has(condition)) continue;
    return ALWAYS.has(condition) ? conditional(target) : undefined;
  }
}
