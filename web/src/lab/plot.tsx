/** What the pictures of a sweep share: how wide there is room, where ticks stand, and how marks look. */
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { RefObject } from "preact";

export const PAGE = 65536;

/** How an outcome is drawn; the words stand in the legend. */
export type Mark = "passed" | "changed" | "failed" | "step" | "refused" | "limit";
export const WORDS: Record<Mark, string> = {
  passed: "passes",
  changed: "passes, and writes something else",
  failed: "does not pass",
  step: "a size of memory",
  refused: "a size that was refused",
  limit: "the limit",
};

/** The width of an element, now and whenever it changes. */
export function useWidth(): [RefObject<HTMLDivElement | null>, number] {
  const place = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(760);
  useLayoutEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(Math.max(Math.floor(entry!.contentRect.width), 160)));
    observer.observe(place.current!);
    return () => observer.disconnect();
  }, []);
  return [place, width];
}

/** Round numbers from 0 to at least `most`: steps of 1, 2 or 5 of a unit, which is a power of `base`. */
export function ticks(most: number, base: number): number[] {
  const unit = base ** Math.floor(Math.log(Math.max(most, 1)) / Math.log(base));
  const step = [unit / 4, unit / 2, unit, 2 * unit, 5 * unit, base * unit].find((each) => most / each <= 5)!;
  return Array.from({ length: Math.ceil(most / step) + 1 }, (_, i) => i * step);
}

/** Of a character of a tick's label, in pixels. */
const CHARACTER = 7;
const GAP = 8;

export interface Label {
  x: number;
  text: string;
  anchor: "start" | "middle" | "end";
}

/** Labels of ticks along an axis from `left` to `right`, as many as have room: the first and the last, then the others in turn. */
export function labels(ticks: readonly number[], x: (value: number) => number, text: (value: number) => string, left: number, right: number): Label[] {
  const kept: { label: Label; from: number; to: number }[] = [];
  for (const value of [...new Set([ticks[0]!, ticks.at(-1)!, ...ticks])]) {
    const at = x(value);
    const words = text(value);
    const long = words.length * CHARACTER;
    const anchor = at - long / 2 < left ? "start" : at + long / 2 > right ? "end" : "middle";
    const from = anchor === "start" ? at : anchor === "end" ? at - long : at - long / 2;
    if (kept.every((each) => from > each.to + GAP || from + long < each.from - GAP)) kept.push({ label: { x: at, text: words, anchor }, from, to: from + long });
  }
  return kept.map(({ label }) => label);
}

/** A mark of its kind, in the middle of its place. */
export function Shape({ mark, x, y }: { mark: Mark; x: number; y: number }) {
  switch (mark) {
    case "passed":
      return <circle class="mark passed" cx={x} cy={y} r={5} />;
    case "changed":
      return <path class="mark changed" d={`M${x} ${y - 6}l6 6-6 6-6-6z`} />;
    case "step":
      return <circle class="mark step" cx={x} cy={y} r={4} />;
    case "limit":
      return <path class="mark limit" d={`M${x} ${y - 11}v22`} />;
    default:
      return <path class={`mark ${mark}`} d={`M${x - 4.5} ${y - 4.5}l9 9m0-9l-9 9`} />;
  }
}

export function Legend({ marks }: { marks: readonly Mark[] }) {
  return (
    <ul class="lab-legend">
      {marks.map((mark) => (
        <li key={mark}>
          <svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true"><Shape mark={mark} x={12} y={12} /></svg>
          {WORDS[mark]}
        </li>
      ))}
    </ul>
  );
}
