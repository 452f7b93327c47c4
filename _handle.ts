/**
 * Handles: objects that several threads use at once, and how one is named when it crosses.
 *
 * A handle's state is shared memory, so all that travels is its kind and its parts (of which the
 * first is the memory that *is* the handle). This module holds three per-thread tables and no shared
 * words of its own: kinds by name, live handles by memory, and memories by a program-wide id. For
 * handles that count who has them, it notes beside each message which of them it carries, so that
 * they are taken back if it does not arrive.
 *
 * Ids are unique with little coordination: each is 2^20 times this thread's token, or, when these are
 * used up, a number it has claimed, plus a counter of this thread. A memory keeps the id it first got
 * here, or the one it arrived with, so two threads that both name an unnamed memory may give it two
 * ids; each id still means that one memory, and the receiver maps both to the same object, since a
 * `SharedArrayBuffer` that arrives twice is told apart by id only: whoever hands a memory on uses the
 * id it adopted.
 *
 * @module
 */

import { claimRange, selfToken } from "./_life.ts";
import { eventLoopTurn } from "./_park.ts";

/** Key of the method by which a handle tells its kind and parts. */
export const HANDLE: unique symbol = Symbol("multiprocessing.handle");

/**
 * Key of the method by which a handle is told of each of its arrivals in this thread, also of those
 * after the first. Optional; it is given the parts that arrived.
 */
export const ARRIVED: unique symbol = Symbol("multiprocessing.arrived");

/** What is needed to make a handle again in another thread. */
export interface HandleParts {
  /** Name of the class. */
  kind: string;
  /**
   * `parts[0]` is the handle's own `SharedArrayBuffer`, its identity. The others may be other
   * handles, shared memories or plain values.
   */
  parts: unknown[];
}

/** Raised when a handle arrives whose class this thread has not imported yet. */
export class UnknownHandleKind extends Error {
  // Not in the constructor: code of the user may have frozen what it inherits.
  override name = "UnknownHandleKind";
  /** The kind to give to {@linkcode loadHandleKind}. */
  kind: string;

  /**
   * Constructs the error.
   *
   * @param kind The kind that is not defined in this thread.
   */
  constructor(kind: string) {
    super(`Cannot revive a ${kind}: its module is not loaded in this thread`);
    this.kind = kind;
  }
}

/** Own enumerable function property that makes `structuredClone` refuse a handle. */
const GUARD_KEY = "sendThroughArgs";
const IDS_PER_RANGE = 2 ** 20;

/** Makes a handle from its parts, which are from foreign code if `foreign`. */
type Revive = (parts: unknown[], foreign: boolean) => object;

const REVIVERS = new Map<string, Revive>();
/** The parts of the handle that is being revived, until its constructor takes them. */
let given: unknown[] | undefined;
/** Kinds of which several handles may share their memory; their revivers tell them apart. */
const SHARING = new Set<string>();
const HANDLES = new WeakMap<SharedArrayBuffer, WeakRef<object>>();
const IDS = new WeakMap<SharedArrayBuffer, number>();
const MEMORIES = new Map<number, SharedArrayBuffer>();
/** Forgotten memories that something here still uses: the same object serves if they come back. */
const FORGOTTEN = new Map<number, WeakRef<SharedArrayBuffer>>();
const COLLECTED = new FinalizationRegistry<number>(dropForgotten);
const REGISTERED = new WeakSet<SharedArrayBuffer>();
/** The ids this thread gives are of this range: its own token, then others it claims. */
let range = 0;
let idsOfRange = 0;

/**
 * Declares how handles of a kind are made from their parts. Called once, at the top level of the
 * module that exports the class.
 *
 * @param kind Name of the class.
 * @param revive Makes a new object from parts, which its constructor takes by {@linkcode takeParts}.
 * Called only if this thread has none on that memory.
 * @param sharing Whether several handles may be on one memory: then `revive` is always called, and
 * returns the object there is.
 */
