// Functions that need their module, and some that only look like them.

const factor: number = 10;

export function scale(x: number): number {
  return x * factor;
}

export { scale as grow };

export default (x: number): number => x + factor;

export const later = async (x: number): Promise<number> => {
  await null;
  return x - factor;
};

function multiplier(by: number): (x: number) => number {
  return (x: number) => x * by + factor;
}

/** A closure, found by identity only. */
export const tripled: (x: number) => number = multiplier(3);

export function twin(x: number): number {
  return x + factor;
}

function makeTwin(): (x: number) => number {
  const factor = 1;
  function twin(x: number): number {
    return x + factor;
  }
  return twin;
}

/** Has a function that only looks like the exported one. */
export const box: { twin: (x: number) => number } = { twin: makeTwin() };

export class Counter {
  value: number = factor;
  add(by: number): number {
    return this.value += by;
  }
}

/** Declared here, so not the global of that name. */
const origin: string = "the module's";

export function readOrigin(): string {
  return origin;
}

export const isMain: () => boolean = () => import.meta.main;

export let changing: (x: number) => number = (x) => x + factor;

export function change(): void {
  changing = (x) => x - factor;
}

export { resolved } from "./target_reexport.ts";
