// Numbers as people write them: a true minus sign, thin groups of thousands, no more digits than mean something.

const MINUS = "\u2212";

/** A number with so many significant digits; thousands grouped, an en dash where it is not known. */
export function number(value: number | null | undefined, digits = 3): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "\u2013";
  const size = Math.abs(value);
  let text: string;
  if (size !== 0 && (size >= 1e7 || size < 1e-4)) {
    const [mantissa, power] = value.toExponential(digits - 1).split("e");
    return `${signed(mantissa ?? "")}e${signed((power ?? "").replace("+", ""))}`;
  }
  const order = size === 0 ? 0 : Math.floor(Math.log10(size));
  const decimals = Math.max(0, Math.min(8, digits - 1 - order));
  text = value.toLocaleString("en-GB", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
  return signed(/^-0(\.0*)?$/.test(text) ? text.slice(1) : text);
}

/** With so many decimals. */
export function fixed(value: number | null | undefined, decimals: number): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "\u2013";
  const text = value.toLocaleString("en-GB", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
  return signed(/^-0(\.0*)?$/.test(text) ? text.slice(1) : text);
}

/** The same with its sign, plus or minus. */
export function signedFixed(value: number, decimals: number): string {
  const text = fixed(value, decimals);
  return value > 0 && !/^0(\.0*)?$/.test(text) ? `+${text}` : text;
}

/** A whole number. */
export function whole(value: number | null | undefined): string {
  return fixed(value, 0);
}

/** As many decimals as tell steps of this size apart. */
export function decimalsFor(step: number): number {
  return step > 0 && Number.isFinite(step) ? Math.max(0, Math.min(8, -Math.floor(Math.log10(step) + 1e-9))) : 0;
}

/** As many decimals as a step has itself: 2 of 0.25. */
export function decimalsOf(step: number): number {
  for (let decimals = 0; decimals < 8; decimals += 1) {
    const scaled = step * 10 ** decimals;
    if (Math.abs(scaled - Math.round(scaled)) < 1e-6 * Math.max(1, scaled)) return decimals;
  }
  return 8;
}

/** A number with decimals that fit the range it comes from, such as a label's: 5,770 of 4,000 to 7,000. */
export function inRange(value: number | null | undefined, spread: number): string {
  return fixed(value, decimalsFor(spread / 100));
}

/** p and q: small ones as powers of ten. */
export function chance(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "\u2013";
  return value < 1e-3 ? number(value, 2) : fixed(value, 3);
}

/** "1 spectrum", "2 spectra". */
export function many(count: number, one: string, more: string): string {
  return `${whole(count)} ${count === 1 ? one : more}`;
}

/** A value with its 90 % interval. */
export function interval(value: number | null | undefined, low: number | null | undefined, high: number | null | undefined, digits = 3): string {
  const plain = number(value, digits);
  if (low === null || low === undefined || high === null || high === undefined) return plain;
  return `${plain} (${number(low, digits)} to ${number(high, digits)})`;
}

function signed(text: string): string {
  return text.replace("-", MINUS);
}
