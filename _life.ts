/**
 * Who this thread is, and which threads are still alive.
 *
 * Every thread of a program (the main one and each worker of ours) owns one
 * slot of the *table of the living*, one Int32 word per slot in shared memory:
 *
 *   word = { generation, state }     state   | written by, and when
 *                                    --------+------------------------------
 *                                    FREE    | whoever hosts it, once the thread
 *                                            | has really ended
 *                                    ALIVE   | the starter (CAS from FREE)
 *                                    STOPPING| whoever stops it: no longer
 *                                            | wanted, but its code may run on
 *                                    ENDING  | the thread itself: has said how it
 *                                            | ends, its last code may still run
 *
 * A thread's token is `{ generation, slot }` and is what locks store as owner.
 * Claiming a slot raises its generation, so a token does not come back to life before
 * all slots have been used 131 072 times, as they are used in turn: "is the owner
 * dead" is one load and needs nobody's cooperation.
 *
 * Behind the slots are three counters, changed by `Atomics.add` only:
 *
 *   word    | counts
 *   --------+-----------------------------------------------------------------------
 *   IDS     | process ids
 *   TURN    | slots: where the search for a free one begins
 *   RANGES  | ranges of numbers that were claimed; -1 in a copy of the table, in which
 *           | nothing can be claimed
 *
 * @module
 */

const { add, compareExchange, exchange, load, store } = Atomics;

/** Whether this thread is a Web Worker. */
export const IN_WORKER = "WorkerGlobalScope" in globalThis;

/** Exit code of a thread that was asked to end. */
export const TERMINATED = -15;
/** Exit code of a thread that was stopped, or went without a word. */
export const KILLED = -9;

/** How many threads there may be at a time. */
export const SLOTS = 4096;
const SLOT_BITS = 12;
const GENERATION_MASK = (1 << 18) - 1;

const IDS = SLOTS;
const TURN = SLOTS + 1;
const RANGES = SLOTS + 2;
/** No token is as large. */
const FIRST_RANGE = 2 ** 30;

// Behind the words: for each slot the name of its last thread, written by that
// thread at its start, for messages only: { token: Int32, length: 1 byte, UTF-8 }.
const NAMES = 4 * (SLOTS + 16);
const NAME_BYTES = 64;

// And behind those: for each slot the token of the last thread that came to hold its
// life lock, written by that thread if the lock is free only when it has ended. Of any
// of those who live by the table, whoever queries the locks can tell whether it does.
const HOLDS = (NAMES + SLOTS * NAME_BYTES) / 4;
const TABLE_BYTES = 4 * (HOLDS + SLOTS);

const FREE = 0;
const ALIVE = 1;
const STOPPING = 2;
const ENDING = 3;

// A thread's control words, in shared memory of its own, one block per worker:
//
//   word  | name    | written by        | meaning
//   ------+---------+-------------------+------------------------------------
//     0   | STOP    | its starter       | 0, or the exit code it is to end with
//     1   | STATE   | both, CAS         | STARTING -> RUNNING -> ENDED; ENDED in
//         |         |                   | one step with { exit code, outcome }:
//         |         |                   | whether its result or error follows
//     2   | HOST    | CAS from 0        | 1: main starts it; 2: its parent does
//     3   | ARRIVAL | the worker, CAS;  | 0, or the last message it has unpacked; REVOKED
//         |         | its starter       | when the starter has looked for the last time
//   8, 9  | CHANGED | see _park.ts      | spot woken when STATE becomes ENDED

/** Control word: the exit code the thread is to end with, 0 for none. */
export const STOP = 0;
/** Control word: see {@linkcode stateOf}. */
export const STATE = 1;
/** Control word: who hosts a worker that a worker asked for. */
export const HOST = 2;
/** Control word: the last message the thread has unpacked, as its parent numbers them. */
const ARRIVAL = 3;
/** Value of ARRIVAL: what it unpacks now has been taken back. */
const REVOKED = -2;
/** Control spot: the end of the thread. */
export const CHANGED = 8;
/** Bytes of a control block. */
export const CONTROL_BYTES = 64;

