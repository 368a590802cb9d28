// Spectra against wavelength: panels one above the other that share their window, with zoom by drag, wheel, keys
// and numbers.

import uPlot from "uplot";
import type { Line } from "./api";
import { announce, h, id, put, table } from "./dom";
import { decimalsFor, decimalsOf, fixed, number, whole } from "./format";
import { drawMarks, marksIn } from "./marks";
import { colour, onTheme } from "./theme";

export interface Curve {
  name: string;
  values: ArrayLike<number>;
  colour: string; // of the style sheet
  width?: number;
  dash?: number[];
}

export interface Panel {
  key: string;
  title: string;
  curves: Curve[];
  band?: { low: ArrayLike<number>; high: ArrayLike<number>; colour: string };
  height: number;
  marks?: boolean;
  level?: number; // drawn as a line across: 1 of a continuum, 0 of a residual
  least?: number; // the y axis spans at least this
}

export type Window = [number, number];
type Told = (window: Window, how: "push" | "amend") => void;

export interface PlotOptions {
  full: Window;
  medium: string;
  label: string;
  lines: Line[];
  tell: Told;
}

const WIDTH_OF_AXIS = 56;

/** The plot and its tools. */
export class SpectrumPlot {
  readonly element: HTMLElement;
  private readonly stage: HTMLElement;
  private readonly readout: HTMLElement;
  private readonly from: HTMLInputElement;
  private readonly until: HTMLInputElement;
  private readonly thumb: HTMLElement;
  private readonly legend: HTMLElement;
  private readonly told: HTMLElement;
  private readonly tableBox: HTMLDetailsElement;
  private readonly tableHost: HTMLElement;
  private charts: uPlot[] = [];
  private shape = "";
  private panels: Panel[] = [];
  private wavelength: ArrayLike<number> = [];
  private ranges = new Map<string, Window>();
  private velocity = 0;
  private showMarks = true;
  window: Window;
  private readonly least: number;
  private readonly sync = id("sync");
  private readonly stops: (() => void)[] = [];
  private settle = 0;
  private held: uPlot | null = null; // the panel that is dragged across
  private asked = 0; // the width that the level of detail was asked for

  constructor(private readonly options: PlotOptions) {
    this.window = options.full;
    this.least = (options.full[1] - options.full[0]) / 4000;
    this.told = h("p", { class: "hidden", id: id("told") });
    this.stage = h("div", {
      class: "stage",
      tabindex: "0",
      role: "application",
      "aria-roledescription": "spectrum plot",
      "aria-label": `${options.label}. Arrow keys move along, plus and minus zoom, 0 shows the whole range.`,
      "aria-describedby": this.told.id,
      onkeydown: (event: KeyboardEvent) => this.key(event),
    });
    this.readout = h("output", { class: "readout num", "aria-hidden": "true" });
    this.from = this.field("from");
    this.until = this.field("to");
    this.thumb = h("div", { class: "thumb" });
    this.legend = h("div", { class: "legend" });
    this.tableHost = h("div");
    this.tableBox = h("details", { class: "aside", ontoggle: () => this.fillTable() }, h("summary", {}, "Read as a table"), this.tableHost);
    this.element = h("div", { class: "plot" }, this.tools(), this.legend, this.stage, this.bar(), this.told, this.tableBox);
    const observer = new ResizeObserver(() => this.fit());
    observer.observe(this.stage);
    this.stops.push(() => observer.disconnect(), onTheme(() => this.rebuild()));
    this.showWindow();
  }

  /** Screen pixels across, for the level of detail. */
  get width(): number {
    return Math.max(64, Math.min(4096, Math.round((this.stage.clientWidth - WIDTH_OF_AXIS - 14) * Math.min(2, window.devicePixelRatio))));
  }

  /** Show curves over the same wavelengths. */
  show(wavelength: ArrayLike<number>, panels: Panel[], told: string): void {
    this.wavelength = wavelength;
    this.panels = panels;
    const shape = JSON.stringify(panels.map((panel) => [panel.key, panel.title, panel.height, panel.curves.map((curve) => [curve.name, curve.colour]), Boolean(panel.band)]));
    for (const panel of panels) this.ranges.set(panel.key, this.span(panel));
    if (shape !== this.shape) {
      this.shape = shape;
      this.rebuild();
    } else {
      this.charts.forEach((chart, i) => chart.batch(() => {
        chart.setData(this.data(panels[i] as Panel), false);
        this.scale(chart, panels[i] as Panel);
      }));
    }
    this.told.textContent = told;
    this.fillTable();
    this.stage.dataset["shown"] = String(Number(this.stage.dataset["shown"] ?? "0") + 1);
  }

