/**
 * Explores all models and prints what it took, then the seeded bugs and how each is
 * found. Arguments: `--quick` leaves the large models out, `--traces` prints the
 * shortest way to each bug. Exits with 1 if anything is not as it should be.
 *
 * @module
 */

import { type Entry, MODELS, MUTATIONS } from "./catalogue.ts";
import { describeReport, explore } from "./explorer.ts";

function selected(entries: Entry[]): Entry[] {
  return Deno.args.includes("--quick")
    ? entries.filter(({ quick }) => quick)
    : entries;
}

function number(value: number): string {
  return value.toLocaleString("en").padStart(10);
}

function main(): number {
  let failures = 0;
  let total = 0;
  console.log(
    "model".padEnd(44) + "    states    transitions   depth    states/s",
  );
  for (const { make } of selected(MODELS)) {
    const report = explore(make());
    const { model, states, transitions, depth, ms, violation } = report;
    total += states;
    console.log(
      model.padEnd(44) + number(states) + number(transitions).padStart(15) +
        `${depth}`.padStart(8) +
        number(Math.round(states / ms * 1000)).padStart(12),
    );
    if (violation === undefined) continue;
    failures++;
    console.log(describeReport(report));
  }
  console.log(`all`.padEnd(44) + number(total));
  console.log("\nseeded bug".padEnd(80) + "states  steps");
  for (const { make, bug } of selected(MUTATIONS)) {
    const report = explore(make());
    const { model, states, trace, violation } = report;
    const found = violation === undefined ? "NOT FOUND" : `${trace.length}`;
    console.log(
      `${model}: ${bug}`.padEnd(75) + number(states) + found.padStart(7),
    );
    if (violation === undefined) failures++;
    else if (Deno.args.includes("--traces")) {
      console.log(describeReport(report));
    }
  }
  return failures;
}

if (import.meta.main) Deno.exit(main() === 0 ? 0 : 1);
