/**
 * Processes: a function running in a worker of its own.
 *
 * @module
 */

import { checkArray, checkType, refuseSpelling, typeName } from "./_checks.ts";
import { cannotLeave, HANDLE, type Sent } from "./_handle.ts";
import { inspectAs } from "./_inspect.ts";
import {
  KILLED,
  nextProcessId,
  self as identity,
  TERMINATED,
} from "./_life.ts";
import { Guest, packCounted, transferOf, unpack } from "./_parcel.ts";
import type { WaitOptions } from "./_park.ts";
import type { ProcessBody } from "./_process_worker.ts";
import { assertMayStart } from "./_resolve.ts";
import { ChildWorker } from "./_child_worker.ts";
import { describeTarget } from "./_target.ts";
import { checkWorkerKind, type Permissions } from "./_thread.ts";
import { calledFrom, type Caller, unpackThrown } from "./_thrown.ts";
import type { UpMessage } from "./_worker.ts";
import { WorkerError } from "./errors.ts";
import { type Target, Task } from "./task.ts";

export type { Permissions, WaitOptions };

/** What a process is: see {@linkcode currentProcess}. */
export interface ProcessInfo {
  /** Its name, `MainProcess` for the program's own. */
  readonly name: string;
  /** Its number, unique in the program. */
  readonly id: number;
  /** Whether it does not keep the program alive. */
  readonly daemon: boolean;
}

/** Options of {@linkcode Process}. */
export interface ProcessOptions<
  // deno-lint-ignore no-explicit-any -- the default must accept every function.
  A extends unknown[] = any[],
  // deno-lint-ignore no-explicit-any -- likewise.
  R = any,
> {
  /** The function to run. */
  target: Target<A, R>;
  /**
   * Its arguments.
   *
   * @default {[]}
   */
  args?: Readonly<A> | undefined;
  /**
   * Its name.
   *
   * @default {"Process-1", and so on; "Process-1:1" for a child of Process-1}
   */
  name?: string | undefined;
  /**
   * Whether it does not keep the program alive.
   *
   * @default {false}
   */
  daemon?: boolean | undefined;
  /**
   * What kind of thread: Deno's Web Worker, or one that can be stopped even in
   * an endless loop and limited in memory, at about twice the start-up time.
   *
   * @default {"web"}
   */
  worker?: "web" | "node" | undefined;
  /** Heap limit in MiB, for `worker: "node"`; at least 8. */
  memoryLimit?: number | undefined;
  /**
   * Deno's sandbox for `worker: "web"`; needs `--unstable-worker-options`, or
   * `"unstable": ["worker-options"]` in `deno.json`, without which Deno itself
   * ends the program. What is not granted Deno asks for at the terminal, if there
   * is one: run with `--no-prompt` to have it denied.
   */
  permissions?: Permissions | undefined;
  /** Objects to move rather than copy: `ArrayBuffer`s, `MessagePort`s, streams. */
  transfer?: Transferable[] | undefined;
}

type AnyProcess = Process<unknown[], unknown>;

const started = new Set<AnyProcess>();
let constructed = 0;

/** How far a process object has come. */
type State = "initial" | "started" | "closed";

/**
 * A function running in a worker of its own, with an exit code.
 *
 * **Start:** `start()` is synchronous; when it returns everything has been sent.
 *
 * **End:** the process ends when its function returns or its promise settles,
 * not when its event loop is empty, and its own children end with it.
 *
 * **Errors:** an uncaught error is printed on stderr with the process's name,
 * makes {@linkcode exitCode} 1 and rejects {@linkcode result}; it does not take
 * the program down. What the function returns is sent back, read or not: a value
 * that cannot be cloned is such an error.
 *
 * **Staying alive:** a running process keeps the program alive unless it is a
 * daemon.
 *
 * **Stopping:** {@linkcode terminate} and {@linkcode kill} settle at once. A
 * `"web"` worker in an endless loop cannot be stopped, only disowned: its thread
 * goes on until the program ends. A `"node"` worker is really stopped.
 *
 * @example Start a process and wait for it
 * ```ts
 * import { Process } from "@parallel/multiprocessing/process";
 * import { assertEquals } from "@std/assert";
 *
 * const process = new Process({
 *   target: (n: number) => n * n,
 *   args: [4],
 * });
 * process.start();
 * await process.join();
 *
 * assertEquals(process.exitCode, 0);
 * assertEquals(await process.result, 16);
 * ```
 *
 * @typeParam A The types of the target's arguments.
 * @typeParam R The type of the target's value.
 */
export class Process<
  // deno-lint-ignore no-explicit-any
  A extends unknown[] = any[],
  // deno-lint-ignore no-explicit-any
  R = any,
