import { CODEC, PROGRAMS, WAITS } from "./_fuzz.ts";

// `deno task fuzz` runs the same properties for longer.

const CODEC_RUNS = [2500, 500, 6000, 9000];

CODEC.forEach(({ name, check }, i) => {
  Deno.test(`codec: ${name}`, () => check({ runs: CODEC_RUNS[i]! }));
});

for (const { name, check } of PROGRAMS) {
  Deno.test(`programs: ${name}`, () => check({ runs: 250 }));
}

Deno.test(`programs: ${WAITS.name}`, () => WAITS.check({ runs: 12 }));
