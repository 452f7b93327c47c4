// Foreign code in workers without permissions attacks the program, attempt by attempt.
// What it must not get is in SECURITY.md.

import { assert, assertEquals } from "@std/assert";
import { describe, runFile } from "./_child.ts";

/** Lets a scenario of `sandbox_main.ts` attack its program; returns what came of it. */
async function attack(scenario: string): Promise<Record<string, unknown>> {
  const result = await runFile("tests/testdata/sandbox_main.ts", {
    flags: ["-A", "--unstable-worker-options"],
    args: [scenario],
  });
  assert(!result.timedOut, describe(result));
  assertEquals(result.code, 0, describe(result));
  return JSON.parse(result.stdout.trim().split("\n").at(-1)!);
}

Deno.test("A sandboxed worker is refused files, net, env, run, ffi, sys, imports and more permissions", async (t) => {
  const report = await attack("permissions");
  assert(Object.keys(report).length >= 20);
  for (const [attempt, outcome] of Object.entries(report)) {
    await t.step(attempt, () => assertEquals(outcome, "refused"));
  }
});

Deno.test("Patched built-ins show a sandboxed worker nothing of the tasks of others", async () => {
  assertEquals(await attack("spy"), {
    patched: true,
    victims: "all well",
    lent: 4,
    found: [],
  });
});

Deno.test("Memory given to one task is not given to the other workers of a sandboxed pool", async () => {
  assertEquals(await attack("lent"), { memories: 0 });
});

Deno.test("Forged messages settle no task of another worker, and stop no other worker", async () => {
  const { attack: own, victims, elsewhere } = await attack("forge");
  assertEquals(victims, "all well");
  assertEquals(elsewhere, "all well");
  assert(own !== undefined);
});

Deno.test("Messages no worker of ours would post end their worker, and the program goes on", async () => {
  const { attack: own, elsewhere, after } = await attack("nonsense");
  assert(String(own).startsWith("WorkerError"), String(own));
  assertEquals(elsewhere, "all well");
  assertEquals(after, "all well");
});

Deno.test("Forged replies settle no task of another worker", async () => {
  const { attack: own, victim } = await attack("replies");
  assert(String(own).includes("Error"), String(own));
  assertEquals(victim, 1);
});

Deno.test("Scribbling over the memory of a queue spoils that queue only", async () => {
  assertEquals(await attack("scribble"), {
    scribbled: true,
    healthy: 5,
    victims: "all well",
  });
});

Deno.test("A sandboxed worker cannot declare other threads dead", async () => {
  assertEquals(await attack("bury"), {
    attack: "buried",
    mainIsDead: false,
    process: 7,
    after: "all well",
  });
});

Deno.test("A result that names memory its sandboxed worker was not given is refused, and ends the worker", async () => {
  const refused =
    "Error: Cannot decode message: it names a shared memory its sender was not given";
  assertEquals(await attack("rename"), {
    result: refused,
    frame:
      "Error: Cannot decode message: it names a shared memory that did not come with it",
    restarted: 2,
    after: "all well",
    ofProcess: refused,
  });
});

Deno.test("A sandboxed worker returns the shared memory it was given, and that it has made", async () => {
  assertEquals(await attack("honest"), {
    given: true,
    kept: 1,
    made: true,
    ofProcess: true,
    thrown: true,
    restarted: 0,
  });
});

Deno.test("A sandboxed worker cannot have the action of a barrier run in the program", async () => {
  assertEquals(await attack("action"), {
    barrier:
      "TypeError: Cannot revive a Barrier: it comes from a worker with permissions, and its action must not run here",
    ran: false,
    own: true,
    after: "all well",
  });
});