> {
  readonly #result: Promise<R>;
  readonly #id: number;
  readonly #name: string;
  readonly #daemon: boolean;
  readonly #options: ProcessOptions<A, R>;
  readonly #path: string;
  #state: State = "initial";
  #child: ChildWorker | undefined;
  /** Whether its result or error is here, and settles it when it is read. */
  #hasWord = false;
  /** What it may name, if it runs foreign code. */
  #guest: Guest | undefined;
  #resolve!: (value: R) => void;
  #reject!: (reason: unknown) => void;
  readonly #caller: Caller = {};
  #sent: Sent[] = [];

  /**
   * Describes a process; nothing is started yet.
   *
   * @param options The target and how to run it.
   * @throws {TypeError} If the target is not a function or an option has a wrong type.
   * @throws {RangeError} If `memoryLimit` is out of range.
   */
  constructor(options: ProcessOptions<A, R>) {
    checkOptions(options);
    this.#options = { ...options };
    const parent = identity();
    constructed++;
    this.#id = nextProcessId();
    this.#path = parent.path === ""
      ? `Process-${constructed}`
      : `${parent.path}:${constructed}`;
    this.#name = options.name ?? this.#path;
    this.#daemon = options.daemon ?? false;
    this.#result = new Promise<R>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#result.catch(() => {});
  }

  /** The target's value; rejects with its error. Ignoring it is fine. */
  get result(): Promise<R> {
    return this.#result;
  }

  /** The unique number of the process. */
  get id(): number {
    return this.#id;
  }

  /** The name, for example `Process-1`. */
  get name(): string {
    return this.#name;
  }

  /** Whether the process does not keep the program alive. */
  get daemon(): boolean {
    return this.#daemon;
  }

  /**
   * `null` before the end; then 0, 1 for an uncaught error, `n` for
   * `Deno.exit(n)`, -15 after {@linkcode terminate}, -9 after {@linkcode kill}.
   */
  get exitCode(): number | null {
    return this.#child?.exitCode ?? null;
  }

  /**
   * Starts the process.
   *
   * @returns The process itself.
   * @throws {TypeError} If it was started or closed before, or if its target is
   * one that cannot be sent.
   * @throws {DOMException & { name: "DataCloneError" }} If an argument cannot be
   * cloned. Nothing is started then.
   */
  start(): this {
    if (this.#state !== "initial") {
      throw new TypeError(
        this.#state === "closed"
          ? `Cannot start process "${this.name}": it is closed`
          : `Cannot start process "${this.name}": it has already been started`,
      );
    }
    const what = `start process "${this.name}"`;
    assertMayStart(what);
    const { target, args = [], transfer = [] } = this.#options;
    Error.captureStackTrace(this.#caller, this.start);
    const ref = describeTarget(target, what, this.start);
    const [parcel, sent] = packCounted(args, transfer);
    const body: ProcessBody = { target: ref, args: parcel };
    this.#sent = sent;
    try {
      this.#child = this.#spawn(body, transfer);
    } catch (error) {
      this.#takeBack();
      throw error;
    }
    this.#state = "started";
    started.add(this as unknown as AnyProcess);
    return this;
  }

  #spawn(body: ProcessBody, transfer: Transferable[]): ChildWorker {
    const child = new ChildWorker({
      root: "./_process_worker",
      id: this.id,
      name: this.name,
      path: this.#path,
      daemon: this.daemon,
      worker: this.#options.worker,
      memoryLimit: this.#options.memoryLimit,
      permissions: this.#options.permissions,
      body,
      transfer: transferOf(body.args),
      moved: transfer,
      onMessage: (message) => this.#receive(message),
      onEnd: (exitCode) => this.#end(exitCode),
    });
    if (this.#options.permissions !== undefined) {
      this.#guest = new Guest(child.token);
      this.#guest.give(body.args);
    }
    return child.start();
  }

  /** The counted handles among the arguments will not arrive. */
  #takeBack(): void {
    for (const handle of this.#sent) handle.takeBack();
  }

  async #receive(message: UpMessage): Promise<void> {
    // Foreign code may post anything, which settles nothing.
    this.#hasWord ||= message.type === "result" || message.type === "failure";
    try {
      if (message.type === "result") {
        this.#resolve(await unpack(message.value, undefined, this.#guest) as R);
      } else if (message.type === "failure") {
        const error = await unpack(message.error, undefined, this.#guest);
        this.#reject(unpackThrown(error, this.#caller));
      }
    } catch (error) {
      this.#reject(error);
      // It may have said this without being at its end.
      if (this.#guest !== undefined) this.#child!.stop(KILLED);
    }
  }

  #end(exitCode: number): void {
    started.delete(this as unknown as AnyProcess);
    if (this.#child!.closeArrivals() === 0) this.#takeBack();
    // A result or error on its way settles it when it arrives.
    if (this.#child!.awaitsOutcome || this.#hasWord) return;
    if (exitCode === 0) this.#resolve(undefined as R);
    else this.#reject(this.#endedWith(exitCode));
  }

  #endedWith(exitCode: number): WorkerError {
    const how = exitCode === TERMINATED
      ? "it was terminated"
      : exitCode === KILLED
      ? "it was killed"
      : "it ended itself";
    const error = new WorkerError(
      `Cannot get the result of process "${this.name}": ${how} (exit code ${exitCode})`,
      { exitCode },
    );
    return calledFrom(error, this.#caller);
  }

  #startedChild(action: string): ChildWorker {
    if (this.#state === "started") return this.#child!;
    throw new TypeError(
      `Cannot ${action} process "${this.name}": it ${
        this.#state === "closed" ? "is closed" : "has not been started"
      }`,
    );
  }

  /**
   * Resolves when the process has ended.
   *
   * @param wait How long to wait, and a signal that gives it up.
   * @throws {TypeError} If it was not started.
   * @throws {DOMException & { name: "TimeoutError" }} If `wait.timeout` ms pass.
   * @throws The signal's reason, if `wait.signal` aborts first.
   */
  async join(wait?: WaitOptions): Promise<void> {
    const child = this.#startedChild("join");
    await child.join(`join process "${this.name}"`, wait);
  }

  /**
   * Blocks this thread until the process has ended.
   *
   * @param wait How long to wait.
   * @throws {TypeError} If it was not started.
   * @throws {DOMException & { name: "TimeoutError" }} If `wait.timeout` ms pass.
   */
  joinSync(wait?: { timeout?: number | undefined }): void {
    const child = this.#startedChild("join");
    child.joinSync(`join process "${this.name}"`, wait);
  }

  /** Whether the process was started and has not ended. */
  isAlive(): boolean {
    return this.#state === "started" && this.#child!.exitCode === null;
  }

  /**
   * Asks the process to end, with exit code -15. It is settled at once.
   *
   * @throws {TypeError} If it was not started.
   */
  terminate(): void {
    this.#startedChild("terminate").stop(TERMINATED);
  }

  /**
   * Like {@linkcode terminate}, with exit code -9.
   *
   * @throws {TypeError} If it was not started.
   */
  kill(): void {
    this.#startedChild("kill").stop(KILLED);
  }

  /**
   * Releases the object; it cannot be used any more.
   *
   * @throws {TypeError} If the process is running.
   */
  close(): void {
    if (this.isAlive()) {
      throw new TypeError(
        `Cannot close process "${this.name}": it is running, join or terminate it first`,
      );
    }
    if (this.#state === "initial") {
      this.#reject(
        new TypeError(
          `Cannot get the result of process "${this.name}": it was closed before it was started`,
        ),
      );
    }
    this.#state = "closed";
  }

  /** @ignore */
  [HANDLE](): never {
    cannotLeave("a Process", "send its name or id");
  }

  /** Waits for the end of the process, if it was started. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state === "started") await this.join();
  }

  static {
    inspectAs<Process>(Process, (process) => {
      const state = process.#state === "started"
        ? process.exitCode === null
          ? "running"
          : `exitCode: ${process.exitCode}`
        : process.#state;
      return `Process "${process.name}" { ${state}${
        process.daemon ? ", daemon: true" : ""
      } }`;
    });
  }
}

/** What to use for Python's arguments that there are none of here. */
const SPELLINGS = { kwargs: "args: [{ … }], one object for all of them" };

// deno-lint-ignore no-explicit-any
function checkOptions(options: ProcessOptions<any, any>): void {
  const what = "create process";
  if (typeof options !== "object" || options === null) {
    throw new TypeError(
      `Cannot ${what}: options must be an object with a target, received ${
        typeName(options)
      }`,
    );
  }
  refuseSpelling(what, options, SPELLINGS);
  const { target, args, name, transfer, daemon } = options;
  if (typeof target !== "function" && !(target instanceof Task)) {
    throw new TypeError(
      `Cannot ${what}: target must be a function or a task(), received ${
        typeName(target)
      }`,
    );
  }
  checkArray(what, "args", args);
  checkType(what, "name", name, "string");
  checkArray(what, "transfer", transfer);
  checkType(what, "daemon", daemon, "boolean");
  checkWorkerKind(what, options);
}

/**
 * Describes the process this code runs in.
 *
 * @returns `MainProcess` in the program's own thread.
 */
export function currentProcess(): ProcessInfo {
  const { name, id, daemon } = identity();
  return { name, id, daemon };
}

/**
 * Describes the process that started this one.
 *
 * @returns `null` in the program's own thread.
 */
export function parentProcess(): ProcessInfo | null {
  const { parent } = identity();
  return parent === null ? null : { ...parent };
}

/**
 * Lists the processes this thread has started and that have not ended.
 *
 * @returns A new array, in the order of starting.
 */
export function activeChildren(): Process[] {
  return [...started].filter((process) => process.isAlive()) as Process[];
}

/**
 * How many threads run at the same time on this machine.
 *
 * @returns A whole number, at least 1.
 */
export function cpuCount(): number {
  return navigator.hardwareConcurrency || 1;
}