export function defineHandle(
  kind: string,
  revive: Revive,
  sharing = false,
): void {
  REVIVERS.set(kind, revive);
  if (sharing) SHARING.add(kind);
}

function sendThroughArgs(): never {
  throw new TypeError(
    "Cannot call sendThroughArgs: it only keeps structuredClone and postMessage from making a dead copy",
  );
}

/**
 * Makes a handle refuse to be cloned by the platform, and remembers it as this thread's object on
 * that memory. Called in the constructor.
 *
 * @param handle The new handle.
 * @param memory Its identity, `parts[0]`.
 */
export function guardHandle(handle: object, memory: SharedArrayBuffer): void {
  refuseClone(handle);
  HANDLES.set(memory, new WeakRef(handle));
}

/**
 * Makes an object refuse to be cloned by the platform.
 *
 * @param object The object.
 */
export function refuseClone(object: object): void {
  Object.defineProperty(object, GUARD_KEY, {
    value: sendThroughArgs,
    enumerable: true,
  });
}

/**
 * Whether a value is what keeps a handle from being cloned. The codec meets it in the handles of
 * another copy of this library, which it does not know.
 */
export function isGuard(value: unknown): boolean {
  try {
    return typeof value === "function" &&
      Object.getOwnPropertyDescriptor(value, "name")?.value === GUARD_KEY;
  } catch {
    return false; // a revoked proxy
  }
}

/**
 * What the `[HANDLE]` of an object does that has a meaning in its own thread only.
 *
 * @param what Its description, as in "a Pool".
 * @param instead What to do, as in "make another one there".
 * @throws {DOMException & { name: "DataCloneError" }} Always.
 */
export function cannotLeave(what: string, instead: string): never {
  throw new DOMException(
    `Cannot send value: ${what} cannot leave the worker it was made in, ${instead}`,
    "DataCloneError",
  );
}

/**
 * Returns this thread's object for a handle that arrived, making it on first sight.
 *
 * @param kind Name of the class.
 * @param parts What the sender's `[HANDLE]()` gave.
 * @param foreign Whether the sender may be foreign code, of which nothing is to run here.
 * @returns The one object this thread has on that memory.
 * @throws {UnknownHandleKind} If the class's module is not loaded here.
 */
export function reviveHandle(
  kind: string,
  parts: unknown[],
  foreign = false,
): object {
  if (SHARING.has(kind)) return revive(kind, parts, foreign);
  const memory = parts[0];
  if (!(memory instanceof SharedArrayBuffer)) {
    throw new TypeError(
      `Cannot revive a ${kind}: its first part must be a SharedArrayBuffer`,
    );
  }
  let handle = HANDLES.get(memory)?.deref();
  if (handle === undefined) {
    handle = revive(kind, parts, foreign);
    HANDLES.set(memory, new WeakRef(handle));
  }
  (handle as { [ARRIVED]?: (parts: unknown[]) => void })[ARRIVED]?.(parts);
  return handle;
}

function revive(kind: string, parts: unknown[], foreign: boolean): object {
  const make = REVIVERS.get(kind);
  if (make === undefined) throw new UnknownHandleKind(kind);
  given = parts;
  try {
    return make(parts, foreign);
  } finally {
    given = undefined;
  }
}

/**
 * What the handle under construction is to be made of. Called first in the constructor, so that
 * handles which that makes are new ones.
 *
 * @returns Its parts if it is being revived, `undefined` if it is new.
 */
export function takeParts(): unknown[] | undefined {
  const parts = given;
  given = undefined;
  return parts;
}

/**
 * Imports the module that defines a kind.
 *
 * @param kind Name of the class.
 * @returns A promise that resolves once {@linkcode reviveHandle} knows the kind.
 */
export async function loadHandleKind(kind: string): Promise<void> {
  if (REVIVERS.has(kind)) return;
  await importKind(kind);
  if (!REVIVERS.has(kind)) throw new UnknownHandleKind(kind);
}

