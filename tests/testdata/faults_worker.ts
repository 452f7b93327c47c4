/**
 * A worker that becomes a thread of the program, runs one scenario of
 * `faults_scenarios.ts` and ends before the step that it is told, as if killed there.
 *
 * @module
 */

import {
  type Arm,
  armSteps,
  disarmSteps,
  patchBuiltIns,
} from "./faults_steps.ts";
import type { ThreadIdentity } from "../../_life.ts";
import type { Parcel } from "../../_parcel.ts";

/** What the worker is sent. */
export interface FaultMessage {
  identity: ThreadIdentity;
  table: SharedArrayBuffer;
  control: SharedArrayBuffer;
  scenario: string;
  args: Parcel;
  report: SharedArrayBuffer;
  stopAt: number;
  arm: Arm;
}

const scope = globalThis as unknown as {
  onmessage: (event: MessageEvent<FaultMessage>) => void;
  postMessage(message: unknown): void;
};

scope.onmessage = async ({ data }) => {
  const report = new Int32Array(data.report);
  try {
    patchBuiltIns();
    const { enterThread } = await import("../../_life.ts");
    const { unpack } = await import("../../_parcel.ts");
    const { acts } = await import("./faults_scenarios.ts");
    enterThread(data.identity, data.table, new Int32Array(data.control));
    const args = await unpack(data.args) as unknown[];
    const act = acts[data.scenario]!;
    armSteps(report, data.stopAt, data.arm);
    await act(report, ...args);
    disarmSteps();
    scope.postMessage({});
  } catch (error) {
    scope.postMessage({
      error: error instanceof Error ? error.stack : `${error}`,
    });
  }
};
