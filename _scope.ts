// What a piece of JavaScript declares and which outer names it uses.
//
// This is a parser without a tree. It reads the JavaScript of one function
// (`fn.toString()`) or of one module and keeps only what the question "can this
// function run elsewhere?" needs: every function with the tokens it spans, the
// scope it was written in, the name it was given there, and its free names.
// Precedence does not matter for that, so expressions are read as operands
// joined by operators, which keeps the whole of the grammar in one sitting.
//
// It errs on one side only: whatever it does not recognise makes it throw
// `UnreadableSource`, and the callers then refuse the function instead of guessing.
//
// Besides identifiers these count as free names, for they too mean nothing
// elsewhere: `this`, `arguments`, `super`, `new.target`, `import.meta`, `#private`
// names of a class around, and `import("./relative")`.

import { Lexer, UnreadableSource } from "./_scope_lex.ts";

export { UnreadableSource };

/** How a free name is used: in any way but under `typeof`. */
export const USED = 1;
/** How a free name is used: assigned to. */
export const WRITTEN = 2;

/** One scope: what it declares and what it could not find in itself. */
export interface Scope {
  readonly parent: Scope | undefined;
  /** Whether `var` declarations stop here. */
  readonly isFunction: boolean;
  readonly names: Set<string>;
  /** Of `names`, those assigned to after their declaration. */
  readonly written: Set<string>;
  readonly free: Map<string, number>;
}

/** One function or class found in a text. */
export interface FunctionNode {
  readonly kind: "arrow" | "function" | "method" | "class";
  readonly async: boolean;
  readonly generator: boolean;
  /** Text offsets. */
  readonly start: number;
  readonly end: number;
  /** Methods: the text offset of the parameter list. */
  readonly params: number;
  /** Token indexes. */
  readonly from: number;
  readonly to: number;
  /** The scope it was written in. */
  readonly scope: Scope;
  readonly free: ReadonlyMap<string, number>;
  /** The `name` it has at run time; `undefined` if that is not evident. */
  name: string | undefined;
  /** The variable that was declared with it as its value. */
  binding: string | undefined;
}

/** An export or import of a module. `local` is `undefined` for re-exports. */
export interface ModuleLink {
  readonly specifier: string | undefined;
  /** The name in the other module; `"*"` for all of it. */
  readonly imported: string | undefined;
  readonly local: string | undefined;
  readonly exported: string | undefined;
}

/** What {@linkcode readText} found. */
export interface Reading {
  readonly nodes: readonly FunctionNode[];
  readonly top: Scope;
  readonly links: readonly ModuleLink[];
  /** The tokens from one index to another as comparable text. */
  spell(from: number, to: number): string;
}

const ASSIGNMENT = new Set(
  "= += -= *= /= %= **= <<= >>= >>>= &= |= ^= &&= ||= ??=".split(" "),
);
const BINARY = new Set(
  "+ - * / % ** << >> >>> & | ^ && || ?? == != === !== < > <= >= in instanceof"
    .split(" "),
);
const PREFIX = new Set("! ~ + - ++ -- typeof void delete".split(" "));
const RESERVED = new Set(
  ("break case catch class const continue debugger default delete do else enum " +
    "export extends false finally for function if import in instanceof new null " +
    "return super switch this throw true try typeof var void while with").split(
      " ",
    ),
);

/** Reads a function's own text; the node returned spans all of it. */
export function readFunction(source: string): FunctionNode {
  for (const asMethod of [false, true]) {
    const reader = new TextReader(source, false);
    try {
      const node = reader.only(asMethod);
      if (node !== undefined) return node;
    } catch (error) {
      if (!(error instanceof UnreadableSource) || asMethod) throw error;
    }
  }
  throw new UnreadableSource("not a function");
}

/** Reads the text of a whole module. */
export function readText(source: string): Reading {
  const reader = new TextReader(source, true);
  reader.module();
  return reader;
}

/** Spells a function's text as {@linkcode Reading.spell} spells its tokens. */
export function spellFunction(source: string, node: FunctionNode): string {
  const reader = new TextReader(source, false);
  reader.only(node.kind === "method");
  return reader.spell(node.from, node.to);
}