/** The public module that defines each kind. */
const MODULES: Record<string, string> = {
  Lock: "./lock.ts",
  RLock: "./lock.ts",
  Semaphore: "./semaphore.ts",
  BoundedSemaphore: "./semaphore.ts",
  Condition: "./condition.ts",
  Event: "./event.ts",
  Barrier: "./barrier.ts",
  Queue: "./queue.ts",
  JoinableQueue: "./queue.ts",
  SimpleQueue: "./queue.ts",
  Connection: "./pipe.ts",
  SharedValue: "./shared.ts",
  SharedArray: "./shared.ts",
  Manager: "./manager.ts",
  Proxy: "./_manager_proxy.ts",
};

function importKind(kind: string): Promise<unknown> {
  const module = MODULES[kind];
  if (module === undefined) return Promise.reject(new UnknownHandleKind(kind));
  // Not a literal specifier: Deno would load all these modules, and what they
  // import, at the start of every worker, which takes half as long as the worker.
  return import(new URL(module, import.meta.url).href);
}

/**
 * Returns whether an object is a handle.
 *
 * @param v Any object.
 * @returns `true` if it can tell its kind and parts.
 */
export function isHandle(v: object): boolean {
  return typeof (v as { [HANDLE]?: unknown })[HANDLE] === "function";
}

/**
 * Returns the program-wide id of a shared memory, giving it one on first use.
 *
 * @param sab The memory.
 * @returns A whole number that a `Float64` holds exactly.
 */
export function memoryId(sab: SharedArrayBuffer): number {
  let id = IDS.get(sab);
  if (id === undefined) {
    id = nextId();
    IDS.set(sab, id);
  }
  // Also after a `forgetMemory`: what is sent must be found when it comes back.
  if (!MEMORIES.has(id)) MEMORIES.set(id, sab);
  return id;
}

function nextId(): number {
  if (range === 0) range = selfToken();
  else if (idsOfRange === IDS_PER_RANGE) {
    range = claimRange();
    idsOfRange = 0;
  }
  return range * IDS_PER_RANGE + idsOfRange++;
}

/**
 * Whether a thread that cannot claim more ranges than its own gave a memory its id.
 *
 * @param id An id, of whatever origin.
 * @param token The thread's token.
 * @returns `true` for all ids that {@linkcode memoryId} may give in that thread.
 */
export function isNamedBy(id: number, token: number): boolean {
  return Math.floor(id / IDS_PER_RANGE) === token;
}

/**
 * Takes in a memory that arrived by message. It is held until forgotten.
 *
 * @param id The id the sender uses for it.
 * @param sab The memory.
 * @returns This thread's object for it.
 */
export function adoptMemory(
  id: number,
  sab: SharedArrayBuffer,
): SharedArrayBuffer {
  // The first object that arrives under an id stays the object of that id: handles hang on it.
  let memory = MEMORIES.get(id);
  if (memory !== undefined) return memory;
  memory = FORGOTTEN.get(id)?.deref() ?? sab;
  FORGOTTEN.delete(id);
  MEMORIES.set(id, memory);
  if (!IDS.has(memory)) IDS.set(memory, id);
  return memory;
}

/**
 * Lets go of a memory taken in by {@linkcode adoptMemory} or named by {@linkcode memoryId}. The
 * memory keeps its id and can be adopted again.
 *
 * @param id The id to forget.
 */
export function forgetMemory(id: number): void {
  const memory = MEMORIES.get(id);
  if (memory === undefined) return;
  MEMORIES.delete(id);
  FORGOTTEN.set(id, new WeakRef(memory));
  if (REGISTERED.has(memory)) return;
  REGISTERED.add(memory);
  COLLECTED.register(memory, id);
}

function dropForgotten(id: number): void {
  if (FORGOTTEN.get(id)?.deref() === undefined) FORGOTTEN.delete(id);
}

// -- Deliveries -------------------------------------------------------------------

/** A counted handle in a message, as the message's sender sees it. */
export interface Sent {
  /** The message was dropped and will not arrive. Once for each time it was sent. */
  takeBack(): void;
  /** The same message is sent once more, to arrive (or be taken back) separately. */
  again(): void;
}

