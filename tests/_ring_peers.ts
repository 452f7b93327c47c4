/**
 * Starts bare workers for the queue, pipe and shared tests.
 *
 * @module
 */

import { delay } from "@std/async";
import { type Sent, takeSent } from "../_handle.ts";
import {
  bury,
  claimToken,
  CONTROL_BYTES,
  heldLocks,
  lifeLockName,
  livingMemory,
  self as identity,
} from "../_life.ts";
import { pack, transferOf } from "../_parcel.ts";
import type { PeerMessage } from "./testdata/ring_peer.ts";

const WORKER = new URL("./testdata/ring_peer.ts", import.meta.url);

// `deno test` checks a worker's types when it is first loaded: not while we wait.
const first = new Worker(WORKER, { type: "module" });
await new Promise((resolve) => first.onmessage = resolve);
first.terminate();

/** A worker that runs one scenario of `testdata/ring_scenarios.ts`. */
export class Peer implements Disposable {
  /** What the scenario returned. */
  readonly done: Promise<unknown>;
  /** The deliveries of pipe ends to it. */
  readonly sent: Sent[];
  readonly #token = claimToken();
  readonly #worker = new Worker(WORKER, { type: "module" });

  constructor(
    scenario: PeerMessage["scenario"],
    args: unknown[],
    settle = false,
  ) {
    this.done = new Promise((resolve, reject) => {
      this.#worker.onmessage = ({ data }) => {
        if ("value" in data) resolve(data.value);
        if ("error" in data) reject(new Error(data.error));
      };
    });
    this.done.catch(() => {});
    const parcel = pack(args);
    this.sent = takeSent();
    const message: PeerMessage = {
      identity: {
        program: identity().program,
        token: this.#token,
        id: this.#token,
        name: `Peer-${this.#token}`,
        path: "",
        daemon: false,
        parent: null,
      },
      table: livingMemory(),
      control: new Int32Array(new SharedArrayBuffer(CONTROL_BYTES)),
      scenario,
      args: parcel,
      settle,
    };
    this.#worker.postMessage(message, transferOf(parcel));
  }

  /** Ends the thread, which must be at an `await` or finished, and buries it. */
  kill(): void {
    this.#worker.terminate();
    bury(this.#token);
  }

  /** Ends the thread wherever it is, and buries it when it has really ended. */
  async killAtWork(): Promise<void> {
    this.#worker.terminate();
    const lock = lifeLockName(this.#token);
    while ((await heldLocks()).has(lock)) {
      await delay(1);
    }
    bury(this.#token);
  }

  [Symbol.dispose](): void {
    this.kill();
  }
}
