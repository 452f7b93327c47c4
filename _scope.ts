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
// names of a class around, and `import()` of what is no URL, relative or bare. An
// `import(computed)` is one that is not used: in which module it stands may matter.

import { UnreadableSource } from "./_scope_lex.ts";
import {
  type FunctionNode,
  type Reading,
  RESERVED,
  settle,
  USED,
} from "./_scope_functions.ts";
import { ExpressionReader } from "./_scope_expressions.ts";

export {
  COMPUTED_IMPORT,
  declaringScope,
  RESERVED,
  USED,
} from "./_scope_functions.ts";
export type { FunctionNode, Reading } from "./_scope_functions.ts";
export { UnreadableSource };

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

/** Reads functions, statements and modules. */
class TextReader extends ExpressionReader {
  only(asMethod: boolean): FunctionNode | undefined {
    if (asMethod) this.member("object");
    else this.assign();
    if (this.type !== "end") this.fail();
    const node = this.nodes.at(-1);
    return node !== undefined && node.from === 0 && node.to === this.index
      ? node
      : undefined;
  }

  module(): void {
    while (this.type !== "end") this.statement();
    settle(this.top);
  }

  // --- statements ---

  protected semicolon(): void {
    if (this.eat(";") || this.is("}") || this.type === "end" || this.newline) {
      return;
    }
    this.fail();
  }

  protected statement(): void {
    if (this.type === "mark") {
      if (this.eat(";")) return;
      if (this.is("{")) return this.within(false, () => this.body());
      if (this.is("@")) {
        while (this.eat("@")) this.unary();
        return this.statement();
      }
    }
    if (this.type === "name" && this.wordStatement()) return;
    this.expression();
    this.semicolon();
  }

  /** A statement that begins with a word of its own; false if none does here. */
  protected wordStatement(): boolean {
    const word = this.value;
    const at = this.after();
    const following = this.text[at] ?? "";
    switch (word) {
      case "var":
      case "const":
        this.declaration();
        this.semicolon();
        return true;
      case "let":
      case "using":
        if (!this.declares(word, at)) break;
        this.declaration();
        this.semicolon();
        return true;
      case "await":
        if (
          this.nameAt(at) !== "using" ||
          !/^using\s+[\p{ID_Start}$_]/u.test(this.text.slice(at, at + 80))
        ) break;
        this.next();
        this.declaration();
        this.semicolon();
        return true;
      case "function":
        this.function(true, this.index, this.start, false);
        return true;
      case "async": {
        if (this.nameAt(at) !== "function" || this.breaks()) break;
        const [from, start] = [this.index, this.start];
        this.next();
        this.function(true, from, start, true);
        return true;
      }
      case "class":
        this.class(true);
        return true;
      case "import":
        if (following === "(" || following === ".") break;
        this.importDeclaration();
        return true;
      case "export":
        this.exportDeclaration();
        return true;
      case "if":
        this.next();
        this.head();
        this.statement();
        if (this.eat("else")) this.statement();
        return true;
      case "for":
        this.within(false, () => this.for());
        return true;
      case "while":
      case "with":
        if (word === "with") this.fail();
        this.next();
        this.head();
        this.statement();
        return true;
      case "do":
        this.next();
        this.statement();
        this.expect("while");
        this.head();
        this.eat(";");
        return true;
      case "return":
      case "throw":
        this.next();
        if (
          !this.is(";") && !this.is("}") && this.type !== "end" && !this.newline
        ) this.expression();
        this.semicolon();
        return true;
      case "break":
      case "continue":
        this.next();
        if (this.type === "name" && !this.newline) this.next();
        this.semicolon();
        return true;
      case "debugger":
        this.next();
        this.semicolon();
        return true;
      case "try":
        this.try();
        return true;
      case "switch":
        this.next();
        this.head();
        this.within(false, () => this.cases());
        return true;
    }
    if (following !== ":" || RESERVED.has(word)) return false;
    this.next(); // A label.
    this.next();
    this.statement();
    return true;
  }

  /** Whether the current `let` or `using` begins a declaration. */
  protected declares(word: string, at: number): boolean {
    const name = this.nameAt(at);
    if (word === "let") {
      return name !== undefined || "[{".includes(this.text[at] ?? ";");
    }
    return name !== undefined && !this.breaks() && name !== "in" &&
      name !== "instanceof" && name !== "of";
  }

  protected head(): void {
    this.expect("(");
    this.closing(")");
  }

  protected declaration(noIn = false): void {
    const kind = this.next() === "var" ? "var" : "let";
    do {
      const name = this.binding(kind);
      if (!this.eat("=")) continue;
      const at = this.index;
      this.assign(noIn);
      this.nameSince(at, name ?? "", name);
    } while (this.eat(","));
  }

  protected for(): void {
    this.next();
    this.eat("await");
    this.expect("(");
    const at = this.after();
    if (this.is("await") && this.nameAt(at) === "using") this.next();
    const from = this.index;
    if (
      this.is("var") || this.is("const") ||
      ((this.is("let") || this.is("using")) &&
        this.declares(this.value, this.after()))
    ) {
      this.declaration(true);
    } else if (!this.is(";")) {
      this.expression(true);
      if (this.is("of") || this.is("in")) this.writtenSince(from, true);
    }
    if (this.eat("of") || this.eat("in")) {
      this.closing(")");
    } else {
      this.expect(";");
      if (!this.is(";")) this.expression();
      this.expect(";");
      if (!this.is(")")) this.expression();
      this.expect(")");
    }
    this.statement();
  }

