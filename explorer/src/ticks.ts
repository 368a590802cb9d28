// Round numbers along an axis.

/** Places between low and high, 1, 2 or 5 times a power of ten apart, about `count` of them. */
export function ticks(low: number, high: number, count: number): { places: number[]; step: number } {
  const span = high - low;
  if (!(span > 0) || !Number.isFinite(span)) return { places: [], step: 1 };
  const raw = span / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= raw) ?? 10);
  const places: number[] = [];
  for (let place = Math.ceil(low / step); place * step <= high + 1e-9 * span; place += 1) places.push(place * step);
  return { places, step };
}
