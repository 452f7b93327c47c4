/**
 * How speed and memory grow: writes `RESULTS.md` and the plots in `plots/`.
 *
 * Each section is measured in fresh processes of its own. `--quick` does a tenth of
 * the work, to see that it runs; `--only=grain,payload` measures some sections and
 * prints them instead of writing files.
 *
 * @module
 */

import { answerParent, inChild, machine, table } from "./_measure.ts";
import { type Plot, svg } from "./_plots.ts";
import * as measurements from "./_scaling.ts";
import type { Grain, Items, Memory, Payload, Workers } from "./_scaling.ts";

/** What a section has to say. */
interface Section {
  title: string;
  text: string;
  plots: Record<string, Plot>;
}

const BYTES =
  "datum.value >= 1048576 ? datum.value / 1048576 + ' MiB' : datum.value >= 1024 ? datum.value / 1024 + ' KiB' : datum.value + ' B'";
const MICROSECONDS =
  "datum.value >= 1000 ? datum.value / 1000 + ' ms' : datum.value + ' µs'";

function failed(title: string): Section {
  return { title, text: "The measurement failed.", plots: {} };
}

// -- Sections ------------------------------------------------------------------------

async function grain(size: number): Promise<Section> {
  const title = "Speedup by task length and workers";
  const result = await inChild<Grain>(import.meta.url, "grain", size);
  if (result === undefined) return failed(title);
  const { rows, workers, breakEven } = result;
  const text =
    `Tasks of equal length, ${"`map`"} with the chunk size it chooses, against the same in a loop.

${
      table(
        [
          "task",
          "tasks",
          ...workers.map((n) => n === 1 ? "1 worker" : `${n} workers`),
        ],
        rows.map((row) => [
          length(row.microseconds),
          row.count.toLocaleString("en"),
          ...row.map,
        ]),
      )
    }

Two workers, by the way of calling:

${
      table(
        ["task", "`map`", "`map`, chunkSize 1", "`imap`", "`apply`"],
        rows.map((row) => [
          length(row.microseconds),
          row.map[workers.indexOf(2)]!,
          row.single,
          row.imap,
          row.apply,
        ]),
      )
    }

The shortest task that is worth it with two workers (speedup 1, interpolated):

${
      table(
        ["call", "break-even"],
        Object.entries(breakEven).map((
          [call, µs],
        ) => [`\`${call}\``, µs === null ? "not reached" : length(µs)]),
      )
    }`;
  const x = {
    title: "length of a task",
    log: true,
    label: MICROSECONDS,
    values: [0.1, 1, 10, 100, 1000, 10_000],
  };
  return {
    title,
    text,
    plots: {
      speedup_by_grain: {
        title: "Speedup of map by task length",
        legend: "workers",
        x,
        y: { title: "times serial" },
        points: rows.flatMap((row) =>
          row.map.map((y, i) => ({
            series: `${workers[i]}`,
            x: row.microseconds,
            y,
          }))
        ),
        rule: 1,
      },
      speedup_by_call: {
        title: "Speedup of two workers by the way of calling",
        legend: "call",
        x,
        y: { title: "times serial" },
        points: rows.flatMap(({ microseconds, ...row }) => [
          {
            series: "map",
            x: microseconds,
            y: row.map[workers.indexOf(2)]!,
          },
          { series: "map, chunkSize 1", x: microseconds, y: row.single },
          { series: "imap", x: microseconds, y: row.imap },
          { series: "apply", x: microseconds, y: row.apply },
        ]),
        rule: 1,
      },
    },
  };
}

async function workers(size: number): Promise<Section> {
  const title = "1 to 16 workers";
  const result = await inChild<Workers>(import.meta.url, "workers", size);
  if (result === undefined) return failed(title);
  return {
    title,
    text: `More workers than cores cannot be faster; they should not be slower.

${
      table(
        [
          "workers",
          "first results of all, ms",
          "`apply`, k/s",
          "`map` of integers, k/s",
          "primes, times serial",
        ],
        result.map((
          row,
        ) => [`${row.workers}`, row.start, row.apply, row.map, row.speedup]),
      )
    }`,
    plots: {
      workers: {
        title: "Throughput by number of workers, 1 worker = 1",
        legend: "work",
        x: { title: "workers", log: true, values: [1, 2, 4, 8, 16] },
        y: { title: "times 1 worker" },
        points: result.flatMap((row) => [
          {
            series: "primes, map",
            x: row.workers,
            y: row.speedup / result[0]!.speedup,
          },
          {
            series: "squares, map",
            x: row.workers,
            y: row.map / result[0]!.map,
          },
          {
            series: "squares, apply",
            x: row.workers,
            y: row.apply / result[0]!.apply,
          },
        ]),
        rule: 1,
      },
    },
  };
}

async function payload(size: number): Promise<Section> {
  const title = "Throughput by payload";
  const result = await inChild<Payload[]>(import.meta.url, "payload", size);
  if (result === undefined) return failed(title);
  const ways = [
    ["copied", "`apply`, copied"],
    ["moved", "`apply`, transferred"],
    ["shared", "`apply`, shared memory"],
    ["posted", "`postMessage`, copied"],
    ["memory", "a copy in one thread"],
  ] as const;
  return {
    title,
    text:
      `A \`Uint8Array\` as argument, its length as result, 2 workers, 4 calls outstanding; in MiB/s.

${
        table(
          ["payload", ...ways.map(([, name]) => name)],
          result.map((
            row,
          ) => [bytes(row.bytes), ...ways.map(([key]) => row[key])]),
        )
      }`,
    plots: {
      payload: {
        title: "Throughput by payload",
        legend: "way",
        x: {
          title: "bytes of a payload",
          log: true,
          label: BYTES,
          values: [8, 1024, 32_768, 1_048_576, 67_108_864],
        },
        y: { title: "MiB/s", log: true },
        points: result.flatMap((row) =>
          ways.map(([key, name]) => ({
            series: name.replaceAll("`", ""),
            x: row.bytes,
            y: row[key],
          }))
        ),
      },
    },
  };
}

