// Scales of colour that colour-blind people can read.

import { theme } from "./theme";

// viridis (Smith and van der Walt 2015, CC0), at 17 even places
const VIRIDIS = [
  "440154", "481769", "472a7a", "433d84", "3d4e8a", "355e8d", "2e6d8e", "297b8e", "23898e",
  "1f978b", "21a585", "2eb37c", "46c06f", "65cb5e", "89d548", "b0dd2f", "d8e219",
];
// Okabe and Ito 2008, without black and with its yellow last: it is faint on white
const CLASSES = ["0072b2", "e69f00", "009e73", "cc79a7", "56b4e9", "d55e00", "8a8f98", "b3a125"];

type RGB = [number, number, number];

function rgb(hex: string): RGB {
  const value = Number.parseInt(hex, 16);
  return [(value >> 16) & 255, (value >> 8) & 255, value & 255];
}

/** 256 colours from low to high, as RGBA bytes; the end that would vanish in the ground is left out. */
export function ramp(): Uint8Array<ArrayBuffer> {
  const [from, until] = theme() === "dark" ? [0.14, 1] : [0, 0.9];
  const made = new Uint8Array(256 * 4);
  for (let i = 0; i < 256; i += 1) {
    const place = (from + ((until - from) * i) / 255) * (VIRIDIS.length - 1);
    const left = Math.min(Math.floor(place), VIRIDIS.length - 2);
    const a = rgb(VIRIDIS[left] as string);
    const b = rgb(VIRIDIS[left + 1] as string);
    for (let c = 0; c < 3; c += 1) made[4 * i + c] = Math.round((a[c] as number) + ((b[c] as number) - (a[c] as number)) * (place - left));
    made[4 * i + 3] = 255;
  }
  return made;
}

/** The colour of a class; after eight they come again, with another shape told in the legend. */
export function classColour(number: number): RGB {
  return rgb(CLASSES[number % CLASSES.length] as string);
}

/** 256 entries of which the first are the classes. */
export function classRamp(): Uint8Array<ArrayBuffer> {
  const made = new Uint8Array(256 * 4);
  for (let i = 0; i < 256; i += 1) made.set([...classColour(i), 255], 4 * i);
  return made;
}

/** As CSS. */
export function css([r, g, b]: RGB | number[]): string {
  return `rgb(${r} ${g} ${b})`;
}
