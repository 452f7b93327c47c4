/**
 * Starts workers, watches them and buries them, for whatever they are used.
 *
 * **Who starts a worker.** A worker started by a worker takes about a second to
 * come up, one started by the main thread some ten milliseconds. So a worker
 * asks main over its own connection; HOST in the new worker's control words is
 * claimed by one compare-exchange, by main when it gets to it, or by the asking
 * thread itself when main has not answered within {@linkcode ASK_MS}.
 *
 * **How an end is noticed.** A thread that ends in an orderly way, or is stopped
 * by us, has moved STATE to ENDED, which wakes CHANGED. One that just goes frees
 * its life lock, a Web Lock: every heartbeat one query compares the locks held
 * with the workers that should hold them. Only the latter buries a thread, that
 * is, tells the owners of locks that no code of it can run any more. A node worker
 * that is terminated loses its lock too early: it is on a leash (`_leash.ts`). One
 * that has no lock yet is noticed by what its Worker object knows.
 *
 * **A blocked thread** has no event loop to ask in, so after a slice of waiting
 * it starts a watcher, a worker that does the same for it.
 *
 * @module
 */

import {
  bury,
  CHANGED,
  claimToken,
  closeArrivals,
  CONTROL_BYTES,
  copyLiving,
  ENDED,
  endWith,
  exitCodeOf,
  hasOutcome,
  heldLocks,
  HOST,
  isDead,
  KILLED,
  lifeLockName,
  livingMemory,
  markStopping,
  nextProcessId,
  ownControl,
  self as identity,
  STARTING,
  stateOf,
  STOP,
  TERMINATED,
} from "./_life.ts";
import {
  addDuty,
  callIn,
  holdAlive,
  PENDING,
  PENDING_WEAK,
  releaseAlive,
  removeDuty,
  waitAsync,
  type WaitOptions,
  waitSync,
  wake,
} from "./_park.ts";
import { pack, postTo } from "./_parcel.ts";
import {
  HOLDS_PROGRAM,
  openThread,
  type Thread,
  type WorkerKind,
} from "./_thread.ts";
import { packThrown } from "./_thrown.ts";
import { postToHost, type StartMessage, type UpMessage } from "./_worker.ts";
import type { WatchMessage } from "./_watcher.ts";
import { WorkerError } from "./errors.ts";

const { compareExchange, load, store } = Atomics;

/** How long the main thread may take to answer a request to start a worker. */
const ASK_MS = 120;

/**
 * For how many beats a message announced by a dead worker is awaited, about 50 ms each.
 * Not by the clock: a program that was held up has not read what came meanwhile.
 */
const LAST_WORD_BEATS = 40;
/** How long whoever joins waits for it. */
const LAST_WORD_MS = 100;

/** When the thread of a worker that has ended is looked for again, in milliseconds. */
const REALLY_ENDED_MS = 4;

/** What to start. */
export interface WorkerSpec extends WorkerKind {
  /** The root module's name without its ending: `./_process_worker`. */
  root: string;
  /** Its number, if it has one already. */
  id?: number | undefined;
  name: string;
  /** Its default name, its children's prefix. */
  path: string;
  daemon: boolean;
  /** What the role gets. */
  body: unknown;
  /** What may be transferred rather than copied. */
  transfer: Transferable[];
  /** What must be transferred: a part of `transfer`. */
  moved: Transferable[];
  /** Called for each message of the worker. */
  onMessage(message: UpMessage): void;
  /** Called once, when it is known how the thread ends. */
  onEnd(exitCode: number): void;
}

// -- Hosting: the thread that holds the Worker object --------------------------

interface Hosted {
  token: number;
  parent: number;
  control: Int32Array;
  thread: Thread;
  /** Its copy of the table of the living, if it is sandboxed. */
  copy?: Int32Array | undefined;
  /** The beat at which its end was noticed, if its last message may still come. */
  deadSince?: number;
}

