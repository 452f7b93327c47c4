/**
 * Finding a function by its identity: `require` hands out what a module that is
 * evaluated already exports.
 *
 * @module
 */

import type { TargetRef } from "./_target.ts";
import {
  importedFrom,
  isLoadedBy,
  longestWords,
  mayHold,
  nodeModule,
  type Survey,
} from "./_target_module.ts";

/**
 * Whether an export is the function itself; `undefined` if its module may not be loaded
 * yet, is still being evaluated, or cannot be looked into.
 */
export function isExport(
  // deno-lint-ignore ban-types -- a class is a target, too.
  target: Function,
  { url, exported }: { url: string; exported: string },
  survey: Survey,
): boolean | undefined {
  if (!isPlainFile(url) || !isLoadedBy(survey.roots, url)) return undefined;
  const namespace = exportsOf(url);
  return namespace === undefined ? undefined : namespace[exported] === target;
}

function isPlainFile(url: string): boolean {
  return url.startsWith("file:") && !/[?#]/.test(url);
}

/** The export, of a module evaluated already, that is the function itself. */
export function prove(
  // deno-lint-ignore ban-types -- a class is a target, too.
  target: Function,
  source: string,
  name: string,
  survey: Survey,
): TargetRef | undefined {
  // Only modules that are loaded already, so that nothing is evaluated by asking.
  const loaded = importedFrom(survey.roots, false);
  const words = longestWords(source);
  const modules = survey.modules.filter((module) =>
    isPlainFile(module.url) && loaded.has(module.url) && mayHold(module, words)
  );
  if (modules.length === 0) return undefined;
  for (const { url } of modules) {
    const namespace = exportsOf(url) ?? {};
    if (namespace as unknown === target) { // `module.exports` of a CommonJS module
      return { kind: "export", name, url, exported: "module.exports", source };
    }
    const isCommon = Object.getOwnPropertyDescriptor(
      namespace,
      Symbol.toStringTag,
    )?.value !== "Module";
    for (const exported of Object.keys(namespace)) {
      // Whoever imports a CommonJS module has all it exports as the default.
      if (isCommon && exported === "default") continue;
      if (namespace[exported] === target) {
        return { kind: "export", name, url, exported, source };
      }
    }
  }
  return undefined;
}

/** What a module that is loaded exports, unless it is still being evaluated. */
function exportsOf(url: string): Record<string, unknown> | undefined {
  // `require` looks for files around the module, too.
  if (Deno.permissions.querySync({ name: "read" }).state !== "granted") {
    return undefined;
  }
  const { createRequire } = nodeModule() as {
    createRequire(url: string): (path: string) => unknown;
  };
  try {
    const pathname = decodeURIComponent(new URL(url).pathname);
    const path = Deno.build.os === "windows" ? pathname.slice(1) : pathname;
    // `require` takes a link for what it links to, which is another module.
    const real = Deno.realPathSync(path);
    const isLink = Deno.build.os === "windows"
      ? real.replaceAll("\\", "/") !== path
      : real !== path;
    if (isLink) return undefined;
    return createRequire(url)(path) as Record<string, unknown>;
  } catch {
    return undefined; // It is still being evaluated, or is no module.
  }
}
