// Finding a function in the texts of a program's modules.
//
// The search begins at the modules on the call stack and follows their imports, as
// far as they are files (or `data:` URLs) that may be read. TypeScript is turned
// into JavaScript by the runtime's own `node:module`, so one exact parser serves for
// all; tokens are compared, since printers differ in blanks, `;`, `,` and `()`.
// Nothing is evaluated and nothing prompts.

import {
  COMPUTED_IMPORT,
  type FunctionNode,
  type Reading,
  readText,
  RESERVED,
  USED,
} from "./_scope.ts";
import {
  isPackaged,
  mayRead,
  meaningsOf,
  resolveSpecifier,
} from "./_specifiers.ts";
import { isLibrary } from "./_thrown.ts";

/** A module whose text could be read. */
export interface ModuleText {
  readonly url: string;
  readonly text: string;
  /** The URLs of the modules it names. */
  readonly imports: readonly string[];
  /** It parsed: as the runtime prints it, and as it is but for types. */
  readonly readings: (Reading | null)[];
}

/** The modules within reach of some others. */
export interface Survey {
  readonly roots: readonly string[];
  readonly modules: readonly ModuleText[];
  /** Those that could not be read: no files, or not permitted. */
  readonly closed: readonly string[];
  /** Of these, the files that are not permitted. */
  readonly denied: readonly string[];
}

/** A function found in a module's text. */
export interface Place {
  readonly module: ModuleText;
  readonly reading: Reading;
  readonly node: FunctionNode;
}

