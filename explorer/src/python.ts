// The Python that rebuilds what is seen.

import { text } from "./api";
import { announce, h, put } from "./dom";
import { flush } from "./route";
import { message, notice } from "./view";

/** Open a dialog with the script of the present address. */
export function showPython(): void {
  flush();
  const box = h("div", {}, notice("busy", "Writing\u2026"));
  const copy = h("button", { type: "button", class: "primary", disabled: true }, "Copy");
  const close = h("button", { type: "button", onclick: () => dialog.close() }, "Close");
  const dialog = h("dialog", { class: "sheet", "aria-label": "The Python that rebuilds this view" },
    h("div", { class: "row between" }, h("h2", {}, "The Python that rebuilds this view"), close),
    box, h("div", { class: "row" }, copy, h("span", { class: "dim" }, "Run it where the study lies.")));
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  document.body.append(dialog);
  dialog.showModal();
  text("python", window.location.search).then((script) => {
    const code = h("pre", { tabindex: "0", "aria-label": "Python" }, script);
    put(box, code);
    copy.removeAttribute("disabled");
    copy.addEventListener("click", () => void copied(script, code, copy));
  }, (fault: unknown) => put(box, notice("error", message(fault))));
}

async function copied(script: string, shown: HTMLElement, button: HTMLElement): Promise<void> {
  try {
    await navigator.clipboard.writeText(script);
    button.textContent = "Copied";
    announce("Copied");
  } catch {
    // no right to the clipboard: have it selected, ready for the keyboard
    window.getSelection()?.selectAllChildren(shown);
    button.textContent = "Selected: press Ctrl+C";
  }
}
