// Sliders: what happens to the spectrum when one cause changes and the others do not.

import { binary, Latest, type Binary, type CurveFacts, type StudyNode } from "../api";
import type { Make } from "../view";
import { announce, h, put } from "../dom";
import { fixed, number, signedFixed, whole } from "../format";
import { picker } from "../pick";
import { SpectrumPlot, type Panel } from "../plot";
import { called, described, labelText, spoken, spreadText } from "../quantity";
import { note, range, to } from "../route";
import { heading, message, notice, toggle } from "../view";

interface Decoded extends CurveFacts {
  z: Record<string, number>;
  velocity: number | null;
  berv: number;
  ms: number;
}

interface Control {
  node: StudyNode;
  input: HTMLInputElement;
  show: () => void;
  base: (value: number) => void;
}

export const sliders: Make = (host, settings, study) => {
  if (!study.has.model || !study.nodes.length) {
    put(host, heading("Sliders"), notice("empty", study.has.model ? "No node is known to be informative." : "There is no trained model yet.", study.has.model ? "Run `astroprism encode` and `astroprism find` on this study, then reload." : "Run `astroprism train` and `astroprism encode` on this study, then reload."));
    return { stop: () => undefined };
  }
  const full: [number, number] = [study.grid.low, study.grid.high];
  let base = settings.get("base") ?? "mean";
  let berv = Number.parseFloat(settings.get("berv") ?? "");
  const parts = study.network?.parts ?? false;
  let showParts = parts && settings.get("parts") !== "0" && (settings.get("parts") === "1" || window.innerWidth > 700);
  let showChange = settings.get("compare") === "1";
  let showLines = settings.get("ui.lines") !== "0";
  const changed = new Map<number, number>();
  for (const pair of (settings.get("z") ?? "").split(",")) {
    const [node, value] = pair.split(":").map(Number);
    if (node !== undefined && value !== undefined && Number.isFinite(node) && Number.isFinite(value)) changed.set(node, value);
  }
  const controls = new Map<number, Control>();
  const fault = h("div", {});
  const status = h("p", { class: "dim status num" });
  const baseText = h("strong", {}, "\u2026");

  const plot = new SpectrumPlot({
    full,
    medium: study.grid.medium,
    label: "Decoded spectrum",
    lines: study.lines,
    tell: (window, how) => {
      note(plot.whole ? { low: null, high: null } : { low: window[0].toFixed(3), high: window[1].toFixed(3) }, how);
      latest.ask();
    },
  });
  const wanted = range(settings);
  if (wanted) plot.zoom(wanted, "quiet");

  const z = (): string => [...changed].map(([node, value]) => `${node}:${round(value)}`).join(",");
  const question = (signal: AbortSignal): Promise<Binary<Decoded>> => {
    const [low, high] = plot.window;
    const pad = 0.25 * (high - low);
    return binary<Decoded>("decode", {
      z: z(),
      base,
      berv: Number.isFinite(berv) ? berv : null,
      low: Math.max(full[0], low - pad),
      high: Math.min(full[1], high + pad),
      width: Math.min(4096, Math.round(plot.width * (plot.whole ? 1 : 1.5))),
      parts: showParts,
      compare: true,
    }, signal);
  };
  const latest = new Latest(question, (answer) => show(answer), (problem) => failed(problem));

  const failed = (problem: unknown): void => {
    put(fault, notice("error", message(problem), "", () => latest.ask()));
  };

  const show = ({ facts, arrays }: Binary<Decoded>): void => {
    put(fault);
    const [wavelength, flux, reference] = [arrays["wavelength"], arrays["flux"], arrays["reference"]];
    if (!wavelength || !flux) return;
    const tall = window.innerWidth > 700;
    const panels: Panel[] = [{
      key: "flux",
      title: "Decoded",
      height: tall ? Math.max(220, Math.min(420, window.innerHeight * (showParts || showChange ? 0.36 : 0.5))) : 210,
      marks: true,
      curves: [
        ...(reference ? [{ name: base === "mean" ? "all causes at their medians" : "the base spectrum, decoded", values: reference, colour: "faint", width: 1 }] : []),
        { name: "decoded", values: flux, colour: "ink" },
      ],
    }];
    if (showParts && arrays["star"]) panels.push({ key: "star", title: "Star", height: tall ? 104 : 84, level: 1, curves: [{ name: "Star", values: arrays["star"], colour: "star" }] });
    if (showParts && arrays["air"]) panels.push({ key: "air", title: "Atmosphere", height: tall ? 104 : 84, level: 1, curves: [{ name: "Atmosphere", values: arrays["air"], colour: "air" }] });
    let most = 0;
    let where = 0;
    if (reference) {
      const change = Float32Array.from(flux, (value, i) => value - (reference[i] as number));
      change.forEach((value, i) => {
        if (Math.abs(value) > Math.abs(most)) [most, where] = [value, wavelength[i] as number];
      });
      if (showChange) panels.push({ key: "change", title: "Change from the base", height: tall ? 104 : 84, level: 0, least: 0.01, curves: [{ name: "Change from the base", values: change, colour: "accent" }] });
    }
    const velocity = facts.velocity ?? 0;
    plot.show(wavelength, panels, `Decoded flux from ${fixed(plot.window[0], 1)} to ${fixed(plot.window[1], 1)} angstrom. ${most ? `It differs from the base most at ${fixed(where, 1)} angstrom, by ${signedFixed(most, 3)}.` : "It equals the base."}`);
    plot.mark(velocity, showLines);
    status.textContent = `${whole(facts.pixels)} pixels in the window${facts.binned ? `, lowest and highest of each ${facts.pixels_a_bin}` : ", all drawn"} \u00b7 decoded in ${number(facts.ms, 2)} ms`;
    for (const [key, value] of Object.entries(facts.z)) {
      const control = controls.get(Number(key));
      if (control && !changed.has(Number(key)) && document.activeElement !== control.input) {
        control.input.value = String(value);
        control.show();
      }
    }
  };

  const state = (how: "push" | "amend"): void => note({ z: z() || null, base: base === "mean" ? null : base, berv: Number.isFinite(berv) ? String(berv) : null, parts: showParts ? "1" : parts ? "0" : null, compare: showChange ? "1" : null, "ui.lines": showLines ? null : "0" }, how);

  const control = (node: StudyNode): HTMLElement => {
    const value = h("output", { class: "value num" });
    const sub = h("span", { class: "num dim" });
    const name = called(node);
    const input = h("input", { type: "range", min: node.low, max: node.high, step: (node.high - node.low) / 600, "aria-label": `${name}${node.label ? `, node ${node.node}` : ""}` });
    input.value = String(changed.get(node.node) ?? node.median);
    const marker = h("i", { class: "base-mark" });
    const back = h("button", { type: "button", class: "small quiet", "aria-label": `Set ${name} back to the base`, title: "Back to the base", hidden: true }, "\u21ba");
    const box = h("div", { class: "slider", id: `node-${node.node}` },
      h("div", { class: "row" }, h("a", { href: to("node", { node: String(node.node) }), class: "name", title: `The page of node ${node.node}` }, described(node)), value, back),
      h("div", { class: "track" }, marks(node), marker, input),
      h("div", { class: "row small" }, h("span", { class: "dim" }, [`node ${node.node}`, node.label ?? "", node.lines.length ? node.lines.slice(0, 3).join(", ") : ""].filter(Boolean).join(" \u00b7 ")), sub));
    let based = node.median;
    const present = (): void => {
      const at = Number(input.value);
      const told = labelText(node, at);
      value.textContent = told ? told : spreadText(node, at);
      sub.textContent = told ? spreadText(node, at) : "";
      input.setAttribute("aria-valuetext", spoken(node, at));
      const share = (at - node.low) / (node.high - node.low);
      input.style.setProperty("--at", `${100 * share}%`);
      back.hidden = !changed.has(node.node);
    };
    const move = (how: "push" | "amend"): void => {
      changed.set(node.node, Number(input.value));
      present();
      state(how);
      latest.ask();
    };
    input.addEventListener("input", () => move("amend"));
    input.addEventListener("change", () => move("push"));
    back.addEventListener("click", () => {
      changed.delete(node.node);
      input.value = String(based);
      present();
      input.focus();
      state("push");
      latest.ask();
    });
    controls.set(node.node, {
      node,
      input,
      show: present,
      base: (at) => {
        based = at;
        marker.style.left = `${Math.max(0, Math.min(100, (100 * (at - node.low)) / (node.high - node.low)))}%`;
        if (!changed.has(node.node)) {
          input.value = String(at);
          present();
        }
      },
    });
    present();
    return box;
  };

  /** Where the base has every node, for the marks on the tracks. */
  const baseOf = async (): Promise<void> => {
    baseText.textContent = base === "mean" ? "every cause at its median" : `spectrum ${base}`;
    if (base === "mean") {
      for (const one of controls.values()) one.base(one.node.median);
      return;
    }
    try {
      const { facts } = await binary<Decoded>("decode", { base, width: 16, low: full[0], high: full[1] });
      for (const one of controls.values()) {
        const at = facts.z[String(one.node.node)];
        if (at !== undefined) one.base(at);
      }
      baseText.textContent = await named(base);
    } catch (problem) {
      failed(problem);
    }
  };
  const named = async (row: string): Promise<string> => {
    const { facts } = await binary<{ spectrum_id: string; target: string }>(`spectrum/${row}`, { width: 16 });
    return facts.target && facts.target !== facts.spectrum_id ? `${facts.target} (${facts.spectrum_id})` : facts.spectrum_id;
  };
  const rebase = (next: string): void => {
    base = next;
    changed.clear();
    plot.refit();
    state("push");
    void baseOf();
    latest.ask();
  };

  const firm = study.nodes.filter((node) => node.copies_of === null && !node.doubtful);
  const rest = study.nodes.filter((node) => !firm.includes(node));
  const doubtful = h("details", { class: "folded" }, h("summary", {}, `Doubtful nodes and copies (${rest.length})`), h("p", { class: "dim" }, "Only one of the two counts finds these, or they do what another node does."), ...rest.map(control));
  doubtful.open = rest.some((node) => changed.has(node.node));
  const moving = study.network?.moving_air ? bervSlider() : null;

  function bervSlider(): HTMLElement {
    const value = h("output", { class: "value num" });
    const input = h("input", { type: "range", min: "-30", max: "30", step: "0.1", "aria-label": "Motion of the Earth" });
    input.value = String(Number.isFinite(berv) ? berv : 0);
    const present = (): void => {
      value.textContent = `${signedFixed(Number(input.value), 1)}\u00a0km/s`;
      input.setAttribute("aria-valuetext", `${Number(input.value)} kilometres a second`);
      input.style.setProperty("--at", `${(100 * (Number(input.value) + 30)) / 60}%`);
    };
    const move = (how: "push" | "amend"): void => {
      berv = Number(input.value);
      present();
      state(how);
      latest.ask();
    };
    input.addEventListener("input", () => move("amend"));
    input.addEventListener("change", () => move("push"));
    present();
    return h("div", { class: "slider" }, h("div", { class: "row" }, h("span", { class: "name" }, "Earth's motion"), value), h("div", { class: "track" }, input), h("div", { class: "row small" }, h("span", { class: "dim" }, "known, not learned: shifts the air's lines")));
  }

  const panel = h("section", { class: "controls", "aria-label": "Causes" },
    study.has.findings ? null : notice("empty", "Not counted yet.", "These are the nodes that training kept. `astroprism find` tells which are real and what they are."),
    study.has.findings && !study.has.labels ? h("p", { class: "dim" }, "No label table was given to find, so values are in spreads only.") : null,
    h("div", { class: "row between" }, h("h2", {}, "Causes"), h("button", { type: "button", class: "small", onclick: () => {
      berv = Number.NaN;
      rebase(base);
    } }, "Reset")),
    ...firm.map(control),
    rest.length ? doubtful : null,
    moving,
    h("div", { class: "base" }, h("p", {}, h("span", { class: "dim" }, "Base: "), baseText),
      h("button", { type: "button", class: "small", onclick: () => rebase("mean") }, "Use the medians"),
      picker("Start from a spectrum", (found) => rebase(String(found.row)))),
  );
  const stage = h("section", { class: "stage-column", "aria-label": "Spectrum" },
    h("div", { class: "options" },
      parts ? toggle("Star and atmosphere apart", showParts, (on) => {
        showParts = on;
        state("push");
        latest.ask();
      }) : null,
      toggle("Change from the base", showChange, (on) => {
        showChange = on;
        state("push");
        latest.ask();
      }),
      toggle("Names of lines", showLines, (on) => {
        showLines = on;
        state("push");
        plot.mark(0, on);
        latest.ask();
      })),
    fault, plot.element, status);
  put(host, heading("Sliders", h("p", { class: "lead" }, "Move one cause; the spectrum that the model decodes follows. \u03c3 is the spread of the cause over the archive.")), h("div", { class: "two sliders-view" }, panel, stage));
  void baseOf();
  latest.ask();
  const spoke = (): void => announce(plot.element.querySelector("p.hidden")?.textContent ?? "");
  panel.addEventListener("change", spoke);
  return { stop: () => {
    latest.stop();
    plot.stop();
  } };
};

function marks(node: StudyNode): HTMLElement {
  const holder = h("div", { class: "quantiles", "aria-hidden": "true" });
  node.quantiles.forEach((at, i) => {
    const share = (100 * (at - node.low)) / (node.high - node.low);
    if (share < 0 || share > 100) return;
    const tick = h("i", { class: i === 3 ? "middle" : null });
    tick.style.left = `${share}%`;
    holder.append(tick);
  });
  return holder;
}

function round(value: number): string {
  return String(Number(value.toPrecision(6)));
}

