/** What the reader of a recording's page has chosen. */
import { signal } from "@preact/signals";
import { choice, COMMON, type Entry, followFragment, numeric, pair, table, words } from "./choices";
import type { Unit, What } from "./schema";

export type Coloring = "age" | "size" | "site" | "fate";

/** The moment that the time line and the map show, in nanoseconds of the run; before the beginning: not yet chosen. */
export const time = signal(-1);
/** The part of the run that the time line shows, in nanoseconds; null for all of it. */
export const period = signal<[number, number] | null>(null);
export const coloring = signal<Coloring>("age");
/** The function whose objects the map brings out; -1 for none. */
export const highlighted = signal(-1);
export const what = signal<What>("allocated");
export const unit = signal<Unit>("bytes");
export const search = signal("");
/** The flame graph's node that is zoomed to; 0 is its root. */
export const flameRoot = signal(0);
/** The lines of the time line that are not shown. */
export const hidden = signal<readonly string[]>(["free", "largest"]);

/** The tables of the page. */
const TABLES = ["functions", "sites", "source", "collections", "flame", "exports", "spans", "lent"] as const;

const ENTRIES: Record<string, Entry> = {
  t: numeric(time),
  period: {
    write: () => period.value && period.value.map(Math.round).join("-"),
    read: (text) => {
      const found = pair(text);
      period.value = found && found[0] < found[1] ? found : null;
    },
  },
  color: choice(coloring, ["age", "size", "site", "fate"]),
  mark: numeric(highlighted),
  what: choice(what, ["allocated", "peak", "end", "dead_young"]),
  unit: choice(unit, ["bytes", "objects"]),
  search: { write: () => search.value || null, read: (text) => void (search.value = text ?? "") },
  zoom: numeric(flameRoot),
  lines: words(hidden),
  ...Object.fromEntries(TABLES.map((name) => [name, table(name)])),
  ...COMMON,
};

/** What changes bit by bit. */
const GRADUAL = new Set<string>(["t", "blocks", "search", ...TABLES]);

/**
 * Takes over what the address says, and from now on writes there what is chosen.
 *
 * @param start The moment that is shown where the address names none.
 */
export function followRecording(start: number): void {
  followFragment(ENTRIES, GRADUAL, () => {
    if (time.value < 0) time.value = start;
  });
}