/** The scope, from `scope` outwards, that declares `name`. */
export function declaringScope(
  scope: Scope | undefined,
  name: string,
): Scope | undefined {
  while (scope !== undefined && !scope.names.has(name)) scope = scope.parent;
  return scope;
}

class TextReader extends Lexer implements Reading {
  readonly nodes: FunctionNode[] = [];
  readonly links: ModuleLink[] = [];
  readonly top: Scope = makeScope(undefined, true);
  #scope = this.top;
  #async: boolean;
  #generator = false;
  /** Where `(` or `async` is known not to open an arrow function. */
  readonly #notArrow = new Set<number>();

  constructor(text: string, isModule: boolean) {
    super(text);
    this.#async = isModule;
  }

  spell(from: number, to: number): string {
    // Punctuation that printers add and drop is left out: `x => x` is `(x)=>x`.
    let spelling = "";
    for (let i = from; i < to; i++) {
      const start = this.tokens[2 * i]!;
      const end = this.tokens[2 * i + 1]!;
      const first = this.text[start]!;
      if (end - start === 1 && ";,()".includes(first)) continue;
      spelling += first === '"' || first === "'"
        ? `"${this.text.slice(start + 1, end - 1)}"\0`
        : `${this.text.slice(start, end)}\0`;
    }
    return spelling;
  }

  only(asMethod: boolean): FunctionNode | undefined {
    if (asMethod) this.#member("object");
    else this.#assign();
    if (this.type !== "end") this.fail();
    const node = this.nodes.at(-1);
    return node !== undefined && node.from === 0 && node.to === this.index
      ? node
      : undefined;
  }

  module(): void {
    while (this.type !== "end") this.#statement();
    settle(this.top);
  }

  // --- scopes ---

