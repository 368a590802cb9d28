// Pieces that several views show: codes, labels, outlier scores, neighbours.

import type { Code, Neighbour, Outlier, Predicted, Study } from "./api";
import { h, svg, table } from "./dom";
import { chance, decimalsFor, fixed, number, signedFixed } from "./format";
import { called, nodeOf, unitOf, withUnit } from "./quantity";
import { to } from "./route";

/** A link to a spectrum. */
export function spectrumLink(row: number, text: string): HTMLElement {
  return h("a", { href: to("spectrum", { row: String(row) }) }, text);
}

/** Codes as a table with a bar from -4 to 4 spreads. */
export function codesTable(study: Study, codes: Code[], small = false): HTMLElement {
  const rows = codes.filter((code) => nodeOf(study, code)).map((code) => {
    const node = nodeOf(study, code);
    return [
      h("a", { href: to("node", { node: String(code.node) }) }, node ? called(node) : `node ${code.node}`),
      String(code.node),
      `${signedFixed(code.spreads, 2)} \u03c3`,
      bar(code.spreads),
      ...(small ? [] : [fixed(node ? code.sd / (node.sd || 1) : code.sd, 3)]),
    ];
  });
  return table("Codes: where this spectrum stands in each cause", ["cause", "node", "from the median", "", ...(small ? [] : ["its uncertainty (\u03c3)"])], rows, { numeric: [1, 2, 4] });
}

function bar(spreads: number): SVGElement {
  const at = 50 + 12 * Math.max(-4, Math.min(4, spreads));
  return svg("svg", { viewBox: "0 0 100 12", class: "bar-chart", "aria-hidden": "true" },
    svg("line", { x1: 2, x2: 98, y1: 6, y2: 6, class: "hair" }),
    svg("line", { x1: 50, x2: 50, y1: 1, y2: 11, class: "hair" }),
    svg("line", { x1: 50, x2: at, y1: 6, y2: 6, class: "fill" }),
    svg("circle", { cx: at, cy: 6, r: 3, class: "dot" }));
}

/** Labels: what the catalogue says, what the codes say, with intervals. */
export function labelsTable(study: Study, known: Record<string, number | string | null>, predicted: Record<string, Predicted> | null, doubtful = false): HTMLElement | null {
  const names = study.labels.map((label) => label.name).filter((name) => (known[name] !== undefined && known[name] !== null) || predicted?.[name]);
  for (const name of Object.keys(predicted ?? {})) if (!names.includes(name)) names.push(name);
  if (!names.length) return null;
  const withKnown = names.some((name) => known[name] !== undefined && known[name] !== null);
  const rows = names.map((name) => {
    const one = predicted?.[name];
    const unit = unitOf(study, name);
    const bounded = one && one.low !== null && one.high !== null && one.low !== undefined && one.high !== undefined;
    // as many decimals as the interval needs
    const digits = bounded ? Math.min(5, decimalsFor(((one.high as number) - (one.low as number)) / 10)) : 0;
    const after = unit ? `\u00a0${unit}` : "";
    const value = one && bounded && typeof one.value === "number" ? `${fixed(one.value, digits)}${after}` : one ? withUnit(study, name, one.value) : "\u2013";
    const span = one && bounded ? `${fixed(one.low, digits)} to ${fixed(one.high, digits)}${after}` : "\u2013";
    const given = known[name];
    const off = one && typeof given === "number" && one.low !== null && one.high !== null && (given < one.low || given > one.high);
    return [name, ...(withKnown ? [h("span", { class: off ? "warn" : null, title: off ? "outside the interval" : null }, withUnit(study, name, given), off ? " \u26a0" : "", off ? h("span", { class: "hidden" }, " outside the interval") : null)] : []), ...(predicted ? [value, span] : [])];
  });
  const coverage = Object.values(predicted ?? {})[0]?.coverage;
  return table(doubtful ? "Labels; beyond what the model has seen their intervals do not hold" : "Labels", ["label", ...(withKnown ? ["catalogue"] : []), ...(predicted ? ["from the codes", `${coverage ? `${fixed(100 * coverage, 0)} %` : "90 %"} interval`] : [])], rows, { numeric: [1, 2, 3] });
}

/** The outlier score in words; null where there is none. */
export function outlierText(outlier: Outlier | null): HTMLElement | null {
  if (!outlier || outlier.score === null) return null;
  const strange = outlier.p !== null && outlier.p < 0.01;
  const reasons = reasonsOf(outlier.reasons);
  return h("div", { class: `verdict ${strange ? "strange" : "usual"}` },
    h("p", {}, h("strong", {}, strange ? "Unusual" : "As the others"), `: outlier score ${number(outlier.score, 3)}, p = ${chance(outlier.p)} among spectra that training did not see.`),
    reasons.length ? h("ul", {}, ...reasons.map((one) => h("li", {}, one))) : null);
}

function reasonsOf(reasons: unknown): string[] {
  if (Array.isArray(reasons)) return reasons.map(String);
  if (typeof reasons === "string" && reasons) return [reasons];
  return [];
}

/** Similar spectra. */
export function neighboursTable(study: Study, neighbours: Neighbour[], caption: string, small = false): HTMLElement {
  const labels = study.labels.map((label) => label.name).slice(0, small ? 3 : 6);
  const rows = neighbours.map((one) => [
    spectrumLink(one.row, one.target || one.spectrum_id),
    h("span", {}, one.target && one.target !== one.spectrum_id && !small ? one.spectrum_id : "", one.same_target ? h("span", { class: "tag" }, "same target") : null),
    number(one.distance, 3),
    one.snr === null ? "\u2013" : fixed(one.snr, 0),
    ...labels.map((name) => withUnit(study, name, one.labels?.[name])),
  ]);
  return table(caption, ["target", small ? "" : "spectrum", "distance", "S/N", ...labels], rows, { numeric: [2, 3, 4, 5, 6, 7, 8, 9], hidden: true });
}
