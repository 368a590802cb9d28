// Light or dark: as the system says, until somebody switches; and the colours that canvases draw with.

export type Theme = "light" | "dark";
const KEY = "astroprism-theme";
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const watchers = new Set<() => void>();

/** What is shown now. */
export function theme(): Theme {
  const chosen = document.documentElement.dataset["theme"];
  return chosen === "dark" || chosen === "light" ? chosen : dark.matches ? "dark" : "light";
}

/** Start with what was chosen last time. */
export function startTheme(): void {
  let chosen: string | null = null;
  try {
    chosen = window.localStorage.getItem(KEY);
  } catch {
    // storage may be forbidden; the system's theme is right then
  }
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset["theme"] = chosen;
  dark.addEventListener("change", tell);
}

/** The other one. */
export function switchTheme(): void {
  const next: Theme = theme() === "dark" ? "light" : "dark";
  document.documentElement.dataset["theme"] = next;
  try {
    window.localStorage.setItem(KEY, next);
  } catch {
    // it holds for this page
  }
  tell();
}

/** Call when the theme changes; returns how to stop. */
export function onTheme(watch: () => void): () => void {
  watchers.add(watch);
  return () => watchers.delete(watch);
}

/** A colour of the style sheet. */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Whether things should not move. */
export function still(): boolean {
  return window.matchMedia("(prefers-reduced-motion: reduce)").matches;
}

function tell(): void {
  for (const watch of watchers) watch();
}
