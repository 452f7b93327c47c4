// Processes, their children, and their names.

import { assert, assertEquals, assertNotStrictEquals } from "@std/assert";
import { delay } from "@std/async";
import { Event } from "../event.ts";
import { activeChildren, currentProcess, Process } from "../process.ts";
import { Semaphore } from "../semaphore.ts";
import { startEndless } from "./_endless.ts";
import { DEADLINE, within } from "./_within.ts";
import { sharedWords } from "./_words.ts";
import {
  doubleInChild,
  introduceFamily,
  leaveChild,
  moveToChild,
} from "./testdata/process_functions.ts";

Deno.test("Children are named after their parent, and each thread lists its own", async () => {
  const process = new Process({ target: introduceFamily }).start();
  const family = await within(process.result);
  const { name } = process;
  assertEquals(family.own.name, name);
  assertEquals(family.names, [`${name}:1`, `${name}:2`]);
  assertEquals(family.before, [`${name}:2`, `${name}:1`]);
  assertEquals(family.alive, true);
  assertEquals(family.after, []);
  assertEquals(family.child.current.name, `${name}:1`);
  assertEquals(family.child.parent, family.own);
  const ids = [currentProcess().id, process.id, family.child.current.id];
  assertEquals(new Set(ids).size, 3);
});

Deno.test("activeChildren() lists started, unfinished processes in a new array", async () => {
  const before = activeChildren();
  const first = startEndless();
  const second = startEndless({ daemon: true });
  assertEquals(activeChildren(), [...before, first, second]);
  assertNotStrictEquals(activeChildren(), activeChildren());
  first.kill();
  assertEquals(activeChildren(), [...before, second]);
  second.kill();
  await within(Promise.all([first.join(), second.join()]));
  assertEquals(activeChildren(), before);
});

Deno.test("A process may start processes, and move buffers to them", async () => {
  const doubling = new Process({ target: doubleInChild, args: [21] }).start();
  assertEquals(await within(doubling.result), 42);
  const moving = new Process({ target: moveToChild, args: [64] }).start();
  assertEquals(await within(moving.result), [0, 64]);
});

Deno.test("A process may start processes while the main thread is blocked", () => {
  const words = sharedWords();
  const process = new Process({
    target: async (url: string, words: Int32Array) => {
      const { doubleInChild } = await import(url);
      Atomics.store(words, 0, await doubleInChild(21));
    },
    args: [
      new URL("./testdata/process_functions.ts", import.meta.url).href,
      words,
    ],
  }).start();
  process.joinSync({ timeout: DEADLINE });
  assertEquals(process.exitCode, 0);
  assertEquals(words[0], 42);
});

Deno.test("The children of a process end with it", async () => {
  const words = sharedWords();
  const process = new Process({ target: leaveChild, args: [words] }).start();
  await within(process.join());
  assertEquals(process.exitCode, 0);
  const deadline = performance.now() + DEADLINE;
  let seen = -1;
  while (seen !== words[0]) {
    assert(performance.now() < deadline, "the child still counts");
    seen = words[0]!;
    await delay(100);
  }
});

Deno.test("Sixty processes that end at once all give their results", async () => {
  const gate = new Event();
  const arrived = new Semaphore(0);
  const processes = Array.from({ length: 60 }, (_, i) =>
    new Process({
      target: (gate: Event, arrived: Semaphore, i: number) => {
        arrived.release();
        gate.waitSync();
        return i;
      },
      args: [gate, arrived, i],
    }).start());
  for (const _ of processes) await arrived.acquire({ timeout: DEADLINE });
  gate.set();
  const results = await within(Promise.all(processes.map((p) => p.result)));
  assertEquals(results, processes.map((_, i) => i));
});
