/**
 * Numbers the steps that a thread does in shared memory, and ends the thread before
 * one of them. To be evaluated before any module of the library is loaded: those
 * take the built-ins they find.
 *
 * A step is a call of `Atomics` or one plain write to shared memory, be it of a
 * word or of a range. `Deno.exit` ends a Web Worker where it is called: no `catch`,
 * no `finally` and no further step of it runs.
 *
 * @module
 */

/** Report word: the step before which the thread was ended, or 0. */
export const STOPPED = 0;
/** Report word: how often it went to sleep. */
export const SLEEPS = 1;
/** Report word: how many steps it has done since it was armed. */
export const STEPS = 2;
/** Report word: free for the scenario. */
export const NOTE = 4;

/** From when on steps are counted. */
export type Arm = "at once" | "asleep" | "woken" | {
  op: string;
  index: number;
};

const original = { ...pick(Atomics) };
const exit = Deno.exit;
const Words = Int32Array;
const nothing = new Words(new SharedArrayBuffer(4));

let report: Int32Array | undefined;
let stopAt = 0;
let count = 0;
let armed = false;
let arm: Arm = "at once";

/** Starts to count, as `arm` says; the thread ends before step number `n`. */
export function armSteps(words: Int32Array, n: number, when: Arm): void {
  report = words;
  stopAt = n;
  arm = when;
  armed = when === "at once";
}

/** Counts no more. */
export function disarmSteps(): void {
  armed = false;
  arm = { op: "none", index: 0 };
}

function step(): void {
  if (!armed) return;
  original.store(report!, STEPS, ++count);
  if (count !== stopAt) return;
  original.store(report!, STOPPED, count);
  end();
}

function end(): never {
  exit();
  while (true) original.wait(nothing, 0, 0);
}

/** The functions of `Atomics` by name. */
function pick(object: typeof Atomics): typeof Atomics {
  const names = Object.getOwnPropertyNames(object) as (keyof typeof Atomics)[];
  return Object.fromEntries(
    names.map((name) => [name, object[name]]),
  ) as unknown as typeof Atomics;
}

// -- Words whose plain writes are steps ----------------------------------------

const unwrapped = new WeakMap<object, Int32Array>();

function unwrap<T>(value: T): T {
  if (typeof value !== "object" || value === null) return value;
  return (unwrapped.get(value) ?? value) as T;
}

const handler: ProxyHandler<Int32Array> = {
  get(target, key) {
    const value = Reflect.get(target, key, target);
    return typeof value === "function" ? value.bind(target) : value;
  },
  set(target, key, value) {
    step();
    return Reflect.set(target, key, value, target);
  },
};

class SteppedWords extends Words {
  constructor(...args: [number]) {
    super(...args);
    if (!((this.buffer as ArrayBufferLike) instanceof SharedArrayBuffer)) {
      return;
    }
    const proxy = new Proxy(this, handler);
    unwrapped.set(proxy, this);
    return proxy as unknown as this;
  }
}

const typedArray = Object.getPrototypeOf(Uint8Array.prototype);
const set = typedArray.set;

/** Patches the built-ins of this thread. */
export function patchBuiltIns(): void {
  globalThis.Int32Array = SteppedWords as unknown as Int32ArrayConstructor;
  typedArray.set = function (source: unknown, at: number): void {
    const target = unwrap(this);
    if (target.buffer instanceof SharedArrayBuffer) step();
    set.call(target, unwrap(source), at);
  };
  for (const name of Object.keys(original) as (keyof typeof Atomics)[]) {
    const run = original[name] as (...args: unknown[]) => unknown;
    if (typeof run !== "function" || name === "pause") continue;
    const patched = (words: unknown, ...rest: unknown[]): unknown => {
      if (typeof arm === "object" && arm.op === name && arm.index === rest[0]) {
        armed = true;
      }
      const sleeps = name === "wait" || name === "waitAsync";
      if (sleeps && arm === "asleep") armed = true;
      step();
      if (sleeps && report !== undefined) original.add(report, SLEEPS, 1);
      const result = run(unwrap(words), ...rest);
      if (sleeps && arm === "woken" && isWoken(result)) armed = true;
      return result;
    };
    Object.defineProperty(Atomics, name, { value: patched, writable: true });
  }
}

function isWoken(result: unknown): boolean {
  return result === "ok" || result === "not-equal";
}
