// The page: its frame, and which view stands in it.

import "uplot/dist/uPlot.min.css";
import "./app.css";
import { json, type Study } from "./api";
import { announcer, h, put, svg } from "./dom";
import { many, whole } from "./format";
import { showPython } from "./python";
import { go, here, start, to, type Settings } from "./route";
import { startTheme, switchTheme, onTheme, theme } from "./theme";
import { message, notice, type Make, type View } from "./view";
import { dropped, handOver } from "./views/drop";
import { map } from "./views/map";
import { node } from "./views/node";
import { sliders } from "./views/sliders";
import { spectrum } from "./views/spectrum";

const VIEWS: Record<string, { title: string; make: Make }> = {
  sliders: { title: "Sliders", make: sliders },
  map: { title: "Map", make: map },
  spectrum: { title: "Spectra", make: spectrum },
  node: { title: "Nodes", make: node },
  drop: { title: "Your file", make: dropped },
};

startTheme();
const app = document.getElementById("app") as HTMLElement;
const content = h("main", { id: "content", tabindex: "-1" });
const nav = h("nav", { "aria-label": "Views" });
const study_ = h("p", { class: "study" });
let study: Study | null = null;
let standing: View | null = null;
let shown = "";

function frame(): void {
  const mode = h("button", { type: "button", class: "quiet", onclick: switchTheme });
  const dress = (): void => {
    const other = theme() === "dark" ? "light" : "dark";
    mode.textContent = theme() === "dark" ? "\u2600" : "\u263e";
    mode.setAttribute("aria-label", `Switch to ${other}`);
    mode.title = `Switch to ${other}`;
  };
  dress();
  onTheme(dress);
  const logo = svg("svg", { viewBox: "0 0 32 32", class: "logo", "aria-hidden": "true" },
    svg("path", { d: "M16 4 29 27H3z", class: "prism" }), svg("path", { d: "M1 18 11 15M20 13l11-2M21 16l10 1M23 19l8 4", class: "rays" }));
  put(app,
    h("a", { class: "skip", href: "#content", onclick: (event: Event) => {
      event.preventDefault();
      content.focus();
    } }, "Skip to the content"),
    h("header", {},
      h("div", { class: "brand" }, logo, h("strong", {}, "astroprism"), study_),
      nav,
      h("div", { class: "group" }, h("button", { type: "button", class: "small", onclick: showPython, title: "The Python that rebuilds this view" }, "Python"), mode)),
    content, announcer(), h("div", { class: "drop-hint", "aria-hidden": "true" }, "Drop to read it with the model"));
}

function follow(settings: Settings): void {
  if (!study) return;
  const wanted = settings.get("view") ?? "sliders";
  const view = VIEWS[wanted];
  standing?.stop();
  standing = null;
  put(nav, ...Object.entries(VIEWS).map(([key, { title }]) => h("a", { href: key === "sliders" ? to(key, Object.fromEntries(new URLSearchParams(study?.start.sliders ?? ""))) : to(key), "aria-current": key === wanted ? "page" : null }, title)));
  // not scrollIntoView: since Chromium 150 the first Tab would start behind what it scrolled to
  const here = nav.querySelector<HTMLElement>("[aria-current]");
  if (here) nav.scrollLeft = here.offsetLeft - nav.offsetLeft - (nav.clientWidth - here.offsetWidth) / 2;
  document.title = `${view?.title ?? "?"} \u00b7 ${study.name} \u00b7 astroprism`;
  document.body.dataset["view"] = wanted;
  if (!view) {
    put(content, h("h1", {}, "No such view"), notice("empty", `There is no view named ${wanted}.`));
    return;
  }
  try {
    standing = view.make(content, settings, study);
  } catch (fault) {
    put(content, notice("error", message(fault)));
    console.error(fault);
  }
  const key = `${wanted}/${settings.get("node") ?? ""}/${wanted === "spectrum" ? settings.get("row") : ""}`;
  if (shown && shown !== key) {
    window.scrollTo(0, 0);
    content.querySelector<HTMLElement>("h1")?.focus({ preventScroll: true });
  }
  shown = key;
}

async function open(): Promise<void> {
  put(content, notice("busy", "Opening the study\u2026"));
  try {
    study = await json<Study>("study");
  } catch (fault) {
    put(content, h("h1", {}, "The study cannot be opened"), notice("error", message(fault), "", () => void open()));
    return;
  }
  const causes = study.nodes.filter((one) => !one.doubtful && one.copies_of === null).length;
  put(study_, h("span", {}, study.name), h("span", { class: "dim" }, `${many(study.spectra, "spectrum", "spectra")}${study.targets < study.spectra ? ` of ${many(study.targets, "target", "targets")}` : ""}${study.has.findings ? `, ${many(causes, "cause", "causes")}` : study.nodes.length ? `, ${whole(causes)} nodes kept` : ""}`));
  start(follow);
}

/** A file dropped anywhere is taken to its view. */
function takeFiles(): void {
  let depth = 0;
  const has = (event: DragEvent): boolean => Array.from(event.dataTransfer?.types ?? []).includes("Files");
  const hint = (on: boolean): void => {
    document.body.classList.toggle("dragging", on);
  };
  window.addEventListener("dragenter", (event) => {
    if (!has(event)) return;
    depth += 1;
    hint(true);
  });
  window.addEventListener("dragleave", () => {
    depth = Math.max(0, depth - 1);
    if (!depth) hint(false);
  });
  window.addEventListener("dragover", (event) => {
    if (has(event)) event.preventDefault();
  });
  window.addEventListener("drop", (event) => {
    depth = 0;
    hint(false);
    const file = event.dataTransfer?.files[0];
    if (!file) return;
    event.preventDefault();
    handOver(file);
    if (here().get("view") === "drop") follow(here());
    else go(to("drop"));
  });
}

frame();
takeFiles();
void open();