/** The thread does not hold its life lock yet. */
export const STARTING = 0;
/** The thread holds its life lock. */
export const RUNNING = 1;
/** The thread has said or was told how it ends. */
export const ENDED = 2;

const STATE_MASK = 3;
const OUTCOME = 4;
const EXIT_SHIFT = 3;

/** {@linkcode STARTING}, {@linkcode RUNNING} or {@linkcode ENDED}. */
export function stateOf(control: Int32Array): number {
  return load(control, STATE) & STATE_MASK;
}

/** The exit code of a thread that is {@linkcode ENDED}. */
export function exitCodeOf(control: Int32Array): number {
  return load(control, STATE) >> EXIT_SHIFT;
}

/** Whether a thread that is {@linkcode ENDED} has a result or error to post. */
export function hasOutcome(control: Int32Array): boolean {
  return (load(control, STATE) & OUTCOME) !== 0;
}

/**
 * Records how a thread ends; the caller wakes {@linkcode CHANGED}.
 *
 * @returns `false` if that is known already: the first to say it is right.
 */
export function endWith(
  control: Int32Array,
  exitCode: number,
  outcome = false,
): boolean {
  const end = exitCode << EXIT_SHIFT | (outcome ? OUTCOME : 0) | ENDED;
  while (true) {
    const word = load(control, STATE);
    if ((word & STATE_MASK) === ENDED) return false;
    if (compareExchange(control, STATE, word, end) === word) return true;
  }
}

/** What a thread knows about itself; handed to it by its starter. */
export interface ThreadIdentity {
  /** Distinguishes this program's Web Locks from those of others. */
  program: string;
  /** The token in the table of the living. */
  token: number;
  /** Unique number of the process, 0 for the main thread. */
  id: number;
  /** For example `Process-1`. */
  name: string;
  /** The name it would have if nobody had chosen one: its children's prefix. */
  path: string;
  /** Whether the process is a daemon. */
  daemon: boolean;
  /** The parent's identity, `null` in the main thread. */
  parent: { name: string; id: number; daemon: boolean } | null;
}

let table: Int32Array | undefined;
let identity: ThreadIdentity = {
  program: "",
  token: 0,
  id: 0,
  name: "MainProcess",
  path: "",
  daemon: false,
  parent: null,
};
let control: Int32Array | undefined;

function living(): Int32Array {
  if (table === undefined) {
    table = new Int32Array(new SharedArrayBuffer(TABLE_BYTES));
    identity.program = crypto.randomUUID();
    identity.token = claimToken();
    writeName();
  }
  return table;
}

/** Makes this thread the one its starter described. Called once, by the worker entry. */
export function enterThread(
  who: ThreadIdentity,
  tableMemory: SharedArrayBuffer,
  controlWords: Int32Array,
): void {
  identity = who;
  table = new Int32Array(tableMemory);
  control = controlWords;
  writeName();
}

function writeName(): void {
  const { token, name } = identity;
  const at = NAMES + slotOf(token) * NAME_BYTES;
  const memory = living().buffer;
  const bytes = new Uint8Array(memory, at + 5, NAME_BYTES - 5);
  const { written } = new TextEncoder().encodeInto(name, bytes);
  new DataView(memory, at).setUint8(4, written);
  store(living(), at >> 2, token);
}

/** The name of a thread that lives or has lived, if it is still known. */
export function nameOf(token: number): string | undefined {
  const at = NAMES + slotOf(token) * NAME_BYTES;
  const memory = living().buffer;
  if (load(living(), at >> 2) !== token) return undefined;
  const length = new DataView(memory, at).getUint8(4);
  return new TextDecoder().decode(new Uint8Array(memory, at + 5, length));
}

/** This thread's identity. */
export function self(): Readonly<ThreadIdentity> {
  living();
  return identity;
}

