/**
 * A table of waiters in shared memory, for `Condition` and `Barrier`: who waits,
 * since when, in which thread, and what became of the wait.
 *
 *   word  | name    | written by                | meaning
 *   ------+---------+---------------------------+------------------------------
 *     0   | HIGH    | under the mutex           | places ever used, from the left
 *     1   | USED    | under the mutex           | places in use, or more
 *     2   | TICKETS | under the mutex           | tickets given
 *   3 - 7 | (owner) |                           | for the table's owner
 *
 * then 8 words for each place:
 *
 *   word  | name    | written by                | meaning
 *   ------+---------+---------------------------+------------------------------
 *   0, 1  | (spot)  | see `_park.ts`            | where its waiter sleeps
 *     2   | STATE   | see below                 | { ticket: 30, state: 2 }
 *     3   | TOKEN   | the waiter, before STATE  | its thread
 *     4   | EXTRA   | for the table's owner     |
 *
 *   state   | meaning                     | left by
 *   --------+-----------------------------+-----------------------------------
 *   (0)     | nobody's; STATE is 0        | a waiter, under the mutex
 *   WAITING | its waiter waits            | anyone, CAS: to CHOSEN or REFUSED;
 *           |                             | nobody's, if its thread is dead
 *   CHOSEN  | it may go on                | its waiter, under the mutex; anyone,
 *   REFUSED | it may not, or gave up      | CAS, if its thread is dead
 *
 * "The mutex" is the owner's: a place is taken and freed only by a thread that
 * holds it. Leaving WAITING needs no mutex, so that a waiter that times out is out at
 * once; the ticket in STATE makes a CAS meant for one wait fail on the next one.
 *
 * Tickets are given in the order of arrival. They are compared as a difference of
 * 30 bits, which is right as long as two waits are not 2^29 waits apart.
 *
 * **A thread killed** under the mutex may leave USED too high, which makes the table
 * grow earlier, never too low: it is raised before a place is taken and lowered
 * after one is free. Elsewhere it leaves its place to be freed by the next look at
 * all places.
 *
 * @module
 */

import { isDead, isLeaving, selfToken } from "./_life.ts";
import { SLICE_MS, wake } from "./_park.ts";

const { compareExchange, load, store } = Atomics;

const HIGH = 0;
const USED = 1;
const TICKETS = 2;
const HEADER = 8;

const PLACE = 8;
const STATE = 2;
const TOKEN = 3;
const EXTRA = 4;

/** The waiter waits. */
export const WAITING = 1;
/** The waiter may go on. */
export const CHOSEN = 2;
/** The waiter may not go on, or has given up. */
export const REFUSED = 3;

const FIRST_PLACES = 15;
const MOST_PLACES = 65536;
const TICKET_MASK = 2 ** 30 - 1;

/** A waiter as found in the table. */
export interface Found {
  /** The place, which is also its spot. */
  at: number;
  /** Its STATE when it was found. */
  word: number;
}

/** Memory for an empty table. */
export function waitersMemory(): SharedArrayBuffer {
  return new SharedArrayBuffer(bytesFor(FIRST_PLACES), {
    maxByteLength: bytesFor(MOST_PLACES),
  });
}

/** This thread's view of a table. */
export class Waiters {
  readonly #memory: SharedArrayBuffer;
  /** All words; grows with the memory. */
  readonly words: Int32Array;
  #lastSearch = 0;

  constructor(memory: SharedArrayBuffer) {
    this.#memory = memory;
    this.words = new Int32Array(memory);
  }

  /** Takes a place for this thread, WAITING. Under the mutex. */
  enter(): Found {
    const words = this.words;
    const at = this.#findFree();
    const ticket = (words[TICKETS]! + 1) & TICKET_MASK;
    const word = ticket << 2 | WAITING;
    words[TICKETS] = ticket;
    words[USED] = words[USED]! + 1;
    words[at + TOKEN] = selfToken();
    store(words, at + STATE, word);
    return { at, word };
  }

  /** Frees this thread's place. Under the mutex. */
  leave(at: number): void {
    this.#free(at);
  }

