// The sender's side of a target: what is said about a function so that a worker can
// have it (`_resolve.ts`).
//
// All questions are settled here, synchronously, once per function:
//   1. No free names: the source is enough, whatever is around it.
//   2. Otherwise the program's modules are searched for the function's text
//      (`_target_module.ts`). Where it stands, its scope tells which free names are
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
import { cannotRun, PLACEHOLDER } from "./_resolve.ts";
import {
  declaringScope,
  type FunctionNode,
  readFunction,
  spellFunction,
  UnreadableSource,
  USED,
} from "./_scope.ts";
import { glanceAt, type Outline } from "./_scope_glance.ts";
import { isRelative, meaningsOf, resolveAnywhere } from "./_specifiers.ts";
import {
  closedImports,
  findPlaces,
  isObjectAmong,
  longestWords,
  mayDeclare,
  mayHold,
  mayLoadOthers,
  type Place,
  readingOf,
  type Survey,
  surveyModules,
} from "./_target_module.ts";
import { isExport, prove } from "./_target_proof.ts";
import {
  importHint,
  listOf,
  lookedIn,
  nativeError,
  pathOf,
  refusal,
  short,
  twin,
  unseen,
  wrapping,
} from "./_target_refusals.ts";
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

const CACHE_LIMIT = 1000;
const STACK_LIMIT = 50;
/** Globals of a worker that are as likely to be meant as variables of the same name. */
const DOUBTFUL = new Set(["close", "location", "name"]);

/** By function. */
const refs = new WeakMap<object, TargetRef>();
/** By source text: what is enough for most functions; null if it cannot be read. */
const outlines = new Map<string, Outline | null>();
/** The free name of the import of what is no URL. */
const IMPORT = /^import\("(.*)"\)$/;
/** By source text: all of what it says; null if it cannot be read. */
const nodes = new Map<string, FunctionNode | null>();
/** By source text and name, and by calling module where that matters. */
const refsByText = new Map<string, TargetRef>();

