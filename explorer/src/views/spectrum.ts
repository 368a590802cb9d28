// One spectrum: as observed, as reconstructed, what is left, what the model says of it, and what is like it.

import { json, type Neighbour, type SpectrumFacts, type Study } from "../api";
import { h, put } from "../dom";
import { fixed, number } from "../format";
import { observedPlot, type Observed } from "../observed";
import { codesTable, labelsTable, neighboursTable, outlierText } from "../parts";
import { picker } from "../pick";
import type { Window } from "../plot";
import { called } from "../quantity";
import { go, note, range, to, type Settings } from "../route";
import { choice, facts, fillFrom, heading, message, notice, toggle, type Make, type View } from "../view";

type Facts = SpectrumFacts & Observed;

/** The card of a spectrum, for its own page and beside the map. */
export function spectrumCard(host: HTMLElement, study: Study, options: {
  row: number;
  window: Window | null;
  tell: (window: Window | null, how: "push" | "amend") => void;
  settings: Settings;
  small: boolean;
}): View {
  const { row, small } = options;
  const name = h(small ? "h2" : "h1", { tabindex: "-1" }, `Spectrum ${row}`);
  const sub = h("p", { class: "dim" });
  const told = h("div", { class: "card-facts" });
  const similar = h("div", {}, notice("busy", "Looking for similar spectra\u2026"));
  const drawn = observedPlot<Facts>(study, `spectrum/${row}`, { label: `Spectrum ${row}`, window: options.window, tell: options.tell, small });
  const actions = h("p", { class: "actions" },
    small ? h("a", { class: "button small", href: to("spectrum", { row: String(row) }) }, "Open its page") : h("a", { class: "button small", href: to("map", { row: String(row) }) }, "Show on the map"),
    study.has.model ? h("a", { class: "button small", href: to("sliders", { base: String(row) }) }, "Take it to the sliders") : null);
  put(host, h("div", { class: "heading" }, name, sub), actions, drawn.element, told, similar);
  drawn.first.then((about) => {
    name.textContent = about.target || about.spectrum_id;
    sub.textContent = about.target && about.target !== about.spectrum_id ? about.spectrum_id : "";
    const labels = labelsTable(study, about.labels ?? {}, about.predicted);
    put(told,
      facts([
        ["S/N", about.snr === null ? null : fixed(about.snr, 0)],
        ["chi\u00b2 a pixel", about.chi2 === null ? null : fixed(about.chi2, 2)],
        ["BERV", about.berv === null ? null : `${fixed(about.berv, 2)}\u00a0km/s`],
        ["resolution", about.resolution === null ? null : fixed(about.resolution, 0)],
        ["time", about.time === null ? null : `MJD ${fixed(about.time, 3)}`],
        ["instrument", about.instrument],
        ["in training", about.seen_in_training === null ? null : about.seen_in_training ? "yes" : "no, held out"],
        ["row", String(about.row)],
      ]),
      outlierText(about.outlier),
      h("div", { class: small ? "" : "columns" }, labels, about.codes?.length ? codesTable(study, about.codes, small) : null));
  }).catch((fault: unknown) => put(told, notice("error", message(fault))));

  const control = new AbortController();
  const n = Math.max(1, Math.min(200, Number(options.settings.get("n")) || (small ? 6 : 10)));
  const nuisances = options.settings.get("nuisances") === "1";
  const only = options.settings.get("nodes") ?? "";
  if (study.has.codes) {
    void fillFrom(similar, json<{ neighbours: Neighbour[]; nodes: number[]; ms: number }>(`neighbours/${row}`, { n, nuisances, nodes: only || null }, control.signal), (answer) => {
      const used = answer.nodes.map((number) => study.nodes.find((node) => node.node === number)).map((node, i) => (node ? called(node) : `node ${answer.nodes[i]}`));
      put(similar,
        h("h2", {}, "Most similar spectra"),
        h("p", { class: "dim" }, `By ${used.join(", ")}; exact, in ${number(answer.ms, 2)} ms.`),
        small ? null : neighbourTools(study, options.settings, only, nuisances, n),
        neighboursTable(study, answer.neighbours, `The ${answer.neighbours.length} nearest in code space`, small));
    });
  } else put(similar, notice("empty", "No codes yet.", "Run `astroprism encode`, then reload."));
  return { stop: () => {
    control.abort();
    drawn.stop();
  } };
}

function neighbourTools(study: Study, settings: Settings, only: string, nuisances: boolean, n: number): HTMLElement {
  const change = (name: string, value: string | null): void => {
    const next = new URLSearchParams(settings);
    if (value === null) next.delete(name);
    else next.set(name, value);
    go(`?${next.toString()}`);
  };
  const nodes = study.nodes.filter((node) => !node.doubtful && node.copies_of === null);
  const chosen = new Set(only ? only.split(",").map(Number) : []);
  return h("div", { class: "options" },
    choice("Show", [["6", "6"], ["10", "10"], ["25", "25"], ["100", "100"]], String(n), (value) => change("n", value)),
    toggle("Count nuisances (velocity, air, noise) too", nuisances, (on) => change("nuisances", on ? "1" : null)),
    h("fieldset", { class: "inline" }, h("legend", {}, "Only by"), ...nodes.map((node) => toggle(called(node), chosen.has(node.node), (on) => {
      if (on) chosen.add(node.node);
      else chosen.delete(node.node);
      change("nodes", [...chosen].join(",") || null);
    }))));
}

export const spectrum: Make = (host, settings, study) => {
  const search = picker("Find a spectrum", (found) => go(to("spectrum", { row: String(found.row) })));
  const body = h("div", { class: "card" });
  const text = settings.get("row");
  const row = Number(text);
  if (text === null || !Number.isInteger(row)) {
    put(host, heading("Spectra", h("p", { class: "lead" }, `${study.spectra.toLocaleString("en-GB")} spectra of ${study.targets.toLocaleString("en-GB")} targets. Search one here, or click a point of the map.`)), search);
    return { stop: () => undefined };
  }
  put(host, search, body);
  return spectrumCard(body, study, {
    row,
    settings,
    small: false,
    window: range(settings),
    tell: (window, how) => note({ low: window ? window[0].toFixed(3) : null, high: window ? window[1].toFixed(3) : null }, how),
  });
};
