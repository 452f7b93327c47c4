/**
 * A worker for the tests of the primitives: it becomes a thread of the program
 * without a supervisor, revives the handles it is sent, runs one scenario of
 * `sync_scenarios.ts` and posts what came of it.
 *
 * @module
 */

import { loadHandleKind, reviveHandle } from "../../_handle.ts";
import { enterThread } from "../../_life.ts";
import { type Packed, type ThreadMessage, unpack } from "../_threads.ts";

const scope = globalThis as unknown as {
  onmessage: (event: MessageEvent<ThreadMessage>) => void;
  postMessage(message: unknown): void;
  close(): void;
};

scope.onmessage = async ({ data }) => {
  enterThread(data.identity, data.table, data.control);
  try {
    for (const kind of kindsOf(data.handles)) await loadHandleKind(kind);
    const handles = data.handles.map((packed) => unpack(packed, reviveHandle));
    const scenarios = await import("./sync_scenarios.ts");
    const scenario = scenarios[data.scenario as keyof typeof scenarios];
    const value = await (scenario as (...args: unknown[]) => unknown)(
      data.words,
      data.options,
      ...handles,
    );
    scope.postMessage({ value });
  } catch (error) {
    scope.postMessage({
      error: error instanceof Error ? error.stack : `${error}`,
    });
  }
  if (!data.stay) scope.close();
};

scope.postMessage({ ready: true });

function kindsOf(handles: Packed[]): Set<string> {
  const kinds = new Set<string>();
  function visit(packed: Packed): void {
    kinds.add(packed.kind);
    for (const part of packed.parts) {
      if (part.packed !== undefined) visit(part.packed);
    }
  }
  handles.forEach(visit);
  return kinds;
}
