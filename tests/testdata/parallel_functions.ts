// Functions for `parallel_test.ts`.

import { pmap, preduce } from "../../parallel.ts";

const FACTOR = 10;

export function scale(n: number): number {
  return n * FACTOR;
}

/** Runs in a worker and uses the workers of that worker. */
export async function sumOfScaled(count: number): Promise<number> {
  const items = Array.from({ length: count }, (_, i) => i);
  return await preduce(
    (a: number, b: number) => a + b,
    await pmap(scale, items),
  );
}

/** Has the text and the name of a function of the test. */
export function twin(n: number): number {
  return n + FACTOR;
}