/** A counted handle that arrived with a message, as its receiver sees it. */
export interface Arrived {
  /** Its sender will not take it back any more, so it is counted here only. Idempotent. */
  accept(): void;
  /** What it was sent for is over: lets go of it unless it arrived otherwise too. Idempotent. */
  settle(): void;
}

// Who does not ask for them does not keep them: they are dropped at the event loop's
// next turn.
let sent: Sent[] = [];
let arrived: Arrived[] = [];

function forgetDeliveries(): void {
  sent = [];
  arrived = [];
}

function note<T>(list: T[], entry: T): void {
  if (list.push(entry) === 1) eventLoopTurn().then(forgetDeliveries);
}

/** Notes a handle for {@linkcode takeSent}. */
export function noteSent(handle: Sent): void {
  note(sent, handle);
}

/** Notes a handle for {@linkcode takeArrived}. */
export function noteArrived(handle: Arrived): void {
  note(arrived, handle);
}

/**
 * The counted handles encoded since the last call. Call it after `encode` of a
 * message that may hold handles, also if it threw (then take them all back),
 * without a turn of the event loop between.
 */
export function takeSent(): Sent[] {
  if (sent.length === 0) return []; // not the list that the next is noted in
  const list = sent;
  sent = [];
  return list;
}

/** The counted handles decoded since the last call. Call it after `decode`, likewise. */
export function takeArrived(): Arrived[] {
  if (arrived.length === 0) return [];
  const list = arrived;
  arrived = [];
  return list;
}

/** Says of counted handles that whoever sent them knows, or need not know, that they are here. */
export function accept(arrived: readonly Arrived[]): void {
  for (const handle of arrived) handle.accept();
}

/** Lets go of counted handles whose message is dropped. */
export function letGoOf(arrived: readonly Arrived[]): void {
  for (const handle of arrived) handle.settle();
}

/** What handles that have arrived wait for. */
const preparations: Promise<unknown>[] = [];

/** Has code that is given an arriving handle begin only when this has settled. */
export function prepareWith(promise: Promise<unknown>): void {
  preparations.push(promise);
}

/** Resolves when the handles that have arrived can be used; `undefined` if they can. */
function prepared(): Promise<unknown> | undefined {
  if (preparations.length === 0) return;
  return Promise.allSettled(preparations.splice(0));
}

/**
 * Decodes a message, again if the class of a handle in it has to be loaded first.
 *
 * @param read Decodes all of it.
 * @param arrive Gets the counted handles that came with it, once, also if it cannot be
 * decoded. If it returns `false` they were taken back, and only seem to be here.
 */
export async function takeIn<T>(
  read: () => T,
  arrive?: (handles: Arrived[]) => boolean | void,
): Promise<T> {
  const handles: Arrived[] = [];
  function readOnce(): T {
    try {
      return read();
    } finally {
      handles.push(...takeArrived());
    }
  }
  let value: T;
  try {
    while (true) {
      try {
        value = readOnce();
        break;
      } catch (error) {
        if (!(error instanceof UnknownHandleKind)) throw error;
        await loadHandleKind(error.kind);
      }
    }
  } finally {
    if (arrive?.(handles) !== false) accept(handles);
  }
  const preparation = prepared();
  if (preparation !== undefined) await preparation;
  return value;
}

/**
 * Sets aside the counted handles of a message that is being encoded, while another one
 * is, from a getter in it.
 *
 * @returns What to give to {@linkcode bringBack} when that is done, if anything.
 */
export function setAside(): Sent[] | undefined {
  return sent.length === 0 ? undefined : takeSent();
}

/** Goes on with what was set aside. */
export function bringBack(outer: Sent[]): void {
  sent = outer.concat(sent);
}

/** Takes back what was encoded since the last {@linkcode takeSent}. */
export function takeSentBack(): void {
  for (const handle of takeSent()) handle.takeBack();
}
