/**
 * How long tests wait for what must come.
 *
 * Imports nothing, not even `@std/async`: child processes and `deno task fuzz` run it
 * too, without the import map that stands in for JSR.
 *
 * @module
 */

/**
 * The deadline of everything a test waits for, in milliseconds. Nobody waits that long
 * unless something is broken, so it is long enough for a machine that is busy elsewhere.
 */
export const DEADLINE = 60_000;

/**
 * Rejects if the promise has not settled before the deadline.
 *
 * @param what Said in the error, as it is then: shared words, or a text.
 */
export async function within<T>(
  promise: Promise<T>,
  what?: Int32Array | string,
): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const state = what === undefined ? "" : `: [${what}]`;
      reject(new Error(`Nothing within ${DEADLINE} ms${state}`));
    }, DEADLINE);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** What a promise rejects with before the deadline. */
export async function rejection(promise: Promise<unknown>): Promise<Error> {
  const settled = await within(
    promise.then((value) => ({ value }), (error: Error) => ({ error })),
  );
  if ("error" in settled) return settled.error;
  throw new Error(`Resolved to ${Deno.inspect(settled.value)}`);
}

/**
 * Tries something that is to run into a timeout on its way, with longer and longer ones,
 * until it has got that far: a busy machine takes its time.
 *
 * @param attempt Gets a timeout in milliseconds; whether it had got far enough by then.
 */
export async function longEnough(
  attempt: (timeout: number) => Promise<boolean>,
): Promise<void> {
  for (let timeout = 300; timeout < DEADLINE; timeout *= 4) {
    if (await attempt(timeout)) return;
  }
  throw new Error("No timeout was long enough");
}

/**
 * Measures how long something takes, again if that was too long: of a few times there is
 * one when the machine is not busy elsewhere.
 *
 * @param limit What it has to take less than, in milliseconds.
 * @param measure Does it, and returns how long it took.
 */
export async function takesLess(
  limit: number,
  measure: () => number | Promise<number>,
): Promise<void> {
  const took: number[] = [];
  while (took.length < 5) {
    const ms = await measure();
    if (ms < limit) return;
    took.push(ms);
  }
  throw new Error(`Took ${took} ms, never less than ${limit}`);
}

/**
 * Waits until something is so, without blocking.
 *
 * @param what Said in the error if it does not come to be so.
 */
export async function until(
  isSo: () => boolean,
  what: () => string = () => `Not so: ${isSo}`,
): Promise<void> {
  const deadline = performance.now() + DEADLINE;
  while (!isSo()) {
    if (performance.now() > deadline) throw new Error(what());
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** Waits until a shared word has a value at least as high, without blocking. */
export function reaches(
  words: Int32Array,
  at: number,
  value: number,
): Promise<void> {
  return until(
    () => Atomics.load(words, at) >= value,
    () => `Word ${at} did not reach ${value}: [${words}]`,
  );
}
