/**
 * Whether somebody still reads a stream of results, as far as can be seen.
 *
 * A reader that has left its loop, or has got what it wanted, does not say so. So a
 * stream counts as abandoned when no result has been asked for in a while after the
 * last one was given.
 *
 * @module
 */

import { callIn } from "./_park.ts";

/** How often it is looked whether somebody still reads, in milliseconds. */
const LOOK_MS = 20;
/**
 * After how many looks in vain who reads in a loop counts as gone, about a second. Not
 * by the clock: a program that was held up has not gone on.
 */
const LOOP_LOOKS = 50;
/** The same for who asks by hand. */
const HAND_LOOKS = 1;

/** Those who read one stream. */
export class Audience {
  readonly #isWaitedFor: () => boolean;
  readonly #onGone: () => void;
  /** How many results were asked for. */
  #asked = 0;
  #inLoop = false;
  #isWatched = false;

  /**
   * Constructs a new instance.
   *
   * @param isWaitedFor Whether all that was asked for is there and more should be.
   * @param onGone Called when nobody reads any more.
   */
  constructor(isWaitedFor: () => boolean, onGone: () => void) {
    this.#isWaitedFor = isWaitedFor;
    this.#onGone = onGone;
  }

  /** Whether anybody has ever asked. */
  get exists(): boolean {
    return this.#asked > 0;
  }

  /** Somebody asks for a result. */
  ask(): void {
    this.#asked++;
  }

  /** Somebody reads in a loop. */
  loop(): void {
    this.#inLoop = true;
  }

  /** If it is waited for, watches whether it asks again. */
  watch(): void {
    if (this.#isWatched || !this.#isWaitedFor()) return;
    this.#isWatched = true;
    this.#look(this.#asked, this.#inLoop ? LOOP_LOOKS : HAND_LOOKS);
  }

  #look(asked: number, left: number): void {
    callIn(LOOK_MS, () => {
      const isQuiet = this.#asked === asked && this.#isWaitedFor();
      if (isQuiet && left > 1) return this.#look(asked, left - 1);
      this.#isWatched = false;
      if (isQuiet) this.#onGone();
      else this.watch();
    });
  }
}
