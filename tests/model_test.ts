import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { MODELS, MUTATIONS } from "./model/catalogue.ts";
import { describeReport, explore } from "./model/explorer.ts";
import { BLOCKED, DONE, Model, Violation } from "./model/model.ts";

// -- The explorer ----------------------------------------------------------------

/** Two threads that add 1 to a word, in one step or in two. */
function counterModel(isAtomic: boolean): Model {
  const m = new Model("counter");
  const counter = m.word("counter");
  for (const name of ["A", "B"]) {
    const t = m.thread(name);
    const seen = m.local(t, "seen");
    const write = m.step("write", (s) => {
      s[counter] = s[seen]! + 1;
      s[seen] = 0;
      return DONE;
    });
    t.start = m.step("read", (s) => {
      s[seen] = s[counter]!;
      if (!isAtomic) return write;
      s[counter] = s[seen]! + 1;
      s[seen] = 0;
      return DONE;
    });
  }
  m.finally = (s) => s[counter] === 2 ? undefined : "an addition was lost";
  return m;
}

Deno.test("explore() visits all interleavings and gives the shortest trace", () => {
  const fine = explore(counterModel(true));
  assertEquals([fine.violation, fine.states], [undefined, 4]);
  const report = explore(counterModel(false));
  assertEquals(report.violation, "an addition was lost");
  assertEquals(report.trace.map((line) => line.split(/ {2}/)[0]), [
    "A: read",
    "B: read",
    "A: write",
    "B: write",
  ]);
});

Deno.test("explore() finds threads that wait for each other, and endless loops", () => {
  for (const isSpinning of [false, true]) {
    const m = new Model("crossed");
    const locks = [m.word("lock0"), m.word("lock1")];
    [[0, 1], [1, 0]].forEach(([first, second], i) => {
      const t = m.thread("AB"[i]!);
      const take = m.label();
      const spin = m.step("looks again", () => take);
      m.at(take, "takes the second", (s) => {
        if (s[locks[second!]!] !== 0) return isSpinning ? spin : BLOCKED;
        s[locks[first!]!] = 0;
        return DONE;
      });
      t.start = m.step("takes the first", (s) => {
        if (s[locks[first!]!] !== 0) return BLOCKED;
        s[locks[first!]!] = t.token;
        return take;
      });
    });
    const report = explore(m);
    assertStringIncludes(report.violation!, "will never go on");
    assertEquals(report.trace.length, 2, describeReport(report));
  }
});

Deno.test("explore() tries every choice, and every step to die at", () => {
  const m = new Model("choices");
  const t = m.thread("A", true);
  m.deaths = 1;
  const seen = new Set<string>();
  t.start = m.step("chooses", () => {
    seen.add(`${m.choose(3)}${m.choose(2)}`);
    return m.steps.length - 1;
  });
  m.step("throws if it gets here alive", () => {
    throw new Violation("it did");
  });
  const report = explore(m);
  assertEquals(seen.size, 6);
  assertEquals(report.violation, "it did");
});

// -- The models ------------------------------------------------------------------

Deno.test("models lose no wake-up, item or task, however they interleave", async (t) => {
  for (const { make } of MODELS.filter(({ quick }) => quick)) {
    const model = make();
    await t.step(model.name, () => {
      const report = explore(model);
      assertEquals(report.violation, undefined, describeReport(report));
      assert(report.states > 100, describeReport(report));
    });
  }
});

Deno.test("models find the seeded bugs", async (t) => {
  for (const { make, bug } of MUTATIONS.filter(({ quick }) => quick)) {
    const model = make();
    await t.step(`${model.name}: ${bug}`, () => {
      const report = explore(model);
      assert(report.violation !== undefined, "it was not found");
      assert(report.trace.length > 0);
    });
  }
});
