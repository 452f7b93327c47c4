/**
 * What a model is made of.
 *
 * A {@linkcode Model} is a row of Int16 words, its *state*, and a table of steps. A
 * step reads and writes the state and returns which step its thread does next; it
 * makes at most one access that other threads can see, so that all interleavings of
 * steps are all interleavings of the real program's `Atomics` calls. Programs are
 * built back to front: a step is given the steps that follow it.
 *
 * @module
 */

/** The words of one state. */
export type State = Int16Array;
/** Number of a step. */
export type Pc = number;
/** Does one step; returns the thread's next one, or {@linkcode BLOCKED}. */
export type Step = (s: State) => Pc;

/** The thread has finished. */
export const DONE: Pc = 0;
/** The step cannot be made in this state. */
export const BLOCKED: Pc = -1;

/** {@linkcode Thread.status}: it runs or sleeps. */
export const ALIVE = 0;
/** {@linkcode Thread.status}: it does nothing any more, and nobody knows. */
export const DEAD = 1;
/** {@linkcode Thread.status}: `isDead` says so. */
export const BURIED = 2;

/** Result of a sleep: not asleep, since SEQ had moved. */
export const NOT_EQUAL = 0;
/** Result of a sleep: woken. */
export const WOKEN = 1;
/** Result of a sleep: a time has passed. */
export const TIMED_OUT = 2;

/** Thrown by a step that finds something that must not be. */
export class Violation extends Error {}

/** Where threads sleep: see `_park.ts`. */
export interface Spot {
  readonly id: number;
  readonly name: string;
  /** Index of WAITERS. SEQ is modelled by {@linkcode fresh}. */
  readonly waiters: number;
  /** By thread: a word that is 1 while SEQ is what the thread has read last. */
  readonly fresh: Map<Thread, number>;
  /** By thread: 0, 1 a `waitAsync` is pending, 2 it has been notified. */
  readonly armed: Map<Thread, number>;
}

/** A thread. Its token is its index + 1. */
export interface Thread {
  readonly name: string;
  readonly token: number;
  /** Whether it may die. */
  readonly mortal: boolean;
  /** First step. */
  start: Pc;
  // Indexes of its words:
  readonly pc: number;
  readonly status: number;
  /** 0, or the id of the spot it is asleep at. */
  readonly where: number;
  /** How its last sleep ended. */
  readonly how: number;
  /** Bits: {@linkcode LIMITED}, {@linkcode SOON}, {@linkcode LATE}. */
  readonly time: number;
  /** Further words of it, cleared when it dies. */
  readonly locals: number[];
}

/** Bit of {@linkcode Thread.time}: the wait has a timeout. */
export const LIMITED = 1;
/** Bit of {@linkcode Thread.time}: a short sleep, see `PENDING_SOON`. */
export const SOON = 2;
/** Bit of {@linkcode Thread.time}: the timeout has passed. */
export const LATE = 4;

interface Event {
  name: string;
  run: (s: State) => boolean;
  chance: boolean;
}

/** Threads, their programs and the memory they share. */
export class Model {
  readonly name: string;
  readonly names: string[] = [];
  readonly initial: number[] = [];
  readonly threads: Thread[] = [];
  readonly spots: Spot[] = [];
  readonly events: Event[] = [];
  readonly steps: { what: string; run: Step; inner: boolean }[] = [
    { what: "done", run: () => BLOCKED, inner: false },
  ];
  readonly #resting = new Set<Pc>([DONE]);
  /** How many threads may die. */
  deaths = 0;
  /** Whether sleepers look by themselves, as they do every 50 ms. */
  heals: (s: State) => boolean = (s) =>
    this.threads.some((t) => s[t.status] !== ALIVE);
  /** Asked in each state: what is wrong? */
  always: (s: State) => string | undefined = () => undefined;
  /** Asked where all threads have done what they have to: what is wrong? */
  finally: (s: State) => string | undefined = () => undefined;
  /** Whether a thread may stay asleep, or at a step marked by {@linkcode rest}. */
  mayStay: (s: State, t: Thread) => boolean = (s, t) => s[t.where] === 0;
  /** Called when a thread has died. */
  onDeath: (s: State, t: Thread) => void = () => {};

