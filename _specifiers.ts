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

/** What a folder's configuration makes of specifiers in the modules below it. */
type Resolver = (specifier: string, base: string) => string | undefined;

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
const CONDITIONS = ["deno", "import", "node", "default"];
const DEPENDENCIES = ["dependencies", "devDependencies"];

/** By folder. */
const resolvers = new Map<string, Resolver[]>();

/** Resolves a specifier as a module would; `undefined` if that is not possible. */
export function resolveSpecifier(
  specifier: string,
  base: string,
): string | undefined {
  try {
    if (/^\.{0,2}\//.test(specifier)) return new URL(specifier, base).href;
    if (URL.canParse(specifier)) return specifier;
  } catch {
    return undefined;
  }
  return resolveAnywhere(specifier) ?? resolveBeside(specifier, base);
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
      if (found !== undefined) return found;
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
    resolvers.set(folder.href, found);
  }
  return found;
}

function readConfig(url: URL): Mapping | undefined {
  try {
    const { state } = Deno.permissions.querySync({ name: "read", path: url });
    if (state !== "granted") return undefined;
    const text = Deno.readTextFileSync(url);
    return asMapping(
      JSON.parse(text.replace(COMMENT, "$1").replace(LAST_COMMA, "$1")),
    );
  } catch {
    return undefined; // There is none, or none that can be read.
  }
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
): string | undefined {
  const key = Object.keys(map)
    .filter((key) =>
      key === specifier || key.endsWith("/") && specifier.startsWith(key)
    )
    .sort((a, b) => b.length - a.length)[0];
  const target = key === undefined ? undefined : map[key];
  if (typeof target !== "string") return undefined;
  return urlOf(target + specifier.slice(key!.length), url);
}

function urlOf(target: string, base: URL): string | undefined {
  if (/^\.{0,2}\//.test(target)) return new URL(target, base).href;
  return URL.canParse(target) ? target : undefined;
}

// -- package.json: https://nodejs.org/api/packages.html#subpath-imports --------------

function packageResolver(json: Mapping, url: URL): Resolver {
  const imports = asMapping(json.imports) ?? {};
  return (specifier) => {
    if (specifier.startsWith("#")) {
      for (const [key, value] of Object.entries(imports)) {
        const [start, end] = key.split("*") as [string, string?];
        const isIt = end === undefined
          ? specifier === key
          : specifier.startsWith(start) && specifier.endsWith(end);
        if (!isIt) continue;
        const part = specifier.slice(
          start.length,
          specifier.length - (end?.length ?? 0),
        );
        const target = conditional(value)?.replaceAll("*", part);
        return target === undefined ? undefined : urlOf(target, url);
      }
      return undefined;
    }
    const [name] = /^(?:@[^/]+\/)?[^/]+/.exec(specifier) ?? [];
    for (const kind of DEPENDENCIES) {
      const range = asMapping(json[kind])?.[name!];
      if (typeof range !== "string") continue;
      const rest = specifier.slice(name!.length);
      if (range.startsWith("npm:")) return range + rest;
      // Others are folders, or members of the workspace.
      return /^[\d^~>=<*x]/.test(range)
        ? `npm:${name}@${range}${rest}`
        : undefined;
    }
  };
}

function conditional(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  const conditions = asMapping(value);
  if (conditions === undefined) return undefined;
  for (const [condition, target] of Object.entries(conditions)) {
    const found = CONDITIONS.includes(condition) && conditional(target);
    if (found) return found;
  }
}
