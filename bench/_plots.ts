/**
 * Plots as SVG files, drawn by Vega-Lite, which needs no browser for that.
 *
 * @module
 */

import { parse, View } from "npm:vega@^6.4.0";
import { compile, type TopLevelSpec } from "npm:vega-lite@^6.5.0";

/** One point of a plot. */
export interface Point {
  /** Which line it belongs to. */
  series: string;
  /** Where. */
  x: number;
  /** How much. */
  y: number;
}

/** An axis. */
export interface Axis {
  /** What it shows, with its unit. */
  title: string;
  /** Whether equal distances are equal ratios. */
  log?: boolean;
  /** The values with a label, if `log`; powers of ten without it. */
  values?: number[];
  /** How a label is written, a Vega expression of `datum.value`. */
  label?: string;
}

/** A plot of lines. */
export interface Plot {
  /** Its title. */
  title: string;
  /** What distinguishes the lines. */
  legend: string;
  x: Axis;
  y: Axis;
  points: Point[];
  /** A value worth a line of its own. */
  rule?: number;
}

const DECADES = Array.from({ length: 20 }, (_, i) => 10 ** (i - 6));

function position(field: "x" | "y", axis: Axis) {
  return {
    field,
    type: "quantitative" as const,
    title: axis.title,
    scale: axis.log
      ? { type: "log" as const, nice: field === "y" }
      : { zero: field === "y" },
    axis: {
      grid: field === "y",
      labelFlush: false,
      ...axis.log && { values: axis.values ?? DECADES },
      ...axis.label !== undefined && { labelExpr: axis.label },
    },
  };
}

/** Draws a plot. */
export async function svg(plot: Plot): Promise<string> {
  const series = [...new Set(plot.points.map((point) => point.series))];
  const spec: TopLevelSpec = {
    title: plot.title,
    background: "white",
    width: 460,
    height: 280,
    data: { values: plot.points },
    layer: [
      {
        mark: { type: "line", point: { size: 36 }, strokeWidth: 2 },
        encoding: {
          x: position("x", plot.x),
          y: position("y", plot.y),
          color: {
            field: "series",
            type: "nominal",
            title: plot.legend,
            sort: series,
            scale: { scheme: "tableau10" },
          },
        },
      },
      ...plot.rule === undefined ? [] : [{
        data: { values: [{}] },
        mark: { type: "rule" as const, strokeDash: [4, 4], color: "#666" },
        encoding: { y: { datum: plot.rule } },
      }],
    ],
    config: {
      font: "sans-serif",
      legend: { labelLimit: 240 },
      view: { stroke: null },
    },
  };
  return await new View(parse(compile(spec).spec), { renderer: "none" })
    .toSVG();
}