/** The workers whose Worker object this thread holds. */
const hosted = new Map<number, Hosted>();

/** A thread whose Worker object is held by its parent. */
const ELSEWHERE: Thread = {
  post() {},
  terminate() {},
  ended: () => undefined,
  leash: () => undefined,
};

/** Value of HOST: the main thread starts it. */
const BY_MAIN = 1;
/** Value of HOST: its parent starts it. */
const BY_PARENT = 2;

interface HostRequest extends WorkerKind {
  root: string;
  token: number;
  parent: number;
  start: StartMessage;
}

/** What a worker asks of the thread that hosts it. */
type HostMessage =
  | { type: "host"; request: HostRequest; transfer: Transferable[] }
  | { type: "stop"; token: number };

function askHost(message: HostMessage, transfer?: Transferable[]): void {
  postToHost(message, transfer);
}

function failure(reason: string, exitCode: number): UpMessage {
  return {
    type: "failure",
    error: pack(packThrown(new WorkerError(reason, { exitCode }))),
  };
}

function endHosted(control: Int32Array, code: number, outcome = false): void {
  endWith(control, code, outcome);
  wake(control, CHANGED, Infinity);
}

/**
 * All root modules of workers. Never called: tools that follow imports find them here,
 * so that a program which was cached, vendored or compiled has them.
 */
export function roots(): Promise<unknown>[] {
  return [
    import("./_process_worker.ts"),
    import("./_process_worker_sandboxed.ts"),
    import("./_pool_worker.ts"),
    import("./_pool_worker_sandboxed.ts"),
    import("./_node_worker.ts"),
    import("./_manager_server.ts"),
    import("./_watcher.ts"),
  ];
}

/** A sandboxed worker cannot import later what it may come to need. */
function rootOf({ root, permissions }: HostRequest): string {
  return `${root}${permissions === undefined ? "" : "_sandboxed"}.ts`;
}

/** Makes a worker's thread, and tells it who it is and what to do. */
function host(request: HostRequest, transfer: Transferable[]): void {
  const { token, parent, start } = request;
  const control = new Int32Array(start.control);
  // A sandboxed worker gets no memory that others rely on.
  const copy = request.permissions === undefined ? undefined : copyLiving();
  const thread = openThread({
    root: new URL(rootOf(request), import.meta.url),
    name: start.identity.name,
    worker: request.worker,
    memoryLimit: request.memoryLimit,
    permissions: request.permissions,
    onMessage(data) {
      if (!isMessage(data)) return; // the user's code may post, too
      if (data.type === "stop") stopHosted(data.token, token);
      else if (data.type !== "host") children.get(token)?.receive(data);
      // What a sandboxed worker starts must be held in its sandbox, by Deno.
      else if (request.permissions === undefined) {
        answer({ ...data.request, parent: token }, data.transfer);
      }
    },
    onFailure: (reason, exitCode) => fail(token, reason, exitCode),
    onEnd: () => look(false),
  });
  try {
    const table = copy?.buffer as SharedArrayBuffer | undefined;
    thread.post(table === undefined ? start : { ...start, table }, transfer);
  } catch (error) {
    thread.terminate();
    throw error;
  }
  hosted.set(token, { token, parent, control, thread, copy });
  watch();
}

/** A worker has ended in a way it could not tell of. */
function fail(token: number, reason: string, exitCode: number): void {
  const worker = hosted.get(token);
  if (worker === undefined || stateOf(worker.control) === ENDED) return;
  const what = isStarting(worker) ? "start worker" : "go on in worker";
  const error = failure(`Cannot ${what}: ${reason}`, exitCode);
  children.get(token)?.receive(error);
  endHosted(worker.control, exitCode);
  worker.thread.terminate();
}

function isMessage(data: unknown): data is UpMessage | HostMessage {
  return typeof data === "object" && data !== null &&
    (data as { program?: unknown }).program === identity().program;
}

