// Names of lines above a spectrum: the strongest that find room.

import type { Line } from "./api";

const C = 299792.458; // km/s

export interface Mark {
  name: string;
  wavelength: number;
  air: boolean;
}

/** Lines within the window, the strongest first; those of the star moved by its velocity (km/s). */
export function marksIn(lines: Line[], low: number, high: number, velocity: number, most: number): Mark[] {
  const factor = 1 + velocity / C;
  const found: (Mark & { depth: number })[] = [];
  for (const line of lines) {
    const air = line.kind === "telluric";
    const wavelength = air ? line.wavelength : line.wavelength * factor;
    if (wavelength >= low && wavelength <= high) found.push({ name: line.name, wavelength, air, depth: line.depth });
  }
  found.sort((a, b) => b.depth - a.depth);
  return found.slice(0, most);
}

/** Draw them: a tick each, names where they do not run into each other; the air's in a row of their own. */
export function drawMarks(
  ctx: CanvasRenderingContext2D,
  marks: Mark[],
  place: (wavelength: number) => number,
  box: { left: number; top: number; width: number; height: number },
  look: { star: string; air: string; font: string; scale: number },
): void {
  const { scale } = look;
  const rows: Record<"star" | "air", [number, number][]> = { star: [], air: [] };
  ctx.save();
  ctx.beginPath();
  ctx.rect(box.left, 0, box.width, box.top + box.height);
  ctx.clip();
  ctx.font = look.font;
  ctx.textBaseline = "alphabetic";
  ctx.lineWidth = scale;
  for (const mark of marks) {
    const x = Math.round(place(mark.wavelength)) + 0.5;
    const row = rows[mark.air ? "air" : "star"];
    const base = box.top + (mark.air ? 33 : 12) * scale;
    const half = ctx.measureText(mark.name).width / 2 + 4 * scale;
    ctx.strokeStyle = ctx.fillStyle = mark.air ? look.air : look.star;
    const center = Math.max(box.left + half, Math.min(box.left + box.width - half, x));
    const room = !row.some(([from, until]) => center + half > from && center - half < until);
    ctx.globalAlpha = room ? 0.9 : 0.45;
    ctx.beginPath();
    ctx.moveTo(x, base + 4 * scale);
    ctx.lineTo(x, base + (room ? 10 : 7) * scale);
    ctx.stroke();
    if (!room) continue;
    row.push([center - half, center + half]);
    ctx.textAlign = "center";
    ctx.fillText(mark.name, center, base);
  }
  ctx.restore();
}
