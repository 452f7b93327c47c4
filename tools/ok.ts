/**
 * The gate: everything that has to hold before a change is acceptable.
 *
 * All steps run even if one fails. With `--without-tests` the last one is left
 * out, for whoever runs the tests separately.
 *
 * @module
 */
import { deno, entryPoints, importFlags } from "./_deno.ts";

if (import.meta.main) {
  const imports = await importFlags();
  const steps: [name: string, args: string[]][] = [
    ["format", ["fmt", "--check", "--quiet"]],
    ["lint", ["lint", "--quiet"]],
    ["types", ["check", "--quiet", "--doc", ...imports, "."]],
    ["docs", ["doc", "--lint", "--quiet", ...await entryPoints()]],
    ["publishing", ["publish", "--dry-run", "--allow-dirty", "--quiet"]],
  ];
  if (!Deno.args.includes("--without-tests")) {
    steps.push([
      "tests",
      ["test", "--allow-all", "--no-check", "--parallel", "--doc", ...imports],
    ]);
  }
  const failed: string[] = [];
  for (const [name, args] of steps) {
    console.log(`-- ${name}`);
    if (await deno(args) !== 0) failed.push(name);
  }
  console.log(
    failed.length === 0 ? "-- all ok" : `-- failed: ${failed.join(", ")}`,
  );
  Deno.exit(failed.length === 0 ? 0 : 1);
}
