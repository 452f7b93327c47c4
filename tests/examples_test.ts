/**
 * Runs every program of the guide as a program, as its reader would.
 */
import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertStringIncludes,
} from "@std/assert";
import { type ChildResult, describe, ROOT, runFile } from "./_child.ts";
import { takesLess } from "./_within.ts";

/** A round of `pool_two_workers.ts`, in milliseconds. */
const ROUND = 2000;

const PROGRAMS = [
  "process_greet.ts",
  "process_square_cube.ts",
  "queue_fruits.ts",
  "lock_tasks.ts",
  "pool_square.ts",
  "pool_two_workers.ts",
];

async function run(program: string): Promise<ChildResult> {
  const child = await runFile(`examples/${program}`, {
    flags: ["--allow-read"],
  });
  assertEquals(child.code, 0, describe(child));
  assertEquals(child.stderr, "", describe(child));
  return child;
}

function lines(text: string): string[] {
  assert(text.endsWith("\n"));
  return text.slice(0, -1).split("\n");
}

Deno.test("examples/process_greet.ts prints its greeting", async () => {
  const { stdout } = await run("process_greet.ts");
  assertEquals(stdout, "Hello! Welcome to Deno Multiprocessing!\n");
});

Deno.test("examples/process_square_cube.ts prints both results, then the end", async () => {
  const { stdout } = await run("process_square_cube.ts");
  const printed = lines(stdout);
  // The two processes run side by side, so either may be first.
  assertEquals(printed.slice(0, 2).sort(), [
    "The cube of 4 is 64",
    "The square of 4 is 16",
  ]);
  assertEquals(printed.slice(2), ["Both processes are completed."]);
});

Deno.test("examples/queue_fruits.ts prints the fruits in order", async () => {
  const { stdout } = await run("queue_fruits.ts");
  assertEquals(stdout, "Apple\nOrange\nBanana\n");
});

Deno.test("examples/lock_tasks.ts prints three whole lines", async () => {
  const { stdout } = await run("lock_tasks.ts");
  assertEquals(lines(stdout).sort(), ["Task 1", "Task 2", "Task 3"]);
});

Deno.test("examples/pool_square.ts prints the squares", async () => {
  const { stdout } = await run("pool_square.ts");
  assertEquals(stdout, "[ 1, 4, 9, 16 ]\n");
});

Deno.test("examples/pool_two_workers.ts runs four tasks in two rounds", async () => {
  await takesLess(3 * ROUND, async () => {
    const child = await run("pool_two_workers.ts");
    const printed = lines(child.stdout);
    const message = describe(child);
    assertEquals(
      printed.toSorted(),
      ["A", "B", "C", "D"].flatMap((name) => [
        `Task ${name} finished`,
        `Task ${name} started`,
      ]),
      message,
    );
    // C and D start when a worker is free, so not before another task has finished.
    let running = 0;
    for (const line of printed) {
      running += line.endsWith("started") ? 1 : -1;
      assert(running >= 0 && running <= 2, message);
    }
    assertGreaterOrEqual(child.elapsed, 2 * ROUND, message);
    // A worker that is held up for a round may not be the second to start.
    const first = printed.slice(0, 2).sort().join();
    return first === "Task A started,Task B started" ? child.talked : Infinity;
  });
});

Deno.test("examples/demo.ts runs the programs and prints a speedup", async () => {
  const child = await runFile("examples/demo.ts", { args: ["200000"] });
  assertEquals(child.code, 0, describe(child));
  for (const program of PROGRAMS) {
    assertStringIncludes(child.stdout, `== examples/${program}\n`);
  }
  assert(/^17,984 primes both ways$/m.test(child.stdout), describe(child));
  assert(/^speedup +\d+\.\d\d$/m.test(child.stdout), describe(child));
});

Deno.test("README.md shows the programs as they are in examples/", async () => {
  const readme = await Deno.readTextFile(new URL("README.md", ROOT));
  for (const program of PROGRAMS) {
    const path = new URL(`examples/${program}`, ROOT);
    assertStringIncludes(readme, (await Deno.readTextFile(path)).trim());
  }
});
