/**
 * What a manager's server and its callers have agreed on.
 *
 * The objects of a manager live in one worker, its *server*. Requests travel
 * through one ring: any thread puts, the server takes. Replies travel through
 * *boxes*, a ring each, all made beforehand since memory cannot be handed to a
 * thread that is not known: a thread takes a free box for as long as it has
 * calls under way, one box for its blocking calls and its promises alike.
 *
 * The control memory, in lines of 16 words:
 *
 *   word         | written by                  | meaning
 *   -------------+-----------------------------+-------------------------------
 *   STATE        | anyone, CAS from OPEN       | { exit code, state }: OPEN;
 *                |                             | DISPOSED; ENDED: the server went
 *                |                             | by itself
 *   SERVER       | the starter, once           | the server's token; 0: not started
 *   FREE_BOX     | see `_park.ts`              | spot: a box was given back
 *   ownerOf(box) | callers, CAS                | 0, or the token of who has it
 *   bellOf(box)  | see `_park.ts`              | spot: a reply is in the box
 *
 * **No wake-up is lost**: the server puts a reply, then wakes *all* that wait at
 * the bell, for among them may be promises of a former owner that cannot be
 * withdrawn; a caller looks into its box, then sleeps. Nobody waits where the
 * box's ring announces its messages. STATE is moved first, then everybody is woken.
 *
 * **A caller that dies** leaves its box to whoever finds its token dead. Replies to
 * it that come later carry its token and are dropped by the next owner.
 *
 * **A server that dies** leaves STATE to be moved by its starter, which is told, or
 * by the first caller that finds its token dead; every wait looks for that.
 *
 * A request is { box, caller's token, number, object } as four words, the method's
 * name and the array of arguments. A reply is { caller's token, number, status }
 * and a value. The requests of a thread are put in the order of its calls and
 * taken in that order.
 *
 * Within them a proxy of the same manager is only its number and its methods: both
 * sides have the memories.
 *
 * @module
 */

import { wake } from "./_park.ts";
import { Ring } from "./_ring.ts";

const { compareExchange, load } = Atomics;

/** How many threads can have calls under way at the same time. */
export const BOXES = 64;
/** The largest request or reply, in bytes. */
const CAPACITY = 64 << 20;
const BOX_BYTES = 4096;

const STATE = 0;
const STATE_BITS = 2;
const STATE_MASK = 3;
/** Control word: the server's token. */
export const SERVER = 2;
/** Control spot: a box was given back. */
export const FREE_BOX = 16;
const FIRST_BOX = 32;

/** The manager can be used. */
export const OPEN = 0;
/** The manager was disposed. */
export const DISPOSED = 1;
/** The server has ended by itself. */
export const ENDED = 2;

/** Status: the value is the result. */
export const DONE = 0;
/** Status: the value is what `packThrown` made of the error. */
export const FAILED = 1;

/** The object that makes the others. */
export const FACTORY = 0;

/** Type of a proxied object: an instance of a class. */
export const INSTANCE = 0;
/** Type of a proxied object: a dict. */
export const DICT = 1;
/** Type of a proxied object: a list. */
export const LIST = 2;
/** Type of a proxied object: a namespace. */
export const NAMESPACE = 3;

/** All that the threads of a manager share. */
export interface ManagerMemory {
  control: SharedArrayBuffer;
  requests: SharedArrayBuffer;
  boxes: SharedArrayBuffer[];
}

/** What a proxy stands for. */
export interface Described {
  /** The object's number. */
  id: number;
  type: number;
  /** Name of its class. */
  name: string;
  /** Its methods; empty unless it is an {@linkcode INSTANCE}. */
  methods: readonly string[];
}

/** Control word: who has a box. */
export function ownerOf(box: number): number {
  return FIRST_BOX + 16 * box;
}

/** Control spot: a reply is in a box. */
export function bellOf(box: number): number {
  return FIRST_BOX + 16 * box + 2;
}

/** Makes the memory of a manager. It is committed as it is touched. */
export function createMemory(): ManagerMemory {
  return {
    control: new SharedArrayBuffer(4 * ownerOf(BOXES)),
    requests: Ring.create({ capacity: CAPACITY }).memory,
    boxes: Array.from(
      { length: BOXES },
      () => Ring.create({ capacity: CAPACITY, initial: BOX_BYTES }).memory,
    ),
  };
}

/** {@linkcode OPEN}, {@linkcode DISPOSED} or {@linkcode ENDED}. */
export function stateOf(control: Int32Array): number {
  return load(control, STATE) & STATE_MASK;
}

/** The server's exit code, once the state is not {@linkcode OPEN}. */
export function exitCodeOf(control: Int32Array): number {
  return load(control, STATE) >> STATE_BITS;
}

/** Ends a manager for everybody, unless it has ended. */
export function endManager(
  control: Int32Array,
  requests: Ring,
  state: number,
  exitCode: number,
): void {
  const ended = exitCode << STATE_BITS | state;
  if (compareExchange(control, STATE, OPEN, ended) !== OPEN) return;
  for (let box = 0; box < BOXES; box++) wake(control, bellOf(box), Infinity);
  wake(control, FREE_BOX, Infinity);
  wake(requests.items.words, requests.items.at, Infinity);
  wake(requests.space.words, requests.space.at, Infinity);
}
