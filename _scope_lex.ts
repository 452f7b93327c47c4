// Tokens of JavaScript, read one at a time as the parser in `_scope.ts` asks.
//
// Whether `/` divides or opens a regular expression, and whether `}` ends a block
// or resumes a template, only the parser knows: it calls `regex()` and `resume()`
// where the grammar says so, and no guess is ever made.

/** Thrown for source text that the reader does not understand. */
export class UnreadableSource extends Error {
  override name = "UnreadableSource";
}

/** Blanks and comments. */
export const SPACE = /(?:\s|\/\/[^\n\r\u2028\u2029]*|\/\*[^]*?\*\/)*/y;
const NAME = /[\p{ID_Start}$_][\p{ID_Continue}$\u200c\u200d]*/uy;
/** Most names; compiled in no time, unlike the one above. */
const ASCII_NAME = /[A-Za-z$_][\w$]*(?![\w$]|[^\0-\x7f])/y;
const PRIVATE = /#[\p{ID_Start}$_][\p{ID_Continue}$\u200c\u200d]*/uy;
const NUMBER =
  /0[xX][\da-fA-F_]+n?|0[oO][0-7_]+n?|0[bB][01_]+n?|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d[\d_]*)?n?/y;
const STRING =
  /'(?:[^'\\\n\r]|\\(?:\r\n|[^]))*'|"(?:[^"\\\n\r]|\\(?:\r\n|[^]))*"/y;
const TEMPLATE = /(?:[^`\\$]|\\[^]|\$(?!\{))*(?:`|\$\{)/y;
const REGEX =
  /\/(?:[^/\\[\n\r]|\\[^\n\r]|\[(?:[^\]\\\n\r]|\\[^\n\r])*\])+\/[\p{ID_Continue}$]*/uy;
const MARK =
  />>>=|\.\.\.|===|!==|\*\*=|<<=|>>=|>>>|&&=|\|\|=|\?\?=|=>|==|!=|<=|>=|&&|\|\||\?\?|\?\.(?!\d)|\+\+|--|\+=|-=|\*=|\/=|%=|&=|\|=|\^=|<<|>>|\*\*|[{}()[\].;,<>+\-*/%&|^!~?:=@]/y;

/** Token types; `mark` is punctuation. */
export type TokenType =
  | "name"
  | "private"
  | "number"
  | "string"
  | "template"
  | "regex"
  | "mark"
  | "end";

/** Where a lexer was, for going back. */
type LexerState = readonly [
  TokenType,
  number,
  number,
  string,
  boolean,
  number,
];

/** The current token of a text, and all those before it. */
export class Lexer {
  readonly text: string;
  type: TokenType = "end";
  value = "";
  start = 0;
  end = 0;
  /** Whether a line break precedes the current token. */
  newline = false;
  /** The consumed tokens: pairs of text offsets. */
  readonly tokens: number[] = [];

  constructor(text: string) {
    this.text = text;
    if (text.startsWith("#!")) this.end = text.search(/[\n\r]|$/);
    this.#lex();
  }

  /** How many tokens were consumed. */
  get index(): number {
    return this.tokens.length / 2;
  }

  fail(): never {
    throw new UnreadableSource(
      `Cannot read source at ${this.start}: unexpected ${this.value || "end"}`,
    );
  }

  /** The text of a consumed token. */
  tokenAt(index: number): string {
    return this.text.slice(this.tokens[2 * index], this.tokens[2 * index + 1]);
  }

  /** Consumes the current token and returns its text. */
  next(): string {
    const value = this.value;
    if (this.type === "end") this.fail();
    this.tokens.push(this.start, this.end);
    this.#lex();
    return value;
  }

  /** Whether the current token is this punctuation mark or word. */
  is(value: string): boolean {
    return this.value === value &&
      (this.type === "mark" || this.type === "name");
  }

  eat(value: string): boolean {
    if (!this.is(value)) return false;
    this.next();
    return true;
  }

  expect(value: string): void {
    if (!this.eat(value)) this.fail();
  }

  /** The offset of what follows the current token. */
  after(): number {
    return this.end + this.#match(SPACE, this.end)!.length;
  }

  /** Whether a line break follows the current token. */
  breaks(): boolean {
    return /[\n\r\u2028\u2029]/.test(this.#match(SPACE, this.end)!);
  }

  /** The name at an offset, if there is one. */
  nameAt(offset: number): string | undefined {
    return this.#match(ASCII_NAME, offset) ?? this.#match(NAME, offset);
  }

  /** Reads the current `/` or `/=` as a regular expression. */
  regex(): void {
    const value = this.#match(REGEX, this.start);
    if (value === undefined) this.fail();
    this.#set("regex", value);
  }

  /** Reads the current `}` as the continuation of a template. */
  resume(): void {
    const rest = this.is("}")
      ? this.#match(TEMPLATE, this.start + 1)
      : undefined;
    if (rest === undefined) this.fail();
    this.#set("template", "}" + rest);
  }

  place(): LexerState {
    return [
      this.type,
      this.start,
      this.end,
      this.value,
      this.newline,
      this.tokens.length,
    ];
  }

  goTo(place: LexerState): void {
    [
      this.type,
      this.start,
      this.end,
      this.value,
      this.newline,
      this.tokens.length,
    ] = place;
  }

  #match(pattern: RegExp, at: number): string | undefined {
    pattern.lastIndex = at;
    const found = pattern.exec(this.text);
    return found === null ? undefined : found[0];
  }

  #set(type: TokenType, value: string): void {
    this.type = type;
    this.value = value;
    this.end = this.start + value.length;
  }

  #lex(): void {
    const space = this.#match(SPACE, this.end)!;
    const start = this.start = this.end + space.length;
    this.newline = space !== "" && /[\n\r\u2028\u2029]/.test(space);
    const char = this.text[start];
    let value: string | undefined;
    if (char === undefined) {
      this.#set("end", "");
    } else if (
      /[A-Za-z$_]|[^\0-\x7f]/.test(char) &&
      (value = this.nameAt(start)) !== undefined
    ) {
      this.#set("name", value);
      if (this.text[this.end] === "\\") this.fail(); // An escape in a name.
    } else if (char === '"' || char === "'") {
      if ((value = this.#match(STRING, start)) === undefined) this.fail();
      this.#set("string", value);
    } else if (char === "`") {
      if ((value = this.#match(TEMPLATE, start + 1)) === undefined) this.fail();
      this.#set("template", "`" + value);
    } else if (
      /\d/.test(char) || (char === "." && /\d/.test(this.text[start + 1] ?? ""))
    ) {
      this.#set("number", this.#match(NUMBER, start)!);
    } else if (
      char === "#" && (value = this.#match(PRIVATE, start)) !== undefined
    ) {
      this.#set("private", value);
    } else if ((value = this.#match(MARK, start)) !== undefined) {
      this.#set("mark", value);
    } else {
      this.value = char;
      this.fail();
    }
  }
}