  /** The velocity of the star (km/s), which its lines follow, and whether names are shown at all. */
  mark(velocity: number, shown: boolean): void {
    this.velocity = velocity;
    this.showMarks = shown;
    for (const chart of this.charts) chart.redraw(false);
  }

  /** Show another window; `tell` has the owner ask for what belongs there. */
  zoom(window: Window, how: "push" | "amend" | "quiet" = "push"): void {
    const [first, last] = this.options.full;
    let [low, high] = window;
    const span = Math.min(Math.max(high - low, this.least), last - first);
    const center = (low + high) / 2;
    low = Math.max(first, Math.min(last - span, center - span / 2));
    high = low + span;
    this.window = [low, high];
    this.ranges.clear();
    for (const panel of this.panels) this.ranges.set(panel.key, this.span(panel));
    this.charts.forEach((chart, i) => chart.batch(() => this.scale(chart, this.panels[i] as Panel)));
    this.showWindow();
    if (how !== "quiet") this.options.tell(this.window, how);
  }

  /** Forget the ranges of y, so that the next curves find their own. */
  refit(): void {
    this.ranges.clear();
  }

  /** Whether all of the range is shown. */
  get whole(): boolean {
    return this.window[1] - this.window[0] >= (this.options.full[1] - this.options.full[0]) * 0.9999;
  }

  stop(): void {
    for (const stop of this.stops) stop();
    for (const chart of this.charts) chart.destroy();
  }

  // --- tools around the plot

  private tools(): HTMLElement {
    const jump = h("select", { "aria-label": "Go to a line", onchange: () => this.jump(jump) });
    jump.append(h("option", { value: "" }, "Go to a line\u2026"));
    const strongest = [...this.options.lines].sort((a, b) => b.depth - a.depth).slice(0, 40).sort((a, b) => a.wavelength - b.wavelength);
    for (const line of strongest) jump.append(h("option", { value: String(line.wavelength) }, `${line.name}  ${fixed(line.wavelength, 1)}`));
    if (!strongest.length) jump.hidden = true;
    return h(
      "div",
      { class: "tools" },
      h(
        "span",
        { class: "group", role: "group", "aria-label": "Window in wavelength" },
        h("button", { type: "button", class: "small", "aria-label": "Zoom out", title: "Zoom out (\u2212)", onclick: () => this.by(2) }, "\u2212"),
        h("button", { type: "button", class: "small", "aria-label": "Zoom in", title: "Zoom in (+)", onclick: () => this.by(0.5) }, "+"),
        h("button", { type: "button", class: "small", title: "Whole range (0)", onclick: () => this.zoom(this.options.full) }, "All"),
      ),
      h("span", { class: "group fields" }, this.from, h("span", { class: "dim" }, "to"), this.until, h("span", { class: "dim" }, "\u00c5")),
      jump,
      this.readout,
    );
  }

  private field(which: "from" | "to"): HTMLInputElement {
    return h("input", {
      class: "num wavelength",
      type: "text",
      inputmode: "decimal",
      "aria-label": `Window ${which}, angstrom`,
      onchange: () => {
        const read = (field: HTMLInputElement): number => Number.parseFloat(field.value.replace(/[,\s]/g, ""));
        const [low, high] = [read(this.from), read(this.until)];
        const span = this.window[1] - this.window[0];
        if (low < high) this.zoom([low, high]);
        // one end beyond the other: the window moves there with its width
        else if (which === "from" && Number.isFinite(low)) this.zoom([low, low + span]);
        else if (which === "to" && Number.isFinite(high)) this.zoom([high - span, high]);
        else this.showWindow();
      },
    });
  }

  private jump(select: HTMLSelectElement): void {
    const at = Number.parseFloat(select.value);
    select.value = "";
    if (!Number.isFinite(at)) return;
    const half = Math.min((this.options.full[1] - this.options.full[0]) / 12, at / 1200);
    this.zoom([at - half, at + half]);
    this.stage.focus();
  }