/**
 * Describes a target so that a worker can find it.
 *
 * @param target The function or task.
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
  return describeClass(target, what, below);
}

/** Likewise, of a class. */
export function describeClass(
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
    : withoutDoubt(decide(name, source, outline, survey), source, survey);
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

/** Refuses to take a likely variable for a global where that cannot be looked up. */
function withoutDoubt<T extends TargetRef | undefined>(
  decided: T,
  source: string,
  survey: Survey,
): T | Refused {
  const { roots, closed, denied } = survey;
  if (decided?.kind !== "source" || decided.seen) return decided;
  const doubtful = decided.globals.filter((word) => DOUBTFUL.has(word));
  const unread = roots.find((url) => closed.includes(url)) ?? closed[0];
  if (doubtful.length === 0 || unread === undefined) return decided;
  const node = nodeOf(source);
  const stands = node !== null && findPlaces(
        survey,
        node.kind,
        spellFunction(source, node),
        source,
      ).length > 0;
  // It was looked up then, or nothing that can be read declares such a name.
  if (stands) return decided;
  const { name } = decided;
  return refused(
    name,
    cannotRun(
      name,
      `it uses ${listOf(doubtful)}, which may be a variable of ${
        short(unread)
      }, whose text cannot be read: ` +
        (denied.includes(unread) ? "add --allow-read, " : "") +
        `pass it as an argument, or write globalThis.${
          doubtful[0]
        } if the global is meant`,
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

function remember<T>(cache: Map<string, T>, key: string, value: T): T {
  if (cache.size >= CACHE_LIMIT) cache.clear();
  cache.set(key, value);
  return value;
}

/** What a function's text tells by itself; null if it cannot be read. */
function outlineOf(source: string): Outline | null {
  const known = outlines.get(source);
  if (known !== undefined) return known;
  const outline = glanceAt(source);
  const isEnough = outline !== undefined &&
    [...outline.free.keys()].every((name) => name in globalThis);
  return remember(outlines, source, isEnough ? outline : nodeOf(source));
}

function nodeOf(source: string): FunctionNode | null {
  const known = nodes.get(source);
  if (known !== undefined) return known;
  let node: FunctionNode | null = null;
  try {
    node = readFunction(source);
  } catch (error) {
    if (!(error instanceof UnreadableSource)) throw error;
  }
  return remember(nodes, source, node);
}

// --- what is decided by the text ---

function decide(
  name: string,
  source: string,
  outline: Outline,
  survey: Survey,
): Exclude<TargetRef, { kind: "task" }> | undefined {
  const free = [...outline.free.keys()];
  if (
    free.every((word) => word in globalThis && word !== name) &&
    !mayDeclare(survey, free)
  ) {
    const globals = free.filter((word) => outline.free.get(word)! & USED);
    const isSeen = !survey.roots.some((url) => survey.closed.includes(url));
    return sourceRef(
      name,
      source,
      outline,
      undefined,
      globals,
      isSeen
        ? cannotRun(name, `workers have no ${PLACEHOLDER}, which it uses`)
        : refusal(name, outline.kind, PLACEHOLDER, survey),
      false,
    );
  }
  const node = nodeOf(source);
  if (node === null) return undefined;
  const found = findPlaces(
    survey,
    node.kind,
    spellFunction(source, node),
    source,
  );
  const matching = found.filter((place) =>
    place.node.name === undefined || place.node.name === name
  );
  const places = matching.length > 0 ? matching : found;
  if (places.length === 0) return decideUnseen(name, source, node, survey);
  const where = [...new Set(places.map(({ module }) => module.url))];
  const uses = places.map((place) => usesOf(node, place));
  const { self, globals } = uses[0]!;
  if (uses.every((use) => use.variables.length === 0 && use.self === self)) {
    return sourceRef(
      name,
      source,
      node,
      self,
      globals,
      refusal(name, node.kind, PLACEHOLDER, survey, where),
      true,
    );
  }
  const variables = [...new Set(uses.flatMap((use) => use.variables))];
  if (places.length > 1) {
    const used = variables.length > 0 ? variables : [...node.free.keys()];
    return refused(
      name,
      refusal(name, node.kind, listOf(used), survey, where) +
        `. ${places.length} functions have its text and name, so which one is meant ` +
        "cannot be told: task() names an export exactly",
    );
  }
  const place = places[0]!;
  const exported = exportOf(place);
  if (exported !== undefined && matching.length === 1) {
    return { kind: "export", name, url: place.module.url, exported, source };
  }
  return refused(
    name,
    refusal(name, node.kind, listOf(variables), survey, where) +
      importHint(variables, place) +
      ". If it is an export, which cannot be proved here, name it with task()",
  );
}

/** A function that is in no text that could be read. */
function decideUnseen(
  name: string,
  source: string,
  node: FunctionNode,
  survey: Survey,
): Exclude<TargetRef, { kind: "task" }> {
  const names: string[] = [];
  const special: string[] = [];
  let self: string | undefined;
  for (const [free, how] of node.free) {
    if (meansTheSame(free, undefined)) continue;
    if (isSpecial(free)) special.push(free);
    else if (free === name && node.kind !== "method" && !(free in globalThis)) {
      self = free;
    } else if (how & USED) names.push(free);
  }
  const unknown = names.filter((free) => !(free in globalThis));
  const words = longestWords(source);
  const unread = survey.modules.filter((module) =>
    mayHold(module, words) && readingOf(module) === null
  );
  const message = unread.length === 0
    ? refusal(name, node.kind, PLACEHOLDER, survey) +
      ". If a module that cannot be read here exports it, name it with task()"
    : unseen(name, unread[0]!.url);
  const hidden = names.filter((free) =>
    mayDeclare({ ...survey, modules: unread }, [free])
  );
  if (hidden.length > 0) {
    return refused(name, message.split(PLACEHOLDER).join(listOf(hidden)));
  }
  if (special.length > 0 || unknown.length > 0) {
    const all = listOf([...special, ...unknown]);
    const candidates = importsNamed(name, survey);
    if (candidates.length > 0) {
      return {
        kind: "import",
        name,
        candidates,
        source,
        message: message.split(PLACEHOLDER).join(all),
      };
    }
    if (special.length > 0) {
      return refused(name, message.split(PLACEHOLDER).join(all));
    }
  }
  return sourceRef(name, source, node, self, names, message, false);
}

/** What the free names of a function are where it stands. */
function usesOf(
  { free }: FunctionNode,
  { module, node }: Place,
): { variables: string[]; globals: string[]; self: string | undefined } {
  const variables: string[] = [];
  const globals: string[] = [];
  let self: string | undefined;
  for (const [name, how] of free) {
    if (meansTheSame(name, module.url)) continue;
    const scope = isSpecial(name)
      ? undefined
      : declaringScope(node.scope, name);
    if (isSpecial(name)) variables.push(name);
    else if (scope === undefined) (how & USED) && globals.push(name);
    else if (
      node.binding === name && !scope.written.has(name) &&
      scope === declaringScope(node.scope, name)
    ) self = name;
    else variables.push(name);
  }
  return { variables, globals, self };
}

/** Whether it is an import that means in a worker what it means in a module. */
function meansTheSame(free: string, module: string | undefined): boolean {
  const [, specifier] = IMPORT.exec(free) ?? [];
  if (specifier === undefined || isRelative(specifier)) return false;
  if (!resolveAnywhere(specifier)) return false;
  return module === undefined || meaningsOf(specifier, module).size === 1;
}

function isSpecial(name: string): boolean {
  return /^(?:this|arguments|super|new\.target|import\.meta)$|^import\(|^#/
    .test(name);
}

/** The name under which a module exports a function of its top level. */
function exportOf({ node, reading }: Place): string | undefined {
  const { binding } = node;
  if (binding === undefined || node.scope !== reading.top) return undefined;
  if (reading.top.written.has(binding)) return undefined;
  return reading.links.find((link) =>
    link.specifier === undefined && link.local === binding
  )?.exported;
}

type Candidate = (TargetRef & { kind: "import" })["candidates"][number];

/** From where a function of the name is imported that may be another one. */
function importedElsewhere(
  name: string,
  imports: ReturnType<typeof closedImports>,
): Candidate[] {
  const found: Candidate[] = [];
  if (name === "default") return found; // which is the name of too many
  for (const { module, statement, specifier, meanings } of imports) {
    if (!statement.includes(name)) continue;
    for (const link of readingOf(module)?.links ?? []) {
      const { imported, local } = link;
      if (link.specifier !== specifier || imported === undefined) continue;
      if (imported !== name && local !== name) continue;
      for (const url of meanings) found.push({ url, imported });
    }
  }
  return found;
}

function oneOf(
  { name, url, exported, source }: TargetRef & { kind: "export" },
  others: readonly Candidate[],
): TargetRef {
  const candidates = new Map(
    [{ url, imported: exported }, ...others].map((candidate) => [
      `${candidate.imported} ${candidate.url}`,
      candidate,
    ]),
  );
  return {
    kind: "import",
    name,
    candidates: [...candidates.values()],
    all: true,
    source,
    message: twin(name, url),
  };
}

/** The imports of readable modules, from modules that are not, that may be it. */
function importsNamed(
  name: string,
  { modules, closed }: Survey,
): { url: string; imported: string }[] {
  const found = new Map<string, { url: string; imported: string }>();
  for (const module of modules) {
    for (const link of readingOf(module)?.links ?? []) {
      if (link.specifier === undefined || link.imported === undefined) continue;
      const { imported, local } = link;
      if (![name, "*", "default"].includes(imported) && local !== name) {
        continue;
      }
      for (const url of meaningsOf(link.specifier, module.url)) {
        const isRead = modules.some((module) => module.url === url);
        if (isRead && !closed.includes(url)) continue;
        found.set(`${imported} ${url}`, { url, imported });
      }
    }
  }
  return [...found.values()];
}

function sourceRef(
  name: string,
  source: string,
  outline: Outline,
  self: string | undefined,
  globals: readonly string[],
  unlessGlobal: string,
  seen: boolean,
): TargetRef & { kind: "source" } {
  let code = source;
  if (outline.kind === "method") {
    // As a method of its own object, under a key that needs no evaluation.
    const key = JSON.stringify(name);
    const body = source.slice(outline.params);
    code = `({ ${outline.async ? "async " : ""}${key}${body} })[${key}]`;
  }
  return {
    kind: "source",
    name,
    code,
    globals,
    unlessGlobal,
    seen,
    ...(self === undefined ? {} : { self }),
  };
}

type Refused = TargetRef & { kind: "refused" };

function refused(name: string, message: string): Refused {
  return { kind: "refused", name, message };
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
