// Small charts in SVG: a histogram, an interval, curves over the number of bins.

import { svg } from "./dom";
import { fixed, decimalsFor } from "./format";
import { ticks } from "./ticks";

const [W, H, L, B, T] = [360, 170, 40, 34, 8];

/** Counts between edges, with a mark at the median. */
export function histogram(edges: number[], counts: number[], median: number, label: string): SVGElement {
  const [low, high] = [edges[0] ?? 0, edges[edges.length - 1] ?? 1];
  const most = Math.max(1, ...counts);
  const x = (value: number): number => L + ((value - low) / (high - low || 1)) * (W - L - 8);
  const y = (count: number): number => H - B - (count / most) * (H - B - T);
  return svg("svg", { viewBox: `0 0 ${W} ${H}`, class: "chart", role: "img", "aria-label": label },
    ...counts.map((count, i) => svg("rect", { x: x(edges[i] ?? low), y: y(count), width: Math.max(0.5, x(edges[i + 1] ?? high) - x(edges[i] ?? low) - 0.6), height: H - B - y(count), class: "soft" })),
    svg("line", { x1: x(median), x2: x(median), y1: T, y2: H - B, class: "accent" }),
    ...across(low, high, x), ...up(0, most, y), title("code", W / 2));
}

/** Nats against the number of bins, with the null's mean and its upper end. */
export function sweepChart(points: { bins: number; nats: number; null_mean: number; null_high: number }[], label: string): SVGElement {
  const sorted = [...points].sort((a, b) => a.bins - b.bins);
  const [low, high] = [Math.log(sorted[0]?.bins ?? 1), Math.log(sorted[sorted.length - 1]?.bins ?? 10)];
  const most = Math.max(0.1, ...sorted.map((one) => Math.max(one.nats, one.null_high))) * 1.08;
  const x = (bins: number): number => L + ((Math.log(bins) - low) / (high - low || 1)) * (W - L - 12);
  const y = (nats: number): number => H - B - (Math.max(0, nats) / most) * (H - B - T);
  const path = (value: (one: (typeof sorted)[number]) => number): string => sorted.map((one, i) => `${i ? "L" : "M"}${x(one.bins).toFixed(1)} ${y(value(one)).toFixed(1)}`).join("");
  const back = [...sorted].reverse().map((one) => `L${x(one.bins).toFixed(1)} ${y(0).toFixed(1)}`).join("");
  return svg("svg", { viewBox: `0 0 ${W} ${H}`, class: "chart", role: "img", "aria-label": label },
    svg("path", { d: `${path((one) => one.null_high)}${back}Z`, class: "soft" }),
    svg("path", { d: path((one) => one.null_mean), class: "faint-line" }),
    svg("path", { d: path((one) => one.nats), class: "accent-line" }),
    ...sorted.filter((_, i) => i % Math.ceil(sorted.length / 6) === 0).map((one) => svg("text", { x: x(one.bins), y: H - B + 14, class: "tick middle" }, String(one.bins))),
    ...up(0, most, y), title("bins a side", W / 2), svg("text", { x: L + 4, y: T + 10, class: "tick" }, "nats; shaded: shuffled"));
}

/** A value with its interval between 0 and `most`. */
export function intervalBar(value: number | null, low: number | null, high: number | null, most: number): SVGElement {
  const at = (v: number | null): number => 2 + 96 * Math.max(0, Math.min(1, (v ?? 0) / (most || 1)));
  return svg("svg", { viewBox: "0 0 100 12", class: "bar-chart", "aria-hidden": "true" },
    svg("line", { x1: 2, x2: 98, y1: 6, y2: 6, class: "hair" }),
    value === null ? null : svg("line", { x1: at(low), x2: at(high), y1: 6, y2: 6, class: "fill" }),
    value === null ? null : svg("circle", { cx: at(value), cy: 6, r: 3, class: "dot" }));
}

function across(low: number, high: number, x: (value: number) => number): SVGElement[] {
  const { places, step } = ticks(low, high, 6);
  return places.map((place) => svg("text", { x: x(place), y: H - B + 14, class: "tick middle" }, fixed(place, decimalsFor(step))));
}

function up(low: number, high: number, y: (value: number) => number): SVGElement[] {
  const { places, step } = ticks(low, high, 4);
  return places.map((place) => svg("text", { x: L - 6, y: y(place) + 3.5, class: "tick end" }, fixed(place, decimalsFor(step))));
}

function title(text: string, at: number): SVGElement {
  return svg("text", { x: at, y: H - 5, class: "tick middle" }, text);
}
