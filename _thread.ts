/**
 * Makes a thread of either kind, neither of which keeps the program alive.
 *
 * @module
 */

import { typeName } from "./_checks.ts";
import { KILLED } from "./_life.ts";
import { onSlack, putOnLeash } from "./_leash.ts";
import type { NodeWorkerData } from "./_node_worker.ts";
import { type PostTarget, postTo } from "./_parcel.ts";

/** Deno's worker sandbox, as `new Worker()` takes it. */
export type Permissions = Deno.PermissionOptions;

/** What kind of thread to start, and its limits. */
export interface WorkerKind {
  worker?: "web" | "node" | undefined;
  memoryLimit?: number | undefined;
  permissions?: Permissions | undefined;
}

/** A thread, seen from the one that holds its Worker object. */
export interface Thread {
  /** Sends it a message. */
  post(message: unknown, transfer?: Transferable[]): void;
  /** Stops it, if it can be stopped. Idempotent. */
  terminate(): void;
  /**
   * Whether it has really ended; `undefined` if this thread cannot tell, and its life
   * lock does. Known only by a thread that comes back to its event loop.
   */
  ended(): boolean | undefined;
  /**
   * A leash by which another thread can tell, see `_leash.ts`, to be had once;
   * `undefined` if its life lock does.
   */
  leash(): MessagePort | undefined;
}

/** What to make. */
export interface ThreadOptions extends WorkerKind {
  /** The URL of its root module. */
  root: URL;
  name: string;
  /** Called for each message. */
  onMessage(message: unknown): void;
  /** Called if it could not start or ran out of memory. */
  onFailure(reason: string, exitCode: number): void;
  /** Called when {@linkcode Thread.ended} has become true, where that is noticed. */
  onEnd?(): void;
}

/** With less, Deno ends the program when it makes the thread (measured: 5 MiB). */
const LEAST_MEMORY = 8;

/**
 * Refuses impossible kinds of worker.
 *
 * @throws {TypeError} If an option has a wrong type or does not fit the kind.
 * @throws {RangeError} If the memory limit is out of range.
 */
export function checkWorkerKind(what: string, kind: WorkerKind): void {
  const { worker = "web", memoryLimit, permissions } = kind;
  if (worker !== "web" && worker !== "node") {
    throw new TypeError(
      `Cannot ${what}: worker must be "web" or "node", received ${
        String(worker)
      }`,
    );
  }
  if (memoryLimit !== undefined) {
    if (typeof memoryLimit !== "number") {
      throw new TypeError(
        `Cannot ${what}: memoryLimit must be a number of MiB, received ${
          typeName(memoryLimit)
        }`,
      );
    }
    if (!(memoryLimit >= LEAST_MEMORY && memoryLimit < Infinity)) {
      throw new RangeError(
        `Cannot ${what} as memoryLimit must be at least ${LEAST_MEMORY} MiB and finite: current value is ${memoryLimit}`,
      );
    }
    if (worker !== "node") {
      throw new TypeError(
        `Cannot ${what}: memoryLimit needs worker: "node", a Web Worker cannot be limited`,
      );
    }
  }
  if (permissions === undefined) return;
  const isObject = typeof permissions === "object" && permissions !== null;
  if (!isObject && permissions !== "none" && permissions !== "inherit") {
    const received = typeof permissions === "string"
      ? `"${permissions}"`
      : typeName(permissions);
    throw new TypeError(
      `Cannot ${what}: permissions must be "none", "inherit" or an object such as { read: ["data"] }, received ${received}`,
    );
  }
  if (worker !== "web") {
    throw new TypeError(
      `Cannot ${what}: permissions need worker: "web", a node worker cannot be sandboxed`,
    );
  }
}

/**
 * Starts a thread.
 *
 * @throws {Deno.errors.NotCapable} If its module may not be read.
 */
export function openThread(options: ThreadOptions): Thread {
  checkReadable(options.root);
  return options.worker === "node" ? openNode(options) : openWeb(options);
}

/** A worker whose module is a local file must be allowed to read it. */
function checkReadable(root: URL): void {
  if (root.protocol !== "file:") return;
  // Whether it may read all is quicker to ask.
  const all = Deno.permissions.querySync({ name: "read" });
  if (all.state === "granted" && !all.partial) return;
  const { state } = Deno.permissions.querySync({ name: "read", path: root });
  if (state === "granted") return;
  throw new Deno.errors.NotCapable(
    `Cannot start worker: reading its module ${root.href} is not allowed, run with --allow-read`,
  );
}

/** Thrown where an error would do, and an object must: to make an error takes a millisecond. */
const REFUSAL = Object.freeze({});
/** Cannot be cloned. */
const PROBE = {
  get value(): never {
    throw REFUSAL;
  },
};

/**
 * Whether a Worker object knows that its thread has ended. It ignores then whatever is
 * posted; before that it refuses what cannot be cloned.
 */
