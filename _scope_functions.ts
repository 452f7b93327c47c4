// What the readers in `_scope.ts` keep of a text, and how functions are read: their parameters,
// the patterns that bind names, classes and their members.

import { Lexer } from "./_scope_lex.ts";

/** How a free name is used: in any way but under `typeof`. */
export const USED = 1;
/** How a free name is used: assigned to. */
export const WRITTEN = 2;

/**
 * The free name of an `import()` whose specifier is computed: relative or not, which
 * only the call tells.
 */
export const COMPUTED_IMPORT = "import";

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
  /** How many tokens it has. */
  readonly index: number;
  /** The tokens from one index to another as comparable text. */
  spell(from: number, to: number): string;
}

/** Words that are no identifiers in strict code. */
export const RESERVED = new Set(
  ("break case catch class const continue debugger default delete do else enum " +
    "export extends false finally for function if import in instanceof new null " +
    "return super switch this throw true try typeof var void while with").split(
      " ",
    ),
);

/** The scope, from `scope` outwards, that declares `name`. */
export function declaringScope(
  scope: Scope | undefined,
  name: string,
): Scope | undefined {
  while (scope !== undefined && !scope.names.has(name)) scope = scope.parent;
  return scope;
}

/** A new scope within another. */
export function makeScope(
  parent: Scope | undefined,
  isFunction: boolean,
): Scope {
  return {
    parent,
    isFunction,
    names: new Set(),
    written: new Set(),
    free: new Map(),
  };
}

