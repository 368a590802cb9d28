// A box to find a spectrum by its identifier or target.

import { json } from "./api";
import { announce, h, id, put } from "./dom";
import { many } from "./format";
import { message } from "./view";

export interface Found {
  row: number;
  spectrum_id: string;
  target: string;
}

/** A search field with its answers as buttons. */
export function picker(label: string, picked: (found: Found) => void): HTMLElement {
  const list = h("ul", { class: "found", id: id("found") });
  let control: AbortController | null = null;
  let waiting = 0;
  const find = async (): Promise<void> => {
    control?.abort();
    const text = field.value.trim();
    if (!text) {
      put(list);
      return;
    }
    control = new AbortController();
    try {
      const answer = await json<{ total: number; found: Found[] }>("search", { text, n: 8 }, control.signal);
      put(
        list,
        ...answer.found.map((one) =>
          h("li", {}, h("button", {
            type: "button",
            onclick: () => {
              put(list);
              field.value = "";
              picked(one);
            },
          }, h("span", {}, one.target || one.spectrum_id), h("span", { class: "dim" }, one.target ? one.spectrum_id : "")))),
        answer.found.length ? null : h("li", { class: "dim" }, "Nothing found."),
        answer.total > answer.found.length ? h("li", { class: "dim" }, `${many(answer.total, "spectrum", "spectra")} in all; write more of the name.`) : null,
      );
      announce(`${many(answer.total, "spectrum", "spectra")} found`);
    } catch (fault) {
      if (!(fault instanceof DOMException)) put(list, h("li", { class: "warn" }, message(fault)));
    }
  };
  const field = h("input", {
    type: "search",
    autocomplete: "off",
    spellcheck: "false",
    placeholder: "identifier or target",
    oninput: () => {
      window.clearTimeout(waiting);
      waiting = window.setTimeout(() => void find(), 150);
    },
    onkeydown: (event: KeyboardEvent) => {
      if (event.key === "Enter") {
        window.clearTimeout(waiting); // whoever types fast and presses Enter need not wait for the list
        void find().then(() => list.querySelector("button")?.click());
      }
      if (event.key === "Escape") put(list);
      if (event.key === "ArrowDown") list.querySelector("button")?.focus();
    },
  });
  return h("div", { class: "picker" }, h("label", { class: "field" }, h("span", {}, label), field), list);
}