/** Hosts a worker for the thread that asks for it, if it has not given up yet. */
function answer(request: HostRequest, transfer: Transferable[]): void {
  const { token, parent, start } = request;
  const control = new Int32Array(start.control);
  if (compareExchange(control, HOST, 0, BY_MAIN) !== 0) {
    // It ends with its parent, which cannot see to that once it has ended.
    hosted.set(token, { token, parent, control, thread: ELSEWHERE });
    watch();
    return;
  }
  try {
    host(request, transfer);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    endHosted(control, 1, true);
    start.uplink!.postMessage(failure(reason, 1));
    bury(token);
  }
}

function stopHosted(token: number, parent: number): void {
  const worker = hosted.get(token);
  if (worker?.parent === parent) worker.thread.terminate();
}

// -- Watching -------------------------------------------------------------------

let watching = false;
/** How often the event loop has seen to the watching. */
let beats = 0;
let watcher: Thread | undefined;
const watchedBy = new WeakSet<Hosted>();

function watch(): void {
  if (watching) return;
  watching = true;
  addDuty(keepWatch);
}

function keepWatch(blocked: boolean): void {
  if (!blocked) beats++;
  look(blocked);
}

/** The family ends together. */
function endWithParent(worker: Hosted): void {
  const parent = hosted.get(worker.parent);
  const isOver = parent !== undefined
    ? stateOf(parent.control) === ENDED
    : isDead(worker.parent);
  if (isOver) stopThread(worker.token, worker.control);
}

function look(blocked: boolean): void {
  for (const worker of hosted.values()) {
    if (worker.copy !== undefined) copyLiving(worker.copy);
    endWithParent(worker);
    // Its parent may be another thread, and the message by which it asks for this unread.
    if (load(worker.control, STOP) !== 0) worker.thread.terminate();
  }
  if (blocked) {
    for (const child of children.values()) child.hostIfUnanswered();
    lookThroughWatcher();
    return;
  }
  if (hosted.size === 0 && children.size === 0) {
    if (HOLDS_PROGRAM) {
      watcher?.terminate();
      watcher = undefined;
    }
    watching = false;
    removeDuty(keepWatch);
    return;
  }
  if (hosted.size === 0) return;
  const expected: Hosted[] = [];
  for (const worker of hosted.values()) {
    if (isStarting(worker)) checkStart(worker);
    else expected.push(worker);
  }
  if (expected.length === 0) return;
  heldLocks().then((names) => {
    for (const worker of expected) {
      if (names.has(lifeLockName(worker.token))) continue;
      if (worker.thread.ended() !== false) vanished(worker);
    }
  });
}

/** Whether it does not hold its life lock yet; it has run no code of the user then. */
function isStarting(worker: Hosted): boolean {
  return stateOf(worker.control) === STARTING;
}

/** Takes note of a thread that ended on its way to its life lock. */
function checkStart(worker: Hosted): void {
  // It may have come further before it ended.
  if (!worker.thread.ended() || !isStarting(worker)) return;
  const reason = "its thread ended before it began";
  fail(worker.token, reason, KILLED);
}

function vanished(worker: Hosted): void {
  if (hosted.get(worker.token) !== worker) return;
  bury(worker.token);
  endHosted(worker.control, load(worker.control, STOP) || KILLED);
  // Its last message may still be on the way, if it got round to posting it.
  const child = children.get(worker.token);
  worker.deadSince ??= beats;
  if (
    child?.awaitsOutcome && beats - worker.deadSince < LAST_WORD_BEATS
  ) return;
  if (child?.awaitsOutcome) {
    child.receive(
      failure("Cannot get the result: the worker died sending it", KILLED),
    );
  }
  forget(worker.token);
}

function forget(token: number): void {
  hosted.get(token)?.thread.terminate();
  hosted.delete(token);
  bury(token);
}

