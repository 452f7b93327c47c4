/**
 * Messages in shared memory: a byte ring for many producers and many consumers
 * that grows on demand and survives the death of any thread at any instruction.
 *
 * ## Memory
 *
 * One growable SharedArrayBuffer: a header, then up to 16 *segments*, each at
 * least four times its predecessor until one has the full capacity. Everything
 * is counted in units of 8 bytes. A *position* is one Int32 word,
 * `{ segment: 4 bits, offset: 28 bits }`; offsets run through [0, 2 * size), so
 * that a full segment differs from an empty one. Each word below is on a cache
 * line with others of the same writers.
 *
 *   word       | written by                  | meaning
 *   -----------+-----------------------------+----------------------------------
 *   FLAGS      | close(), under PUT_LOCK     | 1: closed
 *   PUT_LOCK   | producers, CAS              | 0, or { owner's token, CONTENDED }
 *   TAIL       | PUT_LOCK's owner, one store | end of the last whole message
 *   HEAD_SEEN  | PUT_LOCK's owner            | a value HEAD had; saves reading it
 *   PUT, GOT_SEEN                            | likewise for the numbers of items
 *   PUT_TO, PUT_WAS                          | until TAIL is PUT_TO, PUT is PUT_WAS
 *   GET_LOCK   | consumers, CAS              | likewise
 *   HEAD       | GET_LOCK's owner, one store | start of the next message
 *   TAIL_SEEN, GOT, GOT_TO, GOT_WAS          | as above, for the consumers
 *   ITEMS      | see _park.ts                | spot: "not empty", "closed"
 *   SPACE      | see _park.ts                | spot: "not full", "closed"
 *   BY_BYTES   | producers 1, consumers 0    | a producer waits for bytes
 *   START[i], SIZE[i] | PUT_LOCK's owner     | segment i, valid once TAIL was in it
 *   END[i]     | PUT_LOCK's owner            | where segment i ends, valid once TAIL
 *              |                             | is in a later one
 *   USER_WORDS | the ring's user             | 16 words
 *
 * A message (`_ring_frame.ts`) may wrap around the end of its segment, and never
 * leaves it.
 *
 * ## Why it holds
 *
 * - **Order of writes.** The frame, a new segment's START and SIZE and the old
 *   one's END are plain writes, published by the atomic store to TAIL and read
 *   after an atomic load of it. Consumers' reads end before the store to HEAD, and
 *   producers write there only after loading it. What is in [HEAD, TAIL) belongs
 *   to the consumers, all else to the producers.
 * - **A thread that dies** before its store to TAIL (HEAD) has put (taken) nothing,
 *   after it everything. It leaves its lock; whoever wants the lock next finds the
 *   owner dead, takes it over by CAS from that owner's token, and brings PUT (GOT)
 *   in line: if TAIL is PUT_TO, the commit happened and PUT is right, otherwise PUT
 *   is PUT_WAS. (They are written in the order PUT_WAS, PUT_TO, PUT, TAIL, and TAIL
 *   is PUT_TO before. So PUT is never behind what can be taken, and `taskDone` of a
 *   queue may trust it.)
 * - **No wake-up is lost**: the stores to TAIL and HEAD come before the look at the
 *   waiters, and FLAGS likewise. (That look is a plain read, a third of the price of
 *   `Atomics.load`. It follows the read-modify-write that leaves the lock, before
 *   which neither processors nor the compiler move it.) `wake(SPACE)` wakes one, or
 *   all if BY_BYTES, since then the one woken may need more room than there is.
 *   BY_BYTES is raised before HEAD is looked at for the last time.
 * - **Closed and drained**: FLAGS is written under PUT_LOCK, so nothing is put
 *   after it. A consumer that sees `closed` and then an empty ring has seen the end.
 * - **HEAD_SEEN may be old, never wrong**: it is a value that HEAD had, so the ring
 *   looks fuller than it is, never emptier. All producers share it, under PUT_LOCK, so
 *   it never goes back. TAIL_SEEN is the same for the consumers, to whom the ring looks
 *   emptier.
 * - Locks are held for the copying of one message, never while waiting for
 *   anything but each other, and no thread wants both.
 *
 * @module
 */

