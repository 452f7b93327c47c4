// A first look at a function: what its tokens tell, if it is plain.
//
// Most functions that are sent are: parameters, `const`, `let`, loops, calls. Of those
// one pass over the tokens finds the free names that the parser in `_scope.ts` would,
// and there is little code to compile for it, which is what the first call of a program
// waits for.
//
// It never guesses. A name is the function's own where a declaration that cannot be
// mistaken stands before it, in brackets that are still open, and free elsewhere.
// Whatever takes more grammar to tell makes it give up: functions in functions,
// patterns, lists of declarations, templates, what may be a regular expression, keys
// and labels.

import { type FunctionNode, RESERVED, USED } from "./_scope_functions.ts";
import { SPACE } from "./_scope_lex.ts";

/** What is known of a function without the place where it was written. */
export type Outline = Pick<
  FunctionNode,
  "kind" | "async" | "generator" | "name" | "params" | "free"
>;

/** A pair of brackets that is open. */
interface Bracket {
  /** The keyword before it. */
  readonly keyword: string;
  /** Whether it follows a value, as those of a call do, and those of a method. */
  readonly afterValue: boolean;
  readonly names: Set<string>;
  /** Whether a `,` may go on with a list of declarations. */
  declares: boolean;
}

const HEAD =
  /^(async\s+)?(?:function\s*([A-Za-z$_][\w$]*)?\s*\(([\w$\s,=]*)\)\s*(?=\{)|(?:\(([\w$\s,=]*)\)|([A-Za-z$_][\w$]*))\s*=>)/;
const PARAMETER = /^\s*([A-Za-z$_][\w$]*)\s*(?:=\s*\d\w*\s*)?$/;
/** A string, a number, a property, a word, or a mark. */
const TOKEN =
  /'(?:[^'\\\n\r]|\\(?:\r\n|[^]))*'|"(?:[^"\\\n\r]|\\(?:\r\n|[^]))*"|\.?\d[\w.]*|\.\.\.|(\??\.\s*)?([A-Za-z$_][\w$]*)|[{}()[\],;:/]|[=<>!&|?+\-*%^~]+/y;
const KEYWORDS = new Set(
  ("break case catch const continue default delete do else false finally for if in " +
    "instanceof let new null return switch throw true try void while").split(
      " ",
    ),
);
/** Words that, if they are not among those, mean more than a glance can tell. */
const BEYOND = new Set([...RESERVED, "arguments", "await", "static", "yield"]);
/** What the last token was, if not a keyword. */
const NEW_NAME = "a name being declared";
const FREE_NAME = "a free name";
const CALL = "the end of a call, or of a method's parameters";

/** What a function's text tells at a glance; `undefined` if it takes the parser. */
export function glanceAt(source: string): Outline | undefined {
  const head = HEAD.exec(source);
  if (head === null) return undefined;
  const [start, async, name, params, arrowParams, arrowParam] = head;
  const names = new Set<string>();
  if (name !== undefined) names.add(name);
  for (const part of (params ?? arrowParams ?? arrowParam!).split(",")) {
    const parameter = PARAMETER.exec(part);
    if (parameter !== null) names.add(parameter[1]!);
    else if (part.trim() !== "") return undefined;
  }
  const body = new Body(names, async !== undefined);
  if (!body.read(source, start.length)) return undefined;
  return {
    kind: params === undefined ? "arrow" : "function",
    async: async !== undefined,
    generator: false,
    name: name ?? "",
    params: 0,
    free: body.free,
  };
}

/** Reads a function's body. Its methods return whether that is plain so far. */
class Body {
  readonly free = new Map<string, number>();
  readonly #async: boolean;
  readonly #open: Bracket[] = [];
  #inner: Bracket;
  /** What the last token was: a keyword, one of the constants above, or `""`. */
  #last = "";
  /** Whether a value has just ended, so that `/` divides it. */
  #isValue = false;
  /** Whether a name must follow that is being declared. */
  #isDue = false;
  /** What is declared for the block that must follow. */
  #forBlock: Set<string> | undefined;

