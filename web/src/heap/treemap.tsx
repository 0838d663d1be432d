/**
 * The dominator tree as a treemap: each object a rectangle as large as what it retains, inside of its dominator's.
 *
 * Rectangles are laid out in rows of which each is as near to squares as it can be (Bruls, Huizing and van Wijk's "squarified
 * treemaps").
 */
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { prepare, useSize } from "../canvas";
import { css, inkOn, property } from "../colors";
import { sizeText } from "../format";
import { Button } from "../parts";
import { dark } from "../theme";
import { groupColors } from "./colors";
import type { Graph } from "./heap";
import { ObjectLink } from "./object";
import { ALL_ROOTS } from "./schema";
import { inside, show } from "./state";

const HEIGHT = 340;
/** What is smaller is not taken apart, in square pixels. */
const SMALLEST = 40;
const PADDING = 2;
const TITLE = 15;
/** A rectangle with a title is at least so high and so wide. */
const TITLED = [34, 60] as const;

interface Box {
  object: number;
  depth: number;
  x: number;
  y: number;
  width: number;
  height: number;
  hasInside: boolean;
}

export function Treemap({ graph }: { graph: Graph }) {
  const [place, { width }] = useSize<HTMLDivElement>();
  const canvas = useRef<HTMLCanvasElement>(null);
  const [pointed, setPointed] = useState(-1);
  const root = inside.value >= 0 && inside.value < graph.count ? inside.value : ALL_ROOTS;
  const boxes = useMemo(() => layOut(graph, root, width), [graph, root, width]);
  const colors = useMemo(() => groupColors(graph.heap), [graph]);
  useLayoutEffect(() => {
    if (width) draw(prepare(canvas.current!, { width, height: HEIGHT }), graph, boxes, (object) => colors(graph.objects.group[object]!));
  }, [boxes, colors, dark.value]);
  const at = (event: MouseEvent) => {
    const { left, top } = canvas.current!.getBoundingClientRect();
    const [x, y] = [event.clientX - left, event.clientY - top];
    // What is inside of a box stands behind it.
    return boxes.findLastIndex((box) => x >= box.x && x < box.x + box.width && y >= box.y && y < box.y + box.height);
  };
  const choose = (box: Box | undefined) => {
    if (box?.hasInside) inside.value = box.object;
    else if (box) show(box.object);
  };
  const told = boxes[pointed]?.object;
  return (
    <figure class="treemap">
      <div class="toolbar">
        <Button label="Everything" onClick={() => (inside.value = -1)} disabled={root === ALL_ROOTS} />
        {root !== ALL_ROOTS && <span>inside of <ObjectLink graph={graph} object={root} />, {sizeText(graph.retained(root))}</span>}
        <span class="quiet">A click goes into an object; where there is nothing inside, it shows the object. What is too small to be seen is left out.</span>
      </div>
      <div ref={place} style={{ height: `${HEIGHT}px` }}>
        <canvas
          ref={canvas}
          role="img"
          aria-label="Treemap of what objects retain; the tree below has the same"
          onPointerMove={(event) => setPointed(at(event))}
          onPointerLeave={() => setPointed(-1)}
          onClick={(event) => choose(boxes[at(event)])}
        />
      </div>
      <figcaption>{told === undefined ? "\u00a0" : `${graph.name(told)}: ${sizeText(graph.retained(told))}, itself ${sizeText(graph.size(told))}`}</figcaption>
    </figure>
  );
}

function layOut(graph: Graph, root: number, width: number): Box[] {
  const boxes: Box[] = [];
  const waiting: { dominator: number; depth: number; x: number; y: number; width: number; height: number }[] = [
    { dominator: root, depth: 0, x: 0, y: 0, width, height: HEIGHT },
  ];
  for (let area = waiting.pop(); area; area = waiting.pop()) {
    // An object's own bytes have their share of its rectangle, which stays empty.
    const scale = (area.width * area.height) / (graph.retained(area.dominator) || 1);
    for (const box of squarified(graph, area, scale)) {
      const inner = { x: box.x + PADDING, y: box.y + PADDING, width: box.width - 2 * PADDING, height: box.height - 2 * PADDING };
      if (isTitled(box)) [inner.y, inner.height] = [inner.y + TITLE, inner.height - TITLE];
      box.hasInside = inner.width > 2 && inner.height > 2 && box.width * box.height > 4 * SMALLEST && graph.below(box.object).length > 0;
      boxes.push(box);
      if (box.hasInside) waiting.push({ dominator: box.object, depth: box.depth + 1, ...inner });
    }
  }
  return boxes;
}

function isTitled({ width, height }: { width: number; height: number }): boolean {
  return height >= TITLED[0] && width >= TITLED[1];
}

/** Rectangles for the objects below one, those large enough to be seen. */
function* squarified(graph: Graph, area: Omit<Box, "object" | "hasInside"> & { dominator: number }, scale: number): Generator<Box> {
  let { x, y, width, height } = area;
  const objects = graph.below(area.dominator);
  const sizeOf = (at: number) => graph.objects.retained_bytes[objects[at]!]! * scale;
  for (let from = 0; from < objects.length && sizeOf(from) >= SMALLEST; ) {
    const side = Math.min(width, height);
    let [to, sum, worst] = [from, 0, Infinity];
    for (; to < objects.length && sizeOf(to) >= SMALLEST; to++) {
      const next = sum + sizeOf(to);
      const ratio = Math.max((side * side * sizeOf(from)) / (next * next), (next * next) / (side * side * sizeOf(to)));
      if (ratio > worst) break;
      [sum, worst] = [next, ratio];
    }
    const thick = sum / side;
    for (let at = from, along = 0; at < to; at++) {
      const long = sizeOf(at) / thick;
      const box = width >= height ? { x, y: y + along, width: thick, height: long } : { x: x + along, y, width: long, height: thick };
      yield { object: objects[at]!, depth: area.depth, hasInside: false, ...box };
      along += long;
    }
    if (width >= height) [x, width] = [x + thick, width - thick];
    else [y, height] = [y + thick, height - thick];
    from = to;
  }
}

function draw(context: CanvasRenderingContext2D, graph: Graph, boxes: Box[], color: (object: number) => readonly [number, number, number]): void {
  context.font = `12px ${property("--sans")}`;
  context.textBaseline = "top";
  for (const box of boxes) {
    const fill = color(box.object);
    context.fillStyle = css(fill);
    context.fillRect(box.x + 0.5, box.y + 0.5, Math.max(box.width - 1, 0.5), Math.max(box.height - 1, 0.5));
    context.strokeStyle = property("--surface");
    context.strokeRect(box.x, box.y, box.width, box.height);
    if (!isTitled(box)) continue;
    context.save();
    context.beginPath();
    context.rect(box.x, box.y, box.width - 3, box.height);
    context.clip();
    context.fillStyle = inkOn(fill);
    context.fillText(graph.group(box.object), box.x + 4, box.y + 3);
    if (!box.hasInside) context.fillText(sizeText(graph.retained(box.object)), box.x + 4, box.y + 18);
    context.restore();
  }
}