async function items(size: number): Promise<Section> {
  const title = "Scaling by the number of items";
  const result = await inChild<Items[]>(import.meta.url, "items", size);
  if (result === undefined) return failed(title);
  return {
    title,
    text:
      `Small integers, 2 workers (1 for the queue); all calls outstanding at once, all results kept.

${
        table(
          [
            "items",
            "`apply`, k/s",
            "`map`, ns an item",
            "`imap` in chunks of 256, ns an item",
            "`Queue`, `get`, k/s",
            "`Queue`, `getSync`, k/s",
          ],
          result.map((row) => [
            row.count.toLocaleString("en"),
            row.apply,
            row.map,
            row.imap,
            row.queue,
            row.queueSync,
          ]),
        )
      }`,
    plots: {
      items: {
        title: "Throughput by the number of items",
        legend: "way",
        x: { title: "items", log: true },
        y: { title: "items in a second", log: true },
        points: result.flatMap((row) => [
          { series: "map", x: row.count, y: 1e9 / row.map },
          { series: "imap, chunkSize 256", x: row.count, y: 1e9 / row.imap },
          { series: "Queue, getSync", x: row.count, y: row.queueSync * 1000 },
          { series: "Queue, get", x: row.count, y: row.queue * 1000 },
          { series: "apply", x: row.count, y: row.apply * 1000 },
        ]),
      },
    },
  };
}

async function memory(size: number): Promise<Section> {
  const title = "Memory by the number of items";
  const rows: Memory[] = [];
  for (const way of ["map", "imap"] as const) {
    for (const count of [10_000, 100_000, 1_000_000]) {
      const row = await inChild<Memory>(
        import.meta.url,
        `memory:${way}:${count}`,
        size,
      );
      if (row !== undefined) rows.push({ ...row, way });
    }
  }
  return {
    title,
    text:
      `Strings of 100 characters from a generator, their lengths as results; \`map\` keeps its results, \`imap\` hands them out one by one. Peak of the process's memory, above what it was when the pool was ready.

${
        table(
          ["call", "items", "MiB"],
          rows.map((
            row,
          ) => [`\`${row.way}\``, row.count.toLocaleString("en"), row.mib]),
        )
      }`,
    plots: {
      memory: {
        title: "Peak memory by the number of items",
        legend: "call",
        x: { title: "items", log: true },
        y: { title: "MiB" },
        points: rows.map((row) => ({
          series: row.way,
          x: row.count,
          y: row.mib,
        })),
      },
    },
  };
}

const SECTIONS: Record<string, (size: number) => Promise<Section>> = {
  grain,
  workers,
  payload,
  items,
  memory,
};

function length(µs: number): string {
  if (µs >= 1000) return `${Number((µs / 1000).toPrecision(2))} ms`;
  return `${Number(µs.toPrecision(2))} µs`;
}

function bytes(count: number): string {
  if (count >= 1 << 20) return `${count / (1 << 20)} MiB`;
  return count >= 1 << 10 ? `${count / (1 << 10)} KiB` : `${count} B`;
}

// -- The report ------------------------------------------------------------------------

function written({ title, text, plots }: Section): string {
  const images = Object.entries(plots).map(([name, plot]) =>
    `![${plot.title}](./plots/${name}.svg)`
  );
  return [`## ${title}`, text, ...images].join("\n\n");
}

async function write(sections: Section[], quick: boolean): Promise<void> {
  const here = new URL("./", import.meta.url);
  const results = new URL("RESULTS.md", here);
  const plots = new URL("plots/", here);
  await Deno.mkdir(plots, { recursive: true });
  for (const section of sections) {
    for (const [name, plot] of Object.entries(section.plots)) {
      await Deno.writeTextFile(
        new URL(`${name}.svg`, plots),
        `${await svg(plot)}\n`,
      );
    }
  }
  const about = Object.entries({
    ...await machine(),
    date: new Date().toISOString().slice(0, 10),
  });
  await Deno.writeTextFile(
    results,
    [
      "# Results",
      `Written by \`deno task bench:report\`${
        quick
          ? ". **A `--quick` run: shows that it works, says nothing about speed.**"
          : "; medians."
      }`,
      table(["", ""], about),
      ...sections.map(written),
    ].join("\n\n") + "\n",
  );
  await new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--quiet", "RESULTS.md", "plots/"],
    cwd: here,
  }).output();
}

if (import.meta.main) {
  await answerParent(measurements.MEASUREMENTS);
  const quick = Deno.args.includes("--quick");
  const only = Deno.args.find((arg) => arg.startsWith("--only="))?.slice(7)
    .split(",");
  const sections: Section[] = [];
  for (const [name, measure] of Object.entries(SECTIONS)) {
    if (only !== undefined && !only.includes(name)) continue;
    console.error(`measuring ${name}`);
    const section = await measure(quick ? 0.1 : 1);
    sections.push(section);
    if (only !== undefined) {
      console.log(`## ${section.title}\n\n${section.text}\n`);
    }
  }
  if (only === undefined) {
    await write(sections, quick);
    console.log("Written: bench/RESULTS.md, bench/plots/*.svg");
  }
}
