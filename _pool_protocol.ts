/**
 * What a pool and its workers have agreed on.
 *
 * Tasks wait in one ring that every worker takes from. A task has a *slot*; the
 * slot's word in CLAIMS decides, by compare-exchange, what becomes of it:
 *
 *   { generation, owner }  | meaning                      | written by
 *   -----------------------+------------------------------+-------------------
 *   { g, QUEUED }          | in the ring, to be had       | the pool; CAS: a worker
 *                          |                              | that was told to stop
 *   { g, worker index }    | that worker runs it          | the worker, CAS
 *   the same, FINISHED     | that worker has answered     | the worker, CAS
 *   { g, DROPPED }         | not wanted any more          | the pool, CAS
 *   the same, FINISHED     | answered by a worker that is | the pool, CAS
 *                          | gone, and the answer with it |
 *
 * A worker claims before it commits the taking of the frame. If it dies in
 * between, the frame is met again and found claimed; if it dies after it, the
 * pool finds the claim and fails the task. Nothing is run twice or forgotten.
 *
 * When the pool drops a task that is being run it stops the worker, which must not
 * have gone on to another: so the pool drops none that is FINISHED, unless its worker
 * has ended, and a worker that finds its task DROPPED takes no other, and waits for
 * its end.
 *
 * The generation rises each time a slot is used again, so that a frame of a
 * dropped task cannot claim its successor. A claim has its last bits only: behind the
 * claims is, for each slot, all of it, written by the pool before the claim. A worker
 * compares that first: what it then claims by the last bits is the same generation,
 * unless the slot was used half a million times in between.
 *
 * @module
 */

import { wake } from "./_park.ts";
import type { Parcel } from "./_parcel.ts";
import type { TargetRef } from "./_target.ts";

const { load } = Atomics;

// The pool's bell, shared with all its workers:
//
//   word    | meaning
//   --------+--------------------------------------------------------------------
//   REPLIES | spot: a reply is in some outbox
//   WORK    | spot: a task is in the ring
//   ALL_ENDED | spot: the last worker has ended; only the pool's thread waits here
//   SPINNER | 0, or the index of the one worker that spins rather than sleeps
//
// A task is put, then SPINNER looked at: if there is one, nobody else is woken.
// No task is forgotten: the spinner clears SPINNER first and looks at the ring
// after that. Whoever takes a task and sees more of them wakes the next worker, so
// a burst costs its sender one wake-up.

/** Spot: a reply is in some outbox. */
export const REPLIES = 0;
/** Spot: a task is in the ring. */
export const WORK = 2;
/** Spot: the last worker has ended. */
export const ALL_ENDED = 4;
/** Word: the worker that spins. */
export const SPINNER = 16;
/** Bytes of the bell. */
export const BELL_BYTES = 128;

/** Wakes a worker for a task that was put. */
export function callWorker(bell: Int32Array): void {
  if (load(bell, SPINNER) === 0) wake(bell, WORK, 1);
}

const SLOT_BITS = 14;
/** How many tasks can wait in the ring at the same time. */
export const SLOTS = 1 << SLOT_BITS;
const OWNER_BITS = 12;
/** Mask of the owner in a claim word. */
export const OWNER_MASK = (1 << OWNER_BITS) - 1;
const GENERATION_MASK = (1 << 31 - OWNER_BITS) - 1;
/** Flag of a claim: the worker has answered, and may have gone on. */
export const FINISHED = 1 << 31;

/** A word of CLAIMS. */
export function claimOf(generation: number, owner: number): number {
  return (generation & GENERATION_MASK) << OWNER_BITS | owner;
}

/** Owner: nobody yet. */
export const QUEUED = 0;
/** Owner: not wanted any more. Workers have indexes below it. */
export const DROPPED = OWNER_MASK;

/** Bytes of the four words with which each frame begins. */
export const HEAD_BYTES = 16;

// A task's head: { slot, generation, function id, mode | flags }, then
// { length, definition } if HAS_DEFINITION, then the arguments unless BY_MESSAGE.

/** Mode: call the function with the one value given. */
export const CALL_ONE = 0;
/** Mode: call the function with the values given. */
export const CALL = 1;
/** Mode: call the function once for each value. */
export const MAP = 2;
/** Mode: call the function once for each tuple. */
export const STARMAP = 3;
/** Mode: like {@linkcode MAP}, but for each item reply only whether the value is truthy. */
export const FILTER = 4;
/** Mode: like {@linkcode MAP}, but the reply has no values. */
export const EACH = 5;
/** Mode: call the function with the value so far and the next item; reply the last value. */
export const REDUCE = 6;
/** The bits of the mode. */
export const MODE_MASK = 0xff;
/** Flag: the function's definition is in the head. */
export const HAS_DEFINITION = 0x100;
/** Flag: the arguments can only travel in a message, to be asked for. */
export const BY_MESSAGE = 0x200;

/**
 * Flag: shared memories are mentioned. Each worker is given them once, by a
 * {@linkcode LentMessage} posted before the frame; their ids are the frame's last
 * values: n times f64, then u32 n.
 */
export const HAS_MEMORIES = 0x400;

// A reply's head: { slot, generation, status, count }, then a value.

/** Status: the value is the result. */
export const DONE = 0;
/** Status: the value is the error; `count` calls had succeeded. */
export const FAILED = 1;
/** Status: send me the arguments in a message. */
export const WANT_ARGUMENTS = 2;
/** Status: send me the function's definition in a message. */
export const WANT_FUNCTION = 3;
/** Status: the worker is ready for tasks. */
export const READY = 4;
/** Status: the worker has done all the tasks it was to do. */
export const RETIRED = 5;
/** Flag of a status: the worker knows the function now. */
export const LEARNED = 0x100;

/** What a pool's worker starts with. */
export interface PoolBody {
  tasks: SharedArrayBuffer;
  /** A claim for each slot, then a generation for each. */
  claims: SharedArrayBuffer;
  bell: SharedArrayBuffer;
  outbox: SharedArrayBuffer;
  index: number;
  initializer: { target: TargetRef; args: Parcel } | undefined;
  /** How many tasks the worker does before it is replaced. */
  maxTasks: number;
}

/** What a pool posts to a worker that asked for it. */
export interface PoolMessage {
  slot: number;
  generation: number;
  args?: Parcel;
  definition?: TargetRef;
}

/** What a pool posts to all its workers about shared memories that tasks mention. */
export interface LentMessage {
  lent?: [id: number, memory: SharedArrayBuffer][];
  returned?: number[];
}

/**
 * How a worker says that the handles of a task have arrived. It says {@linkcode BEGUN}
 * when it begins with the next: the number of one long ago would do for it, too.
 */
export function arrivalOf(slot: number, generation: number): number {
  return ((generation & 0xffff) << SLOT_BITS | slot) + 1;
}

/** Arrival: what the initializer got, and nothing of the task at hand. 0: not even that. */
export const BEGUN = -1;

/** A reply that can only travel in a message. */
export interface PoolReply {
  slot: number;
  generation: number;
  status: number;
  count: number;
  value: Parcel;
}
