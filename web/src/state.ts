/** What the reader has chosen, as signals; all of it stands in the address's fragment, so that a link shows the same. */
import { effect, signal, type Signal } from "@preact/signals";

export type Theme = "auto" | "light" | "dark";
export type Coloring = "age" | "size" | "site" | "fate";
export type What = "allocated" | "peak" | "end" | "dead_young";
export type Unit = "bytes" | "objects";

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
export const theme = signal<Theme>("auto");

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

function figure(target: Signal<number>): Entry {
  const initial = target.peek();
  return {
    write: () => (target.value === initial ? null : String(target.value)),
    read: (text) => void (target.value = text !== null && /^\d+(\.\d+)?$/.test(text) ? Number(text) : initial),
  };
}

function pair(text: string | null): [number, number] | null {
  const match = /^(\d{1,16})-(\d{1,16})$/.exec(text ?? "");
  return match ? [Number(match[1]), Number(match[2])] : null;
}

const ENTRIES: Record<string, Entry> = {
  t: figure(time),
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
  object: figure(object),
  mark: figure(highlighted),
  what: choice(what, ["allocated", "peak", "end", "dead_young"]),
  unit: choice(unit, ["bytes", "objects"]),
  search: { write: () => search.value || null, read: (text) => void (search.value = text ?? "") },
  zoom: figure(flameRoot),
  theme: choice(theme, ["auto", "light", "dark"]),
};

/** Takes over what the address says, and from now on writes there what is chosen. */
export function followFragment(): void {
  readFragment();
  addEventListener("hashchange", readFragment);
  let pending = 0;
  effect(() => {
    const text = fragment();
    clearTimeout(pending);
    // Browsers refuse hundreds of changes a second, as playing would make them.
    pending = window.setTimeout(() => history.replaceState(null, "", text), 250);
  });
}

function readFragment(): void {
  const chosen = new URLSearchParams(location.hash.slice(1));
  for (const [name, entry] of Object.entries(ENTRIES)) entry.read(chosen.get(name));
}

function fragment(): string {
  const chosen = new URLSearchParams();
  for (const [name, entry] of Object.entries(ENTRIES)) {
    const text = entry.write();
    if (text !== null) chosen.set(name, text);
  }
  return `#${chosen}`;
}
