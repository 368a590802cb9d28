// Elements, made without ever parsing text as markup: what comes from a file or a table stays text.

export type Child = Node | string | null | undefined | false;
type Value = string | number | boolean | null | undefined | ((event: never) => void);

const SVG = "http://www.w3.org/2000/svg";

/** An element; `on...` values are listeners, true and false are present and absent attributes. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, Value> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  dress(element, attributes);
  fill(element, children);
  return element;
}

/** The same for SVG. */
export function svg(tag: string, attributes: Record<string, Value> = {}, ...children: Child[]): SVGElement {
  const element = document.createElementNS(SVG, tag);
  dress(element, attributes);
  fill(element, children);
  return element;
}

function dress(element: Element, attributes: Record<string, Value>): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value as EventListener);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}

function fill(element: Element, children: Child[]): void {
  for (const child of children) if (child !== null && child !== undefined && child !== false) element.append(child);
}

/** Replace what an element holds. */
export function put(element: Element, ...children: Child[]): void {
  element.replaceChildren();
  fill(element, children);
}

let last = 0;

/** A fresh id, for labels and descriptions. */
export function id(stem: string): string {
  last += 1;
  return `${stem}-${last}`;
}

/** A table with a caption, for reading aloud and for copying. */
export function table(
  caption: string,
  head: string[],
  rows: Child[][],
  { numeric = [], hidden = false }: { numeric?: number[]; hidden?: boolean } = {},
): HTMLElement {
  const body = rows.map((row) =>
    h("tr", {}, ...row.map((cell, i) => h(i === 0 ? "th" : "td", i === 0 ? { scope: "row" } : numeric.includes(i) ? { class: "num" } : {}, cell))),
  );
  const made = h(
    "table",
    {},
    h("caption", hidden ? { class: "hidden" } : {}, caption),
    h("thead", {}, h("tr", {}, ...head.map((name, i) => (name ? h("th", { scope: "col", class: numeric.includes(i) ? "num" : null }, name) : h("td"))))),
    h("tbody", {}, ...body),
  );
  return h("div", { class: "scrolls", tabindex: "0", role: "region", "aria-label": caption }, made);
}

const live = h("div", { class: "hidden", "aria-live": "polite", id: "live" });
let pending = 0;

/** Where announcements are read from; put once into the page. */
export function announcer(): HTMLElement {
  return live;
}

/** Have a screen reader say it, once things stand still. */
export function announce(text: string): void {
  window.clearTimeout(pending);
  pending = window.setTimeout(() => {
    live.textContent = text;
  }, 400);
}
