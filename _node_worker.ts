/**
 * What a worker of `node:worker_threads` begins with, whatever it is for: it is made like
 * a Web Worker, and imports the root module of those.
 *
 * @module
 */

import { KILLED } from "./_life.ts";
import type { PostTarget } from "./_parcel.ts";
import { exitWith, type Port } from "./_worker.ts";
import { WorkerError } from "./errors.ts";

/** What its starter tells it. */
export interface NodeWorkerData {
  /** The URL of the root module for Web Workers. */
  root: string;
  /** Why it ends when it has had more memory than it may. */
  outOfMemory: string | undefined;
}

interface ParentPort extends PostTarget {
  on(type: "message", listener: (data: unknown) => void): void;
  off(type: "message", listener: (data: unknown) => void): void;
}

/** The part of a root module used here. */
interface Root {
  serve(port: Port): void;
}

/** How often a thread with limited memory looks whether it had enough. */
const MEMORY_LOOK_MS = 50;

/**
 * Ends this thread when it has run out of memory.
 *
 * Deno itself does so if the code that ran was called by a timer, for example. If
 * it went on after an `await`, Deno drops it, raises the limit, and the thread
 * goes on with a promise that never settles: that is noticed here.
 *
 * @param reason Says so, and what its limit was.
 */
function watchMemory(reason: string): void {
  const { process } = globalThis as unknown as {
    process: {
      getBuiltinModule(name: string): {
        getHeapStatistics(): { heap_size_limit: number };
      };
    };
  };
  const { getHeapStatistics } = process.getBuiltinModule("node:v8");
  const first = getHeapStatistics().heap_size_limit;
  setInterval(() => {
    if (getHeapStatistics().heap_size_limit <= first) return;
    const error = new WorkerError(`Cannot go on in worker: ${reason}`, {
      exitCode: KILLED,
    });
    exitWith(KILLED, error);
  }, MEMORY_LOOK_MS);
}

/** @param early The messages that have come already, for its first listener. */
function nodePort(
  parentPort: ParentPort,
  early: unknown[],
): Port {
  const exit = Deno.exit;
  return {
    postMessage: parentPort.postMessage.bind(parentPort),
    addEventListener(type, listener) {
      const hear = (data: unknown) => listener({ data } as MessageEvent);
      for (const data of early.splice(0)) hear(data);
      parentPort.on(type, hear);
    },
    exit,
  };
}

/**
 * Called by what such a worker starts with, a `data:` URL.
 *
 * @param early The messages that have come, and come until this does not need `keep`.
 */
export async function boot(
  parentPort: ParentPort,
  { root, outOfMemory }: NodeWorkerData,
  early: unknown[],
  keep: (data: unknown) => void,
): Promise<void> {
  // With it a function sees the same globals in both kinds.
  (globalThis as { self?: unknown }).self = globalThis;
  const { serve }: Root = await import(root);
  parentPort.off("message", keep);
  if (outOfMemory !== undefined) watchMemory(outOfMemory);
  serve(nodePort(parentPort, early));
}
