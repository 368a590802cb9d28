// What every view is given and what it gives back.

import type { Study } from "./api";
import { ApiError } from "./api";
import { h, put } from "./dom";
import type { Settings } from "./route";

/** A view that stands; `stop` ends its requests and listeners. */
export interface View {
  stop: () => void;
}

export type Make = (host: HTMLElement, settings: Settings, study: Study) => View;

/** The message of a fault, for people. */
export function message(fault: unknown): string {
  if (fault instanceof ApiError) return fault.message;
  return fault instanceof Error ? fault.message : String(fault);
}

/** A note where something would be: it failed, is empty, or is on its way. */
export function notice(kind: "error" | "empty" | "busy", title: string, more = "", again?: () => void): HTMLElement {
  return h(
    "div",
    { class: `notice ${kind}`, role: kind === "error" ? "alert" : "status" },
    h("strong", {}, title),
    more ? h("p", {}, ...withCode(more)) : null,
    again ? h("button", { type: "button", onclick: again }, "Try again") : null,
  );
}

/** Text with `code` in backquotes. */
export function withCode(text: string): (Node | string)[] {
  return text.split("`").map((part, i) => (i % 2 ? h("code", {}, part) : part));
}

/** A heading with what stands beside it. */
export function heading(title: string, ...beside: (Node | string | null)[]): HTMLElement {
  return h("div", { class: "heading" }, h("h1", { tabindex: "-1" }, title), ...beside);
}

/** A list of facts, name and value. */
export function facts(pairs: [string, Node | string | null][]): HTMLElement {
  return h("dl", { class: "facts" }, ...pairs.filter(([, value]) => value !== null && value !== "").map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

/** A labelled select. */
export function choice(label: string, options: [string, string][], value: string, change: (value: string) => void): HTMLElement {
  const select = h("select", { onchange: () => change(select.value) });
  for (const [key, title] of options) select.append(h("option", { value: key }, title));
  select.value = value;
  return h("label", { class: "field" }, h("span", {}, label), select);
}

/** A labelled checkbox. */
export function toggle(label: string, on: boolean, change: (on: boolean) => void): HTMLElement {
  const box = h("input", { type: "checkbox", onchange: () => change(box.checked) });
  box.checked = on;
  return h("label", { class: "toggle" }, box, h("span", {}, label));
}

/** Fill a place when an answer comes; say so when it does not. */
export async function fillFrom<T>(host: HTMLElement, question: Promise<T>, show: (answer: T) => void): Promise<void> {
  try {
    const answer = await question;
    put(host);
    show(answer);
  } catch (fault) {
    if (fault instanceof DOMException && fault.name === "AbortError") return;
    put(host, notice("error", message(fault)));
  }
}

/** Save a file. */
export function save(blob: Blob, name: string): void {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  window.setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
