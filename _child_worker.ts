/**
 * A worker, seen from the thread that wants it, for whatever it is used: it is asked for,
 * posted to, stopped, and waited for.
 *
 * **Who starts a worker.** A worker started by a worker takes about a second to
 * come up, one started by the main thread some ten milliseconds. So a worker
 * asks main over its own connection; HOST in the new worker's control words is
 * claimed by one compare-exchange, by main when it gets to it, or by the asking
 * thread itself when main has not answered within {@linkcode ASK_MS}. Whoever it is
 * holds the Worker object from then on, see `_hosting.ts`.
 *
 * @module
 */

import {
  bury,
  CHANGED,
  claimToken,
  closeArrivals,
  CONTROL_BYTES,
  ENDED,
  exitCodeOf,
  hasOutcome,
  HOST,
  livingMemory,
  nextProcessId,
  ownControl,
  self as identity,
  stateOf,
} from "./_life.ts";
import {
  askHost,
  BY_PARENT,
  type Child,
  children,
  host,
  type HostRequest,
  look,
  postHosted,
  stopThread,
  terminateHosted,
  watch,
} from "./_hosting.ts";
import {
  callIn,
  holdAlive,
  PENDING,
  PENDING_WEAK,
  releaseAlive,
  waitAsync,
  type WaitOptions,
  waitSync,
  wake,
} from "./_park.ts";
import { postTo } from "./_parcel.ts";
import type { WorkerKind } from "./_thread.ts";
import type { UpMessage } from "./_worker.ts";

const { compareExchange, store } = Atomics;

/** How long the main thread may take to answer a request to start a worker. */
const ASK_MS = 120;

/** How long whoever joins waits for a result that was announced, in milliseconds. */
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

/** A worker, seen from the thread that started it. */
export class ChildWorker implements Child {
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
    else postHosted(this.token, message, transfer);
  }

  /** Ends the worker: settles at once, whether or not the thread obeys. */
  stop(code: number): void {
    if (this.ended) return;
    stopThread(this.token, this.#control, code);
    watch(); // it may not have been started
    if (terminateHosted(this.token)) return;
    askHost({ type: "stop", token: this.token });
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
