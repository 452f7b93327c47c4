import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { reviveHandle } from "../_handle.ts";
import { Event } from "../event.ts";
import { describe, runSource } from "./_child.ts";
import { pack, Thread, unpack } from "./_threads.ts";
import { DEADLINE, reaches, until, within } from "./_within.ts";
import { seeded, sharedWords } from "./_words.ts";

// -- In one thread ------------------------------------------------------------

Deno.test("Event is set and cleared", async () => {
  const event = new Event();
  assertEquals(event.isSet(), false);
  event.set();
  event.set();
  assertEquals(event.isSet(), true);
  assertEquals(await event.wait(), undefined);
  assertEquals(await event.wait({ timeout: 0 }), undefined);
  assertEquals(event.waitSync({ timeout: 0 }), undefined);
  event.clear();
  event.clear();
  assertEquals(event.isSet(), false);
});

Deno.test("Event.set() wakes all async waits, also when cleared at once", async () => {
  const event = new Event();
  const waits = [event.wait(), event.wait({ timeout: DEADLINE }), event.wait()];
  event.set();
  event.clear();
  const late = assertRejects(
    () => event.wait({ timeout: 20 }),
    DOMException,
    "timed out",
  );
  await within(Promise.all(waits));
  await late;
});

Deno.test("Event waits time out, are aborted and refused", async () => {
  const event = new Event();
  await assertRejects(
    () => event.wait({ timeout: 0 }),
    DOMException,
    "timed out",
  );
  await assertRejects(
    () => event.wait({ timeout: 5 }),
    DOMException,
    "timed out",
  );
  const error = assertThrows(
    () => event.waitSync({ timeout: 5 }),
    DOMException,
  );
  assertEquals(error.name, "TimeoutError");
  const reason = new Error("No longer needed");
  const controller = new AbortController();
  const wait = event.wait({ signal: controller.signal });
  controller.abort(reason);
  assertStrictEquals(await assertRejects(() => wait, Error), reason);
  event.set();
  const { signal } = controller;
  assertStrictEquals(
    await assertRejects(() => event.wait({ signal }), Error),
    reason,
  );
  for (const timeout of [-1, NaN]) {
    await assertRejects(() => event.wait({ timeout }), RangeError);
    assertThrows(() => event.waitSync({ timeout }), RangeError);
  }
});

Deno.test("Event behaves like its twin in random sequences", async () => {
  for (let seed = 1; seed <= 30; seed++) {
    const below = seeded(seed);
    const event = new Event();
    const twin = new TwinEvent();
    const outcomes: string[] = [];
    const twinOutcomes: string[] = [];
    const waits: Promise<unknown>[] = [];
    for (let step = 0; step < 100; step++) {
      switch (below(4)) {
        case 0:
          event.set();
          twin.set();
          break;
        case 1:
          event.clear();
          twin.clear();
          break;
        default:
          waits.push(event.wait().then(() => outcomes.push(`${step}`)));
          twin.wait(() => twinOutcomes.push(`${step}`));
      }
      assertEquals(event.isSet(), twin.isSet);
    }
    await until(() => outcomes.length >= twinOutcomes.length);
    assertEquals(outcomes.toSorted(), twinOutcomes.toSorted());
    event.set();
    twin.set();
    await within(Promise.all(waits));
    assertEquals(outcomes.sort(), twinOutcomes.sort());
  }
});

class TwinEvent {
  isSet = false;
  #waiting: (() => void)[] = [];

  set(): void {
    this.isSet = true;
    for (const resume of this.#waiting.splice(0)) resume();
  }

  clear(): void {
    this.isSet = false;
  }

  wait(resume: () => void): void {
    if (this.isSet) resume();
    else this.#waiting.push(resume);
  }
}

// -- As a handle --------------------------------------------------------------

Deno.test("Event is a handle that tells its state", () => {
  const event = new Event();
  assertStrictEquals(unpack(pack(event), reviveHandle), event);
  assertThrows(() => structuredClone([event]), DOMException);
  assertEquals(Deno.inspect(event), "Event { set: false }");
  event.set();
  assertEquals(Deno.inspect(event), "Event { set: true }");
  assert(Deno.inspect(Event.prototype).includes("Event"));
});

// -- Between threads ----------------------------------------------------------

Deno.test("Event pulses reach all who wait, blocked or not", async () => {
  const event = new Event();
  const words = sharedWords();
  const rounds = 120;
  const threads = ["async", "async"].map((how) =>
    new Thread("eventFollow", words, [event], { rounds, how })
  );
  for (let round = 1; round <= rounds; round++) {
    const own = event.wait();
    await reaches(words, 0, 2 * round);
    event.set();
    event.clear();
    await within(own);
    await reaches(words, 1, 2 * round);
    Atomics.store(words, 2, round);
  }
  for (const thread of threads) {
    assertEquals(await within(thread.done), rounds);
    thread.kill();
  }
});

Deno.test("Event.set() wakes blocked threads", async () => {
  const event = new Event();
  const words = sharedWords();
  const rounds = 50;
  const threads = ["sync", "sync", "async"].map((how) =>
    new Thread("eventFollow", words, [event], { rounds, how })
  );
  for (let round = 1; round <= rounds; round++) {
    await reaches(words, 0, 3 * round);
    event.set();
    await reaches(words, 1, 3 * round);
    event.clear();
    Atomics.store(words, 2, round);
  }
  for (const thread of threads) {
    assertEquals(await within(thread.done), rounds);
    thread.kill();
  }
});

Deno.test("Event that flickers loses nobody who waits", async () => {
  const event = new Event();
  const words = sharedWords();
  using flicker = new Thread("eventFlicker", words, [event]);
  await reaches(words, 0, 1);
  for (let round = 0; round < 300; round++) {
    if (round % 2 === 0) await within(event.wait());
    else event.waitSync({ timeout: DEADLINE });
  }
  Atomics.store(words, 3, 1);
  await within(flicker.done);
});

Deno.test("Event.wait() keeps the program alive until the event is set", async () => {
  const result = await runSource(
    `
    import { Event } from "@parallel/multiprocessing/event";
    const event = new Event();
    event.wait().then(() => console.log("set"));
    const never = new Event();
    never.wait({ timeout: 100 }).catch((error) => {
      console.log(error.name);
      Deno.unrefTimer(setTimeout(() => event.set(), 50));
    });
  `,
  );
  assertEquals(result.stdout, "TimeoutError\nset\n", describe(result));
  assertEquals(result.code, 0);
});
