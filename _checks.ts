/**
 * Refusing wrong arguments, in the same words everywhere.
 *
 * @module
 */

/** What a value is, for a message: its `typeof`, or `null`. */
export function typeName(value: unknown): string {
  return value === null ? "null" : typeof value;
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
