// An observed spectrum, its reconstruction and what is left, in a plot; for stored and for dropped ones.

import { binary, Latest, type Binary, type CurveFacts, type Study } from "./api";
import { h, put } from "./dom";
import { fixed, whole } from "./format";
import { SpectrumPlot, type Panel, type Window } from "./plot";
import { message, notice } from "./view";

/** What an answer of an observed spectrum tells beside its curves. */
export interface Observed extends CurveFacts {
  velocity?: number | null;
}

export interface ObservedPlot<Facts> {
  element: HTMLElement;
  plot: SpectrumPlot;
  stop: () => void;
  first: Promise<Facts>;
}

/** A plot that asks `path` for its window whenever that changes. */
export function observedPlot<Facts extends Observed>(study: Study, path: string, options: {
  label: string;
  window: Window | null;
  tell: (window: Window | null, how: "push" | "amend") => void;
  small?: boolean;
}): ObservedPlot<Facts> {
  const full: Window = [study.grid.low, study.grid.high];
  const fault = h("div", {});
  let settled: (facts: Facts) => void = () => undefined;
  let refused: (fault: unknown) => void = () => undefined;
  const first = new Promise<Facts>((resolve, reject) => {
    settled = resolve;
    refused = reject;
  });
  const status = h("p", { class: "dim status num" });
  const plot = new SpectrumPlot({
    full,
    medium: study.grid.medium,
    label: options.label,
    lines: study.lines,
    tell: (window, how) => {
      options.tell(plot.whole ? null : window, how);
      latest.ask();
    },
  });
  if (options.window) plot.zoom(options.window, "quiet");
  const latest = new Latest<Binary<Facts>>(
    (signal) => {
      const [low, high] = plot.window;
      const pad = 0.25 * (high - low);
      return binary<Facts>(path, { low: Math.max(full[0], low - pad), high: Math.min(full[1], high + pad), width: Math.min(4096, Math.round(plot.width * (plot.whole ? 1 : 1.5))) }, signal);
    },
    (answer) => {
      put(fault);
      draw(answer);
      settled(answer.facts);
    },
    (problem) => {
      put(fault, notice("error", message(problem), "", () => latest.ask()));
      refused(problem);
    },
  );
  const draw = ({ facts, arrays }: Binary<Facts>): void => {
    const [wavelength, flux, sigma, reconstruction, residual] = [arrays["wavelength"], arrays["flux"], arrays["sigma"], arrays["reconstruction"], arrays["residual"]];
    if (!wavelength || !flux) return;
    const tall = window.innerWidth > 700 && !options.small;
    const panels: Panel[] = [{
      key: "flux",
      title: "Flux",
      height: tall ? Math.max(220, Math.min(380, window.innerHeight * 0.4)) : 190,
      marks: true,
      curves: [
        { name: "observed", values: flux, colour: "ink-soft", width: 1 },
        ...(reconstruction ? [{ name: "reconstruction", values: reconstruction, colour: "accent", width: 1.25 }] : []),
      ],
      ...(sigma ? { band: {
        low: Float32Array.from(flux, (value, i) => value - (sigma[i] as number)),
        high: Float32Array.from(flux, (value, i) => value + (sigma[i] as number)),
        colour: "band",
      } } : {}),
    }];
    if (residual) panels.push({ key: "residual", title: "Residual (\u03c3)", height: tall ? 110 : 84, level: 0, least: 6, curves: [{ name: "residual in sigma", values: residual, colour: "ink-soft", width: 1 }] });
    let most = 0;
    let where = 0;
    residual?.forEach((value, i) => {
      if (Math.abs(value) > Math.abs(most)) [most, where] = [value, wavelength[i] as number];
    });
    plot.show(wavelength, panels, `Observed flux from ${fixed(plot.window[0], 1)} to ${fixed(plot.window[1], 1)} angstrom.${most ? ` The largest residual is ${fixed(most, 1)} sigma at ${fixed(where, 1)} angstrom.` : ""}`);
    plot.mark(facts.velocity ?? 0, true);
    status.textContent = `${whole(facts.pixels)} pixels in the window${facts.binned ? `, lowest and highest of each ${facts.pixels_a_bin}` : ", all drawn"}; the band is 1 \u03c3`;
  };
  queueMicrotask(() => latest.ask()); // once it stands in the page and has a width
  return { element: h("div", {}, fault, plot.element, status), plot, first, stop: () => {
    latest.stop();
    plot.stop();
  } };
}
