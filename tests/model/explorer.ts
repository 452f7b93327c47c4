/**
 * Explores every interleaving of the threads of a {@linkcode Model}.
 *
 * Moves are of two kinds. A *duty* happens if nothing else does: a thread's next
 * step, the end of a dead thread being noticed, a timer. A *chance* may never
 * happen: a thread dies, a timeout passes, a signal aborts. Nobody may depend on a
 * chance, so from every state the end must be reachable by duties alone. That is
 * what "no lost wake-up" means here: a sleeper is woken by its wakers only, and by
 * the 50 ms heal only once some thread has died.
 *
 * States are visited in order of their distance from the first one, so what is
 * reported is a shortest trace.
 *
 * @module
 */

import {
  ALIVE,
  BLOCKED,
  BURIED,
  DEAD,
  DONE,
  LATE,
  LIMITED,
  type Model,
  type Pc,
  SOON,
  type State,
  type Step,
  type Thread,
  TIMED_OUT,
  Violation,
} from "./model.ts";

/** What was found. */
export interface Report {
  model: string;
  states: number;
  transitions: number;
  /** Steps from the first state to the farthest. */
  depth: number;
  ms: number;
  /** What is wrong, `undefined` if nothing is. */
  violation: string | undefined;
  /** The way there, one line a step. */
  trace: string[];
}

/** Growable store of distinct states. */
class Store {
  readonly #wide: number;
  #states: Int32Array;
  #table = new Int32Array(1 << 16);
  count = 0;

  constructor(length: number) {
    this.#wide = length >> 1;
    this.#states = new Int32Array(this.#wide << 14);
  }