import type { Reader } from "./_codec.ts";
import { isDead, selfToken } from "./_life.ts";
import { PENDING, waitSync, wake } from "./_park.ts";
import {
  headOf,
  INT,
  type Message,
  noWords,
  readMessage,
  unitsOf,
  unitsOfFrame,
  unitsOfMessage,
  writeMessage,
} from "./_ring_frame.ts";

export type { Message };

const { compareExchange, exchange, load, store } = Atomics;
const { apply } = Reflect;
const growMemory = SharedArrayBuffer.prototype.grow;
const memoryLength = Object.getOwnPropertyDescriptor(
  SharedArrayBuffer.prototype,
  "byteLength",
)!.get!;
const I32 = Int32Array;

// Word indexes. Lines are 16 words.
const FLAGS = 0;
const CAPACITY = 1;
const MAX_ITEMS = 2;
const PUT_LOCK = 16; // and its spot
const HEAD_SEEN = 19;
const PUT = 20;
const GOT_SEEN = 21;
const PUT_TO = 22;
const PUT_WAS = 23;
const TAIL = 32;
const GET_LOCK = 48; // and its spot
const TAIL_SEEN = 51;
const GOT = 52;
const GOT_TO = 53;
const GOT_WAS = 54;
const HEAD = 64;
const ITEMS = 80;
const SPACE = 96;
const BY_BYTES = 98;
const START = 112;
const SIZE = START + 16;
const END = SIZE + 16;
const HEADER_WORDS = END + 16 + 16;

/** Index of 16 words in {@linkcode Spot.words} of a ring that are its user's. */
export const USER_WORDS: number = END + 16;

const MAX_SEGMENTS = 16;
const SEGMENT_SHIFT = 28;
const OFFSET_MASK = (1 << SEGMENT_SHIFT) - 1;

/** What a message may cost beside its bytes, so that one of the capacity's size fits. */
const SLACK_UNITS = 8;
const INITIAL_BYTES = 16 * 1024;

/** In a lock's word, above the token: somebody may be asleep. */
const CONTENDED = 1 << 30;

/** The largest capacity a ring can have, in bytes. */
export const MAX_CAPACITY = 2 ** 30 - 4096;

/** Nothing was there. */
export const TAKE_EMPTY = 0;
/** An integer was taken: {@linkcode Ring.immediate}. */
export const TAKE_INT = 1;
/** A message was taken: it is in the reader. */
export const TAKE_MESSAGE = 2;
/** What a take did. */
export type TakeResult =
  | typeof TAKE_EMPTY
  | typeof TAKE_INT
  | typeof TAKE_MESSAGE;

/** Options for {@linkcode Ring.create}. */
export interface RingOptions {
  /** How many bytes of messages fit; the largest message may have as many. */
  capacity: number;
  /**
   * How many messages fit.
   *
   * @default {0}, no limit.
   */
  maxItems?: number | undefined;
  /**
   * Size of the first segment in bytes.
   *
   * @default {16384}
   */
  initial?: number | undefined;
}

/** Two adjacent words to wait at, see `_park.ts`. */
export interface Spot {
  /** The words. */
  readonly words: Int32Array;
  /** Index of the first of the two. */
  readonly at: number;
}

/** The position so many units further on in a segment. */
function moved(position: number, units: number, size: number): number {
  // Not added first: that might carry into the segment's number.
  const left = 2 * size - units;
  return (position & OFFSET_MASK) < left ? position + units : position - left;
}

// -- Ring --------------------------------------------------------------------

/** A ring of messages. One object per thread; the memory is what they share. */
export class Ring {
  /** What the threads share. */
  readonly memory: SharedArrayBuffer;
  /** How many bytes of messages fit. */
  readonly capacity: number;
  /** Where to wait for "not empty" or "closed". */
  readonly items: Spot;
  /** Where to wait for "not full" or "closed". */
  readonly space: Spot;
  /** The integer taken last. */
  immediate = 0;

  readonly #words: Int32Array;
  readonly #me: number = selfToken();
  readonly #capacityUnits: number;
  readonly #maxItems: number;

  // The segment this thread last put into, -1: unknown.
  #putSegment = -1;
  #putSize = 0;
  #putWords: Int32Array = noWords;
  /** Where the message being put begins. */
  #from = 0;

