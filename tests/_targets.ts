/**
 * What becomes of functions that are sent to a worker.
 *
 * @module
 */

import { assertEquals, assertMatch } from "@std/assert";
import { run } from "./testdata/target_run.ts";

/** Calls the target in a worker, which is to return the value. */
export async function assertRuns(
  target: unknown,
  args: unknown[],
  value: unknown,
  kind = "source",
): Promise<void> {
  const outcome = await run(target, ...args);
  assertEquals(outcome.error, undefined);
  assertEquals(outcome.value, value);
  assertEquals(outcome.kind, kind);
  assertEquals(outcome.sync, kind === "source");
}

/** Sends the target to a worker in vain. */
export async function assertRefused(
  target: unknown,
  ...patterns: RegExp[]
): Promise<void> {
  const outcome = await run(target, 1);
  assertEquals(outcome.value, undefined);
  assertMatch(outcome.error ?? "nothing", /^TypeError: /);
  for (const pattern of patterns) assertMatch(outcome.error!, pattern);
}
