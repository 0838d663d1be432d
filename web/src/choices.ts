/**
 * What the reader of a page has chosen, as signals; all of it stands in the address's fragment, so that a link shows the same.
 *
 * Each choice is an entry of the browser's history, so that Back undoes it.  What changes bit by bit, as a slider that is
 * drawn or a word that is typed, is one entry as long as it goes on.  Here is how that is done, and what all pages have.
 */
import { batch, effect, signal, type Signal } from "@preact/signals";

export type Theme = "auto" | "light" | "dark";

/** A part of the heap, in blocks; no blocks at all stand for the whole heap. */
export interface Span {
  first: number;
  count: number;
}
export const WHOLE: Span = { first: 0, count: 0 };

/** The part of the heap that the map shows. */
export const span = signal<Span>(WHOLE);
/** The object that was chosen, by its place in the list of objects; -1 for none. */
export const object = signal(-1);
/** The parts of the page that are open, of those that can be. */
export const opened = signal<readonly string[]>([]);
/** How tables are sorted and filtered, by the names of the tables; those that are as they were at first are not there. */
export const tables = signal<Readonly<Record<string, Arrangement>>>({});
export const theme = signal<Theme>("auto");

/** What the reader made of a table. */
export interface Arrangement {
  column: number;
  descending: boolean;
  filter: string;
}

/** A choice as it stands in the address; null for what it is at first. */
export interface Entry {
  write(): string | null;
  read(text: string | null): void;
}

export function choice<T extends string>(target: Signal<T>, values: readonly T[]): Entry {
  const initial = target.peek();
  return {
    write: () => (target.value === initial ? null : target.value),
    read: (text) => void (target.value = values.find((value) => value === text) ?? initial),
  };
}

export function numeric(target: Signal<number>): Entry {
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

export function table(name: string): Entry {
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

export function pair(text: string | null): [number, number] | null {
  const match = /^(\d{1,16})-(\d{1,16})$/.exec(text ?? "");
  return match ? [Number(match[1]), Number(match[2])] : null;
}

/** Several words in their order; none of them as a dash. */
export function words(target: Signal<readonly string[]>): Entry {
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

/** The choices that every page has. */
export const COMMON: Record<string, Entry> = {
  blocks: {
    write: () => (span.value.count ? `${span.value.first}-${span.value.count}` : null),
    read: (text) => {
      const found = pair(text);
      span.value = found ? { first: found[0], count: found[1] } : WHOLE;
    },
  },
  object: numeric(object),
  open: words(opened),
  theme: choice(theme, ["auto", "light", "dark"]),
};

/** What changes bit by bit is written once it has rested for so long; browsers refuse hundreds of entries a second. */
const REST_MS = 250;
/** What goes on changing within this time is still the same choice. */
const SAME_CHOICE_MS = 1000;

/**
 * Takes over what the address says, and from now on writes there what is chosen.
 *
 * @param entries The choices by their names in the address.
 * @param gradual The names of those that change bit by bit.
 * @param complete Makes the choices that nobody has made, after each reading.
 */
export function followFragment(entries: Record<string, Entry>, gradual: ReadonlySet<string>, complete: () => void = () => {}): void {
  let written = "";
  let last = { names: "", at: 0 };
  let pending = 0;
  // For who drives the page from outside, and reads the address.
  const setBehind = (is: boolean) => document.documentElement.toggleAttribute("data-address-is-behind", is);
  const take = () => {
    read(entries, complete);
    clearTimeout(pending);
    setBehind(false);
    written = fragment(entries);
    last = { names: "", at: 0 };
    history.replaceState(null, "", written);
  };
  const write = () => {
    const [text, now] = [fragment(entries), performance.now()];
    const names = changes(entries, written, text);
    setBehind(false);
    if (!names.length) return;
    const goesOn = names.every((name) => gradual.has(name)) && names.join() === last.names && now - last.at < SAME_CHOICE_MS;
    history[goesOn ? "replaceState" : "pushState"](null, "", text);
    written = text;
    last = { names: names.join(), at: now };
  };
  take();
  addEventListener("popstate", take);
  effect(() => {
    const names = changes(entries, written, fragment(entries));
    clearTimeout(pending);
    setBehind(true);
    // What one click changes together is one entry.
    pending = window.setTimeout(write, names.every((name) => gradual.has(name)) ? REST_MS : 0);
  });
}

/** The names of the choices that differ. */
function changes(entries: Record<string, Entry>, before: string, after: string): string[] {
  const [old, now] = [before, after].map((text) => new URLSearchParams(text.slice(1)));
  return Object.keys(entries).filter((name) => old!.get(name) !== now!.get(name));
}

function read(entries: Record<string, Entry>, complete: () => void): void {
  const chosen = new URLSearchParams(location.hash.slice(1));
  batch(() => {
    for (const [name, entry] of Object.entries(entries)) entry.read(chosen.get(name));
    complete();
  });
}

function fragment(entries: Record<string, Entry>): string {
  const chosen = new URLSearchParams();
  for (const [name, entry] of Object.entries(entries)) {
    const text = entry.write();
    if (text !== null) chosen.set(name, text);
  }
  return `#${chosen}`;
}