  constructor(names: Set<string>, async: boolean) {
    this.#async = async;
    this.#inner = { keyword: "", afterValue: false, names, declares: false };
  }

  read(source: string, at: number): boolean {
    while (true) {
      SPACE.lastIndex = at;
      SPACE.test(source);
      at = SPACE.lastIndex;
      if (at === source.length) return this.#open.length === 0 && !this.#isDue;
      TOKEN.lastIndex = at;
      const found = TOKEN.exec(source);
      if (found === null) return false;
      at = TOKEN.lastIndex;
      const [token, dot, word] = found;
      if (this.#forBlock !== undefined && token !== "{") return false;
      const isPlain = word === undefined
        ? this.#mark(token)
        : dot === undefined
        ? this.#word(word)
        : this.#last !== "new" && this.#value();
      if (!isPlain) return false;
    }
  }

  /** A string, a number or a property. */
  #value(): boolean {
    this.#last = "";
    this.#isValue = true;
    return !this.#isDue;
  }

  #word(word: string): boolean {
    const inner = this.#inner;
    if (KEYWORDS.has(word) || this.#async && word === "await") {
      if (this.#isDue) return false;
      this.#isDue = word === "let" || word === "const";
      if (this.#isDue) inner.declares = true;
      if (word === "in" && inner.keyword === "for") inner.declares = false;
      this.#last = word;
      this.#isValue = false;
      return true;
    }
    if (BEYOND.has(word)) return false;
    if (this.#isValue) {
      // Two in a row: a loop's `of`, another word like it, or the next statement.
      const isOf = word === "of" && this.#last === NEW_NAME &&
        inner.keyword === "for";
      this.#isValue = inner.declares = false;
      this.#last = "";
      return isOf;
    }
    this.#isValue = true;
    if (this.#isDue) {
      this.#isDue = false;
      this.#last = NEW_NAME;
      inner.names.add(word);
      return !this.free.has(word); // perhaps it was used before
    }
    this.#last = this.#isOwn(word) ? "" : FREE_NAME;
    if (this.#last === FREE_NAME) this.free.set(word, USED);
    return true;
  }

  #isOwn(word: string): boolean {
    if (this.#inner.names.has(word)) return true;
    for (const { names } of this.#open) if (names.has(word)) return true;
    return false;
  }

  #mark(token: string): boolean {
    const last = this.#last;
    const isValue = this.#isValue;
    const first = token[0]!;
    if (first === '"' || first === "'" || /\d/.test(token)) {
      return this.#value();
    }
    if (this.#isDue) return false;
    this.#last = "";
    this.#isValue = false;
    switch (token) {
      case "(":
      case "[":
      case "{":
        return this.#opening(token, last, isValue);
      case ")":
      case "]":
      case "}":
        return this.#closing(token);
      case ",":
        if (!this.#inner.declares) return true;
        this.#isDue = true;
        return this.#inner.keyword === "for";
      case ";":
        this.#inner.declares = false;
        return true;
      case ":":
        return last !== FREE_NAME;
      case "/":
        return isValue;
    }
    return !token.includes("=>") && !token.includes("-->") &&
      !token.includes("<!--");
  }

  #opening(token: string, last: string, afterValue: boolean): boolean {
    this.#open.push(this.#inner);
    this.#inner = {
      keyword: token === "(" ? last : "",
      afterValue,
      names: this.#forBlock ?? new Set(),
      declares: false,
    };
    this.#forBlock = undefined;
    this.#isDue = this.#inner.keyword === "catch";
    return token !== "{" || last !== CALL;
  }

  #closing(token: string): boolean {
    const { keyword, afterValue, names } = this.#inner;
    const outer = this.#open.pop();
    if (outer === undefined) return false;
    this.#inner = outer;
    if (token === "}") return true;
    if (names.size > 0) this.#forBlock = names;
    this.#isValue = token === "]" || !KEYWORDS.has(keyword);
    if (token === ")" && afterValue) this.#last = CALL;
    return true;
  }
}
