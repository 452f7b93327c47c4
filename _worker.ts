/**
 * What every worker does, whatever it is for: takes on the identity its starter
 * gave it, holds its life lock, and ends with an exit code that is known.
 *
 * **However it ends**, the parent learns of it. `Deno.exit`, `self.close` and
 * uncaught errors move STATE to ENDED, with the exit code, and wake CHANGED before
 * the thread goes; anything else frees the life lock, which whoever watches sees.
 *
 * @module
 */

import type { LeashMessage } from "./_leash.ts";
import {
  CHANGED,
  ENDED,
  endWith,
  enterThread,
  holdLifeLock,
  isThreadStopped,
  markEnding,
  RUNNING,
  self as identity,
  STARTING,
  STATE,
  stateOf,
  stopRequested,
  type ThreadIdentity,
} from "./_life.ts";
import { wake } from "./_park.ts";
import { describeThrown, packThrown } from "./_thrown.ts";
import {
  asRefusedResult,
  pack,
  type Parcel,
  type PostTarget,
  postTo,
  transferOf,
} from "./_parcel.ts";

const { compareExchange } = Atomics;

/** The worker's end of its connection to its starter. */
export interface Port extends PostTarget {
  addEventListener(
    type: "message",
    listener: (event: MessageEvent) => void,
  ): void;
  /** Ends the thread. */
  exit(code: number): void;
}

/** Whether it only puts the thread on a leash, which has nothing to do with it. */
function isLeash(message: unknown): message is LeashMessage {
  return typeof message === "object" && message !== null &&
    (message as Partial<LeashMessage>).leashes !== undefined;
}

/** The first message to a worker. */
export interface StartMessage {
  identity: ThreadIdentity;
  table: SharedArrayBuffer;
  control: SharedArrayBuffer;
  /** Where the parent listens, if not at the port the message came through. */
  uplink?: MessagePort;
  /** What the role makes of it. */
  body: unknown;
}

/** What a worker says to its parent. */
export type UpMessage =
  | { type: "result"; value: Parcel }
  | { type: "failure"; error: Parcel }
  | { type: "role"; body: unknown }
  /** That was all; said by one that has posted something and ends without a word. */
  | { type: "end" };

let control: Int32Array;
let host: Port;
let uplink: PostTarget;
let leave: (code: number) => void;
/** Whether the role has posted anything. */
let hasPosted = false;

/** Posts to the parent. */
export function post(message: UpMessage, transfer?: Transferable[]): void {
  postTo(uplink, marked(message), transfer);
  hasPosted = true;
}

/** What tells a message of ours from one that the user's code posts. */
function marked(message: object): object {
  return { ...message, program: identity().program };
}

/** Posts to the thread that holds this one's Worker object. */
export function postToHost(message: object, transfer?: Transferable[]): void {
  postTo(host, marked(message), transfer);
}

/** Says how the thread ends; `false` if it was told to end in another way. */
function noteExit(code: number, outcome = false): boolean {
  markEnding();
  const first = endWith(control, code, outcome || hasPosted);
  wake(control, CHANGED, Infinity);
  // Memory is quicker than messages: what was posted would come too late.
  if (first && !outcome && hasPosted) post({ type: "end" });
  return first;
}

/** Ends this thread with an exit code. */
export function exitThread(code: number): void {
  noteExit(code);
  leave(code);
}

/** Reports a result and ends the thread with 0. */
export function exitWithResult(value: unknown): void {
  const parcel = packResult(value);
  if (noteExit(0, true)) {
    post({ type: "result", value: parcel }, transferOf(parcel));
  }
  leave(0);
}

function packResult(value: unknown): Parcel {
  try {
    return pack(value);
  } catch (error) {
    throw asRefusedResult("the process", error);
  }
}

/** Prints an uncaught error, reports it and ends the thread with 1. */
function exitWithError(error: unknown): void {
  // One that was told to stop, or has called `Deno.exit`, may fail in any way on its
  // way out.
  const isLeaving = stopRequested() || stateOf(control) === ENDED;
  if (!isLeaving && !isThreadStopped(error)) printUncaught(error);
  exitSilently(error);
}

