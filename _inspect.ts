/**
 * What `console.log` and `Deno.inspect` show of our objects: their state, on one line, in the way
 * of Python's `repr`.
 *
 * @module
 */

const INSPECT_KEYS = [
  Symbol.for("Deno.customInspect"),
  Symbol.for("nodejs.util.inspect.custom"),
];

/**
 * Makes the instances of a class tell their state when they are inspected.
 *
 * @param classOf The class.
 * @param describe Returns the text for one instance, such as `Event { set: false }`.
 */
export function inspectAs<T extends object>(
  classOf: { readonly prototype: T },
  describe: (instance: T) => string,
): void {
  function inspect(this: T): string {
    // A prototype, of a subclass too, can be inspected and has no state.
    return Object.hasOwn(this, "constructor")
      ? `${this.constructor.name} {}`
      : describe(this);
  }
  for (const key of INSPECT_KEYS) {
    Object.defineProperty(classOf.prototype, key, {
      value: inspect,
      writable: true,
      configurable: true,
    });
  }
}
