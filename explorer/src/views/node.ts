// A node: what it is, by which evidence; and, where nothing explains it, its dossier.

import { binary, json, Latest, type Binary, type CurveFacts, type NodePage, type Study, type StudyNode } from "../api";
import { css, ramp } from "../colour";
import { h, put, table, type Child } from "../dom";
import { chance, fixed, interval, many, number, signedFixed } from "../format";
import { spectrumLink } from "../parts";
import { SpectrumPlot, type Window } from "../plot";
import { called, described, labelNumber, unitOf } from "../quantity";
import { go, note, range, to } from "../route";
import { Scatter } from "../scatter";
import { histogram, intervalBar, sweepChart } from "../small";
import { onTheme } from "../theme";
import { facts, heading, message, notice, withCode, type Make, type View } from "../view";

const QUANTILES = ["1 %", "5 %", "25 %", "median", "75 %", "95 %", "99 %"];

export const node: Make = (host, settings, study) => {
  const text = settings.get("node");
  if (text === null) return list(host, study);
  const found = study.nodes.find((one) => String(one.node) === text);
  return page(host, Number(text), found ?? null, range(settings), study);
};

function badges(one: StudyNode): HTMLElement {
  const told: [string, string][] = [];
  if (one.copies_of !== null) told.push([`copy of node ${one.copies_of}`, "plain"]);
  else if (one.doubtful) told.push(["doubtful", "plain"]);
  if (one.unexplained) told.push(["unexplained", "loud"]);
  if (one.nuisance) told.push(["nuisance", "plain"]);
  return h("span", { class: "tags" }, ...told.map(([text, kind]) => h("span", { class: `tag ${kind}` }, text)));
}

function list(host: HTMLElement, study: Study): View {
  const most = Math.max(1, ...study.nodes.map((one) => one.information_nats ?? 0));
  const rows = study.nodes.map((one): Child[] => [
    h("a", { href: to("node", { node: String(one.node) }) }, described(one)),
    String(one.node),
    badges(one),
    one.information_nats === null ? "\u2013" : number(one.information_nats, 3),
    intervalBar(one.information_nats, 0, one.information_nats, most),
    number(one.ablation_nats, 3),
    one.matches[0] && one.matches[0].mi_nats !== null ? `${one.matches[0].label} ${interval(one.matches[0].mi_nats, one.matches[0].mi_low, one.matches[0].mi_high)}` : "\u2013",
    one.lines.slice(0, 4).join(", ") || "\u2013",
    survival(one.survival),
  ]);
  const count = study.count;
  const counted = count ? `${count["statistical"]?.k} causes by switching nodes off (${count["statistical"]?.low} to ${count["statistical"]?.high}), ${count["information"]?.k} by information (${count["information"]?.low} to ${count["information"]?.high}): ${study.agreement}.` : "";
  put(host,
    heading("Nodes", h("p", { class: "lead" }, counted || "What each node of the model is, by which evidence.")),
    study.has.findings ? null : notice("empty", "No findings yet.", "Run `astroprism find` on this study, then reload. These are the nodes that training kept."),
    study.nodes.length ? table("Nodes, the strongest first", ["cause", "node", "", "information (nats)", "", "switching off (nats)", "best label (nats, 90 %)", "lines it moves", "survival"], rows, { numeric: [1, 3, 5] }) : notice("empty", "No node is known to be informative."));
  return { stop: () => undefined };
}

function survival(value: unknown): string {
  if (typeof value === "number") return fixed(value, 2);
  if (value && typeof value === "object") {
    const told = value as Record<string, unknown>;
    for (const key of ["score", "value", "median"]) if (typeof told[key] === "number") return fixed(told[key], 2);
  }
  return "\u2013";
}

function page(host: HTMLElement, number_: number, known: StudyNode | null, window_: Window | null, study: Study): View {
  const stops: (() => void)[] = [];
  const control = new AbortController();
  stops.push(() => control.abort());
  const at = study.nodes.findIndex((one) => one.node === number_);
  const beside = (step: number): HTMLElement | null => {
    const other = at < 0 ? undefined : study.nodes[at + step];
    return other ? h("a", { class: "button small", href: to("node", { node: String(other.node) }) }, step < 0 ? `\u2190 ${called(other)}` : `${called(other)} \u2192`) : null;
  };
  const body = h("div", { class: "card" }, notice("busy", "Loading\u2026"));
  put(host,
    heading(known ? described(known) : `Node ${number_}`, h("p", { class: "dim" }, `node ${number_}${known?.label ? `, ${known.label}` : ""}`), known ? badges(known) : null),
    h("p", { class: "actions" }, h("a", { class: "button small", href: to("node") }, "All nodes"), beside(-1), beside(1), known ? h("a", { class: "button small", href: to("map", { x: `node:${number_}`, y: known.label ? `label:${known.label}` : "snr" }) }, "On the map") : null),
    body);
  json<NodePage>(`node/${number_}`, {}, control.signal).then((about) => show(body, about, window_, study, stops)).catch((fault: unknown) => {
    if (!(fault instanceof DOMException)) put(body, notice("error", message(fault), "", () => go(to("node", { node: String(number_) }))));
  });
  return { stop: () => {
    for (const stop of stops) stop();
  } };
}

