/**
 * The flame graph: who called whom, each as wide as what was allocated below it, the outermost on top.
 *
 * A click or Enter zooms to a function, Escape goes back out; what is searched for is brought out.
 */
import { computed } from "@preact/signals";
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { prepare, useSize } from "../canvas";
import { type Color, css, inkOn, mix, property } from "../colors";
import { amountText, countText, shareText } from "../format";
import { AsTableToo, Button, Choice, Empty } from "../parts";
import type { Recording } from "../recording";
import { flameRoot, search, unit, what } from "../state";
import { DataTable } from "../table";
import { dark } from "../theme";
import { byFunction, type Frame, grow, layOut, path, type Tree, weigh, type Weighed } from "./tree";

const WHAT = [
  ["allocated", "Allocated"],
  ["peak", "Live at the peak"],
  ["end", "Live at the end"],
  ["dead_young", "Dead young"],
] as const;
const UNITS = [
  ["bytes", "Bytes"],
  ["objects", "Objects"],
] as const;
const MEANINGS = {
  allocated: "all objects ever made",
  peak: "the objects that lived when there was most of them",
  end: "the objects that were not freed",
  dead_young: "the objects that the first collection after their birth freed",
};
const ROW = 20;

/** What is said behind a measure of what lives, where that is an upper bound. */
function bound(recording: Recording, measure: keyof typeof MEANINGS): string {
  return recording.summary.run.lives === "at most" && (measure === "peak" || measure === "end") ? ", at most" : "";
}

/** What is searched for, in small letters; and nothing for a blank field. */
const needle = computed(() => search.value.trim().toLowerCase());

export function FlameGraph({ recording }: { recording: Recording }) {
  const tree = useMemo(() => grow(recording), [recording]);
  const measured = recording.knows(what.value) ? what.value : "allocated";
  const weighed = useMemo(() => weigh(tree, recording.weights(measured, unit.value)), [tree, measured, unit.value]);
  const [cursor, setCursor] = useState(-1);
  const root = flameRoot.value < weighed.total.length && weighed.total[flameRoot.value] ? flameRoot.value : 0;
  const found = useMemo(() => searched(recording, tree, weighed, needle.value), [tree, weighed, needle.value]);
  const label = (node: number) => (node ? recording.name(tree.fn[node]!) : "all");
  return (
    <div class="flame">
      <div class="toolbar">
        <Choice label="What" value={what} options={WHAT.filter(([value]) => recording.knows(value)).map(([value, text]) => [value, `${text}${bound(recording, value)}`] as const)} />
        <Choice label="Unit" value={unit} options={UNITS} />
        <label class="search">
          <span class="visually-hidden">Search functions</span>
          <input
            type="search"
            placeholder="Search functions"
            value={search.value}
            onInput={(event) => (search.value = event.currentTarget.value)}
          />
        </label>
        {needle.value && (
          <output class="quiet">
            {countText(found.functions)} {found.functions === 1 ? "function" : "functions"}, {shareText(found.weight, weighed.total[0]!)}
          </output>
        )}
        <Button label="Zoom out" disabled={!root} onClick={() => (flameRoot.value = 0)} />
      </div>
      {weighed.total[0] ? (
        <>
          <Picture {...{ recording, tree, weighed, root, cursor, setCursor, label }} />
          <Reading {...{ recording, tree, weighed, node: cursor >= 0 ? cursor : root, label }} />
          <AsTableToo name="flame">
            <AsTable {...{ recording, tree, weighed, root }} />
          </AsTableToo>
        </>
      ) : (
        <Empty>There is nothing of {MEANINGS[measured]}.</Empty>
      )}
    </div>
  );
}

function searched(recording: Recording, tree: Tree, weighed: Weighed, text: string) {
  const found = { functions: 0, weight: 0 };
  if (!text) return found;
  const matches = recording.summary.functions.map((name) => name.toLowerCase().includes(text));
  const functions = new Set<number>();
  // What lies below a function that was found is counted with it.
  const inside = new Uint8Array(tree.caller.length);
  for (let node = 1; node < tree.caller.length; node++) {
    const own = matches[tree.fn[node]!];
    if (own && weighed.total[node]) functions.add(tree.fn[node]!);
    if (own && !inside[tree.caller[node]!]) found.weight += weighed.total[node]!;
    inside[node] = own || inside[tree.caller[node]!] ? 1 : 0;
  }
  found.functions = functions.size;
  return found;
}

