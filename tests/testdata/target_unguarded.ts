// A program without a guard: what it starts in a worker is refused, at once or later.

import { run } from "./target_run.ts";

const { mayStart } = globalThis as unknown as {
  mayStart?: (what: string) => void;
};
const late = Deno.env.get("TARGET_LATE") === "1";
const factor = 2;
let refusal: string | undefined;

export async function own(x: number): Promise<string> {
  await new Promise((resolve) => setTimeout(resolve, 50));
  // A start from within a target is no mistake.
  mayStart!("start nested process");
  return `${x * factor} ${refusal}`;
}

async function main(): Promise<void> {
  if (late) await new Promise((resolve) => setTimeout(resolve, 5));
  try {
    mayStart?.("start process");
  } catch (error) {
    refusal = String(error);
    if (!late) throw error;
    return;
  }
  if (mayStart !== undefined) return;
  console.log(await run((x: number) => x + 1, 1));
  console.log(await run(own, 4));
}

if (late) main();
else await main();