function show(body: HTMLElement, about: NodePage, window_: Window | null, study: Study, stops: (() => void)[]): void {
  const most = Math.max(0.1, ...about.matches.map((one) => one.mi_high ?? one.mi_nats ?? 0));
  const sections: Child[] = [
    facts([
      ["information", about.information_nats === null ? null : `${number(about.information_nats, 3)} nats`],
      ["switching it off costs", about.ablation_nats === null ? null : `${number(about.ablation_nats, 3)} nats a spectrum`],
      ["median code", number(about.median, 3)],
      ["spread (\u03c3)", number(about.sd, 3)],
      ["survival in retrainings", survival(about.survival) === "\u2013" ? null : survival(about.survival)],
      ...responses(about.response),
    ]),
  ];
  if (about.traversal) sections.push(h("h2", {}, "What it does to a spectrum"), h("p", { class: "dim" }, `Decoded with this node at seven quantiles of the archive, the others at their medians${about.label ? `; in brackets the median ${about.label} there` : ""}.`), traversal(about, window_, study, stops));
  if (about.derivative) sections.push(h("h2", {}, "Where it acts"), h("p", { class: "dim" }, "Size of the change of flux for one unit of the code: at rest with the star, and with the observer."), derivative(about, study, stops));
  sections.push(h("h2", {}, "Lines and bands"));
  if (about.line_words) sections.push(h("p", { class: "dim" }, about.line_words));
  const groups = about.line_groups.filter((one) => one.name);
  if (groups.length) sections.push(table("Groups that it moves more than random places", ["group", "at rest with", "enrichment", "q", "tested", "not separable", "those that move most"], groups.map((one) => [[one.name, ...(one.confused_with ?? [])].join(" or "), one.frame ?? "", `${number(one.enrichment ?? null, 3)}\u00d7`, chance(one.q), one.lines_in_window === undefined ? "\u2013" : (one.kind === "bands" ? many(one.lines_in_window, "band", "bands") : many(one.lines_in_window, "line", "lines")), one.kind === "bands" || one.inseparable === undefined ? "" : fixed(one.inseparable, 0), (one.top ?? []).slice(0, 4).map((line) => `${line.line}${/\d{4}/.test(line.line) ? "" : ` ${fixed(line.wavelength, 1)}`}`).join(", ")]), { numeric: [2, 3, 5] }));
  else sections.push(h("p", { class: "dim" }, "No group of lines or bands stands out against random places."));
  if (about.features.length) sections.push(table("Where it acts most; named where chance would not give the name, or where all lines of the species together stand out", ["at (\u00c5 in vacuum)", "full width (km/s)", "as wide as", "name", "a random place has as good a one"], about.features.map((one) => [fixed(one.wavelength, 1), fixed(one.width_kms, 0), one.as_wide_as, one.name ?? "none beyond chance", chance(one.chance ?? null)]), { numeric: [0, 1, 4] }));
  sections.push(h("h2", {}, "What it matches"));
  if (about.matches.length) sections.push(table("Labels: mutual information with its 90 % interval", ["label", "nats", "", "given the other labels", "q", "spectra", ""], about.matches.map((one): Child[] => [
    one.label, interval(one.mi_nats, one.mi_low, one.mi_high), intervalBar(one.mi_nats, one.mi_low, one.mi_high, most), number(one.conditional_mi_nats ?? null, 3), chance(one.q), one.n === undefined ? "\u2013" : fixed(one.n, 0),
    one.explains ? h("span", { class: "tag loud" }, one.shadow_of?.length ? `shadow of ${one.shadow_of.join(", ")}` : "explains") : "",
  ]), { numeric: [1, 3, 4, 5] }));
  else sections.push(h("p", { class: "dim" }, ...withCode("No label table was given to `astroprism find`.")));
  const charts: Child[] = [];
  if (about.against) charts.push(against(about, about.against, study, stops));
  charts.push(h("figure", {}, h("figcaption", {}, "Codes of all spectra; the line is the median"), histogram(about.histogram.edges, about.histogram.counts, about.median, `Histogram of the code: median ${number(about.median, 3)}, spread ${number(about.sd, 3)}`)));
  const bins = about.sweep.filter((one) => one.label === (about.against ?? about.sweep[0]?.label));
  if (bins.length > 1) charts.push(h("figure", {}, h("figcaption", {}, `Mutual information with ${bins[0]?.label} by bins, as the seed paper draws it`), sweepChart(bins, `Nats against the number of bins, with shuffled labels for comparison`)));
  sections.push(h("div", { class: "figures" }, ...charts));
  const telling = about.keywords.filter((one) => one.q !== null && one.q <= 0.05).length;
  if (about.keywords.length) sections.push(folded(telling > 0, telling ? `Header keywords: ${many(telling, "one passes", "pass")} the false-discovery rate of 5 %` : "Header keywords: none tells of it beyond chance", table("The keywords that tell most, a family of their own under false-discovery control", ["keyword", "nats", "q"], about.keywords.map((one) => [one.label, interval(one.mi_nats, one.mi_low ?? null, one.mi_high ?? null), chance(one.q)]), { numeric: [1, 2] })));
  sections.push(h("h2", {}, "Extremes"), h("div", { class: "columns" }, extremes("Lowest codes", about.lowest, about), extremes("Highest codes", about.highest, about)));
  if (about.dossier) sections.push(dossier(about.dossier));
  put(body, ...sections);
}