  // The segment this thread last took from, -1: unknown.
  #takeSegment = -1;
  #takeSize = 0;
  #takeWords: Int32Array = noWords;
  /** Where the message being taken begins. */
  #head = 0;
  /** How many units it has. */
  #units = 0;

  /** Attaches to the memory of a ring made by {@linkcode Ring.create}. */
  constructor(memory: SharedArrayBuffer) {
    const words = new I32(memory, 0, HEADER_WORDS);
    this.memory = memory;
    this.#words = words;
    this.#capacityUnits = words[CAPACITY]!;
    this.#maxItems = words[MAX_ITEMS]!;
    this.capacity = (this.#capacityUnits - SLACK_UNITS) * 8;
    this.items = { words, at: ITEMS };
    this.space = { words, at: SPACE };
  }

  /** Makes a ring. Memory is committed as it is touched. */
  static create(options: RingOptions): Ring {
    const capacity = unitsOf(options.capacity) + SLACK_UNITS;
    let size = unitsOf(options.initial ?? INITIAL_BYTES);
    if (2 * size > capacity) size = capacity;
    const memory = new SharedArrayBuffer(HEADER_WORDS * 4 + size * 8, {
      // Each segment has four times its predecessor's size and the last but one
      // at most half the capacity: 1 + 1/2 + 1/8 + ... < 5/3.
      maxByteLength: HEADER_WORDS * 4 + size * 8 +
        Math.ceil(capacity / 3 * 5) * 8,
    });
    const words = new I32(memory, 0, HEADER_WORDS);
    words[CAPACITY] = capacity;
    words[MAX_ITEMS] = options.maxItems ?? 0;
    words[START] = HEADER_WORDS / 2;
    words[SIZE] = size;
    return new Ring(memory);
  }

  /** How many messages are in it. Informational only. */
  get size(): number {
    const got = load(this.#words, GOT);
    const size = (load(this.#words, PUT) - got) | 0;
    return size < 0 ? 0 : size;
  }

  /** How many messages may be in it; 0: as many as fit. */
  get maxItems(): number {
    return this.#maxItems;
  }

  /**
   * How many messages have ever been put, as an int32 that wraps: at least as many
   * as can have been taken. Counts one that is just being put.
   */
  get putCount(): number {
    return load(this.#words, PUT);
  }

  /** Corrects {@linkcode putCount} if a thread died while putting. */
  repairCount(): void {
    const owner = load(this.#words, PUT_LOCK) & ~CONTENDED;
    if (owner === 0 || !isDead(owner)) return;
    this.#lock(PUT_LOCK);
    this.#unlock(PUT_LOCK);
  }

  /** How many bytes are in use. Informational only. */
  get bytes(): number {
    const head = load(this.#words, HEAD);
    return this.#usedUnits(head, load(this.#words, TAIL)) * 8;
  }

  /** Whether nothing is in it. Informational only, but exact once closed. */
  get empty(): boolean {
    const head = load(this.#words, HEAD);
    return head === load(this.#words, TAIL);
  }

  /** Whether it was closed: nothing is put any more. */
  get closed(): boolean {
    return load(this.#words, FLAGS) !== 0;
  }

  /** Ends the putting; what is in it can still be taken. */
  close(): void {
    const words = this.#words;
    if (load(words, FLAGS) !== 0) return;
    this.#lock(PUT_LOCK);
    store(words, FLAGS, 1);
    this.#unlock(PUT_LOCK);
    wake(words, ITEMS, Infinity);
    wake(words, SPACE, Infinity);
  }

  // -- Putting ---------------------------------------------------------------

  /**
   * Puts an int32, or returns `false` if the ring is full or closed.
   *
   * It costs 8 bytes of the capacity.
   */
  tryPutInt(value: number): boolean {
    const words = this.#words;
    if (compareExchange(words, PUT_LOCK, 0, this.#me) !== 0) {
      this.#lock(PUT_LOCK);
    }
    let done = false;
    try {
      const at = this.#room(1);
      if (at >= 0) {
        this.#putWords[2 * at] = INT;
        this.#putWords[2 * at + 1] = value;
        this.#commitPut(1);
        done = true;
      }
    } finally {
      this.#unlock(PUT_LOCK);
    }
    if (done && words[ITEMS + 1]! > 0) wake(words, ITEMS, 1);
    return done;
  }

  /**
   * How many units a message takes.
   *
   * @throws {RangeError} If it can never fit.
   */
  unitsFor(message: Message): number {
    const units = unitsOfMessage(message);
    if (units <= this.#capacityUnits) return units;
    const { length, blobs } = message;
    const total = blobs.reduce((sum, blob) => sum + blob.length, length);
    throw new RangeError(
      `Cannot put a message of ${total} bytes: the capacity is ${this.capacity} bytes`,
    );
  }

  /**
   * Puts a whole message, or returns `false` if the ring is full or closed.
   *
   * @throws {RangeError} If the message can never fit.
   */
  tryPut(message: Message): boolean {
    const units = this.unitsFor(message);
    const words = this.#words;
    if (compareExchange(words, PUT_LOCK, 0, this.#me) !== 0) {
      this.#lock(PUT_LOCK);
    }
    let done = false;
    try {
      const at = this.#room(units);
      if (at >= 0) {
        writeMessage(this.#putWords, at, message);
        this.#commitPut(units);
        done = true;
      }
    } finally {
      this.#unlock(PUT_LOCK);
    }
    if (done && words[ITEMS + 1]! > 0) wake(words, ITEMS, 1);
    return done;
  }

  /** Finds room for so many units: an index into the segment, or -1. */
  #room(units: number): number {
    const words = this.#words;
    if (words[FLAGS] !== 0) return -1;
    const tail = words[TAIL]!;
    const head = words[HEAD_SEEN]!;
    const segment = tail >>> SEGMENT_SHIFT;
    if (segment !== this.#putSegment) this.#enterPut(segment);
    const size = this.#putSize;
    const offset = tail & OFFSET_MASK;
    let used = offset - (head & OFFSET_MASK);
    if (used < 0) used += 2 * size;
    if (
      used + units > size || ((tail ^ head) >>> SEGMENT_SHIFT) !== 0 ||
      (this.#maxItems !== 0 &&
        ((words[PUT]! - words[GOT_SEEN]!) | 0) >= this.#maxItems)
    ) {
      return this.#moreRoom(units, tail);
    }
    this.#from = tail;
    return offset >= size ? offset - size : offset;
  }

  /** Looks at what the consumers have done since, then grows. */
  #moreRoom(units: number, tail: number): number {
    const words = this.#words;
    const offset = tail & OFFSET_MASK;
    const size = this.#putSize;
    for (let last = false;; last = true) {
      const head = load(words, HEAD);
      words[HEAD_SEEN] = head;
      if (this.#maxItems !== 0) {
        const got = load(words, GOT);
        words[GOT_SEEN] = got;
        if (((words[PUT]! - got) | 0) >= this.#maxItems) return -1;
      }
      const used = this.#usedUnits(head, tail);
      if (used + units <= this.#capacityUnits) {
        // What is in the segment: nothing has been taken from it before HEAD
        // is in it.
        const here = ((tail ^ head) >>> SEGMENT_SHIFT) === 0 ? used : offset;
        if (here + units <= size) {
          this.#from = tail;
          return offset >= size ? offset - size : offset;
        }
        if (size < this.#capacityUnits) return this.#grow(units, tail);
      }
      if (last) return -1;
      if (load(words, BY_BYTES) === 0) store(words, BY_BYTES, 1);
    }
  }

  /** Prepares the next segment. The commit of the message commits it too. */
  #grow(units: number, tail: number): number {
    const words = this.#words;
    const segment = tail >>> SEGMENT_SHIFT;
    const next = segment + 1;
    if (next === MAX_SEGMENTS) return -1;
    const capacity = this.#capacityUnits;
    let size = Math.max(4 * this.#putSize, 2 * units);
    if (2 * size > capacity) size = capacity;
    const start = words[START + segment]! + words[SIZE + segment]!;
    const length = (start + size) * 8;
    if (apply(memoryLength, this.memory, []) < length) {
      apply(growMemory, this.memory, [length]);
    }
    words[END + segment] = tail & OFFSET_MASK;
    words[START + next] = start;
    words[SIZE + next] = size;
    this.#enterPut(next);
    // Until the commit another thread may make this segment, of another size.
    this.#putSegment = -1;
    this.#from = next << SEGMENT_SHIFT;
    return 0;
  }

  #enterPut(segment: number): void {
    const words = this.#words;
    const size = words[SIZE + segment]!;
    this.#putSegment = -1;
    this.#putWords = new I32(
      this.memory,
      words[START + segment]! * 8,
      size * 2,
    );
    this.#putSize = size;
    this.#putSegment = segment;
  }

  #commitPut(units: number): void {
    const words = this.#words;
    const tail = moved(this.#from, units, this.#putSize);
    const put = words[PUT]!;
    words[PUT_WAS] = put;
    words[PUT_TO] = tail;
    words[PUT] = (put + 1) | 0;
    store(words, TAIL, tail);
  }

  // -- Taking ----------------------------------------------------------------

  /**
   * Takes the next message: {@linkcode TAKE_EMPTY}, {@linkcode TAKE_INT} (see
   * {@linkcode Ring.immediate}) or {@linkcode TAKE_MESSAGE} (in `reader`).
   *
   * The reader's bytes are valid until this thread takes from any ring again; its
   * blobs are its own.
   */
  tryTake(reader: Reader): TakeResult {
    const words = this.#words;
    const seen = words[HEAD];
    if (seen === words[TAIL_SEEN] && seen === load(words, TAIL)) {
      return TAKE_EMPTY;
    }
    if (compareExchange(words, GET_LOCK, 0, this.#me) !== 0) {
      this.#lock(GET_LOCK);
    }
    let result: TakeResult = TAKE_EMPTY;
    try {
      const at = this.#next();
      if (at >= 0) {
        result = this.#read(reader, at);
        this.#commitTake();
      }
    } finally {
      this.#unlock(GET_LOCK);
    }
    if (result !== TAKE_EMPTY && words[SPACE + 1]! > 0) this.#wakeSpace();
    return result;
  }

  /**
   * Takes the next message that `claim` wants. It is called with the first two
   * words of each head, before the message is taken and so before a death can
   * lose it; a message it refuses is dropped. It must not touch this ring.
   */
  tryTakeIf(
    reader: Reader,
    claim: (word0: number, word1: number) => boolean,
  ): TakeResult {
    const words = this.#words;
    const seen = words[HEAD];
    if (seen === words[TAIL_SEEN] && seen === load(words, TAIL)) {
      return TAKE_EMPTY;
    }
    this.#lock(GET_LOCK);
    let result: TakeResult = TAKE_EMPTY;
    let moved = false;
    try {
      while (result === TAKE_EMPTY) {
        const at = this.#next();
        if (at < 0) break;
        const source = this.#takeWords;
        const head = headOf(source, at);
        const isInt = source[2 * at] === INT;
        if (claim(source[head]!, isInt ? 0 : source[head + 1]!)) {
          result = this.#read(reader, at);
        } else {
          this.#units = unitsOfFrame(source, at);
        }
        this.#commitTake();
        moved = true;
      }
    } finally {
      this.#unlock(GET_LOCK);
    }
    if (moved && words[SPACE + 1]! > 0) this.#wakeSpace();
    return result;
  }

  /**
   * Takes up to `limit` messages and calls `each` after each, when it has been
   * taken. The lock is held all the while: `each` must be short and not touch
   * this ring.
   *
   * @returns How many were taken.
   */
  drain(
    reader: Reader,
    each: () => void,
    limit: number,
  ): number {
    const words = this.#words;
    const seen = words[HEAD];
    if (seen === words[TAIL_SEEN] && seen === load(words, TAIL)) return 0;
    this.#lock(GET_LOCK);
    let count = 0;
    try {
      while (count < limit) {
        const at = this.#next();
        if (at < 0) break;
        this.#read(reader, at);
        this.#commitTake();
        count++;
        each();
      }
    } finally {
      this.#unlock(GET_LOCK);
      if (count > 0 && words[SPACE + 1]! > 0) this.#wakeSpace();
    }
    return count;
  }

  #wakeSpace(): void {
    const words = this.#words;
    if (load(words, BY_BYTES) !== 0) {
      store(words, BY_BYTES, 0);
      wake(words, SPACE, Infinity);
    } else wake(words, SPACE, 1);
  }

  /** Finds the next message: an index into the segment, or -1. */
  #next(): number {
    const words = this.#words;
    let head = words[HEAD]!;
    let tail = words[TAIL_SEEN]!;
    if (head === tail) {
      tail = load(words, TAIL);
      if (head === tail) return -1;
      words[TAIL_SEEN] = tail;
    }
    const segment = head >>> SEGMENT_SHIFT;
    if (
      segment !== (tail >>> SEGMENT_SHIFT) &&
      (head & OFFSET_MASK) === words[END + segment]
    ) {
      // Every segment TAIL has been in has a message in it.
      head = (segment + 1) << SEGMENT_SHIFT;
    }
    if ((head >>> SEGMENT_SHIFT) !== this.#takeSegment) {
      this.#enterTake(head >>> SEGMENT_SHIFT);
    }
    this.#head = head;
    const offset = head & OFFSET_MASK;
    return offset >= this.#takeSize ? offset - this.#takeSize : offset;
  }

  #enterTake(segment: number): void {
    const words = this.#words;
    const size = words[SIZE + segment]!;
    this.#takeSegment = -1;
    this.#takeWords = new I32(
      this.memory,
      words[START + segment]! * 8,
      size * 2,
    );
    this.#takeSize = size;
    this.#takeSegment = segment;
  }

  #commitTake(): void {
    const words = this.#words;
    const head = moved(this.#head, this.#units, this.#takeSize);
    const got = words[GOT]!;
    words[GOT_WAS] = got;
    words[GOT_TO] = head;
    words[GOT] = (got + 1) | 0;
    store(words, HEAD, head);
  }

  #read(reader: Reader, at: number): TakeResult {
    const source = this.#takeWords;
    if (source[2 * at] === INT) {
      this.immediate = source[2 * at + 1]!;
      this.#units = 1;
      return TAKE_INT;
    }
    this.#units = readMessage(source, at, reader);
    return TAKE_MESSAGE;
  }

  // -- Both ------------------------------------------------------------------

  /** How many units lie between two positions. */
  #usedUnits(head: number, tail: number): number {
    const words = this.#words;
    let segment = head >>> SEGMENT_SHIFT;
    const last = tail >>> SEGMENT_SHIFT;
    let from = head & OFFSET_MASK;
    let used = 0;
    for (; segment < last; segment++) {
      const end = words[END + segment]!;
      used += end - from + (end < from ? 2 * words[SIZE + segment]! : 0);
      from = 0;
    }
    const end = tail & OFFSET_MASK;
    return used + end - from + (end < from ? 2 * words[SIZE + last]! : 0);
  }

  #lock(lock: typeof PUT_LOCK | typeof GET_LOCK): void {
    if (compareExchange(this.#words, lock, 0, this.#me) === 0) return;
    waitSync("use a queue", this.#words, lock + 1, () => this.#tryLock(lock));
  }

  /**
   * One try of a thread that goes to sleep if it fails: then CONTENDED is set, and
   * the owner wakes one. It takes the lock as CONTENDED for those still asleep.
   */
  #tryLock(lock: typeof PUT_LOCK | typeof GET_LOCK): true | typeof PENDING {
    const words = this.#words;
    const mine = this.#me | CONTENDED;
    while (true) {
      const word = compareExchange(words, lock, 0, mine);
      if (word === 0) return true;
      const owner = word & ~CONTENDED;
      // A lock of our own is one that an exception prevented from being left.
      if (owner === this.#me || isDead(owner)) {
        if (compareExchange(words, lock, word, mine) !== word) continue;
        this.#repair(lock);
        return true;
      }
      if (
        word === (owner | CONTENDED) ||
        compareExchange(words, lock, word, owner | CONTENDED) === word
      ) {
        return PENDING;
      }
    }
  }

  #unlock(lock: typeof PUT_LOCK | typeof GET_LOCK): void {
    if (exchange(this.#words, lock, 0) >= CONTENDED) {
      wake(this.#words, lock + 1, 1);
    }
  }

  /** Brings the number of items in line after the death of a lock's owner. */
  #repair(lock: typeof PUT_LOCK | typeof GET_LOCK): void {
    const words = this.#words;
    if (lock === PUT_LOCK) {
      if (words[PUT_TO] !== load(words, TAIL)) words[PUT] = words[PUT_WAS]!;
    } else if (words[GOT_TO] !== load(words, HEAD)) {
      words[GOT] = words[GOT_WAS]!;
    }
  }
}