  /** Copies a state out. */
  read(index: number, into: Int32Array): void {
    const from = index * this.#wide;
    for (let i = 0; i < this.#wide; i++) into[i] = this.#states[from + i]!;
  }

  /** The index of a state; one that equals `count` before the call is new. */
  add(state: Int32Array): number {
    const wide = this.#wide;
    let hash = 0;
    for (let i = 0; i < wide; i++) {
      hash = Math.imul(hash ^ state[i]!, 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    let mask = this.#table.length - 1;
    let slot = hash & mask;
    for (let found; (found = this.#table[slot]!) !== 0;) {
      if (this.#equals(found - 1, state)) return found - 1;
      slot = (slot + 1) & mask;
    }
    const index = this.count++;
    if (this.count * wide > this.#states.length) {
      const grown = new Int32Array(this.#states.length * 2);
      grown.set(this.#states);
      this.#states = grown;
    }
    this.#states.set(state, index * wide);
    this.#table[slot] = index + 1;
    if (this.count * 2 > this.#table.length) {
      mask = this.#table.length * 2 - 1;
      this.#rehash(mask);
    }
    return index;
  }

  #equals(index: number, state: Int32Array): boolean {
    const from = index * this.#wide;
    for (let i = 0; i < this.#wide; i++) {
      if (this.#states[from + i] !== state[i]) return false;
    }
    return true;
  }

  #rehash(mask: number): void {
    const table = new Int32Array(mask + 1);
    const wide = this.#wide;
    for (let index = 0; index < this.count; index++) {
      let hash = 0;
      for (let i = 0; i < wide; i++) {
        hash = Math.imul(hash ^ this.#states[index * wide + i]!, 0x9e3779b1);
        hash ^= hash >>> 15;
      }
      let slot = hash & mask;
      while (table[slot] !== 0) slot = (slot + 1) & mask;
      table[slot] = index + 1;
    }
    this.#table = table;
  }
}

/** Growable list of integers. */
class Ints {
  #items = new Int32Array(1 << 12);
  length = 0;

  push(value: number): void {
    if (this.length === this.#items.length) {
      const grown = new Int32Array(this.length * 2);
      grown.set(this.#items);
      this.#items = grown;
    }
    this.#items[this.length++] = value;
  }

  at(index: number): number {
    return this.#items[index]!;
  }
}

// How a state was reached: a thread's own step, or one of these.
const BURY = 1;
const HEAL = 2;
const TIMER = 3;
const TIMEOUT = 4;
const KILL = 5;
const KINDS = 6;
const WHAT = [
  "",
  "has really ended",
  "wakes by itself (50 ms)",
  "wakes by itself (soon)",
  "its timeout passes",
  "DIES",
];

/** Visits all states of a model. */
export function explore(model: Model, maxStates = 4_000_000): Report {
  return new Exploration(model, maxStates).run();
}

class Exploration {
  readonly #model: Model;
  readonly #max: number;
  readonly #store: Store;
  readonly #pre: State;
  readonly #preWide: Int32Array;
  readonly #next: State;
  readonly #nextWide: Int32Array;
  readonly #parents = new Ints();
  readonly #actions = new Ints();
  /** Pairs of states that a duty leads from and to. */
  readonly #duties = new Ints();
  /** States in which all threads have finished. */
  readonly #ends = new Ints();
  #at = 0;
  #moved = false;
  #transitions = 0;

  constructor(model: Model, maxStates: number) {
    const length = (model.names.length + 1) & ~1;
    this.#model = model;
    this.#max = maxStates;
    this.#store = new Store(length);
    this.#pre = new Int16Array(length);
    this.#preWide = new Int32Array(this.#pre.buffer);
    this.#next = new Int16Array(length);
    this.#nextWide = new Int32Array(this.#next.buffer);
  }

  run(): Report {
    const started = performance.now();
    let violation: string | undefined;
    let bad = -1;
    try {
      this.#visitAll();
      bad = this.#firstDoomed();
      if (bad >= 0) violation = this.#describeStuck(bad);
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      violation = error.message;
      bad = this.#store.count - 1;
      if (this.#failedIn >= 0) bad = this.#failedIn;
    }
    const trace = bad < 0 ? [] : this.#trace(bad);
    let depth = 0;
    for (let i = this.#store.count - 1; i > 0; i = this.#parents.at(i)) depth++;
    return {
      model: this.#model.name,
      states: this.#store.count,
      transitions: this.#transitions,
      depth,
      ms: performance.now() - started,
      violation,
      trace,
    };
  }

  #failedIn = -1;

  #visitAll(): void {
    const model = this.#model;
    this.#next.set(model.initial);
    for (const t of model.threads) this.#next[t.pc] = t.start;
    this.#keep(-1, 0);
    for (this.#at = 0; this.#at < this.#store.count; this.#at++) {
      this.#store.read(this.#at, this.#preWide);
      this.#moved = false;
      for (const t of model.threads) this.#moveThread(t);
      for (let i = 0; i < model.events.length; i++) this.#happen(i);
      this.#checkEnd();
      if (this.#store.count > this.#max) {
        throw new Error(`Cannot explore ${model.name}: more than ${this.#max}`);
      }
    }
  }

  #moveThread(t: Thread): void {
    const model = this.#model;
    const pre = this.#pre;
    const status = pre[t.status]!;
    const action = t.token * KINDS;
    if (status === BURIED) return;
    if (status === DEAD) {
      return this.#try(action + BURY, true, (s) => s[t.status] = BURIED);
    }
    if (pre[t.where] !== 0) {
      const time = pre[t.time]!;
      if (model.heals(pre)) {
        this.#try(action + HEAL, true, (s) => endSleep(s, t));
      }
      if (time & SOON) this.#try(action + TIMER, true, (s) => endSleep(s, t));
      if (time & LIMITED) {
        this.#try(action + TIMEOUT, false, (s) => {
          endSleep(s, t);
          s[t.time]! |= LATE;
        });
      }
    } else if (pre[t.pc] !== DONE) {
      const { run } = model.steps[pre[t.pc]!]!;
      do {
        this.#nextWide.set(this.#preWide);
        model.rewind();
        const next = this.#guarded(action, run);
        if (next === BLOCKED) continue;
        this.#next[t.pc] = next;
        this.#arrive(action, true);
      } while (model.nextChoice());
    }
    if (
      t.mortal && this.#deaths() < model.deaths &&
      !(pre[t.pc] === DONE && pre[t.where] === 0)
    ) {
      this.#try(action + KILL, false, (s) => model.kill(s, t));
    }
  }

  #deaths(): number {
    let deaths = 0;
    for (const t of this.#model.threads) {
      if (this.#pre[t.status] !== ALIVE) deaths++;
    }
    return deaths;
  }

  #guarded(action: number, run: Step): Pc {
    try {
      const { steps } = this.#model;
      let next = run(this.#next);
      while (next > DONE && steps[next]!.inner) {
        next = steps[next]!.run(this.#next);
      }
      return next;
    } catch (error) {
      if (error instanceof Violation) {
        // Kept though it may equal another state, to be the end of the trace.
        this.#failedIn = this.#store.count;
        this.#parents.push(this.#at);
        this.#actions.push(action);
      }
      throw error;
    }
  }

  #try(action: number, isDuty: boolean, change: (s: State) => void): void {
    this.#nextWide.set(this.#preWide);
    change(this.#next);
    this.#arrive(action, isDuty);
  }

  #happen(i: number): void {
    const event = this.#model.events[i]!;
    do {
      this.#nextWide.set(this.#preWide);
      this.#model.rewind();
      if (!event.run(this.#next)) continue;
      this.#arrive(-1 - i, !event.chance);
    } while (this.#model.nextChoice());
  }

  #arrive(action: number, isDuty: boolean): void {
    this.#transitions++;
    const index = this.#keep(this.#at, action);
    if (!isDuty || index === this.#at) return;
    this.#moved = true;
    this.#duties.push(this.#at);
    this.#duties.push(index);
  }

  #keep(parent: number, action: number): number {
    const before = this.#store.count;
    const index = this.#store.add(this.#nextWide);
    if (index === before) {
      this.#parents.push(parent);
      this.#actions.push(action);
      const wrong = this.#model.always(this.#next);
      if (wrong !== undefined) throw new Violation(wrong);
    }
    return index;
  }

  #checkEnd(): void {
    const { threads } = this.#model;
    let allFinished = true;
    for (const t of threads) {
      if (!this.#model.isFinished(this.#pre, t)) {
        allFinished = false;
        break;
      }
    }
    let wrong: string | undefined;
    if (allFinished) {
      if (this.#moved && !this.#model.heals(this.#pre)) return;
      this.#ends.push(this.#at);
      wrong = this.#model.finally(this.#pre);
    } else if (!this.#moved) wrong = this.#describeStuck(this.#at);
    if (wrong === undefined) return;
    this.#failedIn = this.#at;
    throw new Violation(wrong);
  }

  #describeStuck(index: number): string {
    const s = this.#stateAt(index);
    const names = this.#model.threads
      .filter((t) => !this.#model.isFinished(s, t))
      .map((t) => `${t.name} at "${this.#model.steps[s[t.pc]!]!.what}"`);
    return `${names.join(", ")}: will never go on`;
  }

  /** The first state from which duties alone never lead to an end. */
  #firstDoomed(): number {
    const { count } = this.#store;
    const pairs = this.#duties.length / 2;
    const starts = new Int32Array(count + 1);
    for (let i = 0; i < pairs; i++) {
      starts[this.#duties.at(2 * i + 1) + 1]!++;
    }
    for (let i = 0; i < count; i++) starts[i + 1]! += starts[i]!;
    const sources = new Int32Array(pairs);
    const fill = starts.slice();
    for (let i = 0; i < pairs; i++) {
      sources[fill[this.#duties.at(2 * i + 1)]!++] = this.#duties.at(2 * i);
    }
    const good = new Uint8Array(count);
    const queue = new Int32Array(count);
    let tail = 0;
    for (let i = 0; i < this.#ends.length; i++) {
      good[this.#ends.at(i)] = 1;
      queue[tail++] = this.#ends.at(i);
    }
    for (let head = 0; head < tail; head++) {
      const to = queue[head]!;
      for (let i = starts[to]!; i < starts[to + 1]!; i++) {
        const from = sources[i]!;
        if (good[from] === 0) {
          good[from] = 1;
          queue[tail++] = from;
        }
      }
    }
    return good.indexOf(0);
  }

  #stateAt(index: number): State {
    const wide = new Int32Array(this.#preWide.length);
    this.#store.read(index, wide);
    return new Int16Array(wide.buffer);
  }

  #trace(index: number): string[] {
    const lines: string[] = [];
    let after = index < this.#store.count ? this.#stateAt(index) : this.#next;
    for (let i = index; i > 0;) {
      const parent = this.#parents.at(i);
      const before = this.#stateAt(parent);
      lines.push(this.#line(before, after, this.#actions.at(i)));
      after = before;
      i = parent;
    }
    return lines.reverse();
  }

  #line(before: State, after: State, action: number): string {
    const { threads, events, steps, names } = this.#model;
    let what: string;
    if (action < 0) what = events[-1 - action]!.name;
    else {
      const t = threads[Math.floor(action / KINDS) - 1]!;
      const kind = action % KINDS;
      what = `${t.name}: ${
        kind === 0 ? steps[before[t.pc]!]!.what : WHAT[kind]
      }`;
    }
    const changes: string[] = [];
    for (let i = 0; i < names.length; i++) {
      if (before[i] === after[i] || /\.(pc|fresh\w*)$/.test(names[i]!)) {
        continue;
      }
      changes.push(`${names[i]} ${before[i]}→${after[i]}`);
    }
    return changes.length === 0
      ? what
      : `${what.padEnd(56)} ${changes.join(", ")}`;
  }
}

function endSleep(s: State, t: Thread): void {
  s[t.where] = 0;
  s[t.how] = TIMED_OUT;
}

/** A report as text. */
export function describeReport(report: Report): string {
  const { model, violation, trace, states } = report;
  if (violation === undefined) return `${model}: fine in ${states} states`;
  return [`${model}: ${violation}`, ...trace.map((line) => `  ${line}`)].join(
    "\n",
  );
}
