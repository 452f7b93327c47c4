// A worker that finds targets again and calls them: [ref, args] in, an outcome out.

import { assertMayStart, resolveTarget } from "../../_resolve.ts";

/** What became of one call. */
export interface Outcome {
  kind?: string;
  value?: unknown;
  name?: string;
  error?: string;
  /** Whether the function was found without waiting. */
  sync?: boolean;
}

interface Scope {
  onmessage: (event: MessageEvent) => void;
  postMessage(value: unknown): void;
  mayStart(what: string): void;
  started: string[];
}

const scope = globalThis as unknown as Scope;
scope.mayStart = assertMayStart;
scope.started = [];
scope.onmessage = async ({ data: [ref, args] }) => {
  const outcome: Outcome = { kind: ref.kind };
  try {
    const found = resolveTarget(ref);
    outcome.sync = typeof found === "function";
    const target = await found;
    outcome.name = target.name;
    outcome.value = /^class\b/.test(String(target))
      ? Object.assign({}, Reflect.construct(target, args))
      : await target(...args);
  } catch (error) {
    outcome.error = String(error);
  }
  scope.postMessage(outcome);
};
