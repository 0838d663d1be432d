/**
 * What the reader has chosen, as signals; all of it stands in the address's fragment, so that a link shows the same.
 *
 * Each choice is an entry of the browser's history, so that Back undoes it.  What changes bit by bit, as a slider that is
 * drawn or a word that is typed, is one entry as long as it goes on.
 */
import { batch, effect, signal, type Signal } from "@preact/signals";
import type { Unit, What } from "./schema";

export type Theme = "auto" | "light" | "dark";
export type Coloring = "age" | "size" | "site" | "fate";

/** A part of the heap, in blocks; no blocks at all stand for the whole heap. */
export interface Span {
  first: number;
  count: number;
}
export const WHOLE: Span = { first: 0, count: 0 };

/** The moment that the time line and the map show, in nanoseconds of the run; before the beginning: not yet chosen. */
export const time = signal(-1);
/** The part of the run that the time line shows, in nanoseconds; null for all of it. */
export const period = signal<[number, number] | null>(null);
export const coloring = signal<Coloring>("age");
export const span = signal<Span>(WHOLE);
/** The object that was chosen in the map, by its place in the list of objects; -1 for none. */
export const object = signal(-1);
/** The function whose objects the map brings out; -1 for none. */
export const highlighted = signal(-1);
export const what = signal<What>("allocated");
export const unit = signal<Unit>("bytes");
export const search = signal("");
/** The flame graph's node that is zoomed to; 0 is its root. */
export const flameRoot = signal(0);
/** The parts of the page that are open, of those that can be. */
export const opened = signal<readonly string[]>([]);
/** The lines of the time line that are not shown. */
export const hidden = signal<readonly string[]>(["free", "largest"]);
/** How tables are sorted and filtered, by the names of the tables; those that are as they were at first are not there. */
export const tables = signal<Readonly<Record<string, Arrangement>>>({});
export const theme = signal<Theme>("auto");

/** What the reader made of a table. */
export interface Arrangement {
  column: number;
  descending: boolean;
  filter: string;
}

interface Entry {
  write(): string | null;
  read(text: string | null): void;
}

function choice<T extends string>(target: Signal<T>, values: readonly T[]): Entry {
  const initial = target.peek();
  return {
    write: () => (target.value === initial ? null : target.value),
    read: (text) => void (target.value = values.find((value) => value === text) ?? initial),
  };
}

function numeric(target: Signal<number>): Entry {
  const initial = target.peek();
  return {
    write: () => (target.value === initial ? null : String(target.value)),
    read: (text) => void (target.value = text !== null && /^\d+(\.\d+)?$/.test(text) ? Number(text) : initial),
  };
}

/** A table's place in the address: the column, `d` for descending or `a`, and the filter. */
function arrangement(text: string | null): Arrangement | null {
  const match = /^(\d{1,2})([ad])(.*)$/s.exec(text ?? "");
  return match ? { column: Number(match[1]), descending: match[2] === "d", filter: match[3]! } : null;
}

function table(name: string): Entry {
  return {
    write: () => {
      const found = tables.value[name];
      return found ? `${found.column}${found.descending ? "d" : "a"}${found.filter}` : null;
    },
    read: (text) => {
      const { [name]: _, ...others } = tables.value;
      const found = arrangement(text);
      tables.value = found ? { ...others, [name]: found } : others;
    },
  };
}

function pair(text: string | null): [number, number] | null {
  const match = /^(\d{1,16})-(\d{1,16})$/.exec(text ?? "");
  return match ? [Number(match[1]), Number(match[2])] : null;
}

/** Several words in their order; none of them as a dash. */
function words(target: Signal<readonly string[]>): Entry {
  const initial = target.peek().join(",");
  return {
    write: () => (target.value.join(",") === initial ? null : target.value.join(",") || "-"),
    read: (text) => void (target.value = (text ?? initial).split(",").filter((word) => /^[a-z]+$/.test(word))),
  };
}

/** A list of words with or without one of them. */
export function withWord(list: readonly string[], word: string, isIn: boolean): readonly string[] {
  const others = list.filter((each) => each !== word);
  return isIn ? [...others, word].sort() : others;
}

/** The tables of the page. */
export const TABLES = ["functions", "sites", "source", "collections", "flame"] as const;
export type TableName = (typeof TABLES)[number];

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
  blocks: {
    write: () => (span.value.count ? `${span.value.first}-${span.value.count}` : null),
    read: (text) => {
      const found = pair(text);
      span.value = found ? { first: found[0], count: found[1] } : WHOLE;
    },
  },
  object: numeric(object),
  mark: numeric(highlighted),
  what: choice(what, ["allocated", "peak", "end", "dead_young"]),
  unit: choice(unit, ["bytes", "objects"]),
  search: { write: () => search.value || null, read: (text) => void (search.value = text ?? "") },
  zoom: numeric(flameRoot),
  open: words(opened),
  lines: words(hidden),
  ...Object.fromEntries(TABLES.map((name) => [name, table(name)])),
  theme: choice(theme, ["auto", "light", "dark"]),
};

/** What changes bit by bit. */
const GRADUAL = new Set<string>(["t", "blocks", "search", ...TABLES]);
/** What changes bit by bit is written once it has rested for so long; browsers refuse hundreds of entries a second. */
const REST_MS = 250;
/** What goes on changing within this time is still the same choice. */
const SAME_CHOICE_MS = 1000;

/**
 * Takes over what the address says, and from now on writes there what is chosen.
 *
 * @param start The moment that is shown where the address names none.
 */
export function followFragment(start: number): void {
  let written = "";
  let last = { names: "", at: 0 };
  let pending = 0;
  const take = () => {
    read(start);
    clearTimeout(pending);
    written = fragment();
    last = { names: "", at: 0 };
    history.replaceState(null, "", written);
  };
  const write = () => {
    const [text, now] = [fragment(), performance.now()];
    const names = changes(written, text);
    if (!names.length) return;
    const goesOn = names.every((name) => GRADUAL.has(name)) && names.join() === last.names && now - last.at < SAME_CHOICE_MS;
    history[goesOn ? "replaceState" : "pushState"](null, "", text);
    written = text;
    last = { names: names.join(), at: now };
  };
  take();
  addEventListener("popstate", take);
  effect(() => {
    const names = changes(written, fragment());
    clearTimeout(pending);
    // What one click changes together is one entry.
    pending = window.setTimeout(write, names.every((name) => GRADUAL.has(name)) ? REST_MS : 0);
  });
}

/** The names of the choices that differ. */
function changes(before: string, after: string): string[] {
  const [old, now] = [before, after].map((text) => new URLSearchParams(text.slice(1)));
  return Object.keys(ENTRIES).filter((name) => old!.get(name) !== now!.get(name));
}

function read(start: number): void {
  const chosen = new URLSearchParams(location.hash.slice(1));
  batch(() => {
    for (const [name, entry] of Object.entries(ENTRIES)) entry.read(chosen.get(name));
    if (time.value < 0) time.value = start;
  });
}

function fragment(): string {
  const chosen = new URLSearchParams();
  for (const [name, entry] of Object.entries(ENTRIES)) {
    const text = entry.write();
    if (text !== null) chosen.set(name, text);
  }
  return `#${chosen}`;
}
