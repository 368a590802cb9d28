// Where we are: the query of the one page. Every setting that changes what is seen is in the address.

export type Settings = URLSearchParams;
/** Changes to the settings; null takes one out. */
export type Change = Record<string, string | null>;

type Follow = (settings: Settings) => void;
let follow: Follow = () => undefined;
let waiting = 0;
let next: string | null = null;

/** The settings of the address, with what waits to be written there. */
export function here(): Settings {
  return new URLSearchParams(next ?? window.location.search);
}

/** A query, its keys in order, easy to read. */
export function query(settings: Settings): string {
  const text = settings.toString().replace(/%2C/g, ",").replace(/%3A/g, ":").replace(/%7E/g, "~");
  return text ? `?${text}` : "?";
}

/** Settings of a view from scratch. */
export function to(view: string, settings: Change = {}): string {
  return query(changed(new URLSearchParams(), { view, ...settings }));
}

function changed(settings: Settings, change: Change): Settings {
  const made = new URLSearchParams(settings);
  for (const [name, value] of Object.entries(change)) {
    if (value === null || value === "") made.delete(name);
    else made.set(name, value);
  }
  return made;
}

/** Go somewhere: a new entry in the history, and the view that belongs to it. */
export function go(address: string): void {
  flush();
  if (query(new URLSearchParams(address)) !== query(here())) window.history.pushState(null, "", address);
  follow(here());
}

/** Write settings into the address without going anywhere: as a step that "back" undoes, or as an amendment. */
export function note(change: Change, how: "push" | "amend" = "amend"): void {
  const address = query(changed(here(), change));
  if (address === query(here())) {
    if (how === "push") flush();
    return;
  }
  if (how === "push") {
    window.clearTimeout(waiting);
    next = null;
    window.history.pushState(null, "", address);
    return;
  }
  // browsers refuse hundreds of changes a minute, and a slider makes them
  next = address;
  window.clearTimeout(waiting);
  waiting = window.setTimeout(flush, 200);
}

/** Write the address that is waiting. */
export function flush(): void {
  window.clearTimeout(waiting);
  if (next !== null) window.history.replaceState(null, "", next);
  next = null;
}

/** Call with the settings now and whenever back, forward or a link change them. */
export function start(call: Follow): void {
  follow = call;
  window.addEventListener("popstate", () => {
    window.clearTimeout(waiting);
    next = null;
    follow(here());
  });
  window.addEventListener("pagehide", flush);
  document.addEventListener("click", (event) => {
    const link = (event.target as Element | null)?.closest?.("a[href^='?']");
    if (!link || event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(link.getAttribute("href") ?? "?");
  });
  follow(here());
}

/** A pair of numbers, low before high, of two settings; null where they are not a range. */
export function range(settings: Settings): [number, number] | null {
  const low = Number.parseFloat(settings.get("low") ?? "");
  const high = Number.parseFloat(settings.get("high") ?? "");
  return Number.isFinite(low) && Number.isFinite(high) && high > low ? [low, high] : null;
}