/** Reports an error that the parent hands to somebody, and ends the thread with 1. */
export function exitSilently(error: unknown): void {
  if (isThreadStopped(error)) return exitThread(error.exitCode);
  exitWith(1, error);
}

/** Reports an error and ends the thread. */
export function exitWith(exitCode: number, error: unknown): void {
  const parcel = pack(packThrown(error));
  if (noteExit(exitCode, true)) {
    post({ type: "failure", error: parcel }, transferOf(parcel));
  }
  leave(1);
}

function printUncaught(error: unknown): void {
  // Of what is no error the description says so itself.
  const text = `Process ${identity().name}: Uncaught ${
    describeThrown(error).replace(/^Uncaught /, "")
  }\n`;
  const bytes = new TextEncoder().encode(text);
  let written = 0;
  try {
    while (written < bytes.length) {
      written += Deno.stderr.writeSync(bytes.subarray(written));
    }
  } catch {
    // Nobody can be told that stderr is closed.
  }
}

function takeOverEndings(): void {
  const exit = Deno.exit;
  Deno.exit = (code?: number): never => {
    noteExit(code ?? Deno.exitCode);
    return exit(code);
  };
  const scope = globalThis as unknown as { close(): void };
  scope.close = () => exitThread(0);
  globalThis.addEventListener("error", (event) => {
    const { type, message, filename, lineno, colno, error } = event;
    const init = { message, filename, lineno, colno, error, cancelable: true };
    exitUnlessPrevented(event, () => new ErrorEvent(type, init), error);
  });
  globalThis.addEventListener("unhandledrejection", (event) => {
    const { type, promise, reason } = event;
    const init = { promise, reason, cancelable: true };
    exitUnlessPrevented(
      event,
      () => new PromiseRejectionEvent(type, init),
      reason,
    );
  });
}

/** The event of which the user's listeners are being told. */
let told: Event | undefined;

/**
 * Ends the thread with an error, unless one of the user's listeners prevents it. They
 * come after ours, and are told by an event like it, so that it is known now.
 */
function exitUnlessPrevented(
  event: Event,
  copy: () => Event,
  error: unknown,
): void {
  if (event === told) return;
  event.preventDefault(); // Deno would report it, too
  event.stopImmediatePropagation();
  if (isThreadStopped(error)) return exitThread(error.exitCode);
  told = copy();
  const goesOn = !globalThis.dispatchEvent(told);
  told = undefined;
  if (!goesOn) exitWithError(error);
}

/** The connection of a Web Worker. */
export function webPort(): Port {
  const scope = globalThis as unknown as Port & { close(): void };
  const close = scope.close.bind(scope);
  const post = scope.postMessage.bind(scope);
  return {
    postMessage: post,
    addEventListener: (type, listener) =>
      scope.addEventListener(type, listener),
    exit: () => close(),
  };
}

/**
 * Runs a role in this worker.
 *
 * @param port The connection to the starter.
 * @param role Gets the body of the start message; a rejection is an uncaught error.
 * @param receive Gets every later message.
 */
export function enterWorker(
  port: Port,
  role: (body: unknown) => Promise<void>,
  receive?: (message: unknown) => void,
): void {
  let started = false;
  port.addEventListener("message", (event) => {
    if (isLeash(event.data)) return;
    if (started) return receive?.(event.data);
    started = true;
    const message = event.data as StartMessage;
    control = new Int32Array(message.control);
    enterThread(message.identity, message.table, control);
    host = port;
    uplink = message.uplink ?? port;
    if (message.uplink !== undefined && receive !== undefined) {
      message.uplink.onmessage = (event) => receive(event.data);
    }
    leave = port.exit;
    takeOverEndings();
    // No code of the user runs before the life lock is held.
    holdLifeLock(async () => {
      if (compareExchange(control, STATE, STARTING, RUNNING) !== STARTING) {
        return leave(0); // stopped before it began
      }
      try {
        await role(message.body);
      } catch (error) {
        exitWithError(error);
      }
      await new Promise(() => {});
    });
  });
}