  /** What became of a wait; 0 once its place is nobody's or another's. */
  stateOf({ at, word }: Found): number {
    const current = load(this.words, at + STATE);
    return (current ^ word) >>> 2 === 0 ? current & 3 : 0;
  }

  /** Ends a wait, if it is still going on. Wakes its waiter. */
  settle({ at, word }: Found, state: number): boolean {
    const next = word & ~3 | state;
    if (compareExchange(this.words, at + STATE, word, next) !== word) {
      return false;
    }
    wake(this.words, at, Infinity);
    return true;
  }

  /** A ticket that is younger than all given so far, older than all to come. */
  horizon(): number {
    return this.words[TICKETS]!;
  }

  /** Whether a waiter came before a {@linkcode horizon}. */
  cameBefore({ word }: Found, horizon: number): boolean {
    return compareTickets(word >>> 2, horizon) <= 0;
  }

  extra(at: number): number {
    return load(this.words, at + EXTRA);
  }

  setExtra(at: number, value: number): void {
    store(this.words, at + EXTRA, value);
  }

  /**
   * Whether it is time for those who wait to search all places for what dead threads
   * have left. Whoever is told so does it for all of this thread.
   */
  isSearchDue(): boolean {
    const now = performance.now();
    if (now - this.#lastSearch <= SLICE_MS / 2) return false;
    this.#lastSearch = now;
    return true;
  }

  /** Whether the thread of a waiter has ended. */
  isDead({ at }: Found): boolean {
    return isDead(this.words[at + TOKEN]!);
  }

  /** Whether the thread of a waiter has ended or is about to. */
  isLeaving({ at }: Found): boolean {
    return isLeaving(this.words[at + TOKEN]!);
  }

  /** All that are in a state, in order of arrival, the dead ones included. */
  all(state: number): Found[] {
    const words = this.words;
    const found: Found[] = [];
    const end = this.#end();
    for (let at = HEADER; at < end; at += PLACE) {
      const word = load(words, at + STATE);
      if ((word & 3) === state && word !== 0) found.push({ at, word });
    }
    return found.sort((a, b) => compareTickets(a.word >>> 2, b.word >>> 2));
  }

  /** Frees the places of dead threads that are in a state. Under the mutex. */
  sweep(state: number): void {
    for (const waiter of this.all(state)) {
      if (this.isDead(waiter)) this.#free(waiter.at);
    }
  }

  /** Takes a dead thread's place away. Only one of those who try succeeds. */
  seize({ at, word }: Found): boolean {
    return compareExchange(this.words, at + STATE, word, 0) === word;
  }

  #end(): number {
    return HEADER + PLACE * load(this.words, HIGH);
  }

  #free(at: number): void {
    const words = this.words;
    store(words, at + STATE, 0);
    const used = words[USED]! - 1;
    words[USED] = Math.max(used, 0);
    if (used <= 0) this.#shrink();
  }

  #shrink(): void {
    const words = this.words;
    let high = words[HIGH]!;
    while (
      high > 0 && load(words, HEADER + PLACE * (high - 1) + STATE) === 0
    ) high--;
    store(words, HIGH, high);
  }

  #findFree(): number {
    const words = this.words;
    const high = words[HIGH]!;
    const end = this.#end();
    const isFull = end + PLACE > words.length;
    if (isFull) {
      this.sweep(WAITING);
      this.sweep(REFUSED);
    }
    if (words[USED]! < high || isFull) {
      for (let at = HEADER; at < end; at += PLACE) {
        if (load(words, at + STATE) === 0) return at;
      }
      words[USED] = high;
    }
    if (isFull) this.#grow();
    store(words, HIGH, high + 1);
    return end;
  }

  #grow(): void {
    const places = (this.words.length - HEADER) / PLACE;
    if (places >= MOST_PLACES) {
      throw new RangeError(
        `Cannot wait: ${MOST_PLACES} waits are under way already`,
      );
    }
    this.#memory.grow(bytesFor(Math.min(2 * places + 1, MOST_PLACES)));
  }
}

function bytesFor(places: number): number {
  return 4 * (HEADER + PLACE * places);
}

function compareTickets(a: number, b: number): number {
  // 30-bit difference with sign.
  return (a - b) << 2 >> 2;
}
