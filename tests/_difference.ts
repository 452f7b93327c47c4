/**
 * The comparison of a value with a copy of it.
 *
 * @module
 */

/** Says where two values differ in anything that structured clone defines. */
export function difference(actual: unknown, expected: unknown): string {
  return differ(actual, expected, "value", new Map());
}

function differ(
  actual: unknown,
  expected: unknown,
  path: string,
  pairs: Map<object, object>,
): string {
  if (typeof expected !== "object" || expected === null) {
    return Object.is(actual, expected) ? "" : `${path}: another value`;
  }
  if (typeof actual !== "object" || actual === null) {
    return `${path}: no object`;
  }
  const known = pairs.get(expected);
  if (known !== undefined) return known === actual ? "" : `${path}: a copy`;
  pairs.set(expected, actual);
  if (Object.getPrototypeOf(actual) !== Object.getPrototypeOf(expected)) {
    return `${path}: another class`;
  }
  const parts = [partsOf(actual), partsOf(expected)] as const;
  if (parts[0].length !== parts[1].length) return `${path}: another size`;
  for (let i = 0; i < parts[0].length; i++) {
    const found = differ(parts[0][i], parts[1][i], `${path}<${i}>`, pairs);
    if (found !== "") return found;
  }
  const isView = ArrayBuffer.isView(expected);
  const keys = isView ? [] : Object.getOwnPropertyNames(expected);
  const others = isView ? [] : Object.getOwnPropertyNames(actual);
  if (keys.length !== others.length) return `${path}: other keys`;
  for (let i = 0; i < keys.length; i++) {
    const name = keys[i]!;
    if (others[i] !== name) return `${path}: other keys`;
    const mine = Object.getOwnPropertyDescriptor(actual, name)!;
    const theirs = Object.getOwnPropertyDescriptor(expected, name)!;
    if (mine.enumerable !== theirs.enumerable) {
      return `${path}.${name}: hidden?`;
    }
    if (name === "stack") continue;
    const found = differ(mine.value, theirs.value, `${path}.${name}`, pairs);
    if (found !== "") return found;
  }
  return "";
}

/** What is in an object beside its properties: its kind, and what that keeps. */
function partsOf(value: object): unknown[] {
  const tag = Object.prototype.toString.call(value);
  if (ArrayBuffer.isView(value)) {
    return [tag, value.buffer, value.byteOffset, value.byteLength];
  }
  if (value instanceof ArrayBuffer) {
    const { resizable, maxByteLength } = value;
    return [tag, resizable, maxByteLength, new Uint8Array(value).toHex()];
  }
  if (value instanceof Map) return [tag, ...[...value].flat()];
  if (value instanceof Set) return [tag, ...value];
  if (value instanceof Date) return [tag, value.getTime()];
  if (value instanceof RegExp) return [tag, String(value), value.lastIndex];
  if (value instanceof DOMException) {
    return [tag, value.name, value.message, value.code, value.stack];
  }
  if (value instanceof Error) return [tag, value.stack];
  if (/Number|String|Boolean|BigInt/.test(tag)) return [tag, value.valueOf()];
  return [tag];
}