interface PictureProps {
  recording: Recording;
  tree: Tree;
  weighed: Weighed;
  root: number;
  cursor: number;
  setCursor(node: number): void;
  label(node: number): string;
}

function Picture(props: PictureProps) {
  const { tree, weighed, root, cursor, setCursor } = props;
  const [place, size] = useSize<HTMLDivElement>();
  const canvas = useRef<HTMLCanvasElement>(null);
  const width = Math.max(size.width, 64);
  const frames = useMemo(() => layOut(tree, weighed, root, 0.7 / width), [tree, weighed, root, width]);
  const height = ROW * (frames.reduce((most, frame) => Math.max(most, frame.row), 0) + 1);
  useLayoutEffect(() => {
    draw(prepare(canvas.current!, { width, height }), frames, width, props);
  }, [frames, width, height, cursor, needle.value, dark.value]);

  const frameAt = (event: MouseEvent) => {
    const box = canvas.current!.getBoundingClientRect();
    const [x, row] = [(event.clientX - box.left) / width, Math.floor((event.clientY - box.top) / ROW)];
    return frames.find((frame) => frame.row === row && x >= frame.left && x < frame.left + frame.width)?.node ?? -1;
  };
  const show = (node: number) => {
    setCursor(node);
    const frame = frames.find((each) => each.node === node);
    if (frame) scrollTo(place.current!, frame.row);
  };
  const zoom = (node: number) => {
    flameRoot.value = node;
    setCursor(node);
    place.current!.scrollTop = 0;
  };
  return (
    <div class="flame-place" ref={place}>
      <canvas
        ref={canvas}
        tabIndex={0}
        role="application"
        aria-label="Flame graph. Arrow keys go to callers, to callees and to neighbors, Enter zooms in, Escape zooms out. The same stands below as a table."
        onPointerMove={(event) => setCursor(frameAt(event))}
        onPointerLeave={() => document.activeElement !== canvas.current && setCursor(-1)}
        onClick={(event) => frameAt(event) >= 0 && zoom(frameAt(event))}
        onFocus={() => cursor < 0 && canvas.current!.matches(":focus-visible") && setCursor(root)}
        onBlur={() => setCursor(-1)}
        onKeyDown={keys({ frames, tree, root, cursor, show, zoom })}
      />
    </div>
  );
}

function scrollTo(place: HTMLElement, row: number): void {
  const top = row * ROW;
  if (top < place.scrollTop) place.scrollTop = top;
  else if (top + ROW > place.scrollTop + place.clientHeight) place.scrollTop = top + ROW - place.clientHeight;
}

interface KeyProps {
  frames: Frame[];
  tree: Tree;
  root: number;
  cursor: number;
  show(node: number): void;
  zoom(node: number): void;
}