/** This thread's token: a positive 30-bit integer. */
export function selfToken(): number {
  if (identity.token === 0) living();
  return identity.token;
}

/** The memory of the table, to be given to a thread that is being started. */
export function livingMemory(): SharedArrayBuffer {
  return living().buffer as SharedArrayBuffer;
}

/** Takes a free slot for a thread about to be started. */
export function claimToken(): number {
  const words = living();
  for (let tries = 0; tries < SLOTS; tries++) {
    const slot = add(words, TURN, 1) & (SLOTS - 1);
    const word = load(words, slot);
    if ((word & 3) !== FREE) continue;
    const generation = ((word >>> 2) + 1) & GENERATION_MASK || 1;
    if (
      compareExchange(words, slot, word, generation << 2 | ALIVE) === word
    ) {
      return generation << SLOT_BITS | slot;
    }
  }
  throw new RangeError(
    `Cannot start a worker: ${SLOTS} threads are already running`,
  );
}

/** The default name of a child of this thread: its own behind that of its parent. */
export function pathBelow(name: string): string {
  return identity.path === "" ? name : `${identity.path}:${name}`;
}

/** Which of the slots a thread has. */
export function slotOf(token: number): number {
  return token & (SLOTS - 1);
}

function wordOf(token: number): number {
  return load(living(), slotOf(token));
}

/** Which of the threads it is that had the slot, one after the other. */
export function generationOf(token: number): number {
  return token >>> SLOT_BITS;
}

/** The state of a thread by the table, FREE if its slot has gone on to others. */
function stateIn(token: number): number {
  const word = wordOf(token);
  const ahead = ((word >>> 2) - generationOf(token)) & GENERATION_MASK;
  if (ahead === 0) return word & 3;
  // A copy of the table may not have heard of the thread yet.
  return ahead <= GENERATION_MASK >> 1 ? FREE : ALIVE;
}

/** Whether the thread has really ended: no code of it can run any more. */
export function isDead(token: number): boolean {
  return stateIn(token) === FREE;
}

/** Whether the thread was told to stop but may still be running. */
export function isStopping(token: number): boolean {
  return stateIn(token) === STOPPING;
}

/** Whether the thread has ended, was told to stop, or has said that it is about to end. */
export function isLeaving(token: number): boolean {
  return stateIn(token) !== ALIVE;
}

/**
 * Brings a copy of the table up to date, for a thread that must not be able to
 * write to the table itself.
 */
export function copyLiving(
  copy: Int32Array = new Int32Array(new SharedArrayBuffer(TABLE_BYTES)),
): Int32Array {
  const words = living();
  store(copy, RANGES, -1);
  for (let slot = 0; slot < SLOTS; slot++) {
    const word = load(words, slot);
    if (copy[slot] !== word) store(copy, slot, word);
  }
  return copy;
}

/** Records that the thread was told to stop. */
export function markStopping(token: number): void {
  leaveAlive(token, STOPPING);
}

/** Records that this thread is about to end. */
export function markEnding(): void {
  leaveAlive(identity.token, ENDING);
}

function leaveAlive(token: number, state: number): void {
  const generation = generationOf(token) << 2;
  const slot = slotOf(token);
  compareExchange(living(), slot, generation | ALIVE, generation | state);
}

/** Records that the thread has really ended. Idempotent. */
export function bury(token: number): void {
  buryIn(living(), token);
}

/** Like {@linkcode bury}, in a table given by another thread. */
export function buryIn(words: Int32Array, token: number): void {
  const slot = slotOf(token);
  const word = load(words, slot);
  if ((word >>> 2) !== generationOf(token) || (word & 3) === FREE) return;
  compareExchange(words, slot, word, generationOf(token) << 2 | FREE);
}

/** A number no other process of this program has: 1, 2, 3, and so on. */
export function nextProcessId(): number {
  return add(living(), IDS, 1) + 1;
}

/**
 * A number above all tokens that no other caller in this program gets, below 2^32.
 *
 * @throws {RangeError} In a worker that has only a copy of the table.
 */
