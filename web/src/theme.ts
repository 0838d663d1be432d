/** Light or dark: as the system has it, or as the reader wants it. */
import { computed, effect, signal } from "@preact/signals";
import { theme } from "./choices";

const query = matchMedia("(prefers-color-scheme: dark)");
const systemDark = signal(query.matches);
query.addEventListener("change", () => (systemDark.value = query.matches));

/** Whether the page is dark now; what draws with colors of the style sheet looks at it to draw again. */
export const dark = computed(() => (theme.value === "auto" ? systemDark.value : theme.value === "dark"));

/** Puts the theme on the page, now and whenever it changes. */
export function followTheme(): void {
  effect(() => void (document.documentElement.dataset.theme = dark.value ? "dark" : "light"));
}