function folded(open: boolean, title: string, inner: HTMLElement): HTMLElement {
  const made = h("details", { class: "folded" }, h("summary", {}, title), inner);
  made.open = open;
  return made;
}

function extremes(caption: string, rows: NodePage["lowest"], about: NodePage): HTMLElement {
  return table(caption, ["target", "spectrum", "code", "from the median"], rows.map((one) => [spectrumLink(one.row, one.target || one.spectrum_id), one.target === one.spectrum_id ? "" : one.spectrum_id, number(one.value, 4), `${signedFixed((one.value - about.median) / (about.sd || 1), 2)} \u03c3`]), { numeric: [2, 3] });
}

function responses(response: Record<string, unknown> | null): [string, string | null][] {
  return Object.entries(response ?? {}).filter(([, value]) => typeof value === "number").slice(0, 8).map(([name, value]) => [name.replace(/_/g, " "), number(value as number, 3)]);
}

function dossier(told: Record<string, unknown>): HTMLElement {
  const trend = told["trend"] as { spearman: number; p: number; spreads_a_year: number; low: number; high: number; years: number; n: number } | null | undefined;
  return h("section", { class: "dossier", "aria-label": "Dossier" }, h("h2", {}, "Dossier: no label explains this node"),
    trend ? h("p", {}, `With time: ${signedFixed(trend.spreads_a_year, 3)} spreads a year (${number(trend.low, 2)} to ${number(trend.high, 2)}) over ${fixed(trend.years, 1)} years; rank correlation ${signedFixed(trend.spearman, 2)}, p = ${chance(trend.p)}, ${many(trend.n, "spectrum", "spectra")}, one a target.`) : h("p", { class: "dim" }, "Times are not known, or too few, for a trend."),
    ...atLabels(told),
    h("p", { class: "dim" }, `${String(told["lines_tested"] ?? 0)} groups of lines and bands were tested. Its extremes, keywords and lines stand above.`));
}

/** What moves where the labels stay, if other nodes then move with this one. */
function atLabels(told: Record<string, unknown>): HTMLElement[] {
  const others = (told["moves_with"] ?? []) as { node: number; slope: number }[];
  if (!others.length) return [];
  const groups = (told["lines"] ?? []) as { name: string; p: number }[];
  const beside = others.map((one) => `node ${one.node} (${signedFixed(one.slope, 2)})`).join(", ");
  const moved = groups.map((one) => `${one.name} (p = ${chance(one.p)})`).join(", ") || "no group of lines or bands";
  return [h("p", {}, `Where the labels stay, other nodes move with this one: ${beside} a unit. Together they move ${moved}.`)];
}