function lookThroughWatcher(): void {
  if (hosted.size === 0) return;
  watcher ??= openThread({
    root: new URL("./_watcher.ts", import.meta.url),
    name: "watcher",
    onMessage() {},
    onFailure() {},
  });
  for (const worker of hosted.values()) {
    if (watchedBy.has(worker)) continue;
    watchedBy.add(worker);
    const leash = worker.thread.leash();
    const message: WatchMessage = {
      program: identity().program,
      table: livingMemory(),
      token: worker.token,
      control: worker.control.buffer as SharedArrayBuffer,
      leash,
    };
    watcher.post(message, leash === undefined ? undefined : [leash]);
  }
}

// -- Children: the thread that wanted the worker ----------------------------------

/** The workers this thread wanted and that have not ended. */
const children = new Map<number, ChildWorker>();

function stopThread(
  token: number,
  control: Int32Array,
  code = TERMINATED,
): void {
  markStopping(token);
  compareExchange(control, STOP, 0, code);
  endHosted(control, code);
}

/** A worker, seen from the thread that started it. */
export class ChildWorker {
  /** Its token in the table of the living. */
  readonly token: number;
  readonly #spec: WorkerSpec;
  readonly #control: Int32Array;
  readonly #request: HostRequest;
  #port: MessagePort | undefined;
  /** What was posted to it since main was asked to make it, as long as main has not. */
  #unanswered: unknown[] | undefined;
  #gotOutcome = false;
  #lastArrival: number | undefined;
  #finished = false;
  /** How many joins are pending. */
  #joining = 0;