function isOver(worker: { postMessage(message: unknown): void }): boolean {
  try {
    worker.postMessage(PROBE);
    return true;
  } catch {
    return false;
  }
}

// -- Web Workers ----------------------------------------------------------------

const unref = findUnref();

/**
 * Whether a Web Worker keeps the program alive until it ends: Deno has no such method
 * any more.
 */
export const HOLDS_PROGRAM: boolean = unref === undefined;

/** `Worker`'s own method for it, behind a symbol without a name. */
function findUnref(): ((worker: Worker) => void) | undefined {
  type RefMethod = (this: Worker, on: boolean) => void;
  const prototype = Worker.prototype as unknown as Record<symbol, RefMethod>;
  for (const symbol of Object.getOwnPropertySymbols(prototype)) {
    if (symbol.description !== undefined) continue;
    const method = prototype[symbol];
    if (typeof method === "function") {
      return (worker) => method.call(worker, false);
    }
  }
}

function openWeb(options: ThreadOptions): Thread {
  const { root, name, permissions, onMessage, onFailure } = options;
  const settings: WorkerOptions & { deno?: { permissions: unknown } } = {
    type: "module",
    name,
  };
  if (permissions !== undefined) settings.deno = { permissions };
  const worker = new Worker(root.href, settings);
  unref?.(worker);
  worker.onmessage = (event) => onMessage(event.data);
  worker.onerror = (event) => {
    // A worker reports its own errors; this one it could not, for its own
    // modules did not load.
    event.preventDefault();
    onFailure(event.message, 1);
  };
  let isTerminated = false;
  return {
    post: (message, transfer) => postTo(worker, message, transfer),
    terminate() {
      if (isTerminated) return;
      isTerminated = true;
      worker.terminate();
    },
    // Its lock is free only when it has ended, terminated or not.
    ended: () => !isTerminated && isOver(worker) ? true : undefined,
    leash: () => undefined,
  };
}

// -- node:worker_threads ----------------------------------------------------------

interface NodeWorker extends PostTarget {
  on(event: string, listener: (value: never) => void): void;
  terminate(): Promise<number>;
  unref(): void;
}

type NodeWorkerClass = new (url: URL, options: unknown) => NodeWorker;

/**
 * What such a worker starts from: not every URL will do, but a `data:` URL that imports
 * any. Deno drops the messages that come before anybody listens, modules being loaded or
 * not. On one line, for that is what Deno shows when it checks types.
 */
function nodeRoot(data: NodeWorkerData): URL {
  const boot = new URL("./_node_worker.ts", import.meta.url).href;
  const code = 'import { parentPort as port } from "node:worker_threads"; ' +
    'const early = []; const keep = (data) => early.push(data); port.on("message", keep); ' +
    `const { boot } = await import(${JSON.stringify(boot)}); ` +
    `await boot(port, ${JSON.stringify(data)}, early, keep);`;
  return new URL(`data:text/javascript,${encodeURIComponent(code)}`);
}

function ranOutOfMemory(limit: number): string {
  return `it ran out of memory (memoryLimit: ${limit} MiB)`;
}

function openNode(options: ThreadOptions): Thread {
  const { root, name, memoryLimit, onMessage, onFailure, onEnd } = options;
  const { process } = globalThis as unknown as {
    process: {
      getBuiltinModule(name: string): {
        SHARE_ENV: symbol;
        Worker: NodeWorkerClass;
      };
    };
  };
  const { SHARE_ENV, Worker } = process.getBuiltinModule("node:worker_threads");
  const data: NodeWorkerData = {
    root: root.href,
    outOfMemory: memoryLimit === undefined
      ? undefined
      : ranOutOfMemory(memoryLimit),
  };
  const worker = new Worker(nodeRoot(data), {
    name,
    // As in a Web Worker. To copy it, Deno would ask for the permission to read it.
    env: SHARE_ENV,
    resourceLimits: memoryLimit === undefined
      ? {}
      : { maxOldGenerationSizeMb: memoryLimit },
  });
  worker.unref();
  worker.on("message", (message) => onMessage(message));
  worker.on("error", (error: Error & { code?: string }) => {
    if (error.code === "ERR_WORKER_OUT_OF_MEMORY") {
      onFailure(ranOutOfMemory(memoryLimit!), KILLED);
    } else onFailure(error.message, 1);
  });
  function post(message: unknown, transfer?: Transferable[]): void {
    postTo(worker, message, transfer);
  }
  // Put now: a thread that handles a message while it is terminated may make Deno panic.
  const [own, spare] = putOnLeash(post);
  let isTerminated = false;
  let hasEnded = false;
  onSlack(own, () => {
    hasEnded = true;
    spare.close();
    onEnd?.();
  });
  return {
    post,
    terminate() {
      if (isTerminated) return;
      isTerminated = true;
      worker.terminate();
    },
    // One that ended by itself has told its Worker object.
    ended: () => hasEnded || !isTerminated && isOver(worker),
    leash: () => hasEnded ? undefined : spare,
  };
}
