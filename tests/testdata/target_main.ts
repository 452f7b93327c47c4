// A program: what works from a guarded main module whose top level is still waiting.

import { run } from "./target_run.ts";
import { scale } from "./target_module.ts";

const factor = 3;

export function own(x: number): number {
  return x * factor;
}

export function hidden(x: number): number {
  return x + factor;
}

function local(x: number): number {
  return x - factor;
}

function shadow(): (x: number) => number {
  const factor = 100;
  return function hidden(x: number): number {
    return x + factor;
  };
}

if (import.meta.main) {
  const show = (name: string, outcome: { value?: unknown; error?: string }) =>
    console.log(name, outcome.value ?? outcome.error);
  show("inline", await run((x: number) => x * 2, 4));
  show("own", await run(own, 4));
  show("imported", await run(scale, 4));
  show("local", await run(local, 4));
  show("shadow", await run(shadow(), 4));
  show("shadowed", await run(hidden, 4));
}
