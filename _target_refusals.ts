/**
 * What is said of functions that cannot be sent: why, and the ways out.
 *
 * @module
 */

import { quote } from "./_checks.ts";
import { cannotRun, PLACEHOLDER } from "./_resolve.ts";
import type { FunctionNode } from "./_scope.ts";
import { isRelative, resolveAnywhere } from "./_specifiers.ts";
import { mayHaveJsx, type Place, type Survey } from "./_target_module.ts";

/** What is global before the program makes anything so. */
const GLOBALS = new Set(Object.getOwnPropertyNames(globalThis));
/** Globals whose own functions somebody may try to send. */
const OWNERS =
  "Math JSON Deno console crypto performance Array Number Object Reflect String Atomics URL"
    .split(" ");

/** @param used What it uses, as {@linkcode listOf} lists it. */
export function refusal(
  name: string,
  kind: FunctionNode["kind"],
  used: string,
  survey: Survey,
  where: readonly string[] = survey.roots,
): string {
  const what = kind === "method" ? "a function that calls it" : "it";
  const ways = `${what} from the top level of its module, or pass what it ` +
    "uses as arguments";
  const unread = where.find((url) => survey.closed.includes(url));
  const why = unread === undefined
    ? `is not an export of ${lookedIn(survey, where)}. Export ${ways}`
    : `whether it is an export of ${
      short(unread)
    } cannot be seen, as that cannot be read: ${
      survey.denied.includes(unread) ? "add --allow-read and " : ""
    }export ${ways}`;
  return cannotRun(name, `it uses ${used} from outside itself and ${why}`);
}

/** The refusal of what may be an export of a module that was read in vain. */
export function unseen(name: string, url: string): string {
  const why = mayHaveJsx(url)
    ? "has JSX, in which functions are not found by their text"
    : "has syntax that is not understood here";
  return cannotRun(
    name,
    `it uses ${PLACEHOLDER} from outside itself and may be an export of ${
      short(url)
    }, which ${why}. If it is, name it with task(); otherwise export it from the top level of ` +
      "its module, or pass what it uses as arguments",
  );
}

/** The refusal of what an export of a module may be, or not. */
export function twin(name: string, url: string): string {
  return cannotRun(
    name,
    `${
      short(url)
    } exports a function with this text and name, but another one may have ` +
      "them, too: one that is imported from a module that is not known here, found by what " +
      "the program computes, or made of a text. Name it with task()",
  );
}

export function lookedIn(
  { modules, denied }: Survey,
  where: readonly string[],
): string {
  const names = where.slice(0, 3).map(short).join(" or ") ||
    "a module that called";
  const more = modules.length > where.length ? ", nor of what it imports" : "";
  return denied.length === 0
    ? names + more
    : `${names}${more} (${short(denied[0]!)} cannot be read: add --allow-read)`;
}

export function listOf(names: readonly string[]): string {
  return names.map((name) => `"${name}"`).join(", ");
}

export function short(url: string): string {
  return url.length > 200 ? `${url.slice(0, 200)}\u2026` : url;
}

/** Says that what is imported can be imported elsewhere, too. */
export function importHint(
  variables: readonly string[],
  { reading }: Place,
): string {
  if (variables.length > 1) return "";
  for (const { specifier, local } of reading.links) {
    if (specifier === undefined || local !== variables[0]) continue;
    if (isRelative(specifier)) continue;
    const means = URL.canParse(specifier) || resolveAnywhere(specifier);
    return means // the same elsewhere
      ? `, or import "${local}" in it, with \`await import("${specifier}")\``
      : `, or import "${local}" in it, from import.meta.resolve("${specifier}") as an argument`;
  }
  return "";
}

// -- Built-in functions ---

export function nativeError(
  what: string,
  // deno-lint-ignore ban-types -- any function.
  target: Function,
  name: string,
): TypeError {
  if (name.startsWith("bound ")) {
    return new TypeError(
      `Cannot ${what}: the target "${name}" is a bound function, and what it is bound to ` +
        "cannot be sent: pass the function itself and what it needs as arguments",
    );
  }
  const path = pathOf(target, name);
  return new TypeError(
    `Cannot ${what}: the target ${
      quote(name)
    } is a native function, which has no source to send: ` +
      (path === undefined
        ? "send one that gets it from a global or an import"
        : wrapping(path)),
  );
}

export function wrapping(path: string): string {
  const call = /^[A-Z]/.test(path) && !/\./.test(path) &&
      !/^(?:BigInt|Boolean|Date|Number|String|Symbol)$/.test(path)
    ? `new ${path}`
    : path;
  return `wrap it, as in \`(...args) => ${call}(...args)\``;
}

/** Where a built-in function is to be found: `Math.sqrt`. */
// deno-lint-ignore ban-types -- likewise.
export function pathOf(target: Function, name: string): string | undefined {
  if (!/^[A-Za-z_$][\w$]*$/.test(name)) return undefined;
  const scope = globalThis as unknown as Record<string, object>;
  if (GLOBALS.has(name) && memberOf(scope, name) === target) return name;
  for (const key of OWNERS) {
    if (memberOf(scope[key]!, name) === target) return `${key}.${name}`;
  }
  return undefined;
}

function memberOf(owner: object, name: string): unknown {
  try {
    return (owner as Record<string, unknown>)[name];
  } catch {
    return undefined; // not on this object
  }
}
