// The map: every spectrum a point in a plane of two nodes, labels or components.

import { binary, selection, type Study } from "../api";
import { css, classColour, ramp } from "../colour";
import { parseCsv } from "../csv";
import { announce, h, put, table } from "../dom";
import { inRange, many, number, whole } from "../format";
import { spectrumLink } from "../parts";
import { picker } from "../pick";
import { note } from "../route";
import { Scatter, type Place, type Tool } from "../scatter";
import { onTheme } from "../theme";
import { choice, heading, message, notice, save, type Make, type View } from "../view";
import { spectrumCard } from "./spectrum";

interface AxisFacts {
  key: string;
  title: string;
  unit: string;
}

interface MapFacts {
  spectra: number;
  x: AxisFacts;
  y: AxisFacts;
  colour: null | (AxisFacts & { kind: "number" | "text"; range: [number, number] | null; categories: string[] | null });
}

const LISTED = 50;

export const map: Make = (host, settings, study) => {
  const first = new URLSearchParams(study.start.map.replace(/^\?/, ""));
  const numbers = study.axes.filter((axis) => axis.kind === "number");
  let x = settings.get("x") ?? first.get("x") ?? numbers[0]?.key ?? "";
  let y = settings.get("y") ?? first.get("y") ?? numbers[1]?.key ?? "";
  let tint = settings.get("colour") ?? (settings.has("x") ? "" : (first.get("colour") ?? ""));
  let lasso = readLasso(settings.get("lasso"));
  let rows: number[] = [];
  let card: View | null = null;
  let told: MapFacts | null = null;
  let clouds: { x: Float32Array; y: Float32Array } | null = null;
  const control = { now: new AbortController() };
  if (!x || !y) {
    put(host, heading("Map"), notice("empty", "There is nothing to put on the axes yet.", "Run `astroprism train` and `astroprism encode`, then reload."));
    return { stop: () => undefined };
  }

  const state = h("div", { class: "overlay" });
  const legend = h("div", { class: "colours" });
  const hover = h("output", { class: "readout num", "aria-hidden": "true" });
  const aside = h("section", { class: "card beside", "aria-label": "The spectrum looked at" });
  const chosen = h("section", { class: "chosen", "aria-label": "Selection" });
  const scatter = new Scatter({
    pick: (row) => look(row),
    lasso: (corners) => take(corners, true),
    hover: (row) => {
      if (row === null || !clouds || !told) hover.textContent = "";
      else hover.textContent = `row ${row}  ${told.x.title} ${number(clouds.x[row], 4)}  ${told.y.title} ${number(clouds.y[row], 4)}`;
    },
  });

  const look = (row: number | null, push = true): void => {
    if (push) note({ row: row === null ? null : String(row) }, "push");
    card?.stop();
    card = null;
    scatter.setRow(row);
    if (row === null) {
      put(aside, h("p", { class: "dim hint" }, "Click a point, or search, to see its spectrum, its reconstruction, what is left, and what is like it."), picker("Find a spectrum", (found) => look(found.row)));
      return;
    }
    card = spectrumCard(aside, study, { row, settings: new URLSearchParams(), small: true, window: null, tell: () => undefined });
    announce(`Spectrum of row ${row} is shown`);
    if (push && window.innerWidth < 1000) aside.scrollIntoView({ block: "start", behavior: "smooth" });
  };

  const take = (corners: Place[] | null, push: boolean): void => {
    lasso = corners ? corners.map(([a, b]) => [tidy(a), tidy(b)]) : null;
    rows = scatter.setLasso(lasso);
    if (push) {
      note({ x, y, colour: tint, lasso: lasso ? lasso.map(([a, b]) => `${a}:${b}`).join(",") : null }, "push");
      announce(lasso ? `${many(rows.length, "spectrum", "spectra")} selected` : "Selection cleared");
    }
    showChosen();
  };

  const showChosen = (): void => {
    const fields = rangeFields();
    const list = h("div");
    const fault = h("div");
    const exporting = h("button", { type: "button", class: "primary", disabled: !rows.length, onclick: async () => {
      try {
        save(await selection(rows), "selection.csv");
        put(fault);
      } catch (problem) {
        put(fault, notice("error", message(problem)));
      }
    } }, "Export as CSV");
    const details = h("details", { class: "folded", ontoggle: () => {
      if (details.open && !list.childElementCount) void listRows(list);
    } }, h("summary", {}, "List the selection"), list);
    put(chosen,
      h("div", { class: "row between" },
        h("p", { class: "num" }, lasso ? h("strong", { id: "selected" }, many(rows.length, "spectrum", "spectra")) : h("strong", { id: "selected" }, "Nothing selected"), lasso ? ` of ${whole(study.spectra)} selected` : h("span", { class: "dim" }, ": draw a lasso or a box, or give ranges.")),
        h("span", { class: "group" }, exporting, h("button", { type: "button", hidden: !lasso, onclick: () => take(null, true) }, "Clear"))),
      fault,
      rows.length > study.limits.selection ? h("p", { class: "warn" }, `At most ${whole(study.limits.selection)} can be exported at once.`) : null,
      h("details", { class: "folded" }, h("summary", {}, "Select by ranges, without drawing"), fields),
      rows.length ? details : null);
  };

  const listRows = async (list: HTMLElement): Promise<void> => {
    put(list, notice("busy", "Reading\u2026"));
    try {
      const shown = rows.slice(0, LISTED);
      const [head = [], ...body] = parseCsv(await (await selection(shown)).text());
      put(list, table(`${rows.length > LISTED ? `The first ${LISTED} of ` : ""}${many(rows.length, "selected spectrum", "selected spectra")}`, head, body.map((cells, i) => cells.map((cell, k) => (k === 0 ? spectrumLink(shown[i] ?? 0, cell) : k > 3 && cell !== "" && Number.isFinite(Number(cell)) ? number(Number(cell), 4) : cell))), { numeric: head.map((_, k) => k).filter((k) => k > 3) }));
    } catch (problem) {
      put(list, notice("error", message(problem)));
    }
  };

  const rangeFields = (): HTMLElement => {
    const [left, right, bottom, top] = ["left", "right", "bottom", "top"].map((name) => h("input", { type: "text", inputmode: "decimal", class: "num", "aria-label": `${name === "left" || name === "right" ? (told?.x.title ?? x) : (told?.y.title ?? y)} ${name === "left" || name === "bottom" ? "from" : "to"}`, id: `range-${name}` })) as [HTMLInputElement, HTMLInputElement, HTMLInputElement, HTMLInputElement];
    const row = (name: string, a: HTMLInputElement, b: HTMLInputElement): HTMLElement => h("div", { class: "group fields" }, h("span", { class: "range-name" }, name), a, h("span", { class: "dim" }, "to"), b);
    return h("div", { class: "ranges" }, row(told?.x.title ?? x, left, right), row(told?.y.title ?? y, bottom, top), h("button", { type: "button", onclick: () => {
      const { shown } = scatter;
      const [a, b] = [valueOf(left, -1e30), valueOf(right, 1e30)];
      const [c, d] = [valueOf(bottom, -1e30), valueOf(top, 1e30)];
      // where nothing is given, the corners lie just outside of what there is
      const clampX = (value: number): number => Math.max(shown.left - 9 * (shown.right - shown.left), Math.min(shown.right + 9 * (shown.right - shown.left), value));
      const clampY = (value: number): number => Math.max(shown.bottom - 9 * (shown.top - shown.bottom), Math.min(shown.top + 9 * (shown.top - shown.bottom), value));
      take([[clampX(a), clampY(c)], [clampX(b), clampY(c)], [clampX(b), clampY(d)], [clampX(a), clampY(d)]], true);
    } }, "Select"));
  };

  const load = async (what: "all" | "colour"): Promise<void> => {
    control.now.abort();
    control.now = new AbortController();
    put(state, notice("busy", /umap|outlier/.test(`${x}${y}${tint}`) ? "Computing; the first time this takes a while\u2026" : "Loading\u2026"));
    try {
      const { facts, arrays } = await binary<MapFacts>("map", { x, y, colour: tint || null }, control.now.signal);
      put(state);
      told = facts;
      clouds = { x: arrays["x"] as Float32Array, y: arrays["y"] as Float32Array };
      scatter.show({
        ...clouds,
        colour: (arrays["colour"] as Float32Array | undefined) ?? null,
        range: facts.colour ? (facts.colour.kind === "text" ? null : (facts.colour.range ?? [0, 1])) : [0, 1],
        titles: [titled(facts.x), titled(facts.y)],
      }, what === "colour");
      rows = scatter.setLasso(lasso);
      showLegend();
      showChosen();
      const known = clouds.x.reduce((sum, value, i) => sum + (Number.isFinite(value) && Number.isFinite(clouds?.y[i] ?? Number.NaN) ? 1 : 0), 0);
      summary.textContent = `${many(known, "spectrum", "spectra")} shown${known < facts.spectra ? `; ${whole(facts.spectra - known)} have no value on an axis` : ""}. Across: ${titled(facts.x)}. Up: ${titled(facts.y)}.${facts.colour ? ` Colour: ${titled(facts.colour)}.` : ""}`;
      if (!known) put(state, notice("empty", "No spectrum has a value on both axes."));
    } catch (problem) {
      if (problem instanceof DOMException && problem.name === "AbortError") return;
      put(state, notice("error", message(problem), "", () => void load(what)));
    }
  };

  const showLegend = (): void => {
    const about = told?.colour;
    if (!about) {
      put(legend);
      return;
    }
    if (about.kind === "text") {
      put(legend, h("strong", {}, about.title), ...(about.categories ?? []).map((name, i) => {
        const dot = h("i", { class: "dot" });
        dot.style.background = css(classColour(i));
        return h("span", { class: "key" }, dot, name);
      }));
      return;
    }
    const [low, high] = about.range ?? [0, 1];
    const bytes = ramp();
    const stops = Array.from({ length: 9 }, (_, i) => css(Array.from(bytes.slice(4 * Math.round((i * 255) / 8), 4 * Math.round((i * 255) / 8) + 3))));
    const strip = h("div", { class: "strip", role: "img", "aria-label": `Colours from ${inRange(low, high - low)} to ${inRange(high, high - low)}` });
    strip.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
    put(legend, h("strong", {}, titled(about)), h("span", { class: "num" }, `\u2264\u00a0${inRange(low, high - low)}`), strip, h("span", { class: "num" }, `\u2265\u00a0${inRange(high, high - low)}`));
  };

  const pickAxis = (which: "x" | "y" | "colour", value: string): void => {
    if (which === "x") x = value;
    else if (which === "y") y = value;
    else tint = value;
    if (which !== "colour") lasso = null;
    note({ x, y, colour: tint, lasso: lasso ? lasso.map((p) => p.join(":")).join(",") : null }, "push");
    void load(which === "colour" ? "colour" : "all");
  };

  const tools = h("div", { class: "group radios", role: "radiogroup", "aria-label": "What dragging does" }, ...([["lasso", "Lasso"], ["box", "Box"], ["move", "Move"]] as [Tool, string][]).map(([tool, title]) => {
    const radio = h("input", { type: "radio", name: "tool", value: tool, onchange: () => {
      scatter.tool = tool;
    } });
    radio.checked = tool === scatter.tool;
    return h("label", {}, radio, h("span", {}, title));
  }));
  const swap = h("button", { type: "button", class: "small", title: "Exchange the axes", "aria-label": "Exchange the axes", onclick: () => {
    [x, y] = [y, x];
    lasso = lasso ? lasso.map(([a, b]) => [b, a]) : null;
    note({ x, y, colour: tint, lasso: lasso ? lasso.map((p) => p.join(":")).join(",") : null }, "push");
    put(axes, ...axisFields());
    void load("all");
  } }, "\u21c4");
  const summary = h("p", { class: "dim status", "aria-live": "polite" });
  const axisFields = (): HTMLElement[] => [
    choice("Across", grouped(numbers), x, (value) => pickAxis("x", value)),
    swap,
    choice("Up", grouped(numbers), y, (value) => pickAxis("y", value)),
    choice("Colour", [["", "none"], ...grouped(study.axes)], tint, (value) => pickAxis("colour", value)),
  ];
  const axes = h("div", { class: "options" }, ...axisFields());
  put(host,
    heading("Map", h("p", { class: "lead" }, "Every spectrum is a point. Draw around some to export them; click one to see it.")),
    h("div", { class: "two map-view" },
      h("div", {},
        axes,
        h("div", { class: "tools" }, tools, h("span", { class: "group" },
          h("button", { type: "button", class: "small", "aria-label": "Zoom out", onclick: () => scatter.by(1 / 0.7) }, "\u2212"),
          h("button", { type: "button", class: "small", "aria-label": "Zoom in", onclick: () => scatter.by(0.7) }, "+"),
          h("button", { type: "button", class: "small", onclick: () => scatter.fit() }, "All")), hover),
        h("div", { class: "scatter-box" }, scatter.element, state), legend, summary, chosen),
      aside));
  const row = settings.get("row");
  look(row !== null && /^\d+$/.test(row) ? Number(row) : null, false);
  void load("all");
  const stopTheme = onTheme(showLegend);
  return { stop: () => {
    control.now.abort();
    card?.stop();
    scatter.stop();
    stopTheme();
  } };
};

function titled(axis: AxisFacts): string {
  return axis.unit ? `${axis.title} (${axis.unit})` : axis.title;
}

function grouped(axes: Study["axes"]): [string, string][] {
  return axes.map((axis) => [axis.key, axis.title]);
}

/** Corners as they can be read back from the address, so that a restored lasso takes the same rows. */
function tidy(value: number): number {
  return Number(value.toPrecision(6));
}

function valueOf(field: HTMLInputElement, otherwise: number): number {
  const value = Number.parseFloat(field.value.replace(/[\u2212]/g, "-").replace(/[,\s]/g, ""));
  return Number.isFinite(value) ? value : otherwise;
}

function readLasso(text: string | null): Place[] | null {
  if (!text) return null;
  const corners = text.split(",").map((pair) => pair.split(":").map(Number) as Place);
  return corners.length > 2 && corners.every(([a, b]) => Number.isFinite(a) && Number.isFinite(b)) ? corners : null;
}

