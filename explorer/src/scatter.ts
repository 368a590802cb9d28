// The map: points in a plane with axes, a lasso, a box, panning and zooming.

import { colour, onTheme } from "./theme";
import { fixed, decimalsFor } from "./format";
import { h } from "./dom";
import { Points } from "./points";
import { ticks } from "./ticks";

export type Place = [number, number];
export type Tool = "lasso" | "box" | "move";

export interface Cloud {
  x: Float32Array;
  y: Float32Array;
  colour: Float32Array | null;
  range: [number, number] | null; // of the colours; null: classes
  titles: [string, string];
}

interface Told {
  pick: (row: number) => void;
  lasso: (lasso: Place[] | null) => void;
  hover: (row: number | null) => void;
}

type View = { left: number; right: number; bottom: number; top: number };

const LEFT = 58;
const BELOW = 46;
const GAP = 8;
const NEAR = 14; // css pixels within which a click takes a point

/** A scatter plot of rows. */
export class Scatter {
  readonly element: HTMLElement;
  tool: Tool = "lasso";
  private readonly points: Points;
  private readonly under: HTMLCanvasElement;
  private readonly over: HTMLCanvasElement;
  private cloud: Cloud | null = null;
  private all: View = { left: 0, right: 1, bottom: 0, top: 1 };
  private view: View = this.all;
  private lasso: Place[] | null = null;
  private drawing: Place[] | null = null;
  private chosen: Float32Array<ArrayBuffer> = new Float32Array(0);
  private anyChosen = false;
  private row: number | null = null;
  private hovered: number | null = null;
  private frame = 0;
  private readonly stops: (() => void)[] = [];

  constructor(private readonly tell: Told) {
    const canvas = h("canvas", { class: "points", "aria-hidden": "true" });
    this.under = h("canvas", { class: "over", "aria-hidden": "true" });
    this.over = h("canvas", { class: "over", "aria-hidden": "true" });
    this.element = h("div", {
      class: "scatter",
      tabindex: "0",
      role: "application",
      "aria-roledescription": "scatter plot",
      "aria-label": "Map of all spectra. Arrow keys move, plus and minus zoom, 0 shows all; Enter takes the point nearest to the middle. Ranges and a table are below.",
      onkeydown: (event: KeyboardEvent) => this.key(event),
    }, this.under, canvas, this.over);
    this.points = new Points(canvas);
    this.listen();
    const observer = new ResizeObserver(() => this.redraw());
    observer.observe(this.element);
    this.stops.push(() => observer.disconnect(), onTheme(() => this.redraw()), () => this.points.stop());
  }

  /** Show other points; `keep` the present view where only the colours changed. */
  show(cloud: Cloud, keep: boolean): void {
    this.cloud = cloud;
    if (!keep) {
      this.all = bounds(cloud);
      this.view = { ...this.all };
    }
    const count = cloud.x.length;
    const place = new Float32Array(2 * count);
    const shade = new Float32Array(count);
    const { left, right, bottom, top } = this.all;
    const [low, high] = cloud.range ?? [0, 255];
    for (let i = 0; i < count; i += 1) {
      const x = ((cloud.x[i] as number) - left) / (right - left);
      const y = ((cloud.y[i] as number) - bottom) / (top - bottom);
      place[2 * i] = Number.isFinite(x) && Number.isFinite(y) ? x : -1e6;
      place[2 * i + 1] = Number.isFinite(x) && Number.isFinite(y) ? y : -1e6;
      const value = cloud.colour ? (cloud.colour[i] as number) : Number.NaN;
      shade[i] = !cloud.colour ? -1 : Number.isFinite(value) ? Math.max(0, Math.min(1, (value - low) / (high - low || 1))) : -1;
    }
    this.points.set(place, shade);
    if (this.chosen.length !== count) this.chosen = new Float32Array(count);
    this.redraw();
  }

  /** The lasso and, by it, the rows that are chosen. */
  setLasso(lasso: Place[] | null): number[] {
    this.lasso = lasso && lasso.length > 2 ? lasso : null;
    const { cloud } = this;
    const rows = this.lasso && cloud ? inside(this.lasso, cloud.x, cloud.y) : [];
    this.chosen = new Float32Array(cloud?.x.length ?? 0);
    for (const row of rows) this.chosen[row] = 1;
    this.anyChosen = this.lasso !== null;
    this.points.choose(this.chosen);
    this.redraw();
    return rows;
  }

