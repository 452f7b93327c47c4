// Sends targets to a worker of its own, as `Process` and `Pool` do.

import { describeAny, type TargetRef } from "../../_target.ts";
import type { Outcome } from "./target_worker.ts";
import { DEADLINE } from "../_within.ts";

/** Calls the target in a fresh worker. */
export async function run(
  target: unknown,
  ...args: unknown[]
): Promise<Outcome> {
  let ref: TargetRef;
  try {
    ref = describeAny(target, "run target", run);
  } catch (error) {
    return { kind: "thrown", error: String(error) };
  }
  return await send(ref, args);
}

/** Sends a description to a fresh worker. */
export async function send(
  ref: TargetRef,
  args: unknown[],
  options: Record<string, unknown> = {},
): Promise<Outcome> {
  const worker = new Worker(new URL("./target_worker.ts", import.meta.url), {
    type: "module",
    ...options,
  });
  const { promise, resolve } = Promise.withResolvers<Outcome>();
  const timer = setTimeout(() => resolve({ error: "no answer" }), DEADLINE);
  worker.onerror = (event) => {
    event.preventDefault();
    resolve({ error: event.message });
  };
  worker.onmessage = ({ data }) => resolve(data);
  try {
    // It says nothing before it is asked: what it said before `onmessage` is set, Deno
    // may have delivered to nobody.
    worker.postMessage([structuredClone(ref), args]);
    return await promise;
  } finally {
    clearTimeout(timer);
    worker.terminate();
  }
}