  private bar(): HTMLElement {
    const track = h("div", { class: "bar", "aria-hidden": "true", title: "The part of the whole range that is shown" }, this.thumb);
    track.addEventListener("pointerdown", (event) => {
      track.setPointerCapture(event.pointerId);
      const box = track.getBoundingClientRect();
      const [first, last] = this.options.full;
      const at = (x: number): number => first + ((x - box.left) / box.width) * (last - first);
      const span = this.window[1] - this.window[0];
      const start = at(event.clientX);
      const inside = start >= this.window[0] && start <= this.window[1];
      const offset = inside ? start - this.window[0] : span / 2;
      const move = (moved: PointerEvent): void => {
        const low = at(moved.clientX) - offset;
        this.zoom([low, low + span], "amend");
      };
      if (!inside) move(event);
      const end = (): void => {
        track.removeEventListener("pointermove", move);
        this.options.tell(this.window, "push");
      };
      track.addEventListener("pointermove", move);
      track.addEventListener("pointerup", end, { once: true });
    });
    return track;
  }

  private showWindow(): void {
    const [first, last] = this.options.full;
    const [low, high] = this.window;
    const decimals = Math.max(1, Math.min(3, decimalsFor((high - low) / 200)));
    this.from.value = fixed(low, decimals);
    this.until.value = fixed(high, decimals);
    this.thumb.style.left = `${(100 * (low - first)) / (last - first)}%`;
    this.thumb.style.width = `${Math.max(0.4, (100 * (high - low)) / (last - first))}%`;
    this.element.classList.toggle("zoomed", !this.whole);
    window.clearTimeout(this.settle);
    this.settle = window.setTimeout(() => {
      if (document.activeElement === this.stage) announce(`${fixed(low, decimals)} to ${fixed(high, decimals)} angstrom`);
    }, 300);
  }

  // --- moving

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const [low, high] = this.window;
    const step = (high - low) * (event.shiftKey ? 0.5 : 0.1);
    const acts: Record<string, () => void> = {
      ArrowLeft: () => this.zoom([low - step, high - step], "amend"),
      ArrowRight: () => this.zoom([low + step, high + step], "amend"),
      "+": () => this.by(0.5),
      "=": () => this.by(0.5),
      "-": () => this.by(2),
      _: () => this.by(2),
      "0": () => this.zoom(this.options.full),
      Home: () => this.zoom([this.options.full[0], this.options.full[0] + high - low]),
      End: () => this.zoom([this.options.full[1] - high + low, this.options.full[1]]),
    };
    const act = acts[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  private by(factor: number): void {
    const [low, high] = this.window;
    const center = (low + high) / 2;
    const half = ((high - low) / 2) * factor;
    this.zoom([center - half, center + half]);
  }

  private wheel(event: WheelEvent, over: HTMLElement): void {
    const factor = Math.exp(Math.max(-1, Math.min(1, event.deltaY / 240)));
    const [low, high] = this.window;
    if (factor > 1 && this.whole) return; // nothing to zoom out of: let the page scroll
    event.preventDefault();
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      const step = ((event.deltaX || event.deltaY) / over.clientWidth) * (high - low);
      this.zoom([low + step, high + step], "amend");
      return;
    }
    const box = over.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    const at = low + share * (high - low);
    this.zoom([at - (at - low) * factor, at + (high - at) * factor], "amend");
  }

  // --- drawing

  private data(panel: Panel): uPlot.AlignedData {
    const x = Array.from(this.wavelength);
    const curves = panel.curves.map((curve) => gaps(curve.values));
    const band = panel.band ? [gaps(panel.band.high), gaps(panel.band.low)] : [];
    return [x, ...band, ...curves] as uPlot.AlignedData;
  }

  private scale(chart: uPlot, panel: Panel): void {
    chart.setScale("x", { min: this.window[0], max: this.window[1] });
    const [min, max] = this.ranges.get(panel.key) ?? [0, 1];
    chart.setScale("y", { min, max });
  }