  readonly #digits: number[] = [];
  readonly #limits: number[] = [];
  #digit = 0;

  constructor(name: string) {
    this.name = name;
  }

  /** A word, shared or ghost. Returns its index. */
  word(name: string, initial = 0): number {
    this.names.push(name);
    return this.initial.push(initial) - 1;
  }

  /** A word of one thread. */
  local(t: Thread, name: string): number {
    const at = this.word(`${t.name}.${name}`);
    t.locals.push(at);
    return at;
  }

  thread(name: string, mortal = false): Thread {
    const t: Thread = {
      name,
      token: this.threads.length + 1,
      mortal,
      start: DONE,
      pc: this.word(`${name}.pc`),
      status: this.word(`${name}.status`),
      where: this.word(`${name}.where`),
      how: this.word(`${name}.how`),
      time: this.word(`${name}.time`),
      locals: [],
    };
    t.locals.push(t.how, t.time);
    this.threads.push(t);
    return t;
  }

  spot(name: string): Spot {
    const spot: Spot = {
      id: this.spots.length + 1,
      name,
      waiters: this.word(`${name}.WAITERS`),
      fresh: new Map(),
      armed: new Map(),
    };
    this.spots.push(spot);
    return spot;
  }

  /** A step to be defined later, by {@linkcode at}. */
  label(): Pc {
    return this.step("?", () => BLOCKED);
  }

  at(pc: Pc, what: string, run: Step): Pc {
    this.steps[pc] = { what, run, inner: false };
    return pc;
  }

  step(what: string, run: Step): Pc {
    return this.at(this.steps.length, what, run);
  }

  /** Like {@linkcode at}, for a step that touches nothing others can see. */
  innerAt(pc: Pc, run: Step): Pc {
    this.steps[pc] = { what: "", run, inner: true };
    return pc;
  }

  /** A step that touches nothing others can see: part of the one before it. */
  inner(run: Step): Pc {
    return this.innerAt(this.steps.length, run);
  }

  /** Marks a step at which a thread may stay. */
  rest(pc: Pc): Pc {
    this.#resting.add(pc);
    return pc;
  }

  /** Something that is no thread's step; `run` says whether it can happen. */
  event(name: string, chance: boolean, run: (s: State) => boolean): void {
    this.events.push({ name, chance, run });
  }

  /** In a step: any of 0 … n - 1. */
  choose(n: number): number {
    const i = this.#digit++;
    if (i === this.#digits.length) {
      this.#digits.push(0);
      this.#limits.push(n);
    }
    return this.#digits[i]!;
  }

  /** For the explorer: goes back to the step's first choice. */
  rewind(): void {
    this.#digit = 0;
  }

  /** For the explorer: the next combination of choices, `false` after the last. */
  nextChoice(): boolean {
    while (this.#digits.length > 0) {
      const last = this.#digits.length - 1;
      if (this.#digits[last]! + 1 < this.#limits[last]!) {
        this.#digits[last]!++;
        return true;
      }
      this.#digits.pop();
      this.#limits.pop();
    }
    return false;
  }

  /** Whether a thread has done what it has to. */
  isFinished(s: State, t: Thread): boolean {
    if (s[t.status] !== ALIVE) return s[t.status] === BURIED;
    if (s[t.where] === 0 && s[t.pc] === DONE) return true;
    return (s[t.where] !== 0 || this.#resting.has(s[t.pc]!)) &&
      this.mayStay(s, t);
  }

  /** Whether a thread is in the event loop, in an async wait at a spot. */
  isWaiting(s: State, t: Thread, spot: Spot): boolean {
    return this.steps[s[t.pc]!]!.what === eventLoopAt(spot);
  }

  /** Ends a thread at once; nobody knows yet. */
  kill(s: State, t: Thread): void {
    s[t.status] = DEAD;
    s[t.pc] = DONE;
    s[t.where] = 0;
    for (const at of t.locals) s[at] = 0;
    for (const { fresh, armed } of this.spots) {
      for (const at of [fresh.get(t), armed.get(t)]) {
        if (at !== undefined) s[at] = 0;
      }
    }
    this.onDeath(s, t);
  }
}

/** What the step of an async wait is called. */
export function eventLoopAt(spot: Spot): string {
  return `event loop (waits at ${spot.name})`;
}
