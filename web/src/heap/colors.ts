/** The colors of groups: those that retain most have one each, all others one together. */
import { CATEGORIES, type Color, OTHERS } from "../colors";
import type { Heap } from "./heap";

export function topGroups(heap: Heap): number[] {
  return heap.byRetained.slice(0, CATEGORIES.length);
}

/** The kind of each group: its place among the top ones, or the number of these. */
export function groupKinds(heap: Heap): Uint8Array {
  const top = topGroups(heap);
  const kinds = new Uint8Array(heap.summary.groups.length).fill(top.length);
  top.forEach((group, kind) => (kinds[group] = kind));
  return kinds;
}

export function groupColors(heap: Heap): (group: number) => Color {
  const kinds = groupKinds(heap);
  return (group) => CATEGORIES[kinds[group]!] ?? OTHERS;
}