/** What the keys do that reach the flame graph. */
function keys({ frames, tree, root, cursor, show, zoom }: KeyProps) {
  const at = frames.find((frame) => frame.node === cursor);
  const beside = (step: 1 | -1) => {
    const row = frames.filter((frame) => frame.row === at?.row).sort((a, b) => a.left - b.left);
    return row[row.indexOf(at!) + step];
  };
  const below = () => frames.filter((frame) => frame.row > 0 && tree.caller[frame.node] === cursor).sort((a, b) => b.width - a.width)[0];
  const go = (frame: Frame | undefined) => frame && show(frame.node);
  const actions: Record<string, () => void> = {
    ArrowDown: () => go(below()),
    ArrowUp: () => cursor > 0 && show(tree.caller[cursor]!),
    ArrowLeft: () => go(beside(-1)),
    ArrowRight: () => go(beside(1)),
    Home: () => show(root),
    Enter: () => cursor >= 0 && zoom(cursor),
    " ": () => cursor >= 0 && zoom(cursor),
    Escape: () => zoom(tree.caller[root]!),
    Backspace: () => zoom(tree.caller[root]!),
  };
  return (event: KeyboardEvent) => {
    const action = actions[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    action();
  };
}

function draw(context: CanvasRenderingContext2D, frames: Frame[], width: number, props: PictureProps): void {
  const { recording, tree, cursor, root, label } = props;
  const text = needle.value;
  const faint: Color = dark.value ? [42, 46, 54] : [228, 228, 226];
  context.font = "12px system-ui, sans-serif";
  context.textBaseline = "middle";
  for (const { node, left, width: share, row } of frames) {
    const x = left * width;
    const wide = Math.max(share * width - 0.75, 0.5);
    const name = label(node);
    let color = node ? frameColor(recording.name(tree.fn[node]!)) : faint;
    const matches = text && node && name.toLowerCase().includes(text);
    if (text && !matches) color = mix(color, faint, 0.82);
    if (row < tree.depth[root]!) color = mix(color, faint, 0.5);
    context.fillStyle = css(color);
    context.fillRect(x, row * ROW, wide, ROW - 1);
    if (matches) {
      context.fillStyle = property("--accent");
      context.fillRect(x, row * ROW + ROW - 4, wide, 3);
    }
    if (node === cursor) {
      context.strokeStyle = property("--ink");
      context.lineWidth = 2;
      context.strokeRect(x + 1, row * ROW + 1, Math.max(wide - 2, 1), ROW - 3);
    }
    if (wide > 26) {
      context.fillStyle = inkOn(color);
      context.fillText(fitting(context, name, wide - 10), x + 5, row * ROW + ROW / 2);
    }
  }
}

/** A color for a function, by its package: warm ones for the program's own, cool ones for the runtime's. */
function frameColor(name: string): Color {
  const owner = name.replace(/^\(\*?/, "").split(/[.()]/, 1)[0]!;
  let hash = 2166136261;
  for (let i = 0; i < owner.length; i++) hash = Math.imul(hash ^ owner.charCodeAt(i), 16777619);
  const spread = ((hash >>> 8) & 255) / 255;
  if (owner === "runtime") return dark.value ? [88, 108, 132] : [176, 192, 212];
  const [from, to]: [Color, Color] = dark.value
    ? [[178, 76, 48], [168, 124, 44]]
    : [[244, 148, 112], [247, 206, 118]];
  return mix(from, to, spread);
}

/** As much of a name as is not wider than that; without its package, where that leaves more of it. */
function fitting(context: CanvasRenderingContext2D, name: string, width: number): string {
  if (context.measureText(name).width <= width) return name;
  const own = name.slice(name.lastIndexOf(".") + 1);
  return context.measureText(own).width <= width ? own : cut(context, own, width);
}

function cut(context: CanvasRenderingContext2D, text: string, width: number): string {
  let [low, high] = [0, Math.min(text.length, Math.ceil(width / 3))];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (context.measureText(`${text.slice(0, middle)}…`).width <= width) low = middle;
    else high = middle - 1;
  }
  return low > 1 ? `${text.slice(0, low)}…` : "";
}

/** Where one is and what one points at, in words. */
function Reading(props: { recording: Recording; tree: Tree; weighed: Weighed; node: number; label(node: number): string }) {
  const { tree, weighed, node, label } = props;
  const [own, total, all] = [weighed.own[node]!, weighed.total[node]!, weighed.total[0]!];
  return (
    <div class="flame-reading">
      <p aria-live="polite">
        <strong>{label(node)}</strong> {tree.inlined[node] ? <span class="quiet">(inlined) </span> : null}
        <span>
          {amountText(total, unit.value)}, {shareText(total, all)} of all
          {own > 0 && own < total ? `; ${amountText(own, unit.value)} itself` : ""}
        </span>
      </p>
      <nav aria-label="Callers" class="crumbs">
        {path(tree, node).slice(0, -1).map((caller) => (
          <button type="button" class="link" key={caller} onClick={() => (flameRoot.value = caller)}>
            {label(caller)}
          </button>
        ))}
      </nav>
    </div>
  );
}

function AsTable({ recording, tree, weighed, root }: { recording: Recording; tree: Tree; weighed: Weighed; root: number }) {
  const sums = useMemo(() => byFunction(tree, weighed, root), [tree, weighed, root]);
  const whole = weighed.total[root]!;
  const text = (amount: number) => `${amountText(amount, unit.value)}`;
  return (
    <DataTable
      name="flame"
      label={`Functions by what was allocated in them${root ? `, below ${recording.name(tree.fn[root]!)}` : ""}`}
      rows={sums.length}
      initialSort={1}
      columns={[
        { title: "Function", value: (row) => recording.name(sums[row]!.fn), text: true },
        { title: "Total", value: (row) => sums[row]!.total, format: text, bar: whole },
        { title: "Share", value: (row) => sums[row]!.total, format: (amount) => shareText(amount, whole) },
        { title: "Itself", value: (row) => sums[row]!.own, format: text, bar: whole },
      ]}
      onActivate={(row) => (search.value = recording.name(sums[row]!.fn))}
    />
  );
}