  protected try(): void {
    this.next();
    this.within(false, () => this.body());
    if (this.eat("catch")) {
      this.within(false, () => {
        if (this.eat("(")) {
          this.binding("let");
          this.expect(")");
        }
        this.body();
      });
    }
    if (this.eat("finally")) this.within(false, () => this.body());
  }

  protected cases(): void {
    this.expect("{");
    while (!this.eat("}")) {
      if (this.eat("case")) {
        this.closing(":");
      } else if (this.is("default") && this.text[this.after()] === ":") {
        this.next();
        this.next();
      } else {
        this.statement();
      }
    }
  }

  // --- modules ---

  protected link(
    specifier: string | undefined,
    imported: string | undefined,
    local: string | undefined,
    exported: string | undefined,
  ): void {
    this.links.push({ specifier, imported, local, exported });
  }

  /** A name in an import or export clause. */
  protected clauseName(): string {
    if (this.type === "string") return this.next().slice(1, -1);
    if (this.type !== "name") this.fail();
    return this.next();
  }

  protected clause(): [string, string][] {
    const pairs: [string, string][] = [];
    this.expect("{");
    while (!this.eat("}")) {
      const first = this.clauseName();
      pairs.push([first, this.eat("as") ? this.clauseName() : first]);
      if (!this.is("}")) this.expect(",");
    }
    return pairs;
  }

  /** `"specifier" with { ... };` */
  protected specifier(): string {
    if (this.type !== "string") this.fail();
    const specifier = this.next().slice(1, -1);
    if (
      this.eat("with") ||
      (this.is("assert") && !this.newline && this.eat("assert"))
    ) {
      this.expect("{");
      while (!this.eat("}")) this.next();
    }
    this.semicolon();
    return specifier;
  }

  protected importDeclaration(): void {
    this.next();
    if (this.type === "string") {
      this.link(this.specifier(), undefined, undefined, undefined);
      return;
    }
    const pairs: [string, string][] = [];
    if (
      (this.is("defer") || this.is("source")) &&
      this.text[this.after()] !== "," &&
      this.nameAt(this.after()) !== "from"
    ) this.next();
    if (this.type === "name") {
      pairs.push(["default", this.identifier()]);
      this.eat(",");
    }
    if (this.eat("*")) {
      this.expect("as");
      pairs.push(["*", this.identifier()]);
    } else if (this.is("{")) {
      pairs.push(...this.clause());
    }
    this.expect("from");
    const specifier = this.specifier();
    if (pairs.length === 0) {
      this.link(specifier, undefined, undefined, undefined);
    }
    for (const [imported, local] of pairs) {
      this.declare(local, "let");
      this.link(specifier, imported, local, undefined);
    }
  }

  protected exportDeclaration(): void {
    this.next();
    if (this.eat("default")) {
      const [from, start] = [this.index, this.start];
      let isExpression = false;
      if (
        this.is("function") ||
        (this.is("async") && this.nameAt(this.after()) === "function" &&
          !this.breaks())
      ) {
        const isAsync = this.eat("async");
        const named = /^function[\s*]*[\p{ID_Start}$_]/u.test(
          this.text.slice(this.start, this.start + 80),
        );
        this.function(named, from, start, isAsync);
      } else if (this.is("class")) {
        const name = this.nameAt(this.after());
        this.class(name !== undefined && name !== "extends");
      } else {
        while (this.eat("@")) this.unary();
        isExpression = true;
        this.assign();
      }
      const node = this.nodes.at(-1);
      let local = node?.from === from ? node.binding : undefined;
      if (local === undefined) {
        const only = this.index === from + 1 ? this.tokenAt(from) : "";
        // `*default*` is what the specification calls a nameless default export.
        local = this.top.free.has(only) ? only : "*default*";
        this.nameSince(from, "default", local);
        if (isExpression) this.semicolon();
      }
      this.link(undefined, undefined, local, "default");
      return;
    }
    if (this.eat("*")) {
      const exported = this.eat("as") ? this.clauseName() : "*";
      this.expect("from");
      this.link(this.specifier(), "*", undefined, exported);
      return;
    }
    if (this.is("{")) {
      const pairs = this.clause();
      if (this.eat("from")) {
        const specifier = this.specifier();
        for (const [imported, exported] of pairs) {
          this.link(specifier, imported, undefined, exported);
        }
        if (pairs.length === 0) {
          this.link(specifier, undefined, undefined, undefined);
        }
      } else {
        this.semicolon();
        for (const [local, exported] of pairs) {
          this.refer(local, USED);
          this.link(undefined, undefined, local, exported);
        }
      }
      return;
    }
    const before = new Set(this.top.names);
    this.statement();
    for (const name of this.top.names) {
      if (!before.has(name)) this.link(undefined, undefined, name, name);
    }
  }
}
