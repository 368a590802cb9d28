// What the server answers (docs/design/explorer.md), with types, and how to ask it.

export interface Match {
  label: string;
  mi_nats: number | null;
  mi_low: number | null;
  mi_high: number | null;
  p: number | null;
  q: number | null;
  conditional_mi_nats?: number | null;
  shadow_of?: string[];
  explains?: boolean;
  n?: number;
}

export interface StudyNode {
  node: number;
  title: string;
  informative: boolean;
  doubtful: boolean;
  unexplained: boolean;
  copies_of: number | null;
  nuisance: boolean;
  label: string | null;
  unit: string;
  median: number;
  sd: number;
  low: number;
  high: number;
  quantiles: number[];
  label_curve: (number | null)[] | null;
  information_nats: number | null;
  ablation_nats: number | null;
  matches: Match[];
  response: Record<string, unknown> | null;
  survival: unknown;
  lines: string[];
}

export interface Line {
  name: string;
  element: string;
  wavelength: number;
  kind: "atom" | "telluric";
  depth: number;
}

export interface Axis {
  key: string;
  title: string;
  kind: "number" | "text";
}

export interface Study {
  name: string;
  version: string;
  spectra: number;
  targets: number;
  encoded: number;
  grid: { low: number; high: number; step_kms: number | null; pixels: number; medium: string };
  network: null | { kind: string; nodes: number; agnostic: boolean; moving_air: boolean; parts: boolean; steps: number };
  count: null | Record<string, { k: number; low: number; high: number }>;
  agreement: string;
  nodes: StudyNode[];
  labels: { name: string; kind: "number" | "text"; n: number; unit: string }[];
  axes: Axis[];
  lines: Line[];
  quantiles: number[];
  limits: { upload_bytes: number; selection: number; neighbours: number };
  start: { sliders: string; map: string };
  has: Record<"model" | "codes" | "findings" | "labels" | "outliers" | "umap" | "apply", boolean>;
}

export interface Code {
  node: number;
  value: number;
  sd: number;
  spreads: number;
}

export interface Predicted {
  value: number | string | null;
  low: number | null;
  high: number | null;
  coverage?: number | null;
}

export interface Outlier {
  score: number | null;
  p: number | null;
  reasons?: unknown;
  worst?: { low: number; high: number; sigma: number }[];
}

export interface Neighbour {
  row: number;
  spectrum_id: string;
  target: string;
  distance: number;
  snr: number | null;
  labels: Record<string, number | string | null>;
  same_target: boolean;
}

export interface SpectrumFacts {
  row: number;
  spectrum_id: string;
  target: string;
  snr: number | null;
  berv: number | null;
  time: number | null;
  resolution: number | null;
  instrument: string | null;
  chi2: number | null;
  seen_in_training: boolean | null;
  labels: Record<string, number | string | null>;
  predicted: Record<string, Predicted> | null;
  outlier: Outlier | null;
  codes: Code[];
}

export interface Dropped {
  key: string;
  name: string;
  spectra: number;
  spectrum_id: string;
  target: string;
  snr: number | null;
  format: string;
  codes: Code[];
  labels: Record<string, Predicted>;
  outlier: Outlier | null;
  warnings: string[];
  neighbours: Neighbour[];
}

export interface NodePage extends StudyNode {
  dossier: Record<string, unknown> | null;
  line_groups: LineGroup[];
  line_words: string;
  features: Feature[];
  keywords: Match[];
  sweep: { label: string; bins: number; nats: number; null_mean: number; null_high: number }[];
  lowest: Extreme[];
  highest: Extreme[];
  histogram: { edges: number[]; counts: number[] };
  against: string | null;
  derivative: boolean;
  traversal: boolean;
}

export interface Extreme {
  row: number;
  spectrum_id: string;
  target: string;
  value: number;
}

export interface LineGroup {
  name: string;
  element?: string;
  frame?: string;
  enrichment?: number | null;
  p?: number | null;
  q?: number | null;
  lines_in_window?: number;
  top?: { wavelength: number; line: string; value: number }[];
  kind?: "lines" | "bands";
  inseparable?: number;
  confused_with?: string[];
}

export interface Feature {
  wavelength: number;
  width_kms: number;
  as_wide_as: string;
  name?: string | null;
  chance?: number | null;
}

