/**
 * The gate: everything that has to hold before a change is acceptable.
 *
 * All steps run even if one fails. With `--without-tests` the last one is left
 * out, for whoever runs the tests separately.
 *
 * @module
 */
import { checkTypes, deno, importFlags, lintDocs, runTests } from "./_deno.ts";

if (import.meta.main) {
  const imports = await importFlags();
  const steps: [name: string, run: () => Promise<number>][] = [
    ["format", () => deno(["fmt", "--check", "--quiet"])],
    ["lint", () => deno(["lint", "--quiet"])],
    ["types", () => checkTypes(imports)],
    ["docs", lintDocs],
    [
      "publishing",
      () => deno(["publish", "--dry-run", "--allow-dirty", "--quiet"]),
    ],
    ["tests", () => runTests(imports)],
  ];
  if (Deno.args.includes("--without-tests")) steps.pop();
  const failed: string[] = [];
  for (const [name, run] of steps) {
    console.log(`-- ${name}`);
    if (await run() !== 0) failed.push(name);
  }
  console.log(
    failed.length === 0 ? "-- all ok" : `-- failed: ${failed.join(", ")}`,
  );
  Deno.exit(failed.length === 0 ? 0 : 1);
}
