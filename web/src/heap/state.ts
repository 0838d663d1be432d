/** What the reader of a heap's page has chosen. */
import { signal } from "@preact/signals";
import { choice, COMMON, type Entry, followFragment, numeric, object, table } from "../choices";

export type Coloring = "group" | "size" | "retained";

export const coloring = signal<Coloring>("group");
/** The group whose objects the map brings out; -1 for none. */
export const marked = signal(-1);
/** The object that the treemap shows the inside of; -1 for all. */
export const inside = signal(-1);

const TABLES = ["types", "roots", "cutters", "groups", "paths"] as const;
const ENTRIES: Record<string, Entry> = {
  color: choice(coloring, ["group", "size", "retained"]),
  mark: numeric(marked),
  inside: numeric(inside),
  ...Object.fromEntries(TABLES.map((name) => [name, table(name)])),
  ...COMMON,
};
const GRADUAL = new Set<string>(["blocks", ...TABLES]);

/** Takes over what the address says, and from now on writes there what is chosen. */
export function followHeap(): void {
  followFragment(ENTRIES, GRADUAL);
}

/** Shows an object, and goes to where that is. */
export function show(which: number): void {
  object.value = which;
  document.getElementById("object")?.scrollIntoView();
}
