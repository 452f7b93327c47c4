/**
 * A process that has to be stopped.
 *
 * @module
 */

import { Process, type ProcessOptions } from "../process.ts";

/** Starts a process that never ends by itself. */
export function startEndless(
  // deno-lint-ignore no-explicit-any
  options: Partial<ProcessOptions<any[], any>> = {},
): Process {
  return new Process({
    target: async () => {
      setInterval(() => {}, 1000);
      await new Promise(() => {});
    },
    ...options,
  }).start();
}