/** Arrays by name and the facts beside them. */
export interface Binary<Facts> {
  facts: Facts;
  arrays: Record<string, Float32Array | Float64Array | Uint8Array | Int32Array>;
}

export interface CurveFacts {
  low: number;
  high: number;
  pixels: number;
  binned: boolean;
  pixels_a_bin: number;
}

/** The server said no, or is not there; the message is for people. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

export type Query = Record<string, string | number | boolean | null | undefined>;

/** The address of an answer, relative to the page, so that it works behind a prefix. */
export function url(path: string, query: Query = {}): string {
  const made = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === null || value === undefined || value === "") continue;
    made.set(name, value === true ? "1" : value === false ? "0" : String(value));
  }
  const text = made.toString();
  return `api/${path}${text ? `?${text}` : ""}`;
}

async function ask(path: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...init });
  } catch (fault) {
    if (fault instanceof DOMException && fault.name === "AbortError") throw fault;
    throw new ApiError("The server does not answer. Is `astroprism explore` still running?", 0);
  }
  if (response.ok) return response;
  let said = `The server answered ${response.status}.`;
  try {
    const answer: unknown = await response.json();
    if (typeof answer === "object" && answer !== null && "error" in answer) said = String(answer.error);
  } catch {
    // not JSON: the status has to do
  }
  throw new ApiError(said, response.status);
}

export async function json<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
  const response = await ask(url(path, query), signal ? { signal } : {});
  return (await response.json()) as T;
}

export async function text(path: string, query: string): Promise<string> {
  return (await ask(`api/${path}${query}`, {})).text();
}

export async function binary<Facts>(path: string, query: Query = {}, signal?: AbortSignal): Promise<Binary<Facts>> {
  const response = await ask(url(path, query), signal ? { signal } : {});
  return decode<Facts>(await response.arrayBuffer());
}

/** POST a list of rows; a table comes back. */
export async function selection(rows: number[]): Promise<Blob> {
  const response = await ask("api/selection", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ rows }),
  });
  return response.blob();
}

/** POST a file; its answer comes back. */
export async function drop(file: File): Promise<Dropped> {
  const body = new FormData();
  body.append("file", file, file.name);
  return (await (await ask("api/drop", { method: "POST", body })).json()) as Dropped;
}

const KINDS = { float32: Float32Array, float64: Float64Array, uint8: Uint8Array, int32: Int32Array } as const;
type Kind = keyof typeof KINDS;

/** Take a binary answer apart; the arrays are views of the buffer. */
export function decode<Facts>(buffer: ArrayBuffer): Binary<Facts> {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length))) as {
    arrays: { name: string; dtype: Kind; length: number }[];
  };
  let offset = Math.ceil((4 + length) / 8) * 8;
  const arrays: Binary<Facts>["arrays"] = {};
  for (const { name, dtype, length: count } of header.arrays) {
    const made = new KINDS[dtype](buffer, offset, count);
    arrays[name] = made;
    offset += Math.ceil(made.byteLength / 8) * 8;
  }
  return { facts: header as unknown as Facts, arrays };
}

/** Only the newest question matters: while one is under way, of those that come only the last is asked next. */
export class Latest<T> {
  private busy: AbortController | null = null;
  private next: (() => void) | null = null;

  constructor(
    private readonly question: (signal: AbortSignal) => Promise<T>,
    private readonly done: (answer: T) => void,
    private readonly failed: (fault: unknown) => void,
  ) {}

  /** Ask, now or when the answer that is under way has come. */
  ask(): void {
    if (this.busy) {
      this.next = () => this.ask();
      return;
    }
    const control = new AbortController();
    this.busy = control;
    this.question(control.signal)
      .then(
        (answer) => {
          if (!control.signal.aborted) this.done(answer);
        },
        (fault: unknown) => {
          if (!control.signal.aborted) this.failed(fault);
        },
      )
      .finally(() => {
        if (this.busy !== control) return;
        this.busy = null;
        const next = this.next;
        this.next = null;
        next?.();
      });
  }

  /** Forget what is under way. */
  stop(): void {
    this.next = null;
    this.busy?.abort();
    this.busy = null;
  }
}
