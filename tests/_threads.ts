/**
 * Starts bare workers for the tests of the primitives, and lets them die.
 *
 * @module
 */

import { HANDLE, type HandleParts, isHandle } from "../_handle.ts";
import {
  bury,
  claimToken,
  CONTROL_BYTES,
  livingMemory,
  markStopping,
  STOP,
  type ThreadIdentity,
} from "../_life.ts";
import { within } from "./_within.ts";

/** A handle as plain data. */
export interface Packed {
  kind: string;
  parts: { packed?: Packed; plain?: unknown }[];
}

/** What a worker is sent. */
export interface ThreadMessage {
  identity: ThreadIdentity;
  table: SharedArrayBuffer;
  control: Int32Array;
  handles: Packed[];
  scenario: string;
  words: Int32Array;
  options: unknown;
  stay: boolean;
}

const WORKER = new URL("./testdata/sync_worker.ts", import.meta.url);

/**
 * Starts a worker and ends it. `deno test` type-checks a worker's modules when they
 * are first loaded, which takes seconds and must not count as waiting.
 */
async function prepare(): Promise<void> {
  const worker = new Worker(WORKER, { type: "module" });
  await new Promise((resolve) => worker.onmessage = resolve);
  worker.terminate();
}

if (!("DedicatedWorkerGlobalScope" in globalThis)) await prepare();

/** A worker that runs one scenario. */
export class Thread implements Disposable {
  /** What the scenario returned. */
  readonly done: Promise<unknown>;
  /** The worker's token in the table of the living. */
  readonly token: number = claimToken();
  readonly #control = new Int32Array(new SharedArrayBuffer(CONTROL_BYTES));
  readonly #worker: Worker;

  /**
   * Starts the worker.
   *
   * @param scenario Name of a function in `testdata/sync_scenarios.ts`.
   * @param words Words shared with it, its first argument.
   * @param handles Its third and further arguments.
   * @param options Its second argument; and whether the thread stays when it returned.
   */
  constructor(
    scenario: string,
    words: Int32Array,
    handles: object[],
    options: Record<string, unknown> & { stay?: boolean } = {},
  ) {
    this.#worker = new Worker(WORKER, { type: "module" });
    this.done = new Promise((resolve, reject) => {
      this.#worker.onmessage = ({ data }) => {
        if ("ready" in data) return;
        if ("error" in data) reject(new Error(data.error));
        else resolve(data.value);
      };
      this.#worker.onerror = (event) => {
        event.preventDefault();
        reject(new Error(event.message));
      };
    });
    this.done.catch(() => {});
    const message: ThreadMessage = {
      identity: {
        program: "test",
        token: this.token,
        id: this.token,
        name: `Thread-${this.token}`,
        path: "",
        daemon: false,
        parent: null,
      },
      table: livingMemory(),
      control: this.#control,
      handles: handles.map(pack),
      scenario,
      words,
      options,
      stay: options.stay ?? false,
    };
    this.#worker.postMessage(message);
  }

  /** Tells the thread to stop, as `Process.terminate()` does. */
  stop(): void {
    markStopping(this.token);
    Atomics.store(this.#control, STOP, -15);
  }

  /** Ends the thread, which must be at an `await` or finished, and buries it. */
  kill(): void {
    this.#worker.terminate();
    bury(this.token);
  }

  /** Like {@linkcode kill}. */
  [Symbol.dispose](): void {
    this.kill();
  }
}

/** Starts `count` workers on one scenario and waits for all results. */
export async function runThreads(
  count: number,
  scenario: string,
  words: Int32Array,
  handles: object[],
  options: Record<string, unknown> = {},
): Promise<unknown[]> {
  const threads = Array.from(
    { length: count },
    (_, index) => new Thread(scenario, words, handles, { ...options, index }),
  );
  try {
    return await within(Promise.all(threads.map((thread) => thread.done)));
  } finally {
    for (const thread of threads) thread.kill();
  }
}

/** The memory behind a handle. */
export function wordsOf(handle: object): Int32Array {
  return new Int32Array(partsOf(handle).parts[0] as SharedArrayBuffer);
}

function partsOf(handle: object): HandleParts {
  return (handle as { [HANDLE](): HandleParts })[HANDLE]();
}

/** A handle as plain data, which can be posted. */
export function pack(handle: object): Packed {
  const { kind, parts } = partsOf(handle);
  return {
    kind,
    parts: parts.map((part) =>
      typeof part === "object" && part !== null && isHandle(part)
        ? { packed: pack(part) }
        : { plain: part }
    ),
  };
}

/** The way back. */
export function unpack(
  { kind, parts }: Packed,
  revive: (kind: string, parts: unknown[]) => object,
): object {
  return revive(
    kind,
    parts.map((part) =>
      part.packed === undefined ? part.plain : unpack(part.packed, revive)
    ),
  );
}
