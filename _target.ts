// The sender's side of a target: what is said about a function so that a worker can
// have it (`_resolve.ts`).
//
// All questions are settled here, synchronously, once per function:
//   1. No free names: the source is enough, whatever is around it.
//   2. Otherwise the program's modules are searched for the function's text
//      (`_target_text.ts`). Where it stands, its scope tells which free names are
//      globals, itself (a recursive `const`), or variables.
//   3. No variables: the source is enough. Variables of the module's top level, and
//      the function is the module's only one of that text and name, declared at the
//      top level and exported: the export is enough, unless the program may have
//      functions that are in none of the texts read: what it computes, or imports
//      from where nothing can be read.
//   4. Otherwise, identity: the function is `===` to an export of a module that is
//      evaluated already (`require` hands out its namespace at once). Where that
//      cannot be asked, the worker imports all that have the name, and compares texts.
//   5. Otherwise it is refused. The refusal travels, too, so that it surfaces where
//      the function would have run; only what never can be a target throws here.

import { quote, typeName } from "./_checks.ts";
import { cannotRun } from "./_resolve.ts";
import {
  closedImports,
  isObjectAmong,
  mayLoadOthers,
  surveyModules,
} from "./_target_module.ts";
import { isExport, prove } from "./_target_proof.ts";
import {
  lookedIn,
  nativeError,
  pathOf,
  twin,
  wrapping,
} from "./_target_refusals.ts";
import {
  decide,
  importedElsewhere,
  oneOf,
  outlineOf,
  refused,
  remember,
  sourceRef,
} from "./_target_text.ts";
import { isLibrary } from "./_thrown.ts";
import { Task } from "./task.ts";

/** What is said about a function: plain data, the same for JSON and structured clone. */
export type TargetRef =
  | {
    readonly kind: "source";
    readonly name: string;
    /** An expression that makes the function, in strict code. */
    readonly code: string;
    /** The variable through which it calls itself. */
    readonly self?: string;
    /** The names it needs to be globals, and the refusal if they are not. */
    readonly globals: readonly string[];
    readonly unlessGlobal: string;
    /** Whether that it does is known from where it stands. */
    readonly seen: boolean;
  }
  | {
    readonly kind: "export";
    readonly name: string;
    readonly url: string;
    readonly exported: string;
    /** What the export must spell. */
    readonly source: string;
  }
  | {
    readonly kind: "import";
    readonly name: string;
    readonly candidates: readonly {
      readonly url: string;
      readonly imported: string;
    }[];
    /** Whether it is to be known of all of them whether they are it. */
    readonly all?: true;
    readonly source: string;
    readonly message: string;
  }
  | { readonly kind: "task"; readonly name: string; readonly url: string }
  | {
    readonly kind: "refused";
    readonly name: string;
    readonly message: string;
  };