  /** The row that is looked at. */
  setRow(row: number | null): void {
    this.row = row;
    this.redraw();
  }

  fit(): void {
    this.view = { ...this.all };
    this.redraw();
  }

  by(factor: number): void {
    this.about(factor, 0.5, 0.5);
  }

  stop(): void {
    cancelAnimationFrame(this.frame);
    for (const stop of this.stops) stop();
  }

  /** The ranges of the axes as they are shown. */
  get shown(): View {
    return this.view;
  }

  /** Where a row lies, in css pixels of the element. */
  placeOf(row: number): Place | null {
    const { cloud } = this;
    if (!cloud || !Number.isFinite(cloud.x[row]) || !Number.isFinite(cloud.y[row])) return null;
    return this.toScreen([cloud.x[row] as number, cloud.y[row] as number]);
  }

  // --- geometry

  private get box(): { left: number; top: number; width: number; height: number } {
    return { left: LEFT, top: GAP, width: Math.max(16, this.element.clientWidth - LEFT - GAP), height: Math.max(16, this.element.clientHeight - BELOW - GAP) };
  }

  private toData(x: number, y: number): Place {
    const { box, view } = this;
    return [view.left + ((x - box.left) / box.width) * (view.right - view.left), view.top - ((y - box.top) / box.height) * (view.top - view.bottom)];
  }

  private toScreen([x, y]: Place): Place {
    const { box, view } = this;
    return [box.left + ((x - view.left) / (view.right - view.left)) * box.width, box.top + ((view.top - y) / (view.top - view.bottom)) * box.height];
  }

  private nearest(x: number, y: number, within: number): number | null {
    const { cloud, box, view } = this;
    if (!cloud) return null;
    const [scaleX, scaleY] = [box.width / (view.right - view.left), box.height / (view.top - view.bottom)];
    const [atX, atY] = this.toData(x, y);
    let best: number | null = null;
    let least = within * within;
    for (let i = 0; i < cloud.x.length; i += 1) {
      const dx = ((cloud.x[i] as number) - atX) * scaleX;
      const dy = ((cloud.y[i] as number) - atY) * scaleY;
      const far = dx * dx + dy * dy;
      if (far < least) [least, best] = [far, i];
    }
    return best;
  }

  private about(factor: number, shareX: number, shareY: number): void {
    const { left, right, bottom, top } = this.view;
    const x = left + shareX * (right - left);
    const y = bottom + shareY * (top - bottom);
    const limit = (this.all.right - this.all.left) * 8;
    if ((right - left) * factor > limit || (right - left) * factor < limit / 1e6) return;
    this.view = { left: x - (x - left) * factor, right: x + (right - x) * factor, bottom: y - (y - bottom) * factor, top: y + (top - y) * factor };
    this.redraw();
  }

  private shift(dx: number, dy: number): void {
    const { left, right, bottom, top } = this.view;
    const [x, y] = [dx * (right - left), dy * (top - bottom)];
    this.view = { left: left + x, right: right + x, bottom: bottom + y, top: top + y };
    this.redraw();
  }