/** A plot of curves that the server gives by window. */
function curves<Facts extends CurveFacts>(path: string, label: string, window_: Window | null, tell: ((window: Window | null, how: "push" | "amend") => void) | null, study: Study, stops: (() => void)[], draw: (plot: SpectrumPlot, answer: Binary<Facts>) => void): HTMLElement {
  const full: Window = [study.grid.low, study.grid.high];
  const fault = h("div");
  const plot = new SpectrumPlot({ full, medium: study.grid.medium, label, lines: study.lines, tell: (window, how) => {
    tell?.(plot.whole ? null : window, how);
    latest.ask();
  } });
  if (window_) plot.zoom(window_, "quiet");
  let last: Binary<Facts> | null = null;
  const latest = new Latest<Binary<Facts>>((signal) => binary<Facts>(path, { low: plot.window[0], high: plot.window[1], width: plot.width }, signal), (answer) => {
    put(fault);
    last = answer;
    draw(plot, answer);
  }, (problem) => put(fault, notice("error", message(problem), "", () => latest.ask())));
  queueMicrotask(() => latest.ask()); // once it stands in the page and has a width
  stops.push(onTheme(() => {
    if (last) draw(plot, last);
  }), () => {
    latest.stop();
    plot.stop();
  });
  return h("div", {}, fault, plot.element);
}

function traversal(about: NodePage, window_: Window | null, study: Study, stops: (() => void)[]): HTMLElement {
  const tell = (window: Window | null, how: "push" | "amend"): void => note({ low: window ? window[0].toFixed(3) : null, high: window ? window[1].toFixed(3) : null }, how);
  return curves<CurveFacts & { values: number[]; labels: (number | null)[] | null }>(`node/${about.node}/traversal`, `Traversal of node ${about.node}`, window_, tell, study, stops, (plot, { facts: told, arrays }) => {
    const bytes = ramp();
    const made = QUANTILES.map((name, i) => {
      const values = arrays[`flux_${i}`];
      if (!values) return null;
      const k = Math.round((i * 255) / 6);
      const label = told.labels?.[i];
      return { name: label === null || label === undefined || !about.label ? name : `${name} (${labelNumber(study, about.label, label)}${unitOf(study, about.label) ? `\u00a0${unitOf(study, about.label)}` : ""})`, values, colour: css(Array.from(bytes.slice(4 * k, 4 * k + 3))), width: i === 3 ? 1.5 : 1.1 };
    }).filter((curve) => curve !== null);
    plot.show(arrays["wavelength"] ?? [], [{ key: "traversal", title: "Decoded", height: window.innerWidth > 700 ? 300 : 210, marks: true, curves: made }], `Seven decoded spectra, node ${about.node} from its lowest to its highest quantile.`);
  });
}

function derivative(about: NodePage, study: Study, stops: (() => void)[]): HTMLElement {
  return curves<CurveFacts>(`node/${about.node}/derivative`, `Derivative of node ${about.node}`, null, null, study, stops, (plot, { arrays }) => {
    plot.show(arrays["wavelength"] ?? [], [{ key: "derivative", title: "Change of flux", height: window.innerWidth > 700 ? 200 : 170, marks: true, level: 0, least: 1e-6, curves: [
      ...(arrays["star"] ? [{ name: "at rest with the star", values: arrays["star"], colour: "star" }] : []),
      ...(arrays["air"] ? [{ name: "at rest with the observer", values: arrays["air"], colour: "air" }] : []),
    ] }], `Size of the change of flux a unit of node ${about.node}.`);
  });
}

function against(about: NodePage, label: string, study: Study, stops: (() => void)[]): HTMLElement {
  const host = h("div", { class: "scatter-box small" });
  const control = new AbortController();
  const scatter = new Scatter({ pick: (place) => {
    const row = rows[place];
    if (row !== undefined) go(to("spectrum", { row: String(row) }));
  }, lasso: () => undefined, hover: () => undefined });
  let rows: ArrayLike<number> = [];
  scatter.tool = "move";
  scatter.element.setAttribute("aria-label", `Code of node ${about.node} against ${label}`);
  put(host, scatter.element);
  binary<Record<string, never>>(`node/${about.node}/scatter`, { label }, control.signal).then(({ arrays }) => {
    rows = arrays["row"] ?? [];
    const unit = unitOf(study, label);
    scatter.show({ x: Float32Array.from(arrays["label"] ?? []), y: Float32Array.from(arrays["code"] ?? []), colour: null, range: [0, 1], titles: [unit ? `${label} (${unit})` : label, "code"] }, false);
  }).catch((fault: unknown) => {
    if (!(fault instanceof DOMException)) put(host, notice("error", message(fault)));
  });
  stops.push(() => {
    control.abort();
    scatter.stop();
  });
  return h("figure", { class: "wide" }, h("figcaption", {}, `Code against ${label}; a click opens the spectrum`), host);
}