  /**
   * Describes a worker.
   *
   * @throws {RangeError} If there are too many threads.
   */
  constructor(spec: WorkerSpec) {
    this.#spec = spec;
    const parent = identity();
    this.token = claimToken();
    this.#control = new Int32Array(new SharedArrayBuffer(CONTROL_BYTES));
    this.#request = {
      root: spec.root,
      token: this.token,
      parent: parent.token,
      start: {
        identity: {
          program: parent.program,
          token: this.token,
          id: spec.id ?? nextProcessId(),
          name: spec.name,
          path: spec.path,
          daemon: spec.daemon,
          parent: { name: parent.name, id: parent.id, daemon: parent.daemon },
        },
        table: livingMemory(),
        control: this.#control.buffer as SharedArrayBuffer,
        body: spec.body,
      },
      worker: spec.worker,
      memoryLimit: spec.memoryLimit,
      permissions: spec.permissions,
    };
  }

  /**
   * Starts the worker. Everything it needs has been sent when this returns.
   *
   * @throws What `new Worker()` or posting to it throws; there is no worker then.
   */
  start(): this {
    this.launch();
    this.attend();
    return this;
  }

  /** The first half of {@linkcode start}. */
  launch(): void {
    const spec = this.#spec;
    children.set(this.token, this);
    try {
      if (ownControl() === undefined) host(this.#request, spec.transfer);
      else this.#ask();
    } catch (error) {
      children.delete(this.token);
      bury(this.token);
      throw error;
    }
  }

  /** The second half of {@linkcode start}: has its end noticed. */
  attend(): void {
    const spec = this.#spec;
    watch();
    // The first of those who wait here decides whether the program stays alive.
    waitAsync(
      "wait for a worker",
      this.#control,
      CHANGED,
      () =>
        this.ended
          ? undefined
          : spec.daemon && this.#joining === 0
          ? PENDING_WEAK
          : PENDING,
    ).then(() => this.#finish());
  }

  /** Asks the main thread to host the worker. */
  #ask(): void {
    const request = this.#request;
    const { start } = request;
    if (this.#spec.moved.length > 0) {
      // What is moved can be sent once only, and main may never come to answer.
      store(this.#control, HOST, BY_PARENT);
      host(request, this.#spec.transfer);
      const announced = { ...request, start: { ...start, body: undefined } };
      return askHost({ type: "host", request: announced, transfer: [] });
    }
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    port1.onmessage = (event) => this.receive(event.data);
    const asked = { ...request, start: { ...start, uplink: port2 } };
    askHost({ type: "host", request: asked, transfer: [port2] }, [port2]);
    this.#unanswered = [];
    setTimeout(() => this.hostIfUnanswered(), ASK_MS);
  }

  /** Starts the worker in this thread if main has had its time to do it. */
  hostIfUnanswered(): void {
    const posted = this.#unanswered;
    if (posted === undefined) return;
    this.#unanswered = undefined;
    if (compareExchange(this.#control, HOST, 0, BY_PARENT) !== 0) return;
    this.#port!.close();
    this.#port = undefined;
    host(this.#request, this.#spec.transfer);
    for (const message of posted) this.post(message);
  }

  /** Takes a message of the worker. */
  receive(message: UpMessage): void {
    if (message.type !== "role") {
      if (this.#gotOutcome) return;
      this.#gotOutcome = true;
      wake(this.#control, CHANGED, Infinity);
      if (this.#finished) {
        children.delete(this.token);
        releaseAlive();
      }
    }
    this.#spec.onMessage(message);
  }

  #finish(): void {
    this.#finished = true;
    // Soon after its word the thread really ends, which frees its locks.
    callIn(REALLY_ENDED_MS, () => look(false));
    // Its last word is on the way; what waits for it has nothing else to hold on to.
    if (this.awaitsOutcome) holdAlive();
    else children.delete(this.token);
    this.#spec.onEnd(this.exitCode!);
  }

  /** Whether a result or error was posted that has not arrived. */
  get awaitsOutcome(): boolean {
    return hasOutcome(this.#control) && !this.#gotOutcome;
  }

  /** The last message it has unpacked, 0 if none. What it unpacks later is not its own. */
  closeArrivals(): number {
    return this.#lastArrival ??= closeArrivals(this.#control);
  }

  /** Whether it is known how the thread ends. */
  get ended(): boolean {
    return stateOf(this.#control) === ENDED;
  }

  /** The exit code, `null` while running. */
  get exitCode(): number | null {
    return this.ended ? exitCodeOf(this.#control) : null;
  }

  /** Posts to the worker. */
  post(message: unknown, transfer: Transferable[] = []): void {
    // What is moved can be sent once only, and not to one who may never exist.
    if (transfer.length > 0) this.hostIfUnanswered();
    this.#unanswered?.push(message);
    if (this.#port !== undefined) postTo(this.#port, message, transfer);
    else hosted.get(this.token)?.thread.post(message, transfer);
  }

  /** Ends the worker: settles at once, whether or not the thread obeys. */
  stop(code: number): void {
    if (this.ended) return;
    stopThread(this.token, this.#control, code);
    watch(); // it may not have been started
    const here = hosted.get(this.token);
    if (here !== undefined) here.thread.terminate();
    else askHost({ type: "stop", token: this.token });
  }

  /** Resolves when it is known how the thread ends, and its last word is here. */
  async join(what: string, options?: WaitOptions): Promise<void> {
    this.#joining++;
    try {
      await waitAsync(
        what,
        this.#control,
        CHANGED,
        () => this.ended ? undefined : PENDING,
        options,
      );
    } finally {
      this.#joining--;
    }
    if (!this.awaitsOutcome) return;
    // It is about to come, unless it was lost: then nothing is left of it here.
    try {
      await waitAsync(
        what,
        this.#control,
        CHANGED,
        () => this.awaitsOutcome ? PENDING : undefined,
        { timeout: LAST_WORD_MS },
      );
    } catch {
      // Whoever asks for the result is told.
    }
  }

  /** Blocks until it is known how the thread ends. */
  joinSync(what: string, wait?: Pick<WaitOptions, "timeout">): void {
    waitSync(
      what,
      this.#control,
      CHANGED,
      () => this.ended ? undefined : PENDING,
      wait,
    );
  }
}
