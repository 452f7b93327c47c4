/**
 * Names a function for a worker by the module that exports it.
 *
 * Most functions need no naming: one that uses only its parameters and globals, or
 * one that its module exports, can be passed as it is. {@linkcode task} is for the
 * rest: a function that must not be imported in this thread, one whose module is
 * made at run time, or one that the library declined to identify.
 *
 * ```ts ignore
 * import { Pool } from "@parallel/multiprocessing/pool";
 * import { task } from "@parallel/multiprocessing/task";
 * import type { square } from "./math.ts";
 *
 * await using pool = new Pool();
 * const url = new URL("./math.ts", import.meta.url);
 * console.log(await pool.map(task<typeof square>(url, "square"), [1, 2, 3]));
 * ```
 *
 * @module
 */

import { typeName } from "./_checks.ts";
import { cannotLeave, HANDLE } from "./_handle.ts";

declare const SIGNATURE: unique symbol;

/**
 * A function, or a class, known by its module and the name of its export.
 *
 * Made by {@linkcode task}. It is immutable and holds no more than those two names.
 *
 * @typeParam A The parameters of the function.
 * @typeParam R What the function returns, or what its promise resolves to.
 */
// deno-lint-ignore no-explicit-any -- as in `Target`.
export class Task<A extends unknown[] = any[], R = any> {
  /** The URL of the module. */
  readonly url: string;
  /** The name of the export. */
  readonly name: string;
  /** Holds the function's type; there is no such property. */
  declare readonly [SIGNATURE]?: (...args: A) => R;

  /**
   * Constructs a new instance. Call {@linkcode task}, which infers the types.
   *
   * @param moduleUrl The URL of the module, absolute.
   * @param name The name of the export.
   */
  constructor(moduleUrl: string | URL, name = "default") {
    const url = moduleUrl instanceof URL ? moduleUrl.href : moduleUrl;
    if (typeof url !== "string") {
      throw new TypeError(
        `Cannot name a task: its module must be a string or a URL, received ${
          typeName(url)
        }`,
      );
    }
    if (typeof name !== "string") {
      throw new TypeError(
        `Cannot name a task: the name of its export must be a string, received ${
          typeName(name)
        }`,
      );
    }
    if (!URL.canParse(url)) {
      throw new TypeError(
        `Cannot name a task: its module must be an absolute URL, received "${url}": pass ` +
          (/^\.{0,2}\//.test(url)
            ? `new URL("${url}", import.meta.url)`
            : `import.meta.resolve("${url}")`) +
          ` instead (a file of your own is new URL("./x.ts", import.meta.url))`,
      );
    }
    this.url = url;
    this.name = name;
    Object.freeze(this);
  }

  /** @ignore */
  [HANDLE](): never {
    cannotLeave("a Task", "send its url and name and call task() there");
  }
}

/**
 * What runs in a worker: a function, or a {@linkcode Task} that names one.
 *
 * A function that uses only its parameters and globals works wherever it was
 * written. One that uses more of its module must be exported by that module, which
 * the worker then imports (with `import.meta.main` being `false`). Bound, native
 * and generator functions are refused, and so is a function that uses variables of
 * a function around it.
 *
 * @typeParam A The parameters of the function.
 * @typeParam R What the function returns, or what its promise resolves to.
 */
// deno-lint-ignore no-explicit-any -- the default must accept every function.
export type Target<A extends unknown[] = any[], R = any> =
  | ((...args: A) => R | Promise<R>)
  | Task<A, R>;

/**
 * The {@linkcode Task} type for a function type or a class type.
 *
 * @typeParam F The type of the function or of the class.
 */
export type TaskOf<F> = F extends (...args: infer A) => infer R
  ? Task<A, Awaited<R>>
  : F extends abstract new (...args: infer A) => infer R ? Task<A, R>
  : never;

/**
 * Names a function, or a class, that a module exports, without importing it here.
 *
 * The worker imports the module when the task first runs there. Naming a function
 * is always exact and needs no permission but the one to import that module.
 *
 * @typeParam F The type of the function or class, as in `typeof square`.
 * @param moduleUrl The module: an absolute URL such as
 *   `new URL("./math.ts", import.meta.url)`, or `import.meta.resolve("./math.ts")`.
 * @param name The name under which the module exports it.
 * @returns The task, to be passed wherever a {@linkcode Target} is taken.
 * @throws {TypeError} If `moduleUrl` is relative.
 *
 * @example Usage
 * ```ts
 * import { task } from "@parallel/multiprocessing/task";
 * import { assertEquals } from "@std/assert";
 *
 * const join = task("npm:path-browserify@1.0.1", "join");
 * assertEquals(join.name, "join");
 * ```
 */
export function task<
  // deno-lint-ignore no-explicit-any -- a constraint that every function meets.
  F extends ((...args: any[]) => any) | (abstract new (...args: any[]) => any) =
    // deno-lint-ignore no-explicit-any -- likewise.
    (...args: any[]) => any,
>(moduleUrl: string | URL, name = "default"): TaskOf<F> {
  return new Task(moduleUrl, name) as TaskOf<F>;
}
