// What a node is called, and what its values mean in the unit of the label that it holds.

import type { Code, Study, StudyNode } from "./api";
import { fixed, decimalsFor, signedFixed } from "./format";

/** "Teff" of a node that a label explains, else "node 11". */
export function called(node: StudyNode): string {
  return node.label ?? `node ${node.node}`;
}

/** What it is in words: "effective temperature". */
export function described(node: StudyNode): string {
  const words = node.title.replace(/^node \d+:?\s*/, "");
  return words || called(node);
}

/** How far from the median, in spreads. */
export function spreads(node: StudyNode, z: number): number {
  return (z - node.median) / (node.sd || 1);
}

/** "+0.83" and so on. */
export function spreadText(node: StudyNode, z: number): string {
  return `${signedFixed(spreads(node, z), 2)} \u03c3`;
}

/** The same to be spoken. */
export function spoken(node: StudyNode, z: number): string {
  const told = labelText(node, z);
  return `${signedFixed(spreads(node, z), 2)} spreads${told ? `, ${called(node)} ${told}` : ""}`;
}

/** The label's median where the code is z, such as "5,770 K"; beyond the last spectra only a bound. */
export function labelText(node: StudyNode, z: number): string {
  const curve = node.label_curve;
  if (!curve) return "";
  const known = node.quantiles.map((q, i) => [q, curve[i]] as const).filter((pair): pair is readonly [number, number] => pair[1] !== null && pair[1] !== undefined);
  const [first, last] = [known[0], known[known.length - 1]];
  if (!first || !last || known.length < 2) return "";
  const decimals = decimalsFor(Math.abs(last[1] - first[1]) / 100);
  const unit = node.unit ? `\u00a0${node.unit}` : "";
  const rising = last[1] > first[1];
  if (z < first[0]) return `${rising ? "<" : ">"}\u00a0${fixed(first[1], decimals)}${unit}`;
  if (z > last[0]) return `${rising ? ">" : "<"}\u00a0${fixed(last[1], decimals)}${unit}`;
  for (let i = 1; i < known.length; i += 1) {
    const [a, b] = [known[i - 1], known[i]];
    if (!a || !b || z > b[0]) continue;
    const share = b[0] > a[0] ? (z - a[0]) / (b[0] - a[0]) : 0;
    return `${fixed(a[1] + share * (b[1] - a[1]), decimals)}${unit}`;
  }
  return "";
}

/** The node of a code, where it is one of those shown. */
export function nodeOf(study: Study, code: Code | number): StudyNode | undefined {
  const wanted = typeof code === "number" ? code : code.node;
  return study.nodes.find((node) => node.node === wanted);
}

/** The unit of a label. */
export function unitOf(study: Study, label: string): string {
  return study.labels.find((one) => one.name === label)?.unit ?? "";
}

/** A value of a label with its unit. */
export function withUnit(study: Study, label: string, value: number | string | null | undefined): string {
  if (value === null || value === undefined) return "\u2013";
  if (typeof value === "string") return value;
  const unit = unitOf(study, label);
  return `${labelNumber(study, label, value)}${unit ? `\u00a0${unit}` : ""}`;
}

/** A value of a label, with decimals that fit how much the label varies. */
export function labelNumber(study: Study, label: string, value: number): string {
  const node = study.nodes.find((one) => one.label === label && one.label_curve);
  const known = (node?.label_curve ?? []).filter((one): one is number => one !== null && one !== undefined);
  const spread = known.length > 1 ? Math.max(...known) - Math.min(...known) : Math.abs(value);
  return fixed(value, Math.min(4, decimalsFor(spread / 100)));
}
