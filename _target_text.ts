/**
 * What a function's text tells of it, and the texts of the program's modules in which it
 * may stand: that its source is enough, that an export is, or that neither is.
 *
 * @module
 */

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
import type { TargetRef } from "./_target.ts";
import {
  type closedImports,
  findPlaces,
  longestWords,
  mayDeclare,
  mayHold,
  type Place,
  readingOf,
  type Survey,
} from "./_target_module.ts";
import {
  importHint,
  listOf,
  refusal,
  short,
  twin,
  unseen,
} from "./_target_refusals.ts";

type Decided = Exclude<TargetRef, { kind: "task" }>;
type Refused = TargetRef & { kind: "refused" };

const CACHE_LIMIT = 1000;
/** Globals of a worker that are as likely to be meant as variables of the same name. */
const DOUBTFUL = new Set(["close", "location", "name"]);

/** By source text: what is enough for most functions; null if it cannot be read. */
const outlines = new Map<string, Outline | null>();
/** The free name of the import of what is no URL. */
const IMPORT = /^import\("(.*)"\)$/;
/** By source text: all of what it says; null if it cannot be read. */
const nodes = new Map<string, FunctionNode | null>();

/** Keeps a value, and forgets all if there are too many. */
export function remember<T>(cache: Map<string, T>, key: string, value: T): T {
  if (cache.size >= CACHE_LIMIT) cache.clear();
  cache.set(key, value);
  return value;
}

/** What a function's text tells by itself; null if it cannot be read. */
export function outlineOf(source: string): Outline | null {
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

/**
 * Decides by a function's text, and by where that stands among the texts of a survey.
 *
 * @returns `undefined` if the text cannot be read.
 */
export function decide(
  name: string,
  source: string,
  outline: Outline,
  survey: Survey,
): Decided | undefined {
  return withoutDoubt(
    decideByPlace(name, source, outline, survey),
    source,
    survey,
  );
}

function decideByPlace(
  name: string,
  source: string,
  outline: Outline,
  survey: Survey,
): Decided | undefined {
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
): Decided {
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

/** From where a function is imported. */
type Candidate = (TargetRef & { kind: "import" })["candidates"][number];

/** From where a function of the name is imported that may be another one. */
export function importedElsewhere(
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

/** The one of several imports that is the function: the worker tells. */
export function oneOf(
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

/** A function whose source is enough. */
export function sourceRef(
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

/** A function that is refused. */
export function refused(name: string, message: string): Refused {
  return { kind: "refused", name, message };
}