  // --- acting

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const acts: Record<string, () => void> = {
      ArrowLeft: () => this.shift(-0.1, 0),
      ArrowRight: () => this.shift(0.1, 0),
      ArrowUp: () => this.shift(0, 0.1),
      ArrowDown: () => this.shift(0, -0.1),
      "+": () => this.by(0.7),
      "=": () => this.by(0.7),
      "-": () => this.by(1 / 0.7),
      "0": () => this.fit(),
      Enter: () => {
        const { box } = this;
        const row = this.nearest(box.left + box.width / 2, box.top + box.height / 2, 1e9);
        if (row !== null) this.tell.pick(row);
      },
      Escape: () => this.tell.lasso(null),
    };
    const act = acts[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  private listen(): void {
    const { over } = this;
    const at = (event: PointerEvent | WheelEvent): Place => {
      const box = over.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    let start: Place | null = null;
    let last: Place = [0, 0];
    let moved = false;
    let moving = false;
    over.addEventListener("pointerdown", (event) => {
      if (event.button > 1) return;
      over.setPointerCapture(event.pointerId);
      start = last = at(event);
      moved = false;
      moving = this.tool === "move" || event.button === 1 || event.shiftKey;
      this.element.focus({ preventScroll: true });
    });
    over.addEventListener("pointermove", (event) => {
      const here = at(event);
      if (!start) {
        const row = this.nearest(here[0], here[1], NEAR);
        over.style.cursor = row === null ? "crosshair" : "pointer";
        if (row !== this.hovered) {
          this.hovered = row;
          this.tell.hover(row);
          this.redraw();
        }
        return;
      }
      if (!moved && Math.hypot(here[0] - start[0], here[1] - start[1]) < 4) return;
      moved = true;
      const { box } = this;
      if (moving) this.shift(-(here[0] - last[0]) / box.width, (here[1] - last[1]) / box.height);
      else if (this.tool === "box") {
        const [a, b] = [this.toData(...start), this.toData(...here)];
        this.drawing = [a, [b[0], a[1]], b, [a[0], b[1]]];
      } else if (!this.drawing || Math.hypot(here[0] - last[0], here[1] - last[1]) > 3) {
        this.drawing = [...(this.drawing ?? [this.toData(...start)]), this.toData(...here)];
      } else return;
      last = here;
      this.redraw();
    });
    const end = (event: PointerEvent): void => {
      if (!start) return;
      const here = at(event);
      if (!moved && event.type === "pointerup") {
        const row = this.nearest(here[0], here[1], NEAR);
        if (row !== null) this.tell.pick(row);
      } else if (this.drawing && this.drawing.length > 2) this.tell.lasso(this.drawing);
      start = this.drawing = null;
      this.redraw();
    };
    over.addEventListener("pointerup", end);
    over.addEventListener("pointercancel", end);
    over.addEventListener("pointerleave", () => {
      if (this.hovered === null) return;
      this.hovered = null;
      this.tell.hover(null);
      this.redraw();
    });
    over.addEventListener("wheel", (event) => {
      event.preventDefault();
      const [x, y] = at(event);
      const { box } = this;
      this.about(Math.exp(Math.max(-1, Math.min(1, event.deltaY / 300))), (x - box.left) / box.width, 1 - (y - box.top) / box.height);
    }, { passive: false });
    over.addEventListener("dblclick", () => this.fit());
  }

  // --- drawing

  private redraw(): void {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.draw());
  }

  private draw(): void {
    const { over, box, view, all, cloud } = this;
    const gl = this.points.canvas;
    for (const [name, value] of Object.entries({ left: box.left, top: box.top, width: box.width, height: box.height })) gl.style.setProperty(name, `${value}px`);
    const [spanX, spanY] = [all.right - all.left, all.top - all.bottom];
    const count = cloud?.x.length ?? 0;
    this.points.draw({
      view: [(view.left - all.left) / spanX, (view.bottom - all.bottom) / spanY, (view.right - view.left) / spanX, (view.top - view.bottom) / spanY],
      size: count > 100_000 ? 3 : count > 10_000 ? 4 : count > 1_500 ? 5.5 : 7,
      alpha: count > 100_000 ? 0.5 : count > 10_000 ? 0.6 : 0.8,
      dim: this.anyChosen,
      classes: cloud?.range === null,
      unknown: parsed(colour(cloud?.colour ? "faint" : "ink-soft")),
    });
    const scale = Math.min(2, window.devicePixelRatio);
    const [width, height] = [this.element.clientWidth, this.element.clientHeight];
    for (const one of [over, this.under]) {
      one.width = Math.round(width * scale);
      one.height = Math.round(height * scale);
    }
    const [ctx, grid] = [over.getContext("2d"), this.under.getContext("2d")];
    if (!ctx || !grid) return;
    ctx.scale(scale, scale);
    grid.scale(scale, scale);
    this.axes(grid, height);
    ctx.save();
    ctx.beginPath();
    ctx.rect(box.left, box.top, box.width, box.height);
    ctx.clip();
    const shape = this.drawing ?? this.lasso;
    if (shape) {
      ctx.beginPath();
      shape.forEach((corner, i) => (i ? ctx.lineTo(...this.toScreen(corner)) : ctx.moveTo(...this.toScreen(corner))));
      ctx.closePath();
      ctx.strokeStyle = ctx.fillStyle = colour("accent");
      ctx.globalAlpha = 0.08;
      ctx.fill();
      ctx.globalAlpha = 1;
      ctx.lineWidth = 1.5;
      ctx.setLineDash(this.drawing ? [4, 3] : []);
      ctx.stroke();
      ctx.setLineDash([]);
    }
    for (const [row, radius] of [[this.hovered, 6], [this.row, 8]] as const) {
      const place = row === null ? null : this.placeOf(row);
      if (!place) continue;
      ctx.beginPath();
      ctx.arc(...place, radius, 0, 2 * Math.PI);
      ctx.strokeStyle = colour("ground");
      ctx.lineWidth = 5;
      ctx.stroke();
      ctx.strokeStyle = colour("accent");
      ctx.lineWidth = 2;
      ctx.stroke();
    }
    ctx.restore();
    this.element.dataset["drawn"] = String(count);
  }

  private axes(ctx: CanvasRenderingContext2D, height: number): void {
    const { box, view, cloud } = this;
    ctx.font = `11px ${colour("sans")}`;
    ctx.fillStyle = colour("dim");
    ctx.strokeStyle = colour("hair");
    ctx.lineWidth = 1;
    const across = ticks(view.left, view.right, box.width / 90);
    const up = ticks(view.bottom, view.top, box.height / 56);
    ctx.textAlign = "center";
    ctx.textBaseline = "top";
    for (const place of across.places) {
      const x = Math.round(this.toScreen([place, 0])[0]) + 0.5;
      ctx.beginPath();
      ctx.moveTo(x, box.top);
      ctx.lineTo(x, box.top + box.height + 4);
      ctx.stroke();
      ctx.fillText(fixed(place, decimalsFor(across.step)), x, box.top + box.height + 7);
    }
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    for (const place of up.places) {
      const y = Math.round(this.toScreen([0, place])[1]) + 0.5;
      ctx.beginPath();
      ctx.moveTo(box.left - 4, y);
      ctx.lineTo(box.left + box.width, y);
      ctx.stroke();
      ctx.fillText(fixed(place, decimalsFor(up.step)), box.left - 8, y);
    }
    ctx.fillStyle = colour("ink");
    ctx.font = `12px ${colour("sans")}`;
    ctx.textAlign = "center";
    ctx.textBaseline = "bottom";
    ctx.fillText(cloud?.titles[0] ?? "", box.left + box.width / 2, height - 4);
    ctx.save();
    ctx.translate(12, box.top + box.height / 2);
    ctx.rotate(-Math.PI / 2);
    ctx.textBaseline = "middle";
    ctx.fillText(cloud?.titles[1] ?? "", 0, 0);
    ctx.restore();
  }
}

/** The range of what is known, without the far ends of one value in a thousand where these would squeeze the rest. */
function bounds(cloud: Cloud): View {
  const [left, right] = extent(cloud.x, cloud.y);
  const [bottom, top] = extent(cloud.y, cloud.x);
  return { left, right, bottom, top };
}

function extent(values: Float32Array, beside: Float32Array): [number, number] {
  const known = values.filter((value, i) => Number.isFinite(value) && Number.isFinite(beside[i])).sort();
  if (!known.length) return [0, 1];
  const at = (share: number): number => known[Math.min(known.length - 1, Math.max(0, Math.round(share * (known.length - 1))))] as number;
  let [low, high] = [at(0), at(1)];
  const [p1, p99] = [at(0.01), at(0.99)];
  if (high - low > 4 * (p99 - p1) && p99 > p1) [low, high] = [Math.max(low, p1 - (p99 - p1)), Math.min(high, p99 + (p99 - p1))];
  const pad = (high - low || Math.abs(high) || 1) * 0.04;
  return [low - pad, high + pad];
}

/** The rows within a polygon (even-odd). */
export function inside(polygon: Place[], x: Float32Array, y: Float32Array): number[] {
  let [left, right, bottom, top] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const [px, py] of polygon) {
    [left, right] = [Math.min(left, px), Math.max(right, px)];
    [bottom, top] = [Math.min(bottom, py), Math.max(top, py)];
  }
  const rows: number[] = [];
  for (let i = 0; i < x.length; i += 1) {
    const [atX, atY] = [x[i] as number, y[i] as number];
    if (!(atX >= left && atX <= right && atY >= bottom && atY <= top)) continue;
    let within = false;
    for (let a = 0, b = polygon.length - 1; a < polygon.length; b = a, a += 1) {
      const [ax, ay] = polygon[a] as Place;
      const [bx, by] = polygon[b] as Place;
      if (ay > atY !== by > atY && atX < ((bx - ax) * (atY - ay)) / (by - ay) + ax) within = !within;
    }
    if (within) rows.push(i);
  }
  return rows;
}

function parsed(hex: string): [number, number, number] {
  const value = Number.parseInt(hex.replace("#", ""), 16);
  return [(value >> 16) & 255, (value >> 8) & 255, value & 255];
}
