/**
 * The workers whose Worker object this thread holds: made, watched, buried.
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
  copyLiving,
  ENDED,
  endWith,
  heldLocks,
  HOST,
  isDead,
  KILLED,
  lifeLockName,
  livingMemory,
  markStopping,
  self as identity,
  STARTING,
  stateOf,
  STOP,
  TERMINATED,
} from "./_life.ts";
import { addDuty, removeDuty, wake } from "./_park.ts";
import { pack } from "./_parcel.ts";
import {
  HOLDS_PROGRAM,
  openThread,
  type Thread,
  type WorkerKind,
} from "./_thread.ts";
import { packThrown } from "./_thrown.ts";
import type { WatchMessage } from "./_watcher.ts";
import { postToHost, type StartMessage, type UpMessage } from "./_worker.ts";
import { WorkerError } from "./errors.ts";

const { compareExchange, load } = Atomics;

/**
 * For how many beats a message announced by a dead worker is awaited, about 50 ms each.
 * Not by the clock: a program that was held up has not read what came meanwhile.
 */
const LAST_WORD_BEATS = 40;

/** A worker, seen from the thread that wanted it. */
export interface Child {
  /** Whether a result or error was posted that has not arrived. */
  readonly awaitsOutcome: boolean;
  /** Takes a message of the worker. */
  receive(message: UpMessage): void;
  /** Starts the worker in this thread if main has had its time to do it. */
  hostIfUnanswered(): void;
}

/** The workers this thread wanted and that have not ended. */
export const children = new Map<number, Child>();

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
export const BY_PARENT = 2;

/** What it takes to make a worker. */
export interface HostRequest extends WorkerKind {
  root: string;
  token: number;
  parent: number;
  start: StartMessage;
}

/** What a worker asks of the thread that hosts it. */
type HostMessage =
  | { type: "host"; request: HostRequest; transfer: Transferable[] }
  | { type: "stop"; token: number };

/** Asks the thread that hosts what this one wants. */
export function askHost(message: HostMessage, transfer?: Transferable[]): void {
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
export function host(request: HostRequest, transfer: Transferable[]): void {
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

/** Posts to a worker, if this thread hosts it. */
export function postHosted(
  token: number,
  message: unknown,
  transfer: Transferable[],
): void {
  hosted.get(token)?.thread.post(message, transfer);
}

/** Ends the thread of a worker; `false` if this thread does not host it. */
export function terminateHosted(token: number): boolean {
  const worker = hosted.get(token);
  worker?.thread.terminate();
  return worker !== undefined;
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

/** Has the ends noticed of those that this thread hosts or wanted. */
export function watch(): void {
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

/** Looks once. */
export function look(blocked: boolean): void {
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

/** Says that a worker ends, and how, and has it end. */
export function stopThread(
  token: number,
  control: Int32Array,
  code = TERMINATED,
): void {
  markStopping(token);
  compareExchange(control, STOP, 0, code);
  endHosted(control, code);
}
