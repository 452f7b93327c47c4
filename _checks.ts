/**
 * Refusing wrong arguments, in the same words everywhere.
 *
 * @module
 */

/** What a value is, for a message: its `typeof`, or `null`. */
export function typeName(value: unknown): string {
  return value === null ? "null" : typeof value;
}

/** A function's name, for a message. */
export function quote(name: string): string {
  return name === "" ? "<anonymous>" : `"${name}"`;
}

/**
 * Refuses what is no whole number in its range.
 *
 * @param what What is being done, for messages: "create pool".
 * @param name The argument's name.
 * @throws {TypeError} If it is no number.
 * @throws {RangeError} If it is not whole, or out of the range.
 */
export function checkWhole(
  what: string,
  name: string,
  value: unknown,
  least: number,
  most: number,
): asserts value is number {
  if (typeof value !== "number") {
    throw new TypeError(
      `Cannot ${what}: ${name} must be a number, received ${typeName(value)}`,
    );
  }
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new RangeError(
      `Cannot ${what} as ${name} must be a whole number from ${least} to ${most}: current value is ${value}`,
    );
  }
}

/**
 * Refuses an argument of a wrong type, if it is given.
 *
 * @param what What is being done, for messages: "create pool".
 * @param name The argument's name.
 * @throws {TypeError} If it is of another type.
 */
export function checkType(
  what: string,
  name: string,
  value: unknown,
  type: "string" | "boolean" | "function",
): void {
  if (value === undefined || typeof value === type) return;
  throw new TypeError(
    `Cannot ${what}: ${name} must be a ${type}, received ${typeName(value)}`,
  );
}

/** Likewise, of what must be an array. */
export function checkArray(what: string, name: string, value: unknown): void {
  if (value === undefined || Array.isArray(value)) return;
  throw new TypeError(
    `Cannot ${what}: ${name} must be an array, received ${typeName(value)}`,
  );
}

/**
 * Refuses options that are no object.
 *
 * @param what What is being done, for messages: "create pipe".
 * @param example Some that are: "{ duplex: false }".
 * @throws {TypeError} If they are none.
 */
export function checkObject(
  what: string,
  options: unknown,
  example: string,
): asserts options is object {
  const isArray = Array.isArray(options);
  if (typeof options === "object" && options !== null && !isArray) return;
  throw new TypeError(
    `Cannot ${what}: options must be an object such as ${example}, received ${
      isArray ? "an array" : typeName(options)
    }`,
  );
}

/**
 * Refuses options by names that they have in Python: they would be ignored.
 *
 * @param what What is being done, for messages: "create pool".
 * @param names What to use for each.
 * @throws {TypeError} If there is one of them.
 */
export function refuseSpelling(
  what: string,
  options: object,
  names: Record<string, string>,
): void {
  for (const name in names) {
    if (!(name in options)) continue;
    throw new TypeError(
      `Cannot ${what}: there is no option ${name}, use ${names[name]}`,
    );
  }
}
