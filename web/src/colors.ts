/** Colors of data.  Text and surfaces have theirs in the style sheet; what is drawn on a canvas asks for them here. */

import { dark } from "./theme";

export type Color = readonly [red: number, green: number, blue: number];

/** From little to much, even for eyes that tell few colors apart: violet to yellow, as in "viridis". */
const ON_LIGHT: Color[] = [
  [68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142],
  [31, 158, 137], [53, 183, 121], [110, 206, 88], [181, 222, 43], [245, 225, 30],
];
/** The same for a dark page, whose darkest color can be told from it. */
const ON_DARK: Color[] = [
  [134, 84, 200], [112, 100, 206], [88, 120, 204], [66, 138, 192], [48, 154, 176],
  [40, 170, 154], [62, 188, 128], [116, 208, 96], [184, 224, 62], [253, 231, 60],
];

/** Told apart by most eyes (after Okabe and Ito), for things without an order. */
export const CATEGORIES: Color[] = [
  [0, 114, 178], [230, 159, 0], [0, 158, 115], [204, 121, 167], [86, 180, 233],
  [213, 94, 0], [150, 120, 210], [170, 160, 40], [90, 140, 140], [200, 90, 100],
];
export const OTHERS: Color = [136, 140, 150];

/** A color of the scale; `share` from 0 to 1. */
export function scaleColor(share: number): Color {
  const scale = dark.value ? ON_DARK : ON_LIGHT;
  const place = Math.min(Math.max(share, 0), 1) * (scale.length - 1);
  const low = Math.min(Math.floor(place), scale.length - 2);
  return mix(scale[low]!, scale[low + 1]!, place - low);
}

export function mix(from: Color, to: Color, share: number): Color {
  return [0, 1, 2].map((i) => Math.round(from[i]! + (to[i]! - from[i]!) * share)) as unknown as Color;
}

export function css(color: Color): string {
  return `rgb(${color.join(" ")})`;
}

/** Black or white, whichever reads better on a color. */
export function inkOn([red, green, blue]: Color): string {
  const linear = [red, green, blue].map((value) => (value / 255) ** 2.2) as [number, number, number];
  const light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  return light > 0.18 ? "#000" : "#fff";
}

/** A property of the style sheet, as text: colors that follow the theme. */
export function property(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