/** The beginning of a class, and of nothing that is called `class`. */
const CLASS = /^class(?:\s+[^\s(]|\{)/;

const STACK_LIMIT = 50;

/** By function. */
const refs = new WeakMap<object, TargetRef>();
/** By source text and name, and by calling module where that matters. */
const refsByText = new Map<string, TargetRef>();

/**
 * Describes what can be called so that a worker can find it.
 *
 * @param target The function or task; a class is refused.
 * @param what What it is for, as in "start process".
 * @param below The public function that was called: the stack above it is the caller's.
 * @throws {TypeError} If it is no function or one that can never be sent.
 */
export function describeTarget(
  target: unknown,
  what: string,
  // deno-lint-ignore ban-types -- that is what `captureStackTrace` takes.
  below: Function,
): TargetRef {
  if (typeof target === "function" && CLASS.test(sourceOf(target))) {
    throw new TypeError(
      `Cannot ${what}: the target ${
        quote(nameOf(target) ?? "")
      } is a class, which cannot be called: send a function that makes an instance`,
    );
  }
  return describeAny(target, what, below);
}

/** The same, of a class, too. */
export function describeAny(
  target: unknown,
  what: string,
  // deno-lint-ignore ban-types -- as above.
  below: Function,
): TargetRef {
  const known = refs.get(target as object);
  if (known !== undefined) return known;
  let ref: TargetRef;
  if (typeof target === "function") {
    ref = describe(target, what, below);
  } else if (target instanceof Task) {
    ref = { kind: "task", name: target.name, url: target.url };
  } else {
    throw new TypeError(
      `Cannot ${what}: the target must be a function or a task, received ${
        typeName(target)
      }`,
    );
  }
  // A refusal may be lifted: the module is evaluated, or may be read, later.
  if (ref.kind !== "refused") refs.set(target, ref);
  return ref;
}

// deno-lint-ignore ban-types -- as above.
function describe(target: Function, what: string, below: Function): TargetRef {
  const source = sourceOf(target);
  const named = nameOf(target);
  if (/\{\s*\[native code\]\s*\}$/.test(source)) {
    throw nativeError(what, target, named ?? "");
  }
  const outline = outlineOf(source);
  const name = named ?? outline?.name ?? "";
  if (outline?.generator ?? /^(?:async)?\s*(?:function)?\s*\*/.test(source)) {
    throw new TypeError(
      `Cannot ${what}: the target ${
        quote(name)
      } is a generator function, whose result cannot ` +
        "be sent: return an array, or send the values through a queue",
    );
  }
  if (outline !== null && outline.free.size === 0) {
    const key = `${name}\0${source}`;
    return refsByText.get(key) ??
      remember(
        refsByText,
        key,
        sourceRef(name, source, outline, undefined, [], "", true),
      );
  }
  const key = `${callers(below, 1)[0]}\0${name}\0${source}`;
  const known = refsByText.get(key);
  if (known !== undefined) return known;
  const roots = new Set(callers(below, STACK_LIMIT));
  // Whoever called may have been handed the function. A sandbox has no such name.
  if (Deno.mainModule !== undefined) roots.add(Deno.mainModule);
  const survey = surveyModules([...roots]);
  const decided = outline === null
    ? undefined
    : decide(name, source, outline, survey);
  if (
    decided?.kind === "source" &&
    decided.globals.every((word) => word in globalThis)
  ) return remember(refsByText, key, decided);
  if (decided?.kind === "export") {
    const imports = closedImports(survey);
    const others = mayLoadOthers(survey)
      ? undefined
      : importedElsewhere(name, imports);
    const isAlone = others?.length === 0;
    if (isAlone && !isObjectAmong(imports)) {
      return remember(refsByText, key, decided);
    }
    const isIt = isExport(target, decided, survey); // takes 10 to 20 ms
    if (isIt || isIt === undefined && isAlone) return decided;
    // The worker can tell, if it can import all of them.
    if (isIt === undefined && others !== undefined) {
      return oneOf(decided, others);
    }
  }
  // True of this very function only.
  const proved = prove(target, source, name, survey);
  if (proved !== undefined) return proved;
  if (decided?.kind === "export") {
    return refused(name, twin(name, decided.url));
  }
  const path = pathOf(target, name);
  if (path !== undefined) {
    const message = cannotRun(
      name,
      `it is a built-in, whose code cannot be sent: ${wrapping(path)}`,
    );
    // What only the worker can decide it decides, but says this then.
    if (decided?.kind === "source") {
      return { ...decided, unlessGlobal: message };
    }
    return decided?.kind === "import"
      ? { ...decided, message }
      : refused(name, message);
  }
  return decided ?? refused(
    name,
    cannotRun(
      name,
      `its source cannot be analysed, nor was it found among the exports of ${
        lookedIn(survey, survey.roots)
      }. Export it and name it with task()`,
    ),
  );
}

// deno-lint-ignore ban-types -- as above.
function sourceOf(target: Function): string {
  return Function.prototype.toString.call(target);
}

/** Without running a getter. */
// deno-lint-ignore ban-types -- as above.
function nameOf(target: Function): string | undefined {
  const name = Object.getOwnPropertyDescriptor(target, "name")?.value;
  return typeof name === "string" ? name : undefined;
}

// --- the caller ---

/** The modules on the stack above `below`, this library's own left out. */
// deno-lint-ignore ban-types -- that is what `captureStackTrace` takes.
function callers(below: Function, limit: number): string[] {
  const errors = Error as unknown as {
    stackTraceLimit: unknown;
    prepareStackTrace: unknown;
  };
  const { stackTraceLimit, prepareStackTrace } = errors;
  const holder: { stack?: unknown } = {};
  const urls = new Set<string>();
  try {
    errors.stackTraceLimit = limit;
    errors.prepareStackTrace = keepSites;
    Error.captureStackTrace(holder, below);
    let sites = holder.stack as CallSite[];
    if (sites.length === 0) { // `below` has returned: it was before an `await`.
      errors.stackTraceLimit = STACK_LIMIT;
      Error.captureStackTrace(holder);
      sites = holder.stack as CallSite[];
    }
    for (const site of sites) {
      const url = site.getScriptNameOrSourceURL();
      if (
        typeof url === "string" && /^(?:file|https?|data|blob):/.test(url) &&
        !isLibrary(url)
      ) urls.add(url);
    }
  } catch {
    // Somebody froze `Error`: no module is known then.
  }
  try {
    errors.stackTraceLimit = stackTraceLimit;
    errors.prepareStackTrace = prepareStackTrace;
  } catch {
    // Then they are as they were.
  }
  return [...urls];
}

interface CallSite {
  getScriptNameOrSourceURL(): unknown;
}

function keepSites(_error: unknown, sites: unknown): unknown {
  return sites;
}
