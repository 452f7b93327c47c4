/**
 * A root module in the place of the library's own: numbers the steps of a worker from
 * its first on, ends it before the one it is told, and does all else as it would.
 *
 * @module
 */

import { armSteps, patchBuiltIns } from "./faults_steps.ts";
import type { Port } from "../../_worker.ts";

/** The first message to it, before the library's own. */
export interface RootMessage {
  /** The library's root module. */
  root: string;
  report: SharedArrayBuffer;
  /** 0: never. */
  stopAt: number;
  /** How often each task was begun. */
  begun: SharedArrayBuffer;
}

/** The word of that name in `_life.ts`, which may not be loaded yet. */
const STATE = 1;

const scope = globalThis as unknown as {
  onmessage: ((event: MessageEvent) => void) | null;
  begun: Int32Array;
};
const waiting: MessageEvent[] = [];

scope.onmessage = async ({ data }: MessageEvent<RootMessage>) => {
  scope.onmessage = (event) => waiting.push(event);
  scope.begun = new Int32Array(data.begun);
  const report = new Int32Array(data.report);
  if (data.stopAt > 0) patchBuiltIns();
  const { serve } = await import(data.root) as { serve(port: Port): void };
  const { webPort } = await import("../../_worker.ts");
  const port = webPort();
  const addEventListener: Port["addEventListener"] = (_, listener) => {
    scope.onmessage = listener;
    for (const event of waiting) listener(event);
  };
  // From where it says that it runs: before that, no code of the user can end it.
  const running = { op: "compareExchange", index: STATE };
  if (data.stopAt > 0) armSteps(report, data.stopAt, running);
  serve({ ...port, addEventListener });
};
