/**
 * A bare worker that becomes a thread of the program and runs one scenario of
 * `ring_scenarios.ts` with arguments that were packed as those of a process are.
 *
 * @module
 */

import type { Arrived } from "../../_handle.ts";
import { enterThread, holdLifeLock, type ThreadIdentity } from "../../_life.ts";
import { type Parcel, unpack } from "../../_parcel.ts";
import * as scenarios from "./ring_scenarios.ts";

/** What a worker is sent. */
export interface PeerMessage {
  identity: ThreadIdentity;
  table: SharedArrayBuffer;
  control: Int32Array;
  scenario: keyof typeof scenarios;
  args: Parcel;
  /** Whether ends of pipes are closed when the scenario is over, as by a pool task. */
  settle: boolean;
}

const scope = globalThis as unknown as {
  postMessage(message: unknown): void;
  onmessage: ((event: MessageEvent<PeerMessage>) => void) | null;
};

scope.onmessage = ({ data }) => {
  enterThread(data.identity, data.table, data.control);
  holdLifeLock(async () => {
    try {
      const arrived: Arrived[] = [];
      const arrive = (handles: Arrived[]) => void arrived.push(...handles);
      const args = await unpack(data.args, arrive) as never[];
      const run = scenarios[data.scenario] as (...args: never[]) => unknown;
      const value = await run(...args);
      if (data.settle) { for (const end of arrived) end.settle(); }
      scope.postMessage({ value });
    } catch (error) {
      scope.postMessage({ error: String(error) });
    }
    await new Promise(() => {});
  });
};
scope.postMessage({ ready: true });