  #refer(name: string, how: number): void {
    this.#scope.free.set(name, (this.#scope.free.get(name) ?? 0) | how);
  }

  #declare(name: string, kind: "var" | "let"): void {
    let scope = this.#scope;
    if (kind === "var") { while (!scope.isFunction) scope = scope.parent!; }
    scope.names.add(name);
  }

  #within<T>(isFunction: boolean, body: () => T): T {
    const outer = this.#scope;
    this.#scope = makeScope(outer, isFunction);
    const result = body();
    settle(this.#scope);
    this.#scope = outer;
    return result;
  }

  #addNode(
    kind: FunctionNode["kind"],
    from: number,
    start: number,
    scope: Scope,
    free: ReadonlyMap<string, number>,
    name: string | undefined,
    params = start,
    isAsync = false,
    generator = false,
  ): FunctionNode {
    const node: FunctionNode = {
      kind,
      async: isAsync,
      generator,
      start,
      end: this.tokens.at(-1)!,
      params,
      from,
      to: this.index,
      scope,
      free,
      name,
      binding: undefined,
    };
    this.nodes.push(node);
    return node;
  }

  /** Gives the function that is the whole of the tokens since `from` its name. */
  #nameSince(from: number, name: string | undefined, binding?: string): void {
    let to = this.index;
    while (
      this.text[this.tokens[2 * from]!] === "(" &&
      this.text[this.tokens[2 * to - 2]!] === ")"
    ) {
      const node = this.nodes.at(-1);
      if (node?.from === from) break;
      from++;
      to--;
    }
    const node = this.nodes.at(-1);
    if (node === undefined || node.from !== from || node.to !== to) return;
    if (node.name === "") node.name = name;
    node.binding = binding;
  }

  // --- functions ---

  /** From the parameter list to the end of the body. */
  #functionRest(
    isAsync: boolean,
    generator: boolean,
    names: readonly string[],
  ): Map<string, number> {
    const outer = this.#scope;
    const [outerAsync, outerGenerator] = [this.#async, this.#generator];
    this.#async = isAsync;
    this.#generator = generator;
    const scope = this.#scope = makeScope(outer, true);
    for (const name of names) scope.names.add(name);
    this.expect("(");
    this.#params();
    this.#body();
    this.#async = outerAsync;
    this.#generator = outerGenerator;
    this.#scope = outer;
    return settle(scope);
  }

  #params(): void {
    while (!this.eat(")")) {
      while (this.eat("@")) this.#unary();
      this.eat("...");
      this.#bindingWithDefault("let");
      if (!this.is(")")) this.expect(",");
    }
  }

  #body(): void {
    this.expect("{");
    while (!this.eat("}")) this.#statement();
  }

  #function(
    isDeclaration: boolean,
    from: number,
    start: number,
    isAsync: boolean,
  ): void {
    this.expect("function");
    const generator = this.eat("*");
    const scope = this.#scope;
    const own = ["this", "arguments", "new.target"];
    let name = "";
    if (!this.is("(")) {
      name = this.#identifier();
      if (isDeclaration) this.#declare(name, "let");
      else own.push(name);
    }
    const params = this.start;
    const free = this.#functionRest(isAsync, generator, own);
    const node = this.#addNode(
      "function",
      from,
      start,
      scope,
      free,
      name,
      params,
      isAsync,
      generator,
    );
    if (isDeclaration) node.binding = name;
  }

  #class(isDeclaration: boolean): void {
    const from = this.index;
    const start = this.start;
    const scope = this.#scope;
    this.expect("class");
    let name = "";
    if (this.type === "name" && !this.is("extends")) {
      name = this.#identifier();
      if (isDeclaration) this.#declare(name, "let");
    }
    const inner = this.#scope = makeScope(scope, false);
    if (name !== "") inner.names.add(name);
    if (this.eat("extends")) this.#unary();
    this.expect("{");
    let ownName = false;
    while (!this.eat("}")) {
      if (this.eat(";")) continue;
      if (this.#member("class") === "static name") ownName = true;
    }
    this.#scope = scope;
    const free = settle(inner);
    const node = this.#addNode(
      "class",
      from,
      start,
      scope,
      free,
      ownName ? undefined : name,
    );
    if (isDeclaration) node.binding = name;
  }

  /** A property, method, field or static block. */
  #member(where: "object" | "class"): string | undefined {
    while (this.eat("@")) this.#unary();
    let from = this.index;
    let start = this.start;
    let isStatic = false;
    if (where === "class" && this.is("static")) {
      const after = this.text[this.after()] ?? "";
      if (after === "{") {
        this.next();
        this.#field(() => this.#body());
        return;
      }
      if (!"(=;}".includes(after)) {
        this.next();
        isStatic = true;
        from = this.index;
        start = this.start;
      }
    }
    let isAsync = false;
    let prefix = "";
    for (const word of ["async", "get", "set", "accessor"]) {
      if (!this.is(word)) continue;
      if ("(=;},:".includes(this.text[this.after()] ?? ";")) break;
      if (word === "accessor" && where === "object") break;
      if (this.breaks() && (word === "async" || word === "accessor")) break;
      this.next();
      if (word === "async") isAsync = true;
      else if (word !== "accessor") prefix = `${word} `;
      break;
    }
    const generator = this.eat("*");
    const keyType = this.type;
    const key = this.#key();
    const name = key === undefined ? undefined : prefix + key;
    if (this.is("(")) {
      const params = this.start;
      const own = ["this", "arguments", "new.target"];
      // The method under inspection has its `super` outside of its own text.
      if (from > 0) own.push("super");
      const scope = this.#scope;
      const free = new Map(this.#functionRest(isAsync, generator, own));
      this.#addNode(
        "method",
        from,
        start,
        scope,
        free,
        name,
        params,
        isAsync,
        generator,
      );
      return isStatic && name === "name" ? "static name" : undefined;
    }
    if (isAsync || generator || prefix !== "") this.fail();
    if (where === "class") {
      if (this.eat("=")) {
        const at = this.index;
        this.#field(() => {
          this.#assign();
          this.#nameSince(at, key);
        });
      }
      this.#semicolon();
      return isStatic && key === "name" ? "static name" : undefined;
    }
    if (this.eat(":")) {
      const at = this.index;
      this.#assign();
      this.#nameSince(at, key === "__proto__" ? undefined : key);
      return;
    }
    // Shorthand, perhaps with the default value of a destructuring assignment.
    if (keyType !== "name" || key === undefined || RESERVED.has(key)) {
      this.fail();
    }
    this.#refer(key, USED);
    if (this.eat("=")) {
      const at = this.index;
      this.#assign();
      this.#nameSince(at, key);
    }
    return;
  }

  /** A field's value or a static block: a function of its own. */
  #field(body: () => void): void {
    const [outerAsync, outerGenerator] = [this.#async, this.#generator];
    this.#async = this.#generator = false;
    this.#within(true, () => {
      for (const name of ["this", "super", "new.target"]) {
        this.#scope.names.add(name);
      }
      body();
    });
    this.#async = outerAsync;
    this.#generator = outerGenerator;
  }

  /** A property name; `undefined` if computed. */
  #key(): string | undefined {
    if (this.eat("[")) {
      const at = this.index;
      this.#expression();
      const text = this.index === at + 1 ? this.tokenAt(at) : "";
      this.expect("]");
      return /^["'][^\\]*$/.test(text) ? text.slice(1, -1) : undefined;
    }
    if (this.type === "private") {
      this.#scope.names.add(this.value);
      return this.next();
    }
    if (this.type === "name") return this.next();
    if (this.type === "string") {
      const text = this.next();
      return text.includes("\\") ? undefined : text.slice(1, -1);
    }
    if (this.type === "number") {
      const text = this.next();
      return text.endsWith("n")
        ? text.slice(0, -1)
        : String(Number(text.replaceAll("_", "")));
    }
    this.fail();
  }

  // --- bindings ---

  #identifier(): string {
    if (this.type !== "name" || RESERVED.has(this.value)) this.fail();
    return this.next();
  }

  #binding(kind: "var" | "let"): string | undefined {
    if (this.eat("[")) {
      while (!this.eat("]")) {
        if (this.eat(",")) continue;
        this.eat("...");
        this.#bindingWithDefault(kind);
        if (!this.is("]")) this.expect(",");
      }
      return;
    }
    if (this.eat("{")) {
      while (!this.eat("}")) {
        if (this.eat("...")) {
          this.#binding(kind);
        } else {
          const isName = this.type === "name";
          const at = this.index;
          const key = this.#key();
          if (this.eat(":")) {
            this.#bindingWithDefault(kind);
          } else {
            if (!isName || key === undefined || this.index !== at + 1) {
              this.fail();
            }
            this.#declare(key, kind);
            this.#default(key);
          }
        }
        if (!this.is("}")) this.expect(",");
      }
      return;
    }
    const name = this.#identifier();
    this.#declare(name, kind);
    return name;
  }

  #bindingWithDefault(kind: "var" | "let"): void {
    this.#default(this.#binding(kind));
  }

  #default(name: string | undefined): void {
    if (!this.eat("=")) return;
    const at = this.index;
    this.#assign();
    this.#nameSince(at, name ?? "");
  }

  // --- expressions ---

  #expression(noIn = false): void {
    do this.#assign(noIn); while (this.eat(","));
  }

  #assign(noIn = false): void {
    while (true) {
      const from = this.index;
      if (this.#operand()) return;
      // The name of an assignment's target, if that is all there is.
      const single = this.index === from + 1 ? this.tokenAt(from) : undefined;
      if (this.type === "mark" && ASSIGNMENT.has(this.value)) {
        this.#writtenSince(from);
        this.next();
        const at = this.index;
        this.#assign(noIn);
        this.#nameSince(at, single ?? "");
        return;
      }
      if (this.eat("?")) {
        this.#assign();
        this.expect(":");
        this.#assign(noIn);
        return;
      }
      if (
        !BINARY.has(this.value) ||
        (this.type !== "mark" && this.type !== "name")
      ) return;
      if (noIn && this.is("in")) return;
      this.next();
    }
  }

  /** Marks what an assignment's left side names as written. */
  #writtenSince(from: number, any = false): void {
    const first = this.text[this.tokens[2 * from]!]!;
    if (
      !any && this.index !== from + 1 && first !== "[" && first !== "{" &&
      first !== "("
    ) return;
    for (let i = from; i < this.index; i++) {
      const name = this.tokenAt(i);
      if (this.#scope.free.has(name)) this.#refer(name, WRITTEN);
    }
  }

  /** One operand with its prefixes. Returns whether it was an arrow function. */
  #operand(): boolean {
    if (this.is("yield") && this.#generator) {
      this.next();
      const star = this.eat("*");
      const over = this.type === "end" || this.newline ||
        (this.type === "mark" && ")]},;:".includes(this.value)) ||
        this.is("in") || this.is("of");
      if (star || !over) this.#assign();
      return true;
    }
    return this.#unary();
  }

  #unary(): boolean {
    if (
      (this.type === "mark" || this.type === "name") && PREFIX.has(this.value)
    ) {
      const operator = this.next();
      if (
        operator === "typeof" && this.type === "name" &&
        !RESERVED.has(this.value) && !(this.#async && this.is("await")) &&
        !/^(?:[([.`]|\?\.)/.test(
          this.text.slice(this.after(), this.after() + 2),
        )
      ) {
        this.#refer(this.next(), 0);
        return false;
      }
      const from = this.index;
      this.#unary();
      if (operator === "++" || operator === "--") this.#writtenSince(from);
      return false;
    }
    if (this.is("await") && this.#async) {
      this.next();
      this.#unary();
      return false;
    }
    const from = this.index;
    if (this.#primary()) return true;
    this.#postfix();
    if ((this.is("++") || this.is("--")) && !this.newline) {
      this.#writtenSince(from);
      this.next();
    }
    return false;
  }

  #postfix(): void {
    while (true) {
      if (this.eat(".")) {
        this.#memberName();
      } else if (this.eat("?.")) {
        if (this.is("(")) this.#arguments();
        else if (this.eat("[")) this.#closing("]");
        else if (this.type !== "template") this.#memberName();
      } else if (this.is("(")) {
        this.#arguments();
      } else if (this.eat("[")) {
        this.#closing("]");
      } else if (this.type === "template") {
        this.#template();
      } else {
        return;
      }
    }
  }

  #memberName(): void {
    if (this.type === "private") this.#refer(this.next(), USED);
    else if (this.type === "name") this.next();
    else this.fail();
  }

  #closing(mark: string): void {
    this.#expression();
    this.expect(mark);
  }

  #arguments(): void {
    this.expect("(");
    while (!this.eat(")")) {
      this.eat("...");
      this.#assign();
      if (!this.is(")")) this.expect(",");
    }
  }

  #template(): void {
    while (!this.value.endsWith("`") || this.value === "`") {
      this.next();
      this.#expression();
      this.resume();
    }
    this.next();
  }

  /** Returns whether it was an arrow function. */
  #primary(): boolean {
    if (this.type === "number" || this.type === "string") {
      this.next();
      return false;
    }
    if (this.type === "template") {
      this.#template();
      return false;
    }
    if (this.type === "private") { // #name in object
      this.#refer(this.next(), USED);
      return false;
    }
    if (this.type === "mark") return this.#markedPrimary();
    if (this.type !== "name") this.fail();
    const start = this.start;
    const from = this.index;
    switch (this.value) {
      case "function":
        this.#function(false, from, start, false);
        return false;
      case "class":
        this.#class(false);
        return false;
      case "new":
        this.#new();
        return false;
      case "import":
        this.#import();
        return false;
      case "this":
      case "super":
        this.#refer(this.next(), USED);
        return false;
      case "null":
      case "true":
      case "false":
        this.next();
        return false;
    }
    if (RESERVED.has(this.value)) this.fail();
    if (this.is("async")) {
      const at = this.after();
      const name = this.nameAt(at);
      if (!this.breaks()) {
        if (name === "function") {
          this.next();
          this.#function(false, from, start, true);
          return false;
        }
        if (
          (name !== undefined || this.text[at] === "(") && this.#arrow(true)
        ) return true;
      }
    }
    if (this.text.startsWith("=>", this.after()) && this.#arrow(false)) {
      return true;
    }
    this.#refer(this.next(), USED);
    return false;
  }

  #markedPrimary(): boolean {
    if (this.is("(")) {
      if (this.#arrow(false)) return true;
      this.next();
      this.#closing(")");
    } else if (this.eat("[")) {
      while (!this.eat("]")) {
        if (this.eat(",")) continue;
        this.eat("...");
        this.#assign();
        if (!this.is("]")) this.expect(",");
      }
    } else if (this.eat("{")) {
      while (!this.eat("}")) {
        if (this.eat("...")) this.#assign();
        else this.#member("object");
        if (!this.is("}")) this.expect(",");
      }
    } else if (this.is("/") || this.is("/=")) {
      this.regex();
      this.next();
    } else if (this.is("@")) {
      while (this.eat("@")) this.#unary();
      this.#class(false);
    } else {
      this.fail();
    }
    return false;
  }

  #new(): void {
    this.next();
    if (this.eat(".")) {
      this.next();
      this.#refer("new.target", USED);
      return;
    }
    if (this.is("new")) this.#new();
    else this.#primary();
  }

  #import(): void {
    this.next();
    if (this.eat(".")) {
      const word = this.next();
      if (word === "meta") this.#refer("import.meta", USED);
      else if (!this.is("(")) this.fail(); // import.defer(…)
      if (word === "meta") return;
    }
    this.expect("(");
    const specifier = this.type === "string"
      ? this.value.slice(1, -1)
      : undefined;
    if (specifier !== undefined && /^\.{0,2}\//.test(specifier)) {
      this.#refer(`import("${specifier}")`, USED);
    }
    while (!this.eat(")")) {
      this.#assign();
      if (!this.is(")")) this.expect(",");
    }
  }

  /** An arrow function, if there is one here. */
  #arrow(isAsync: boolean): boolean {
    const start = this.start;
    if (this.#notArrow.has(start)) return false;
    const from = this.index;
    const outer = this.#scope;
    const [outerAsync, outerGenerator] = [this.#async, this.#generator];
    const place = this.place();
    const nodes = this.nodes.length;
    const scope = this.#scope = makeScope(outer, true);
    let params = start;
    try {
      if (isAsync) this.next();
      params = this.start;
      if (this.eat("(")) this.#params();
      else this.#declare(this.#identifier(), "let");
      if (!this.is("=>") || this.newline) this.fail();
      this.next();
    } catch (error) {
      if (!(error instanceof UnreadableSource)) throw error;
      this.goTo(place);
      this.nodes.length = nodes;
      this.#scope = outer;
      this.#async = outerAsync;
      this.#generator = outerGenerator;
      this.#notArrow.add(start);
      return false;
    }
    this.#async = isAsync;
    this.#generator = false;
    if (this.is("{")) this.#body();
    else this.#assign();
    this.#async = outerAsync;
    this.#generator = outerGenerator;
    this.#scope = outer;
    this.#addNode(
      "arrow",
      from,
      start,
      outer,
      settle(scope),
      "",
      params,
      isAsync,
    );
    return true;
  }

  // --- statements ---

  #semicolon(): void {
    if (this.eat(";") || this.is("}") || this.type === "end" || this.newline) {
      return;
    }
    this.fail();
  }

  #statement(): void {
    if (this.type === "mark") {
      if (this.eat(";")) return;
      if (this.is("{")) return this.#within(false, () => this.#body());
      if (this.is("@")) {
        while (this.eat("@")) this.#unary();
        return this.#statement();
      }
    }
    if (this.type === "name" && this.#wordStatement()) return;
    this.#expression();
    this.#semicolon();
  }

  /** A statement that begins with a word of its own; false if none does here. */
  #wordStatement(): boolean {
    const word = this.value;
    const at = this.after();
    const following = this.text[at] ?? "";
    switch (word) {
      case "var":
      case "const":
        this.#declaration();
        this.#semicolon();
        return true;
      case "let":
      case "using":
        if (!this.#declares(word, at)) break;
        this.#declaration();
        this.#semicolon();
        return true;
      case "await":
        if (
          this.nameAt(at) !== "using" ||
          !/^using\s+[\p{ID_Start}$_]/u.test(this.text.slice(at, at + 80))
        ) break;
        this.next();
        this.#declaration();
        this.#semicolon();
        return true;
      case "function":
        this.#function(true, this.index, this.start, false);
        return true;
      case "async": {
        if (this.nameAt(at) !== "function" || this.breaks()) break;
        const [from, start] = [this.index, this.start];
        this.next();
        this.#function(true, from, start, true);
        return true;
      }
      case "class":
        this.#class(true);
        return true;
      case "import":
        if (following === "(" || following === ".") break;
        this.#importDeclaration();
        return true;
      case "export":
        this.#exportDeclaration();
        return true;
      case "if":
        this.next();
        this.#head();
        this.#statement();
        if (this.eat("else")) this.#statement();
        return true;
      case "for":
        this.#within(false, () => this.#for());
        return true;
      case "while":
      case "with":
        if (word === "with") this.fail();
        this.next();
        this.#head();
        this.#statement();
        return true;
      case "do":
        this.next();
        this.#statement();
        this.expect("while");
        this.#head();
        this.eat(";");
        return true;
      case "return":
      case "throw":
        this.next();
        if (
          !this.is(";") && !this.is("}") && this.type !== "end" && !this.newline
        ) this.#expression();
        this.#semicolon();
        return true;
      case "break":
      case "continue":
        this.next();
        if (this.type === "name" && !this.newline) this.next();
        this.#semicolon();
        return true;
      case "debugger":
        this.next();
        this.#semicolon();
        return true;
      case "try":
        this.#try();
        return true;
      case "switch":
        this.next();
        this.#head();
        this.#within(false, () => this.#cases());
        return true;
    }
    if (following !== ":" || RESERVED.has(word)) return false;
    this.next(); // A label.
    this.next();
    this.#statement();
    return true;
  }

  /** Whether the current `let` or `using` begins a declaration. */
  #declares(word: string, at: number): boolean {
    const name = this.nameAt(at);
    if (word === "let") {
      return name !== undefined || "[{".includes(this.text[at] ?? ";");
    }
    return name !== undefined && !this.breaks() && name !== "in" &&
      name !== "instanceof" && name !== "of";
  }

  #head(): void {
    this.expect("(");
    this.#closing(")");
  }

  #declaration(noIn = false): void {
    const kind = this.next() === "var" ? "var" : "let";
    do {
      const name = this.#binding(kind);
      if (!this.eat("=")) continue;
      const at = this.index;
      this.#assign(noIn);
      this.#nameSince(at, name ?? "", name);
    } while (this.eat(","));
  }

  #for(): void {
    this.next();
    this.eat("await");
    this.expect("(");
    const at = this.after();
    if (this.is("await") && this.nameAt(at) === "using") this.next();
    const from = this.index;
    if (
      this.is("var") || this.is("const") ||
      ((this.is("let") || this.is("using")) &&
        this.#declares(this.value, this.after()))
    ) {
      this.#declaration(true);
    } else if (!this.is(";")) {
      this.#expression(true);
      if (this.is("of") || this.is("in")) this.#writtenSince(from, true);
    }
    if (this.eat("of") || this.eat("in")) {
      this.#closing(")");
    } else {
      this.expect(";");
      if (!this.is(";")) this.#expression();
      this.expect(";");
      if (!this.is(")")) this.#expression();
      this.expect(")");
    }
    this.#statement();
  }

  #try(): void {
    this.next();
    this.#within(false, () => this.#body());
    if (this.eat("catch")) {
      this.#within(false, () => {
        if (this.eat("(")) {
          this.#binding("let");
          this.expect(")");
        }
        this.#body();
      });
    }
    if (this.eat("finally")) this.#within(false, () => this.#body());
  }

  #cases(): void {
    this.expect("{");
    while (!this.eat("}")) {
      if (this.eat("case")) {
        this.#closing(":");
      } else if (this.is("default") && this.text[this.after()] === ":") {
        this.next();
        this.next();
      } else {
        this.#statement();
      }
    }
  }

  // --- modules ---

  #link(
    specifier: string | undefined,
    imported: string | undefined,
    local: string | undefined,
    exported: string | undefined,
  ): void {
    this.links.push({ specifier, imported, local, exported });
  }

  /** A name in an import or export clause. */
  #clauseName(): string {
    if (this.type === "string") return this.next().slice(1, -1);
    if (this.type !== "name") this.fail();
    return this.next();
  }

  #clause(): [string, string][] {
    const pairs: [string, string][] = [];
    this.expect("{");
    while (!this.eat("}")) {
      const first = this.#clauseName();
      pairs.push([first, this.eat("as") ? this.#clauseName() : first]);
      if (!this.is("}")) this.expect(",");
    }
    return pairs;
  }

  /** `"specifier" with { … };` */
  #specifier(): string {
    if (this.type !== "string") this.fail();
    const specifier = this.next().slice(1, -1);
    if (
      this.eat("with") ||
      (this.is("assert") && !this.newline && this.eat("assert"))
    ) {
      this.expect("{");
      while (!this.eat("}")) this.next();
    }
    this.#semicolon();
    return specifier;
  }

  #importDeclaration(): void {
    this.next();
    if (this.type === "string") {
      this.#link(this.#specifier(), undefined, undefined, undefined);
      return;
    }
    const pairs: [string, string][] = [];
    if (
      (this.is("defer") || this.is("source")) &&
      this.text[this.after()] !== "," &&
      this.nameAt(this.after()) !== "from"
    ) this.next();
    if (this.type === "name") {
      pairs.push(["default", this.#identifier()]);
      this.eat(",");
    }
    if (this.eat("*")) {
      this.expect("as");
      pairs.push(["*", this.#identifier()]);
    } else if (this.is("{")) {
      pairs.push(...this.#clause());
    }
    this.expect("from");
    const specifier = this.#specifier();
    if (pairs.length === 0) {
      this.#link(specifier, undefined, undefined, undefined);
    }
    for (const [imported, local] of pairs) {
      this.#declare(local, "let");
      this.#link(specifier, imported, local, undefined);
    }
  }

  #exportDeclaration(): void {
    this.next();
    if (this.eat("default")) {
      const [from, start] = [this.index, this.start];
      if (
        this.is("function") ||
        (this.is("async") && this.nameAt(this.after()) === "function" &&
          !this.breaks())
      ) {
        const isAsync = this.eat("async");
        const named = /^function[\s*]*[\p{ID_Start}$_]/u.test(
          this.text.slice(this.start, this.start + 80),
        );
        this.#function(named, from, start, isAsync);
      } else if (this.is("class")) {
        const name = this.nameAt(this.after());
        this.#class(name !== undefined && name !== "extends");
      } else {
        while (this.eat("@")) this.#unary();
        this.#assign();
        this.#semicolon();
      }
      // `*default*` is what the specification calls a nameless default export.
      const node = this.nodes.at(-1);
      const isWhole = node !== undefined && node.from === from;
      if (isWhole && node.binding !== undefined) {
        this.#link(undefined, undefined, node.binding, "default");
      } else {
        this.#nameSince(from, "default", "*default*");
        const plain = this.index - from <= 2 ? this.tokenAt(from) : undefined;
        this.#link(
          undefined,
          undefined,
          plain !== undefined && this.top.free.has(plain) ? plain : "*default*",
          "default",
        );
      }
      return;
    }
    if (this.eat("*")) {
      const exported = this.eat("as") ? this.#clauseName() : "*";
      this.expect("from");
      this.#link(this.#specifier(), "*", undefined, exported);
      return;
    }
    if (this.is("{")) {
      const pairs = this.#clause();
      if (this.eat("from")) {
        const specifier = this.#specifier();
        for (const [imported, exported] of pairs) {
          this.#link(specifier, imported, undefined, exported);
        }
        if (pairs.length === 0) {
          this.#link(specifier, undefined, undefined, undefined);
        }
      } else {
        this.#semicolon();
        for (const [local, exported] of pairs) {
          this.#refer(local, USED);
          this.#link(undefined, undefined, local, exported);
        }
      }
      return;
    }
    const before = new Set(this.top.names);
    this.#statement();
    for (const name of this.top.names) {
      if (!before.has(name)) this.#link(undefined, undefined, name, name);
    }
  }
}

function makeScope(parent: Scope | undefined, isFunction: boolean): Scope {
  return {
    parent,
    isFunction,
    names: new Set(),
    written: new Set(),
    free: new Map(),
  };
}

/** Ends a scope: what it did not find in itself is its parent's to find. */
function settle(scope: Scope): Map<string, number> {
  for (const [name, how] of scope.free) {
    if (scope.names.has(name)) {
      if (how & WRITTEN) scope.written.add(name);
      scope.free.delete(name);
    } else if (scope.parent !== undefined) {
      scope.parent.free.set(name, (scope.parent.free.get(name) ?? 0) | how);
    }
  }
  return scope.free;
}
