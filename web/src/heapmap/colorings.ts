/** What the colors of the map can stand for, each with its legend. */
import { CATEGORIES, OTHERS, type Color, css, scaleColor } from "../colors";
import { countText, sizeText, timeText } from "../format";
import type { Objects, Recording } from "../recording";
import type { Coloring } from "../state";
import type { Weighing } from "./raster";

export interface Scheme extends Weighing {
  /** The color of a kind, or of a place on the scale. */
  color(weight: number): Color;
  legend: Legend;
}

/** A scale has words along it; kinds have a color each. */
export type Legend = { scale: string; words: string[] } | { entries: { color: string; text: string; fn?: number }[] };

const FATES: [string, Color][] = [
  ["freed by the next collection", [213, 94, 0]],
  ["freed by a later one", [230, 159, 0]],
  ["lives to the end", [0, 114, 178]],
];

/** The colors for a moment of the run. */
export function scheme(coloring: Coloring, recording: Recording, objects: Objects, time: number): Scheme {
  switch (coloring) {
    case "age":
      return byAge(recording, objects, time);
    case "size":
      return bySize(recording, objects);
    case "site":
      return bySite(recording, objects);
    case "fate":
      return byFate(recording, objects, time);
  }
}

function bySize(recording: Recording, objects: Objects): Scheme {
  const low = Math.log2(recording.summary.run.block_bytes);
  const high = Math.max(low + 6, Math.log2(recording.summary.sizes.buckets.at(-1)?.low || 1));
  const words = [0, 0.25, 0.5, 0.75, 1].map((share) => sizeText(2 ** Math.round(low + share * (high - low))));
  return {
    kinds: 0,
    weigh: (object) => clamp((Math.log2(objects.size[object]! || 1) - low) / (high - low)),
    color: scaleColor,
    legend: { scale: gradient(scaleColor), words },
  };
}

function byAge(recording: Recording, objects: Objects, time: number): Scheme {
  // On a logarithmic scale, from a thousandth of the run to all of it.
  const shortest = Math.max(recording.summary.run.duration_ns / 1000, 1);
  const color = (share: number) => scaleColor(1 - share);
  const words = [0, 0.25, 0.5, 0.75, 1].map((share) => (share ? timeText(Math.round(shortest * (1001 ** share - 1))) : "new"));
  return {
    kinds: 0,
    weigh: (object) => clamp(Math.log(1 + (time - objects.birth(object)) / shortest) / Math.log(1001)),
    color,
    legend: { scale: gradient(color), words },
  };
}

/** The functions whose objects took most at the peak. */
function topSites(recording: Recording): number[] {
  const { site } = recording.stacks;
  const weights = recording.weights("peak", "bytes");
  const sums = new Map<number, number>();
  weights.forEach((bytes: number, stack: number) => {
    if (bytes) sums.set(site[stack]!, (sums.get(site[stack]!) ?? 0) + bytes);
  });
  return [...sums].sort((a, b) => b[1] - a[1]).slice(0, CATEGORIES.length).map(([fn]) => fn);
}

/** Each of these functions has its color, and all others have one. */
function bySite(recording: Recording, objects: Objects): Scheme {
  const sites = topSites(recording);
  const kindOf = new Uint8Array(recording.summary.functions.length + 1).fill(sites.length);
  sites.forEach((fn, kind) => (kindOf[fn] = kind));
  const color = (kind: number) => (kind < sites.length ? CATEGORIES[kind]! : OTHERS);
  const entries = sites.map((fn, kind) => ({ color: css(color(kind)), text: recording.name(fn), fn }));
  const { site } = recording.stacks;
  const { stack } = objects;
  return {
    kinds: sites.length + 1,
    weigh: (object) => kindOf[site[stack[object]!]!]!,
    color,
    legend: { entries: [...entries, { color: css(OTHERS), text: "all others" }] },
  };
}

function byFate(recording: Recording, objects: Objects, time: number): Scheme {
  let next = 1;
  while (next <= recording.collections.rows && recording.collectionEnd(next) <= time) next++;
  const { deathCollection } = objects;
  const weigh = (object: number) => (deathCollection[object] === 0 ? 2 : deathCollection[object] === next ? 0 : 1);
  const entries = FATES.map(([text, color]) => ({ color: css(color), text }));
  if (next <= recording.collections.rows) entries[0]!.text = `freed by the next collection (${countText(next)})`;
  return { kinds: FATES.length, weigh, color: (kind) => FATES[kind]![1], legend: { entries } };
}

export function gradient(color: (share: number) => Color): string {
  const stops = Array.from({ length: 11 }, (_, i) => css(color(i / 10)));
  return `linear-gradient(to right, ${stops.join(", ")})`;
}

function clamp(value: number): number {
  return value < 0 ? 0 : value > 1 ? 1 : value;
}
