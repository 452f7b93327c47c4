// Runs the guide's six programs, each as a program of its own, and then one
// CPU-bound job: first in this thread, then on all cores.

import * as mp from "@parallel/multiprocessing";

const PROGRAMS = [
  "process_greet.ts",
  "process_square_cube.ts",
  "queue_fruits.ts",
  "lock_tasks.ts",
  "pool_square.ts",
  "pool_two_workers.ts",
];

async function run(program: string): Promise<void> {
  const { code } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--allow-read", new URL(program, import.meta.url).href],
    cwd: new URL("..", import.meta.url),
    stdin: "null",
  }).spawn().status;
  if (code !== 0) throw new Error(`Cannot go on: ${program} exited ${code}`);
}

function countPrimes([from, to]: [number, number]): number {
  let count = 0;
  search: for (let n = Math.max(from, 2); n < to; n++) {
    for (let d = 2; d * d <= n; d++) {
      if (n % d === 0) continue search;
    }
    count++;
  }
  return count;
}

function sum(numbers: number[]): number {
  return numbers.reduce((total, n) => total + n, 0);
}

function seconds(since: number): string {
  return `${((performance.now() - since) / 1000).toFixed(2)} s`;
}

for (const program of PROGRAMS) {
  console.log(`\n== examples/${program}`);
  await run(program);
}

const LIMIT = Number(Deno.args[0] ?? 5_000_000);
const CHUNK = 50_000;
const ranges: [number, number][] = [];
for (let from = 0; from < LIMIT; from += CHUNK) {
  ranges.push([from, Math.min(from + CHUNK, LIMIT)]);
}
const cores = mp.cpuCount();
console.log(`\n== primes below ${LIMIT.toLocaleString("en")}`);

let start = performance.now();
const serial = sum(ranges.map(countPrimes));
const serialTime = performance.now() - start;
console.log(`serial            ${seconds(start)}`);

start = performance.now();
await using pool = new mp.Pool();
const parallel = sum(await pool.map(countPrimes, ranges));
const parallelTime = performance.now() - start;
console.log(`${`Pool, ${cores} workers`.padEnd(17)} ${seconds(start)}`);

if (serial !== parallel) {
  throw new Error(`The counts differ: ${serial} and ${parallel}`);
}
console.log(`${serial.toLocaleString("en")} primes both ways`);
console.log(`speedup           ${(serialTime / parallelTime).toFixed(2)}`);
