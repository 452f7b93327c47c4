// How expressions are read: as operands joined by operators. See `_scope.ts`.

import { UnreadableSource } from "./_scope_lex.ts";
import {
  COMPUTED_IMPORT,
  FunctionReader,
  makeScope,
  RESERVED,
  settle,
  USED,
  WRITTEN,
} from "./_scope_functions.ts";

const ASSIGNMENT = new Set(
  "= += -= *= /= %= **= <<= >>= >>>= &= |= ^= &&= ||= ??=".split(" "),
);
const BINARY = new Set(
  "+ - * / % ** << >> >>> & | ^ && || ?? == != === !== < > <= >= in instanceof"
    .split(" "),
);
const PREFIX = new Set("! ~ + - ++ -- typeof void delete".split(" "));
/** Reads expressions. */
export abstract class ExpressionReader extends FunctionReader {
  /** Where `(` or `async` is known not to open an arrow function. */
  readonly #notArrow = new Set<number>();

  // --- expressions ---

  protected expression(noIn = false): void {
    do this.assign(noIn); while (this.eat(","));
  }

  protected assign(noIn = false): void {
    while (true) {
      const from = this.index;
      if (this.operand()) return;
      // The name of an assignment's target, if that is all there is.
      const single = this.index === from + 1 ? this.tokenAt(from) : undefined;
      if (this.type === "mark" && ASSIGNMENT.has(this.value)) {
        this.writtenSince(from);
        this.next();
        const at = this.index;
        this.assign(noIn);
        this.nameSince(at, single ?? "");
        return;
      }
      if (this.eat("?")) {
        this.assign();
        this.expect(":");
        this.assign(noIn);
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
  protected writtenSince(from: number, any = false): void {
    const first = this.text[this.tokens[2 * from]!]!;
    if (
      !any && this.index !== from + 1 && first !== "[" && first !== "{" &&
      first !== "("
    ) return;
    for (let i = from; i < this.index; i++) {
      const name = this.tokenAt(i);
      if (this.scope.free.has(name)) this.refer(name, WRITTEN);
    }
  }

  /** One operand with its prefixes. Returns whether it was an arrow function. */
  protected operand(): boolean {
    if (this.is("yield") && this.generator) {
      this.next();
      const star = this.eat("*");
      const over = this.type === "end" || this.newline ||
        (this.type === "mark" && ")]},;:".includes(this.value)) ||
        this.is("in") || this.is("of");
      if (star || !over) this.assign();
      return true;
    }
    return this.unary();
  }

  protected unary(): boolean {
    if (
      (this.type === "mark" || this.type === "name") && PREFIX.has(this.value)
    ) {
      const operator = this.next();
      if (
        operator === "typeof" && this.type === "name" &&
        !RESERVED.has(this.value) && !(this.async && this.is("await")) &&
        !/^(?:[([.`]|\?\.)/.test(
          this.text.slice(this.after(), this.after() + 2),
        )
      ) {
        this.refer(this.next(), 0);
        return false;
      }
      const from = this.index;
      this.unary();
      if (operator === "++" || operator === "--") this.writtenSince(from);
      return false;
    }
    if (this.is("await") && this.async) {
      this.next();
      this.unary();
      return false;
    }
    const from = this.index;
    if (this.primary()) return true;
    this.postfix();
    if ((this.is("++") || this.is("--")) && !this.newline) {
      this.writtenSince(from);
      this.next();
    }
    return false;
  }

  protected postfix(): void {
    while (true) {
      if (this.eat(".")) {
        this.memberName();
      } else if (this.eat("?.")) {
        if (this.is("(")) this.arguments();
        else if (this.eat("[")) this.closing("]");
        else if (this.type !== "template") this.memberName();
      } else if (this.is("(")) {
        this.arguments();
      } else if (this.eat("[")) {
        this.closing("]");
      } else if (this.type === "template") {
        this.template();
      } else {
        return;
      }
    }
  }

  protected memberName(): void {
    if (this.type === "private") this.refer(this.next(), USED);
    else if (this.type === "name") this.next();
    else this.fail();
  }

  protected closing(mark: string): void {
    this.expression();
    this.expect(mark);
  }

  protected arguments(): void {
    this.expect("(");
    while (!this.eat(")")) {
      this.eat("...");
      this.assign();
      if (!this.is(")")) this.expect(",");
    }
  }

  protected template(): void {
    while (!this.value.endsWith("`") || this.value === "`") {
      this.next();
      this.expression();
      this.resume();
    }
    this.next();
  }

  /** Returns whether it was an arrow function. */
  protected primary(): boolean {
    if (this.type === "number" || this.type === "string") {
      this.next();
      return false;
    }
    if (this.type === "template") {
      this.template();
      return false;
    }
    if (this.type === "private") { // #name in object
      this.refer(this.next(), USED);
      return false;
    }
    if (this.type === "mark") return this.markedPrimary();
    if (this.type !== "name") this.fail();
    const start = this.start;
    const from = this.index;
    switch (this.value) {
      case "function":
        this.function(false, from, start, false);
        return false;
      case "class":
        this.class(false);
        return false;
      case "new":
        this.new();
        return false;
      case "import":
        this.import();
        return false;
      case "this":
      case "super":
        this.refer(this.next(), USED);
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
          this.function(false, from, start, true);
          return false;
        }
        if (
          (name !== undefined || this.text[at] === "(") && this.arrow(true)
        ) return true;
      }
    }
    if (this.text.startsWith("=>", this.after()) && this.arrow(false)) {
      return true;
    }
    this.refer(this.next(), USED);
    return false;
  }

  protected markedPrimary(): boolean {
    if (this.is("(")) {
      if (this.arrow(false)) return true;
      this.next();
      this.closing(")");
    } else if (this.eat("[")) {
      while (!this.eat("]")) {
        if (this.eat(",")) continue;
        this.eat("...");
        this.assign();
        if (!this.is("]")) this.expect(",");
      }
    } else if (this.eat("{")) {
      while (!this.eat("}")) {
        if (this.eat("...")) this.assign();
        else this.member("object");
        if (!this.is("}")) this.expect(",");
      }
    } else if (this.is("/") || this.is("/=")) {
      this.regex();
      this.next();
    } else if (this.is("@")) {
      while (this.eat("@")) this.unary();
      this.class(false);
    } else {
      this.fail();
    }
    return false;
  }

  protected new(): void {
    this.next();
    if (this.eat(".")) {
      this.next();
      this.refer("new.target", USED);
      return;
    }
    if (this.is("new")) this.new();
    else this.primary();
  }

  protected import(): void {
    this.next();
    if (this.eat(".")) {
      const word = this.next();
      if (word === "meta") this.refer("import.meta", USED);
      else if (!this.is("(")) this.fail(); // import.defer(...)
      if (word === "meta") return;
    }
    this.expect("(");
    const { start, index } = this;
    const specifier = this.type === "string"
      ? this.value.slice(1, -1)
      : undefined;
    this.assign();
    const isLiteral = specifier !== undefined && this.index === index + 1;
    const isRelative = /^["'`]\.{0,2}\//.test(
      this.text.slice(start, start + 4),
    );
    if (isRelative || isLiteral && !URL.canParse(specifier)) {
      this.refer(`import("${isLiteral ? specifier : "./\u2026"}")`, USED);
    }
    if (!isLiteral) this.refer(COMPUTED_IMPORT, 0);
    while (!this.eat(")")) {
      this.expect(",");
      if (!this.is(")")) this.assign();
    }
  }

  /** An arrow function, if there is one here. */
  protected arrow(isAsync: boolean): boolean {
    const start = this.start;
    if (this.#notArrow.has(start)) return false;
    const from = this.index;
    const outer = this.scope;
    const [outerAsync, outerGenerator] = [this.async, this.generator];
    const place = this.place();
    const nodes = this.nodes.length;
    const scope = this.scope = makeScope(outer, true);
    let params = start;
    try {
      if (isAsync) this.next();
      params = this.start;
      if (this.eat("(")) this.params();
      else this.declare(this.identifier(), "let");
      if (!this.is("=>") || this.newline) this.fail();
      this.next();
    } catch (error) {
      if (!(error instanceof UnreadableSource)) throw error;
      this.goTo(place);
      this.nodes.length = nodes;
      this.scope = outer;
      this.async = outerAsync;
      this.generator = outerGenerator;
      this.#notArrow.add(start);
      return false;
    }
    this.async = isAsync;
    this.generator = false;
    if (this.is("{")) this.within(true, () => this.body());
    else this.assign();
    this.async = outerAsync;
    this.generator = outerGenerator;
    this.scope = outer;
    this.addNode(
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
}
