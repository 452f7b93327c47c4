import { CODEC, PROGRAMS, WAITS } from "./_fuzz.ts";

// `deno task fuzz` runs the same properties for longer.

const CODEC_RUNS = [900, 300, 800, 1500];

CODEC.forEach(({ name, check }, i) => {
  Deno.test(`codec: ${name}`, () => check({ runs: CODEC_RUNS[i]! }));
});

for (const { name, check } of PROGRAMS) {
  Deno.test(`programs: ${name}`, () => check({ runs: 250 }));
}

Deno.test(`programs: ${WAITS.name}`, () => WAITS.check({ runs: 12 }));
