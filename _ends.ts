/**
 * Which workers hold an end of a pipe, and the deliveries of ends under way.
 *
 * Each end has a table in shared memory, with an entry for each slot of the table of
 * the living (so a thread finds its own entry at once, and nobody else claims it):
 *
 *   word    | written by          | meaning
 *   --------+---------------------+-------------------------------------------------
 *   HIGH    | anyone, CAS upwards | no entry from here on was ever used
 *   VERSION | who opens, add      | changes between an opening and the end of the
 *           |                     | delivery that brought it
 *   OPEN    | the entry's thread  | its token if it holds the end, or 0
 *   SENT    | anyone, CAS         | { generation: 12 bits, count: 20 bits }: deliveries
 *           |                     | by this thread that have not arrived
 *   SENDER  | the entry's thread  | its token, valid if count > 0
 *
 * **An end is held** while some thread that goes on has it open, or one that is alive
 * has sent it and it has not arrived. A thread that was told to stop may spin for ever,
 * and is not waited for: what it still sends is got by whoever still asks. A delivery is
 * counted before it is sent; the receiver opens the end, raises VERSION and only then
 * takes the count back. So whoever looks for holders and passes the receiver too early
 * finds VERSION changed, and looks again.
 *
 * **A thread that dies** needs not clean up: its token is dead, and so is what it had
 * open. What it had sent may still be on its way (the result of a task of a worker
 * that has ended); it counts for {@linkcode LOST_MS} more. The slot's next thread
 * starts SENT anew under its own generation, and a late receiver of an older one
 * leaves it alone.
 *
 * Nobody sleeps here: those who wait for the other end wait at the ring's spots, are
 * woken when a thread closes, and notice a death by looking again every 50 ms.
 *
 * @module
 */

import { noteSent } from "./_handle.ts";
import {
  generationOf,
  isDead,
  isStopping,
  selfToken,
  slotOf,
  SLOTS,
} from "./_life.ts";

const { add, compareExchange, load, store } = Atomics;

const HIGH = 0;
const VERSION = 1;
const ENTRIES = 16;
const ENTRY_WORDS = 4;
const OPEN = 0;
const SENT = 1;
const SENDER = 2;

const COUNT_BITS = 20;
const COUNT_MASK = (1 << COUNT_BITS) - 1;
const MARK_MASK = (1 << (32 - COUNT_BITS)) - 1;

/**
 * How long what a dead thread had sent still counts as under way. Who is to get it may
 * be blocked, and cannot say so.
 */
const LOST_MS = 2000;

/** Bytes of a table. Only what is used is committed. */
const TABLE_BYTES = 4 * (ENTRIES + ENTRY_WORDS * SLOTS);

let deliveries = 0;

/** The holders of one end. */
export class Holders {
  /** What the threads share. */
  readonly memory: SharedArrayBuffer;

  readonly #words: Int32Array;
  readonly #me: number = selfToken();
  readonly #mine: number = entryOf(selfToken());
  /** Entry of a thread that had it open when last looked. */
  #hint: number;
  /** When only deliveries by dead threads were first seen, and at which VERSION. */
  #lostAt = -1;
  #lostVersion = 0;

  /** Attaches to a table, or makes one. */
  constructor(memory: SharedArrayBuffer = new SharedArrayBuffer(TABLE_BYTES)) {
    this.memory = memory;
    this.#words = new Int32Array(memory);
    this.#hint = this.#mine;
  }

  /** This thread holds the end. */
  open(): void {
    this.#use();
    store(this.#words, this.#mine + OPEN, this.#me);
    add(this.#words, VERSION, 1);
  }

  /** This thread does not hold the end. */
  close(): void {
    store(this.#words, this.#mine + OPEN, 0);
  }

  /** Counts a delivery of the end; returns its sender and number. */
  send(): [sender: number, delivery: number] {
    const words = this.#words;
    this.#use();
    if (load(words, this.#mine + SENDER) !== this.#me) {
      store(words, this.#mine + SENT, markOf(this.#me) << COUNT_BITS);
      store(words, this.#mine + SENDER, this.#me);
    }
    if ((load(words, this.#mine + SENT) & COUNT_MASK) === COUNT_MASK) {
      throw new RangeError(
        `Cannot send connection: it is on its way to ${COUNT_MASK} tasks already`,
      );
    }
    const back = () => this.arrive(this.#me);
    add(words, this.#mine + SENT, 1);
    noteSent({
      takeBack: back,
      again: () => {
        add(words, this.#mine + SENT, 1);
      },
    });
    return [this.#me, ++deliveries];
  }

  /** Takes a delivery by `sender` back. */
  arrive(sender: number): void {
    const words = this.#words;
    const at = entryOf(sender) + SENT;
    while (true) {
      const word = load(words, at);
      if (
        (word >>> COUNT_BITS) !== markOf(sender) ||
        (word & COUNT_MASK) === 0 ||
        compareExchange(words, at, word, word - 1) === word
      ) {
        return;
      }
    }
  }

  /** Whether any thread holds the end, or it is on its way to one. */
  isHeld(): boolean {
    const open = load(this.#words, this.#hint + OPEN);
    return goesOn(open) || this.#isHeldAnywhere();
  }

  #isHeldAnywhere(): boolean {
    const words = this.#words;
    while (true) {
      const version = load(words, VERSION);
      let lost = false;
      const high = load(words, HIGH);
      for (let at = ENTRIES; at < high; at += ENTRY_WORDS) {
        // First what is open: a thread sends an end before it closes it.
        const open = load(words, at + OPEN);
        if (goesOn(open)) {
          this.#hint = at;
          return true;
        }
        if ((load(words, at + SENT) & COUNT_MASK) > 0) {
          if (!isDead(load(words, at + SENDER))) return true;
          lost = true;
        }
      }
      if (load(words, VERSION) !== version) continue;
      if (!lost) return false;
      const now = performance.now();
      if (this.#lostAt < 0 || this.#lostVersion !== version) {
        this.#lostAt = now;
        this.#lostVersion = version;
      }
      return now - this.#lostAt < LOST_MS;
    }
  }

  #use(): void {
    const words = this.#words;
    const end = this.#mine + ENTRY_WORDS;
    while (true) {
      const high = load(words, HIGH);
      if (high >= end || compareExchange(words, HIGH, high, end) === high) {
        return;
      }
    }
  }
}

function goesOn(token: number): boolean {
  return token !== 0 && !isDead(token) && !isStopping(token);
}

function entryOf(token: number): number {
  return ENTRIES + ENTRY_WORDS * slotOf(token);
}

/** As much of its generation as there is room for beside a count. */
function markOf(token: number): number {
  return generationOf(token) & MARK_MASK;
}