  /** The y range of what is seen, kept while what is seen fits it, so that a moving slider does not shake it. */
  private span(panel: Panel): Window {
    let low = Infinity;
    let high = -Infinity;
    for (const curve of panel.curves) {
      for (let i = 0; i < this.wavelength.length; i += 1) {
        const x = this.wavelength[i] as number;
        const y = curve.values[i] as number;
        if (x < this.window[0] || x > this.window[1] || !Number.isFinite(y)) continue;
        if (y < low) low = y;
        if (y > high) high = y;
      }
    }
    if (!(high >= low)) [low, high] = [0, 1];
    if (panel.level !== undefined) {
      low = Math.min(low, panel.level);
      high = Math.max(high, panel.level);
    }
    const least = panel.least ?? 0.02;
    if (high - low < least) {
      const center = (low + high) / 2;
      [low, high] = [center - least / 2, center + least / 2];
    }
    const pad = 0.06 * (high - low);
    // the names of lines need 46 pixels above the curves
    const top = panel.marks ? (46 / (panel.height - 66)) * (high - low) : pad;
    const wanted: Window = [low - pad, high + top];
    const held = this.ranges.get(panel.key);
    if (held && wanted[0] >= held[0] - pad / 2 && wanted[1] <= held[1] + pad / 2 && wanted[1] - wanted[0] > 0.6 * (held[1] - held[0])) return held;
    return wanted;
  }

  private rebuild(): void {
    for (const chart of this.charts) chart.destroy();
    this.stage.replaceChildren();
    const shown = this.panels;
    this.charts = shown.map((panel, i) => {
      const host = h("div", { class: "panel" }, shown.length > 1 ? h("span", { class: "panel-title" }, panel.title) : null);
      this.stage.append(host);
      return this.chart(panel, host, i === shown.length - 1);
    });
    put(this.legend, ...shown.flatMap((panel) => panel.curves.map((curve) => ({ panel, curve })))
      .filter(({ panel }) => panel.curves.length > 1)
      .map(({ curve }) => {
        const swatch = h("i", { class: curve.dash ? "dashed" : null });
        swatch.style.setProperty("--swatch", colour(curve.colour) || curve.colour);
        return h("span", { class: "key" }, swatch, curve.name);
      }));
  }

