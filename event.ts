/**
 * {@linkcode Event}: a flag that any worker can set and others wait for.
 *
 * ```ts
 * import { Event } from "@parallel/multiprocessing/event";
 * import { assertEquals } from "@std/assert";
 *
 * const ready = new Event();
 * const waiting = ready.wait();
 * ready.set();
 * await waiting;
 *
 * assertEquals(ready.isSet(), true);
 * ```
 *
 * The flag is one word in shared memory that counts its changes:
 *
 *   word | name    | written by                  | meaning
 *   -----+---------+-----------------------------+-------------------------------
 *     0  | CHANGES | `set` and `clear`, CAS + 1  | odd: set; even: not set
 *   1, 2 | (spot)  | see `_park.ts`              | those who wait for `set`
 *
 * A waiter that found an even count waits until the count is another one, so a
 * `set` that is cleared at once still reaches it, however late it looks. No wake-up
 * is lost: CHANGES is written before the spot is woken. A waiter that gives up
 * leaves nothing. A thread killed in `set` before the wake-up leaves the flag set;
 * waiters see it when they next look by themselves, within 50 ms.
 *
 * @module
 */

import {
  defineHandle,
  guardHandle,
  HANDLE,
  type HandleParts,
  takeParts,
} from "./_handle.ts";
import { inspectAs } from "./_inspect.ts";
import { checkStop } from "./_life.ts";
import {
  type Attempt,
  PENDING,
  ready,
  waitAsync,
  type WaitOptions,
  waitSync,
  wake,
} from "./_park.ts";

export type { WaitOptions };

const { compareExchange, load } = Atomics;

const CHANGES = 0;
const SEQ = 1;
const BYTES = 12;
const WHAT = "wait for event";

/**
 * A flag that workers set, clear and wait for. Python's `multiprocessing.Event`.
 *
 * - **`set` wakes everybody** who waits, in every worker, blocked or not, and stays
 *   set until `clear`.
 * - **`set` then `clear`** still wakes those who were waiting before: each of them
 *   sees that it was set. Those who come after `clear` wait for the next `set`.
 * - **Visibility:** what a worker wrote to shared memory before `set` is visible to
 *   those who return from `wait`.
 * - **If a worker ends**, the flag stays as it is.
 * - **The name** is also a global's: `import * as mp` and `mp.Event` shadow nothing.
 * - **Sending:** pass it to workers in `args`, pool items or initializer arguments.
 *
 * @example Holding several tasks back until everything is ready
 * ```ts
 * import { Event } from "@parallel/multiprocessing/event";
 * import { assertEquals } from "@std/assert";
 *
 * const ready = new Event();
 * const log: string[] = [];
 *
 * async function runner(name: string): Promise<void> {
 *   await ready.wait();
 *   log.push(name);
 * }
 *
 * const runners = [runner("A"), runner("B")];
 * log.push("go");
 * ready.set();
 * await Promise.all(runners);
 *
 * assertEquals(log, ["go", "A", "B"]);
 * ```
 */
export class Event {
  readonly #words: Int32Array;

  /**
   * Creates an event that is not set.
   *
   * @example Usage
   * ```ts
   * import { Event } from "@parallel/multiprocessing/event";
   * import { assertEquals } from "@std/assert";
   *
   * assertEquals(new Event().isSet(), false);
   * ```
   */
  constructor() {
    const memory = takeParts()?.[0] as SharedArrayBuffer | undefined ??
      new SharedArrayBuffer(BYTES);
    this.#words = new Int32Array(memory);
    guardHandle(this, memory);
  }

  /**
   * Returns whether the event is set.
   *
   * @returns `true` if it is set.
   *
   * @example Usage
   * ```ts
   * import { Event } from "@parallel/multiprocessing/event";
   * import { assertEquals } from "@std/assert";
   *
   * const event = new Event();
   * event.set();
   *
   * assertEquals(event.isSet(), true);
   * ```
   */
  isSet(): boolean {
    return isOdd(load(this.#words, CHANGES));
  }

  /**
   * Sets the event and wakes all who wait for it. Does nothing if it is set.
   *
   * @example Usage
   * ```ts
   * import { Event } from "@parallel/multiprocessing/event";
   *
   * const event = new Event();
   * event.set();
   * await event.wait();
   * ```
   */
  set(): void {
    const words = this.#words;
    const changes = load(words, CHANGES);
    // If another change comes first, the event is or was set at that time, and
    // this call counts as having happened just before.
    if (!isOdd(changes)) {
      compareExchange(words, CHANGES, changes, (changes + 1) | 0);
    }
    wake(words, SEQ, Infinity);
  }

  /**
   * Makes the event not set again. Does nothing if it is not set.
   *
   * @example Usage
   * ```ts
   * import { Event } from "@parallel/multiprocessing/event";
   * import { assertEquals } from "@std/assert";
   *
   * const event = new Event();
   * event.set();
   * event.clear();
   *
   * assertEquals(event.isSet(), false);
   * ```
   */
  clear(): void {
    const changes = load(this.#words, CHANGES);
    if (!isOdd(changes)) return;
    compareExchange(this.#words, CHANGES, changes, (changes + 1) | 0);
  }

  /**
   * Waits until the event is set. Never blocks the event loop, and keeps the program
   * alive while it waits.
   *
   * @param options Additional options.
   * @returns A promise that resolves once the event was set.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   * @throws The signal's reason, if `options.signal` aborts first.
   *
   * @example Usage
   * ```ts
   * import { Event } from "@parallel/multiprocessing/event";
   * import { assertRejects } from "@std/assert";
   *
   * const event = new Event();
   *
   * await assertRejects(() => event.wait({ timeout: 10 }), DOMException, "timed out");
   * ```
   */
  wait(options?: WaitOptions): Promise<void> {
    if (options === undefined && this.isSet()) return ready(undefined);
    return waitAsync(WHAT, this.#words, SEQ, this.#attempt(), options);
  }

  /**
   * Waits until the event is set, blocking this thread.
   *
   * @param options Additional options.
   * @throws {DOMException & { name: "TimeoutError" }} If `options.timeout` elapses.
   *
   * @example Usage
   * ```ts
   * import { Event } from "@parallel/multiprocessing/event";
   * import { assertThrows } from "@std/assert";
   *
   * const event = new Event();
   *
   * assertThrows(() => event.waitSync({ timeout: 10 }), DOMException, "timed out");
   * ```
   */
  waitSync(options?: Pick<WaitOptions, "timeout">): void {
    checkStop();
    if (options === undefined && this.isSet()) return;
    waitSync(WHAT, this.#words, SEQ, this.#attempt(), options);
  }

  #attempt(): Attempt<void> {
    const words = this.#words;
    const before = load(words, CHANGES);
    return () => {
      const changes = load(words, CHANGES);
      return changes !== before || isOdd(changes) ? undefined : PENDING;
    };
  }

  /** @ignore */
  [HANDLE](): HandleParts {
    return { kind: "Event", parts: [this.#words.buffer] };
  }

  static {
    defineHandle("Event", () => new Event());
    inspectAs(Event, (event) => `Event { set: ${event.isSet()} }`);
  }
}

function isOdd(changes: number): boolean {
  return (changes & 1) !== 0;
}
