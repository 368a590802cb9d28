// A file that the study does not hold: what the model says of it.

import { drop, json, type Dropped } from "../api";
import { announce, h, put, table } from "../dom";
import { fixed, many, number } from "../format";
import { observedPlot, type Observed, type ObservedPlot } from "../observed";
import { codesTable, labelsTable, neighboursTable, outlierText } from "../parts";
import { note, range } from "../route";
import { facts, heading, message, notice, type Make } from "../view";

/** Answers of this page, by key, so that back and forward find them again. */
const answers = new Map<string, Dropped>();
let waiting: File | null = null;

/** A file that was dropped on another view: this one takes it up when it opens. */
export function handOver(file: File): void {
  waiting = file;
}

export const dropped: Make = (host, settings, study) => {
  const result = h("div", { class: "card", id: "answer" });
  let drawn: ObservedPlot<Observed> | null = null;
  let stopped = false;
  const field = h("input", { type: "file", id: "file", class: "hidden", onchange: () => {
    const file = field.files?.[0];
    if (file) void send(file);
    field.value = "";
  } });
  const zone = h("div", { class: "zone" },
    h("p", {}, h("strong", {}, "Drop a spectrum here"), h("span", { class: "dim" }, ` or anywhere on this page: FITS, a text table, whatever ingest reads, up to ${fixed(study.limits.upload_bytes / 2 ** 20, 0)} MiB.`)),
    h("label", { for: "file", class: "button primary" }, "Choose a file"), field);

  const send = async (file: File): Promise<void> => {
    if (file.size > study.limits.upload_bytes) {
      put(result, notice("error", `${file.name} has ${fixed(file.size / 2 ** 20, 1)} MiB; at most ${fixed(study.limits.upload_bytes / 2 ** 20, 0)} are taken.`));
      return;
    }
    drawn?.stop();
    drawn = null;
    put(result, notice("busy", `Reading ${file.name}\u2026`));
    announce(`Reading ${file.name}`);
    try {
      const answer = await drop(file);
      if (stopped) return;
      answers.set(answer.key, answer);
      note({ key: answer.key, low: null, high: null }, "push");
      show(answer);
      announce(`${answer.name} is read. ${answer.warnings.length ? many(answer.warnings.length, "warning", "warnings") : "No warnings"}.`);
    } catch (fault) {
      if (!stopped) put(result, notice("error", `${file.name}: ${message(fault)}`));
    }
  };

  const show = (answer: Dropped): void => {
    drawn = observedPlot(study, `dropped/${answer.key}`, {
      label: `Spectrum of ${answer.name}`,
      window: range(settings),
      tell: (window, how) => note({ low: window ? window[0].toFixed(3) : null, high: window ? window[1].toFixed(3) : null }, how),
    });
    const labels = labelsTable(study, {}, Object.keys(answer.labels).length ? answer.labels : null, answer.warnings.length > 0);
    const worst = answer.outlier?.worst ?? [];
    put(result,
      h("div", { class: "heading" }, h("h2", { tabindex: "-1" }, answer.target || answer.spectrum_id || answer.name), h("p", { class: "dim" }, answer.name)),
      answer.warnings.length ? h("div", { class: "verdict strange" }, h("p", {}, h("strong", {}, `${many(answer.warnings.length, "warning", "warnings")}:`)), h("ul", {}, ...answer.warnings.map((one) => h("li", {}, one)))) : null,
      facts([
        ["S/N", answer.snr === null ? null : fixed(answer.snr, 0)],
        ["format", answer.format],
        ["spectra in the file", answer.spectra > 1 ? `${answer.spectra}; the first is shown` : null],
        ["identifier", answer.spectrum_id],
      ]),
      outlierText(answer.outlier),
      drawn.element,
      h("div", { class: "columns" }, labels ?? h("p", { class: "dim" }, "No labels are known to this study, so none are predicted."), answer.codes.length ? codesTable(study, answer.codes) : null),
      worst.length ? table("Where it departs most from its reconstruction", ["from (\u00c5)", "to (\u00c5)", "by (\u03c3)", ""], worst.map((one) => [fixed(one.low, 1), fixed(one.high, 1), number(one.sigma, 3), h("button", { type: "button", class: "small", "aria-label": `Show ${fixed(one.low, 1)} to ${fixed(one.high, 1)} angstrom`, onclick: () => {
        const half = Math.max(3, (one.high - one.low) * 1.5);
        drawn?.plot.zoom([(one.low + one.high) / 2 - half, (one.low + one.high) / 2 + half]);
        drawn?.element.scrollIntoView({ block: "nearest" });
      } }, "Show")]), { numeric: [1, 2] }) : null,
      answer.neighbours.length ? h("div", {}, h("h2", {}, "Most similar spectra"), neighboursTable(study, answer.neighbours, `The ${answer.neighbours.length} nearest of the archive, in code space`)) : null);
    result.dataset["key"] = answer.key;
  };

  put(host, heading("Your file", h("p", { class: "lead" }, "What the model says of a spectrum that it never saw. The file is read on this machine and not kept.")),
    study.has.model ? null : notice("empty", "There is no trained model yet.", "Run `astroprism train` and `astroprism encode` on this study, then reload."),
    study.has.model ? zone : null, result);

  const key = settings.get("key");
  const taken = waiting;
  waiting = null;
  if (taken && study.has.model) void send(taken);
  else if (key) {
    const held = answers.get(key);
    if (held) show(held);
    else {
      put(result, notice("busy", "Looking it up\u2026"));
      json<Dropped>(`dropped/${encodeURIComponent(key)}/answer`).then(
        (answer) => {
          if (stopped) return;
          answers.set(answer.key, answer);
          put(result);
          show(answer);
        },
        (fault: unknown) => put(result, notice("error", message(fault), "Only the last files are kept, and not beyond a restart. Drop it again.")));
    }
  }
  return { stop: () => {
    stopped = true;
    drawn?.stop();
  } };
};
