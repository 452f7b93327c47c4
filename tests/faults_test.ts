// Threads that end in the middle of everything: before each numbered step in shared
// memory of a put, a get, an acquire, the pull of a task, the push of a result …

import { assert, assertEquals } from "@std/assert";
import { describe, runFile } from "./_child.ts";

/** All of one program's scenarios together, in ms. */
const DEADLINE = 600_000;

/** Each step is a run of its own, with new threads. */
async function run(script: string, args: string[]): Promise<string> {
  const result = await runFile(`tests/testdata/${script}`, {
    args,
    deadline: DEADLINE,
  });
  assert(!result.timedOut, describe(result));
  assertEquals(result.code, 0, describe(result));
  return result.stdout;
}

const groups: [name: string, scenarios: string[]][] = [
  [
    "A queue whose producer ends at any step goes on, and the item is put whole or not at all",
    [
      "put an integer",
      "put a message",
      "put a message that needs more memory",
      "put for a sleeper",
      "put without blocking",
      "put after a sleep",
      "put after an async sleep",
    ],
  ],
  [
    "A queue whose consumer ends at any step goes on, and each item is got once or died with it",
    [
      "get an integer",
      "get a message",
      "get from the next segment",
      "get after a sleep",
      "get after an async sleep",
    ],
  ],
  [
    "A queue that is closed or joined by a thread that ends at any step says so or not, and never hangs",
    [
      "close a queue",
      "get an item and have it done",
      "put into a queue that is joined",
    ],
  ],
  [
    "A lock goes on, abandoned if it was held, after an end at any step of acquire and release",
    [
      "acquire and release a Lock",
      "acquire and release an RLock twice",
      "acquire a Lock after a sleep",
      "acquire a Lock after an async sleep",
      "acquire an RLock after a sleep",
    ],
  ],
  [
    "A semaphore loses the permit of a thread that ends at any step, and no other",
    [
      "acquire and release a Semaphore",
      "acquire a Semaphore after a sleep",
    ],
  ],
  [
    "A thread that ends at any step of wait or notify swallows no notification",
    [
      "wait for a Condition",
      "wait for a Condition without blocking",
      "notify a Condition",
      "set an Event",
      "set and clear an Event",
      "wait for an Event",
    ],
  ],
  ["A barrier whose party ends at any step completes its round or is broken", [
    "arrive last at a Barrier",
    "wait at a Barrier",
  ]],
  ["A pipe and a manager go on when a thread ends at any step of using them", [
    "send into a pipe",
    "receive from a pipe",
    "call a manager",
  ]],
];

for (const [name, scenarios] of groups) {
  Deno.test(name, async () => {
    const stdout = await run("faults_main.ts", scenarios);
    // Both what was before and what was after a step have been seen.
    assertEquals(stdout.trim().split("\n").length, scenarios.length, stdout);
  });
}

Deno.test("A pool whose worker ends at any step from its start on fails one task at most, and runs none twice", async () => {
  const letters = (await run("faults_workers.ts", ["pool"])).split(": ")[1]!;
  assert(letters.length > 60, letters);
});

Deno.test("A process that ends at any step settles its result, and its item is put or not", async () => {
  await run("faults_workers.ts", ["process"]);
});

Deno.test("Two seconds of everything at once, with kills, lose and double nothing", async () => {
  const result = await runFile("tools/soak.ts", {
    args: ["--seconds", "2"],
    deadline: DEADLINE,
  });
  assert(!result.timedOut, describe(result));
  assertEquals(result.code, 0, describe(result));
  assert(/^operations +\d{3,}$/m.test(result.stdout), describe(result));
});