  private chart(panel: Panel, host: HTMLElement, last: boolean): uPlot {
    const [ink, grid, dim] = [colour("ink"), colour("hair"), colour("dim")];
    const font = `11px ${colour("sans")}`;
    const axis = { stroke: dim, font, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1, size: 4 } };
    const made = (curve: Curve): uPlot.Series => ({
      label: curve.name,
      stroke: colour(curve.colour) || curve.colour,
      width: curve.width ?? 1.25,
      points: { show: false },
      ...(curve.dash ? { dash: curve.dash } : {}),
    });
    const filler: uPlot.Series = { stroke: "transparent", width: 0, points: { show: false } };
    const options: uPlot.Options = {
      width: Math.max(64, this.stage.clientWidth),
      height: panel.height + (last ? 44 : 0),
      legend: { show: false },
      padding: [6, 12, last ? 0 : 4, 0],
      scales: { x: { time: false, auto: false, range: (_, min, max) => [min, max] }, y: { auto: false, range: (_, min, max) => [min, max] } },
      cursor: {
        sync: { key: this.sync, setSeries: false },
        drag: { x: true, y: false, setScale: false, dist: 4 },
        points: { show: false },
        y: false,
        bind: { dblclick: () => () => { this.zoom(this.options.full); return null; } },
      },
      select: { show: true, left: 0, top: 0, width: 0, height: 0 },
      series: [{}, ...(panel.band ? [filler, filler] : []), ...panel.curves.map(made)],
      ...(panel.band ? { bands: [{ series: [1, 2] as [number, number], fill: colour(panel.band.colour) || panel.band.colour }] } : {}),
      axes: [
        last
          ? { ...axis, size: 26, label: `wavelength in ${this.options.medium} (\u00c5)`, labelFont: font, labelSize: 18, labelGap: 0, values: (_: uPlot, places: number[]) => { const d = decimalsOf((places[1] ?? 1) - (places[0] ?? 0)); return places.map((place) => fixed(place, d)); } }
          : { ...axis, size: 0, values: () => [], ticks: { show: false } },
        { ...axis, size: WIDTH_OF_AXIS, space: panel.height < 120 ? 26 : 38, values: (_: uPlot, places: number[]) => { const d = decimalsOf((places[1] ?? 1) - (places[0] ?? 0)); return places.map((place) => fixed(place, d)); } },
      ],
      hooks: {
        setSelect: [(chart) => {
          if (chart !== this.held || chart.select.width < 4) return; // the other panels are told of it, too
          const low = chart.posToVal(chart.select.left, "x");
          const high = chart.posToVal(chart.select.left + chart.select.width, "x");
          this.held = null;
          for (const one of this.charts) one.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          this.zoom([low, high]);
        }],
        setCursor: [(chart) => this.point(chart)],
        drawAxes: [(chart) => {
          if (panel.level === undefined) return;
          const y = chart.valToPos(panel.level, "y", true);
          if (y < chart.bbox.top || y > chart.bbox.top + chart.bbox.height) return;
          const { ctx } = chart;
          ctx.save();
          ctx.strokeStyle = dim;
          ctx.globalAlpha = 0.5;
          ctx.beginPath();
          ctx.moveTo(chart.bbox.left, y);
          ctx.lineTo(chart.bbox.left + chart.bbox.width, y);
          ctx.stroke();
          ctx.restore();
        }],
        draw: [(chart) => {
          if (!panel.marks || !this.showMarks) return;
          const scale = window.devicePixelRatio;
          const marks = marksIn(this.options.lines, this.window[0], this.window[1], this.velocity, Math.round(chart.bbox.width / scale / 9));
          drawMarks(chart.ctx, marks, (x) => chart.valToPos(x, "x", true), chart.bbox, { star: dim, air: colour("air"), font: `${11 * scale}px ${colour("sans")}`, scale });
        }],
      },
    };
    const chart = new uPlot(options, this.data(panel), host);
    chart.batch(() => this.scale(chart, panel));
    chart.over.addEventListener("mousedown", () => {
      this.held = chart;
    }, true);
    chart.over.addEventListener("wheel", (event) => this.wheel(event, chart.over), { passive: false });
    chart.root.style.color = ink;
    return chart;
  }

  private point(chart: uPlot): void {
    const i = chart.cursor.idx;
    if (i === null || i === undefined || (chart.cursor.left ?? -1) < 0) {
      this.readout.textContent = "";
      return;
    }
    const at = this.wavelength[i] as number;
    const parts = [`${fixed(at, 2)} \u00c5`];
    for (const panel of this.panels) for (const curve of panel.curves) {
      const value = curve.values[i];
      if (value !== undefined && Number.isFinite(value)) parts.push(`${curve.name} ${fixed(value, 3)}`);
    }
    const near = marksIn(this.options.lines, at - 0.6, at + 0.6, this.velocity, 1)[0];
    if (near) parts.push(near.name);
    this.readout.textContent = parts.join("  ");
  }

  private fit(): void {
    const width = this.stage.clientWidth;
    if (this.asked && width > 1.2 * this.asked) this.options.tell(this.window, "amend");
    if (width > this.asked || !this.asked) this.asked = width;
    for (const chart of this.charts) if (Math.abs(chart.width - width) > 1) chart.setSize({ width: Math.max(64, width), height: chart.height });
  }

  private fillTable(): void {
    if (!this.tableBox.open) return;
    const inside: number[] = [];
    for (let i = 0; i < this.wavelength.length; i += 1) {
      const x = this.wavelength[i] as number;
      if (x >= this.window[0] && x <= this.window[1]) inside.push(i);
    }
    const step = Math.max(1, Math.floor(inside.length / 24));
    const curves = this.panels.flatMap((panel) => panel.curves);
    const rows = inside.filter((_, k) => k % step === 0).map((i) => [fixed(this.wavelength[i] as number, 2), ...curves.map((curve) => number(curve.values[i], 4))]);
    const made = table(`${whole(rows.length)} places of the window`, ["wavelength (\u00c5)", ...curves.map((curve) => curve.name)], rows, { numeric: curves.map((_, k) => k + 1) });
    put(this.tableHost, made);
  }
}

/** uPlot leaves a gap at null, and joins across NaN. */
function gaps(values: ArrayLike<number>): (number | null)[] {
  const made = new Array<number | null>(values.length);
  for (let i = 0; i < values.length; i += 1) {
    const value = values[i] as number;
    made[i] = Number.isFinite(value) ? value : null;
  }
  return made;
}