const MODULE_LIMIT = 500;
/** What the runtime may put other words for: the values of an enum, escapes, decorators. */
const REWRITTEN = /\benum\b|\\u|@\w/;
/** How many of its longest words are looked for in a module before that is parsed. */
const FEW_WORDS = 3;
const ANY_IMPORT = /\b(?:from|import)\s*\(?\s*(["'])((?:(?!\1)[^\\\n])+)\1/g;
/** An `import()` of what is computed, at a glance. */
const COMPUTED_CALL =
  /\bimport\s*(?:\/|\(\s*(?!(["'])(?:(?!\1)[^\\\n])*\1\s*[,)]))/;
/** What may bring in functions that stand in no text that is imported, at a glance. */
const COMPUTED = new RegExp(
  String
    .raw`${COMPUTED_CALL.source}|\b(?:eval|require|Function|getBuiltinModule)\b|["'](?:node:)?(?:module|vm)["']`,
);
/** The same in a text that cannot be parsed, but for its comments. */
const SEEMS_COMPUTED =
  /\bimport\s*\(\s*(?!(["'])(?:(?!\1)[^\\\n])*\1\s*[,)])|\b(?:eval|require|Function)\s*\(|\bgetBuiltinModule\b|["'](?:node:)?(?:module|vm)["']/;
/** What does, in the spelling of a module, whose types are gone. */
const MAKING =
  /(?<!\binstanceof\0)(?<!\.\0)\bFunction\0(?!\.\0prototype\0\.\0(?!constructor\0))|\b(?:globalThis|self|window|global)\0\.\0(?:eval|Function)\0|\bgetBuiltinModule\0|\0"(?:node:)?vm"\0/;
/** What does, as a free name. */
const EVALUATING = ["eval", "require"];
/** What is to be imported from `node:module` to load others. */
const LOADERS = new Set<unknown>(["createRequire", "default", "*"]);
const STATIC_IMPORT =
  /\b(?:import|export)\s+(?!type\b)(?:(?:(?!\b(?:import|export)\b)[^"'();=])*?\bfrom\s*)?(["'])((?:(?!\1)[^\\\n])+)\1/g;
/** `import * as a`, `export *`, `import a`, `import a, { b }`; not `import { b }`. */
const WHOLE = /^(?:ex|im)port\s*(?:\*|(?!type\b)[\w$]+\s*(?:,|from\b))/;
/** None that has a copy of one of the user's functions. */
const KNOWN_MODULE =
  /^(?:node:|(?:jsr:\/?|https:\/\/jsr\.io\/)@(?:std|parallel\/multiprocessing)\b)/;
/** How many characters around a name tell whether it is declared there. */
const NEAR = 1000;
const COMMENT = /\/\/.*\n|\/\*[^]*?\*\//g;
const GAP = String.raw`(?:\s|\/\/.*\n|\/\*[^]*?\*\/)*`;
const LEADING_SPACE = new RegExp(`^${GAP}`);
/** What may stand before a name that is declared, whatever follows. */
const NAMED = /(?:\b(?:function|class)\s*\*?|\*\/)\s*$/;
/** What stands before one that is, unless it is used at once. */
const BINDING =
  /(?:\b(?:const|let|var|using|enum|namespace|import|private|public|protected|readonly|override)\s*\*?|\.\.\.|(\bas|[({,[:]))\s*$/;
/** The end of parameters, as opposed to that of arguments. */
const PARAMETERS_END = String.raw`\)${GAP}(?:[{:/]|=>|$)`;
/** The end of a property's pattern. */
const PROPERTY_END = /^(?:[,}=/]|$)/;
/** What follows one that is declared after one of those marks, or may be hidden by a comment. */
const BOUND: Record<string, RegExp> = {
  "(": new RegExp(`^(?:[,=:?/]|$|${PARAMETERS_END})`),
  ",": new RegExp(`^(?:[^)]|$|${PARAMETERS_END})`),
  "[": /^(?:[,\]=/]|$)/,
  "{": PROPERTY_END,
  ":": PROPERTY_END,
  as: /^(?:[,}/]|from\b|$)/,
};
/** What makes a `:` the beginning of a type: a pattern has no such key. */
const TYPED =
  /(?:\(|\b(?:const|let|var|private|public|protected|readonly)\b)\s*[\w$]+\s*[?!]?\s*:\s*$/;
/**
 * How TypeScript is turned into JavaScript. The runtime's printer may rename a variable that
 * hides a global, and so does the first; should the two disagree, there is the second.
 */
const PASSES = ["transform", "strip"];
const texts = new Map<string, ModuleText>();

/** Reads the modules of the call stack, and what they import. */
export function surveyModules(roots: readonly string[]): Survey {
  const seen = new Set(roots);
  const modules: ModuleText[] = [];
  const closed: string[] = [];
  const denied: string[] = [];
  for (const url of seen) {
    const module = modules.length < MODULE_LIMIT ? moduleText(url) : undefined;
    if (module === undefined) {
      closed.push(url);
      if (url.startsWith("file:") && !mayRead(fileOf(url))) denied.push(url);
      continue;
    }
    modules.push(module);
    for (const other of module.imports) if (!isLibrary(other)) seen.add(other);
  }
  return { roots, modules, closed, denied };
}

/**
 * Whether these modules may bring functions into the program that are in none of their
 * texts, by importing what they compute, or evaluating it.
 */
export function mayLoadOthers(survey: Survey): boolean {
  return survey.modules.some((module) => {
    const isOwn = !isForeign(module.url, survey);
    if (!(isOwn ? COMPUTED : COMPUTED_CALL).test(module.text)) return false;
    // It may be in a comment, or in a type.
    const reading = readingOf(module);
    if (reading === null) {
      return SEEMS_COMPUTED.test(module.text.replaceAll(COMMENT, " "));
    }
    const { free } = reading.top;
    if (free.has(COMPUTED_IMPORT)) return true;
    // What a package makes of texts, or requires, is no function of the user's.
    return isOwn && (
      EVALUATING.some((name) => (free.get(name) ?? 0) & USED) ||
      MAKING.test(reading.spell(0, reading.index)) ||
      reading.links.some(({ specifier, imported }) =>
        /^(?:node:)?module$/.test(specifier ?? "") && LOADERS.has(imported)
      )
    );
  });
}

/** Whether a module is of an npm package, in a program that is none itself. */
function isForeign(url: string, { roots }: Survey): boolean {
  return isPackaged(url) && !roots.some(isPackaged);
}

/** A static import, as it seems. */
interface Import {
  /** The module in which it stands. */
  module: ModuleText;
  /** From `import` to the end of the specifier. */
  statement: string;
  specifier: string;
  /** What the specifier means, as far as that is known. */
  url: string | undefined;
}

/** The static imports, as it seems, of all that some modules load by loading themselves. */
function* seemingImports(roots: readonly string[]): Iterable<Import> {
  const seen = new Set(roots);
  for (const at of seen) {
    if (seen.size > MODULE_LIMIT) return;
    const module = isLibrary(at) ? undefined : moduleText(at);
    if (module === undefined) continue;
    for (
      const [statement, , specifier] of module.text.matchAll(STATIC_IMPORT)
    ) {
      const url = resolveSpecifier(specifier!, at);
      if (url !== undefined) seen.add(url);
      yield { module, statement, specifier: specifier!, url };
    }
  }
}

/** A static import of what could not be read, or may mean several things. */
interface ClosedImport extends Import {
  /** What the specifier may mean. */
  meanings: ReadonlySet<string>;
}

/**
 * The imports, by the modules that are loaded with the roots, of what could not be read,
 * or may mean several things; but of none that has a copy of the user's functions.
 */
export function closedImports(survey: Survey): ClosedImport[] {
  const found: ClosedImport[] = [];
  for (const one of seemingImports(survey.roots)) {
    const { module, specifier } = one;
    if (isForeign(module.url, survey)) continue;
    const meanings = meaningsOf(specifier, module.url);
    const isClosed = [...meanings].some((url) =>
      !KNOWN_MODULE.test(url) && !isLibrary(url) && !isPackaged(url) &&
      (meanings.size > 1 || survey.closed.includes(url))
    );
    if (isClosed) found.push({ ...one, meanings });
  }
  return found;
}

/**
 * Whether one of these imports is of an object, all that a module exports or its default:
 * any function may be a property of that. Of what an unknown server gives, anything may.
 */
export function isObjectAmong(imports: readonly ClosedImport[]): boolean {
  return imports.some(({ statement, meanings }) =>
    WHOLE.test(statement) || [...meanings].some((url) => /^https?:/.test(url))
  );
}

/**
 * Whether some modules load another one by loading themselves. Only the modules on one
 * way to it are parsed.
 */
export function isLoadedBy(roots: readonly string[], url: string): boolean {
  if (roots.includes(url)) return true;
  /** By module: the one that seems to have imported it first. */
  const from = new Map<string, string>();
  for (const { module, url: other } of seemingImports(roots)) {
    if (other === undefined || roots.includes(other) || from.has(other)) {
      continue;
    }
    from.set(other, module.url);
    if (other === url) break;
  }
  let at: string | undefined = url;
  while (!roots.includes(at)) {
    const by = from.get(at);
    if (by === undefined) return false;
    const links = readingOf(moduleText(by)!)?.links ?? [];
    const isSo = links.some(({ specifier }) => {
      if (specifier === undefined) return false;
      const meanings = meaningsOf(specifier, by);
      return meanings.size === 1 && meanings.has(at!);
    });
    if (!isSo) return false; // It is in a comment, for example.
    at = by;
  }
  return true;
}

/**
 * The modules that some modules load by loading themselves, with themselves.
 *
 * @param isGuess Whether to count what a module seems to import that cannot be parsed.
 */
export function importedFrom(
  roots: readonly string[],
  isGuess: boolean,
): Set<string> {
  const seen = new Set(roots);
  for (const url of seen) {
    if (isLibrary(url) || seen.size > MODULE_LIMIT) continue;
    const module = moduleText(url);
    if (module === undefined) continue;
    const links = readingOf(module)?.links;
    const specifiers = links !== undefined
      ? links.map(({ specifier }) => specifier)
      : isGuess
      ? Array.from(module.text.matchAll(STATIC_IMPORT), (match) => match[2])
      : [];
    for (const specifier of specifiers) {
      if (specifier === undefined) continue;
      const other = resolveSpecifier(specifier, url);
      if (other !== undefined) seen.add(other);
    }
  }
  return seen;
}

/**
 * Whether any of these modules may declare one of these names. A quick look, which is content
 * with a place where a declaration could stand: then the modules have to be parsed.
 */
export function mayDeclare(survey: Survey, names: readonly string[]): boolean {
  return survey.modules.some(({ text }) =>
    names.some((name) => {
      for (let at = text.indexOf(name); at >= 0;) {
        const end = at + name.length;
        if (isDeclaration(text, at, end)) return true;
        at = text.indexOf(name, end);
      }
      return false;
    })
  );
}

/** Whether what stands there may be a name that is being declared. */
function isDeclaration(text: string, at: number, end: number): boolean {
  if (/[.\w$]/.test(text[end] ?? "")) return false;
  if (text.startsWith("new ", at - 4)) return false; // what most mentions of errors are
  const after = text.slice(end, end + NEAR).replace(LEADING_SPACE, "");
  if (after.startsWith("=>")) return true;
  let before = text.slice(Math.max(0, at - NEAR), at);
  // The first line may be the rest of a comment.
  if (at > NEAR) before = before.slice(before.indexOf("\n") + 1);
  const code = before.replaceAll(COMMENT, " ");
  if (at > NEAR && code.trim() === "") return true;
  // What looks like a comment may be part of a string.
  return [code, before].some((before) =>
    NAMED.test(before) || isBinding(before, after)
  );
}

function isBinding(before: string, after: string): boolean {
  const found = BINDING.exec(before);
  if (found === null || /^[.([<]/.test(after)) return false;
  const mark = found[1];
  if (mark === undefined) return true;
  return BOUND[mark]!.test(after) && !(mark === ":" && TYPED.test(before));
}

/** Every function of these modules with the same tokens. */
export function findPlaces(
  survey: Survey,
  kind: FunctionNode["kind"],
  spelling: string,
  source: string,
): Place[] {
  const words = longestWords(source);
  for (let pass = 0; pass < PASSES.length; pass++) {
    const places: Place[] = [];
    for (const module of survey.modules) {
      if (!mayHold(module, words)) continue;
      const reading = readingOf(module, pass);
      if (reading === null) continue;
      for (const node of reading.nodes) {
        if (
          node.kind === kind &&
          reading.spell(node.from, node.to) === spelling
        ) places.push({ module, reading, node });
      }
    }
    if (places.length > 0) return places;
  }
  return [];
}

/**
 * Words that every module with this function in it has, too, unless it is one in which
 * the runtime puts other words than are written: see {@linkcode mayHold}.
 */
export function longestWords(source: string): string[] {
  // What the runtime's printer adds are comments, keywords, numbers, and those to a name.
  const words = new Set(
    Array.from(
      source.replaceAll(COMMENT, " ").matchAll(/[\w$]+/g),
      ([word]) => word.replace(/(?<=\D)\d+$/, ""),
    ),
  );
  return [...words].filter((word) =>
    !RESERVED.has(word) && word !== "let" && !/^\d/.test(word)
  )
    .sort((a, b) => b.length - a.length).slice(0, FEW_WORDS);
}

/** Whether a function of these words may stand in a module. */
export function mayHold({ text, url }: ModuleText, words: string[]): boolean {
  return REWRITTEN.test(text) || mayHaveJsx(url) ||
    words.every((word) => text.includes(word));
}

/** The parsed text of a module; null if it is in no language known here. */
export function readingOf(module: ModuleText, pass = 0): Reading | null {
  if (isPlain(module.url)) pass = 0;
  let reading = module.readings[pass];
  if (reading === undefined) {
    try {
      reading = readText(plainText(module, PASSES[pass]!));
    } catch {
      reading = null; // Not JavaScript that can be read, or TypeScript that can be turned into it.
    }
    module.readings[pass] = reading;
  }
  return reading;
}

/** Whether a module may have JSX in it, which the runtime does not turn into JavaScript here. */
export function mayHaveJsx(url: string): boolean {
  return /\.[jt]sx(?:[?#]|$)/.test(url);
}

function isPlain(url: string): boolean {
  return url.startsWith("data:")
    ? !/^data:[^,]*typescript/.test(url)
    : /\.m?js(?:[?#]|$)/.test(url);
}

/** A module's text as JavaScript. */
function plainText({ url, text }: ModuleText, mode: string): string {
  if (isPlain(url)) return text;
  const { stripTypeScriptTypes } = nodeModule() as {
    stripTypeScriptTypes(text: string, options: { mode: string }): string;
  };
  return stripTypeScriptTypes(text, { mode });
}

/** `node:module`, loaded only when needed. */
export function nodeModule(): unknown {
  const { process } = globalThis as unknown as {
    process: { getBuiltinModule(name: string): unknown };
  };
  return process.getBuiltinModule("node:module");
}

function moduleText(url: string): ModuleText | undefined {
  const known = texts.get(url);
  if (known !== undefined) return known;
  const text = readable(url);
  // What cannot be read now may be permitted later.
  if (text === undefined) return undefined;
  const imports = new Set<string>();
  for (const [, , specifier] of text.matchAll(ANY_IMPORT)) {
    const other = resolveSpecifier(specifier!, url);
    if (other !== undefined) imports.add(other);
  }
  const module = { url, text, imports: [...imports], readings: [] };
  if (texts.size >= 2 * MODULE_LIMIT) texts.clear();
  texts.set(url, module);
  return module;
}

function readable(url: string): string | undefined {
  try {
    if (url.startsWith("data:")) return dataText(url);
    if (!url.startsWith("file:") || !mayRead(fileOf(url))) return undefined;
    return Deno.readTextFileSync(fileOf(url));
  } catch {
    return undefined;
  }
}

function fileOf(url: string): URL {
  return new URL(url.replace(/[?#].*$/, ""));
}

function dataText(url: string): string | undefined {
  const comma = url.indexOf(",");
  const type = url.slice(5, comma);
  if (
    comma < 0 ||
    !/^(?:text|application)\/(?:x-)?(?:java|ecma|type)script\b/.test(type)
  ) {
    return undefined;
  }
  const body = decodeURIComponent(url.slice(comma + 1).replace(/#.*$/, ""));
  if (!type.endsWith(";base64")) return body;
  return new TextDecoder().decode(
    Uint8Array.from(atob(body), (c) => c.charCodeAt(0)),
  );
}