export function claimRange(): number {
  const words = living();
  if (load(words, RANGES) < 0) {
    throw new RangeError(
      "Cannot send value: this worker has sent too many shared memories",
    );
  }
  return FIRST_RANGE + add(words, RANGES, 1);
}

/** The part of the Web Locks API used here; Deno has it but does not declare it. */
interface WebLocks {
  request(name: string, whileHeld: () => Promise<void>): Promise<void>;
  query(): Promise<{ held?: { name: string }[] }>;
}

const { locks } = navigator as unknown as { locks: WebLocks };

/** The name of the Web Lock a thread holds for as long as it lives. */
export function lifeLockName(
  token: number,
  program: string = identity.program,
): string {
  return `@parallel/multiprocessing ${program} ${token}`;
}

/** Calls `run` while this thread holds its life lock, which is until it ends. */
export function holdLifeLock(run: () => Promise<void>): void {
  const { token } = identity;
  locks.request(lifeLockName(token), () => {
    // The locks of a node worker are free before it has ended, see `_leash.ts`.
    if (IN_WORKER) store(living(), HOLDS + slotOf(token), token);
    return run();
  });
}

/** The threads that live, by a table, and hold their life locks unless they have ended. */
export function holdersIn(words: Int32Array): number[] {
  const tokens: number[] = [];
  for (let slot = 0; slot < SLOTS; slot++) {
    if ((load(words, slot) & 3) === FREE) continue;
    const token = load(words, HOLDS + slot);
    if (generationOf(token) === load(words, slot) >>> 2) tokens.push(token);
  }
  return tokens;
}

/** The names of all locks that are held. */
export async function heldLocks(): Promise<Set<string>> {
  const { held = [] } = await locks.query();
  return new Set(held.map((lock) => lock.name));
}

/** Whether this thread is no worker: those of node are known once they have begun. */
export function isMainThread(): boolean {
  return control === undefined && !IN_WORKER;
}

/** This thread's control words, `undefined` in the main thread. */
export function ownControl(): Int32Array | undefined {
  return control;
}

/** As Deno made it: nothing of the thread runs after it. Node workers do without. */
const closeWorker = IN_WORKER ? globalThis.close.bind(globalThis) : undefined;
/** How often code may catch what tells it to end. */
const STOPS_THROWN = 16;
let stopsThrown = 0;

/** Thrown out of a blocking wait of a thread that was told to stop. */
export class ThreadStopped extends Error {
  override name = "ThreadStopped";
  constructor(readonly exitCode: number) {
    super("Cannot go on waiting: this process was told to stop");
  }
}

/** Whether it is one, of anything that was thrown: `instanceof` itself may throw. */
export function isThreadStopped(thrown: unknown): thrown is ThreadStopped {
  try {
    return thrown instanceof ThreadStopped;
  } catch {
    return false; // a revoked proxy
  }
}

/** Whether this thread was told to stop. */
export function stopRequested(): boolean {
  return control !== undefined && load(control, STOP) !== 0;
}

/** Leaves the current wait, or does not begin it, if this thread was told to stop. */
export function checkStop(): void {
  if (!stopRequested()) return;
  // Code that catches whatever a wait throws, and tries again, would never end.
  if (++stopsThrown > STOPS_THROWN) closeWorker?.();
  throw new ThreadStopped(load(control!, STOP));
}

/**
 * Tells the parent which message this thread has unpacked; `false` if that has given
 * this thread up, and taken back what it had not unpacked.
 */
export function noteArrival(message: number): boolean {
  if (control === undefined) return true;
  while (true) {
    const last = load(control, ARRIVAL);
    if (last === REVOKED) return false;
    if (compareExchange(control, ARRIVAL, last, message) === last) return true;
  }
}

/** The last message that a thread has unpacked, and can say so of; 0 if none. */
export function closeArrivals(words: Int32Array): number {
  return exchange(words, ARRIVAL, REVOKED);
}