/** Ends a scope: what it did not find in itself is its parent's to find. */
export function settle(scope: Scope): Map<string, number> {
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

/** Reads functions, and hands on to its heirs what they are made of. */
export abstract class FunctionReader extends Lexer implements Reading {
  readonly nodes: FunctionNode[] = [];
  readonly links: ModuleLink[] = [];
  readonly top: Scope = makeScope(undefined, true);
  protected scope: Scope = this.top;
  /** Whether `await` and `yield` are operators here. */
  protected async: boolean;
  protected generator = false;

  constructor(text: string, isModule: boolean) {
    super(text);
    this.async = isModule;
  }

  protected abstract statement(): void;
  protected abstract expression(noIn?: boolean): void;
  /** Reads an expression without commas. */
  protected abstract assign(noIn?: boolean): void;
  protected abstract unary(): boolean;
  protected abstract semicolon(): void;

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

  // --- scopes ---

  protected refer(name: string, how: number): void {
    this.scope.free.set(name, (this.scope.free.get(name) ?? 0) | how);
  }

  protected declare(name: string, kind: "var" | "let"): void {
    let scope = this.scope;
    if (kind === "var") { while (!scope.isFunction) scope = scope.parent!; }
    scope.names.add(name);
  }

  protected within<T>(isFunction: boolean, body: () => T): T {
    const outer = this.scope;
    this.scope = makeScope(outer, isFunction);
    const result = body();
    settle(this.scope);
    this.scope = outer;
    return result;
  }

  protected addNode(
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
  protected nameSince(
    from: number,
    name: string | undefined,
    binding?: string,
  ): void {
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
  protected functionRest(
    isAsync: boolean,
    generator: boolean,
    names: readonly string[],
  ): Map<string, number> {
    const outer = this.scope;
    const [outerAsync, outerGenerator] = [this.async, this.generator];
    this.async = isAsync;
    this.generator = generator;
    const scope = this.scope = makeScope(outer, true);
    for (const name of names) scope.names.add(name);
    this.expect("(");
    this.params();
    this.within(true, () => this.body());
    this.async = outerAsync;
    this.generator = outerGenerator;
    this.scope = outer;
    return settle(scope);
  }

  protected params(): void {
    while (!this.eat(")")) {
      while (this.eat("@")) this.unary();
      this.eat("...");
      this.bindingWithDefault("let");
      if (!this.is(")")) this.expect(",");
    }
  }

  protected body(): void {
    this.expect("{");
    while (!this.eat("}")) this.statement();
  }

  protected function(
    isDeclaration: boolean,
    from: number,
    start: number,
    isAsync: boolean,
  ): void {
    this.expect("function");
    const generator = this.eat("*");
    const scope = this.scope;
    const own = ["this", "arguments", "new.target"];
    let name = "";
    if (!this.is("(")) {
      name = this.identifier();
      if (isDeclaration) this.declare(name, "let");
      else own.push(name);
    }
    const params = this.start;
    const free = this.functionRest(isAsync, generator, own);
    const node = this.addNode(
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

  protected class(isDeclaration: boolean): void {
    const from = this.index;
    const start = this.start;
    const scope = this.scope;
    this.expect("class");
    let name = "";
    if (this.type === "name" && !this.is("extends")) {
      name = this.identifier();
      if (isDeclaration) this.declare(name, "let");
    }
    const inner = this.scope = makeScope(scope, false);
    if (name !== "") inner.names.add(name);
    if (this.eat("extends")) this.unary();
    this.expect("{");
    let ownName = false;
    while (!this.eat("}")) {
      if (this.eat(";")) continue;
      if (this.member("class") === "static name") ownName = true;
    }
    this.scope = scope;
    const free = settle(inner);
    const node = this.addNode(
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
  protected member(where: "object" | "class"): string | undefined {
    while (this.eat("@")) this.unary();
    let from = this.index;
    let start = this.start;
    let isStatic = false;
    if (where === "class" && this.is("static")) {
      const after = this.text[this.after()] ?? "";
      if (after === "{") {
        this.next();
        this.field(() => this.body());
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
    const key = this.key();
    const name = key === undefined ? undefined : prefix + key;
    if (this.is("(")) {
      const params = this.start;
      const own = ["arguments", "new.target"];
      // The method under inspection has these from its object, which stays behind.
      if (from > 0) own.push("this", "super");
      const scope = this.scope;
      const free = new Map(this.functionRest(isAsync, generator, own));
      this.addNode(
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
        this.field(() => {
          this.assign();
          this.nameSince(at, key);
        });
      }
      this.semicolon();
      return isStatic && key === "name" ? "static name" : undefined;
    }
    if (this.eat(":")) {
      const at = this.index;
      this.assign();
      this.nameSince(at, key === "__proto__" ? undefined : key);
      return;
    }
    // Shorthand, perhaps with the default value of a destructuring assignment.
    if (keyType !== "name" || key === undefined || RESERVED.has(key)) {
      this.fail();
    }
    this.refer(key, USED);
    if (this.eat("=")) {
      const at = this.index;
      this.assign();
      this.nameSince(at, key);
    }
    return;
  }

  /** A field's value or a static block: a function of its own. */
  protected field(body: () => void): void {
    const [outerAsync, outerGenerator] = [this.async, this.generator];
    this.async = this.generator = false;
    this.within(true, () => {
      for (const name of ["this", "super", "new.target"]) {
        this.scope.names.add(name);
      }
      body();
    });
    this.async = outerAsync;
    this.generator = outerGenerator;
  }

  /** A property name; `undefined` if computed. */
  protected key(): string | undefined {
    if (this.eat("[")) {
      const at = this.index;
      this.expression();
      const text = this.index === at + 1 ? this.tokenAt(at) : "";
      this.expect("]");
      return /^["'][^\\]*$/.test(text) ? text.slice(1, -1) : undefined;
    }
    if (this.type === "private") {
      this.scope.names.add(this.value);
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

  protected identifier(): string {
    if (this.type !== "name" || RESERVED.has(this.value)) this.fail();
    return this.next();
  }

  protected binding(kind: "var" | "let"): string | undefined {
    if (this.eat("[")) {
      while (!this.eat("]")) {
        if (this.eat(",")) continue;
        this.eat("...");
        this.bindingWithDefault(kind);
        if (!this.is("]")) this.expect(",");
      }
      return;
    }
    if (this.eat("{")) {
      while (!this.eat("}")) {
        if (this.eat("...")) {
          this.binding(kind);
        } else {
          const isName = this.type === "name";
          const at = this.index;
          const key = this.key();
          if (this.eat(":")) {
            this.bindingWithDefault(kind);
          } else {
            if (!isName || key === undefined || this.index !== at + 1) {
              this.fail();
            }
            this.declare(key, kind);
            this.default(key);
          }
        }
        if (!this.is("}")) this.expect(",");
      }
      return;
    }
    const name = this.identifier();
    this.declare(name, kind);
    return name;
  }

  protected bindingWithDefault(kind: "var" | "let"): void {
    this.default(this.binding(kind));
  }

  protected default(name: string | undefined): void {
    if (!this.eat("=")) return;
    const at = this.index;
    this.assign();
    this.nameSince(at, name ?? "");
  }
}
