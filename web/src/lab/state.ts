/** What the reader of a sweep's page has chosen; the condition is `object`, a place among the rows. */
import { signal } from "@preact/signals";
import { choice, COMMON, followFragment, table } from "../choices";

export const MEASURES = [
  ["memory", "Memory"],
  ["peak", "Peak in use"],
  ["heap", "Heap"],
] as const;
export const PAUSES = [
  ["longest", "Longest"],
  ["p99", "99%"],
  ["p50", "50%"],
  ["all", "All together"],
] as const;

export const measure = signal<(typeof MEASURES)[number][0]>("memory");
export const pause = signal<(typeof PAUSES)[number][0]>("longest");

/** Takes over what the address says, and from now on writes there what is chosen. */
export function followLab(): void {
  const entries = {
    measure: choice(measure, MEASURES.map(([name]) => name)),
    pause: choice(pause, PAUSES.map(([name]) => name)),
    outcomes: table("outcomes"),
    ...COMMON,
  };
  followFragment(entries, new Set(["outcomes"]));
}
