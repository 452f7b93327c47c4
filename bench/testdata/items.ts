/**
 * What travels through queues in the benchmarks.
 *
 * @module
 */

/** Integers, or objects of about 100 bytes as JSON. */
export type Kind = "integers" | "100-byte objects";

/** About 100 bytes as JSON. */
export interface SmallObject {
  /** Its number. */
  id: number;
  /** Its name. */
  name: string;
  /** A boolean. */
  ok: boolean;
  /** Some words. */
  tags: string[];
  /** Something nested. */
  point: { x: number; y: number; label: string };
}

/** The item with this number. */
export function makeItem(kind: Kind, id: number): number | SmallObject {
  if (kind === "integers") return id;
  return {
    id,
    name: `message ${id}`,
    ok: true,
    tags: ["red", "green"],
    point: { x: 1.5, y: id, label: "abcdefghijkl" },
  };
}

/** The number of an item. */
export function idOf(item: number | SmallObject): number {
  return typeof item === "number" ? item : item.id;
}
