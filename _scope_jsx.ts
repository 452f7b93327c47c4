// Taking the JSX out of a text of TypeScript, which the runtime's `node:module` cannot
// turn into JavaScript while it is there.
//
// An element becomes an array of the expressions in it, those of attributes under their
// names, as the runtime has them: so no function in it is lost, and no name it has. What
// a function with JSX says at run time is something else; it is found by identity only.
//
// Where an element may begin is told as for regular expressions, by the token before.
// What then turns out to be none (the type parameters of an arrow function) is left as
// it is, and so is what is not understood: the runtime refuses the text then.

import { UnreadableSource } from "./_scope_lex.ts";

const SPACE = /(?:\s|\/\/[^\n]*|\/\*[^]*?\*\/)*/y;
const WORD = /[\p{ID_Start}$_][\p{ID_Continue}$\u200c\u200d]*/uy;
const NUMBER = /\.?\d[\w.]*/y;
const STRING = /'(?:[^'\\\n]|\\[^])*'|"(?:[^"\\\n]|\\[^])*"/y;
const REGEX =
  /\/(?:[^/\\[\n]|\\[^\n]|\[(?:[^\]\\\n]|\\[^\n])*\])+\/[\p{ID_Continue}$]*/uy;
const CHARACTERS = /(?:[^`\\$]|\\[^]|\$(?!\{))*/y;
const TAG = /[\p{ID_Start}$_][\p{ID_Continue}$.:-]*/uy;
const ATTRIBUTE_TEXT = /'[^']*'|"[^"]*"/y;
const CHILD_TEXT = /[^<{]*/y;
/** Words before an expression. */
const BEFORE = new Set(
  ("await case default delete do else extends in instanceof new of return throw typeof " +
    "void yield").split(" "),
);

/** The same text with arrays in the place of JSX elements. */
export function withoutJsx(text: string): string {
  return new JsxReader(text).read();
}

class JsxReader {
  readonly #text: string;
  #at = 0;
  /** Where no element begins, though it looked so. */
  readonly #plain = new Set<number>();

  constructor(text: string) {
    this.#text = text;
  }

  read(): string {
    const code = this.#code("");
    if (this.#at < this.#text.length) this.#fail();
    return code;
  }

  #fail(): never {
    throw new UnreadableSource(`Cannot read source at ${this.#at}`);
  }

  #take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (found !== undefined) this.#at += found.length;
    return found;
  }

  #eat(mark: string): boolean {
    if (!this.#text.startsWith(mark, this.#at)) return false;
    this.#at += mark.length;
    return true;
  }

  #expect(mark: string): void {
    this.#take(SPACE);
    if (!this.#eat(mark)) this.#fail();
  }

  /** Code up to the bracket that closes it, or the end. */
  #code(closing: string): string {
    let code = "";
    let depth = 0;
    /** Whether a value has just ended, so that `<` compares and `/` divides. */
    let isValue = false;
    while (true) {
      code += this.#take(SPACE);
      const char = this.#text[this.#at];
      if (char === undefined) {
        if (closing !== "") this.#fail();
        return code;
      }
      let token: string | undefined;
      if ((token = this.#take(WORD)) !== undefined) {
        isValue = !BEFORE.has(token);
      } else if (
        (token = this.#take(NUMBER) ?? this.#take(STRING)) !== undefined
      ) {
        isValue = true;
      } else if (char === "`") {
        token = this.#template();
        isValue = true;
      } else if (
        !isValue && char === "<" && (token = this.#attempt()) !== undefined
      ) {
        isValue = true;
      } else if (
        !isValue && char === "/" && (token = this.#take(REGEX)) !== undefined
      ) {
        isValue = true;
      } else {
        if (depth === 0 && char === closing) return code;
        if ("([{".includes(char)) depth++;
        else if (")]}".includes(char)) depth--;
        if (depth < 0) this.#fail();
        token = char;
        this.#at++;
        isValue = ")]}".includes(char);
      }
      code += token;
    }
  }

  #template(): string {
    let code = "`";
    this.#at++;
    while (true) {
      code += this.#take(CHARACTERS);
      if (this.#eat("`")) return code + "`";
      if (!this.#eat("${")) this.#fail();
      code += "${" + this.#code("}") + "}";
      this.#expect("}");
    }
  }

  #attempt(): string | undefined {
    const start = this.#at;
    if (this.#plain.has(start)) return undefined;
    try {
      return this.#element();
    } catch (error) {
      if (!(error instanceof UnreadableSource)) throw error;
      this.#at = start;
      this.#plain.add(start);
      return undefined;
    }
  }

  #element(): string {
    const parts: string[] = [];
    this.#expect("<");
    this.#take(SPACE);
    const tag = this.#take(TAG) ?? ""; // a fragment has none
    while (true) {
      this.#take(SPACE);
      if (this.#eat(">")) break;
      if (tag === "") this.#fail();
      if (this.#eat("/")) {
        this.#expect(">");
        return listOf(parts);
      }
      this.#attribute(parts);
    }
    while (true) {
      this.#take(CHILD_TEXT);
      if (this.#text[this.#at] === "{") this.#expression(parts);
      else if (!this.#text.startsWith("</", this.#at)) {
        parts.push(this.#element());
      } else break;
    }
    this.#expect("</");
    this.#take(SPACE);
    if ((this.#take(TAG) ?? "") !== tag) this.#fail();
    this.#expect(">");
    return listOf(parts);
  }

  #attribute(parts: string[]): void {
    if (this.#text[this.#at] === "{") return this.#expression(parts);
    const name = this.#take(TAG);
    if (name === undefined) this.#fail();
    this.#take(SPACE);
    if (!this.#eat("=")) return;
    this.#take(SPACE);
    if (this.#take(ATTRIBUTE_TEXT) !== undefined) return;
    const value: string[] = [];
    if (this.#text[this.#at] === "{") this.#expression(value);
    else value.push(this.#element());
    parts.push(`{ ${JSON.stringify(name)}: ${value[0] ?? "0"} }`);
  }

  /** `{value}`, `{...values}`, or a comment in braces. */
  #expression(parts: string[]): void {
    this.#expect("{");
    this.#take(SPACE);
    this.#eat("...");
    const code = this.#code("}");
    this.#expect("}");
    if (code.trim() !== "") parts.push(`(${code}\n)`);
  }
}

function listOf(parts: readonly string[]): string {
  return `[${parts.join(", ")}]`;
}
