/**
 * A heap at one moment, block by block: the picture, and the way through it.
 *
 * Who points at a block, by mouse or by arrow keys, is told what is there; who chooses it keeps that in sight.
 */
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { prepare, useSize } from "../canvas";
import { object as chosen, span, WHOLE, type Span } from "../choices";
import { property } from "../colors";
import { addressText, countText, shareText, sizeText } from "../format";
import { Button } from "../parts";
import { dark } from "../theme";
import type { Scheme } from "./colorings";
import { type Brought, outline, paint } from "./paint";
import { layOut, rasterize, type Grid, type Living, type Raster } from "./raster";

const HEIGHT = 460;
const CLOSEST_BLOCKS = 64;

interface Props {
  objects: Living;
  /** The moment that is shown. */
  time: number;
  /** How many blocks the heap has at its largest, and at that moment. */
  blocks: number;
  heapBlocks: number;
  blockBytes: number;
  startAddress: number;
  colors: Scheme;
  /** Which objects are brought out, and what that depends on. */
  brought: Brought;
  broughtKey: unknown;
  /** Whether the object that was chosen is there at that moment. */
  isChosenThere: boolean;
  choices: ComponentChildren;
  legend: ComponentChildren;
  /** What the cursor is on: for all, and in short for those who listen. */
  said(raster: Raster, cursor: number): ComponentChildren;
  inShort(raster: Raster, cursor: number): string;
}

export function BlockMap(props: Props) {
  const { objects, time, blocks, heapBlocks, blockBytes, startAddress, colors } = props;
  const [place, size] = useSize<HTMLDivElement>();
  const [cursor, setCursor] = useState(-1);
  const shown = clampSpan(span.value, blocks);
  const grid = useMemo(() => layOut(shown, Math.max(size.width, 64), HEIGHT), [shown.first, shown.count, size.width]);
  const raster = useMemo(() => rasterize(objects, time, grid, colors), [objects, time, grid, colors]);
  const block = cursor < 0 ? -1 : shown.first + cursor * grid.blocksPerCell;
  const zoom = (factor: number, around = block) => (span.value = zoomed(shown, factor, around, blocks));
  const choose = (cell: number) => {
    if (grid.blocksPerCell > 1) zoom(1 / 8, shown.first + cell * grid.blocksPerCell);
    else chosen.value = raster.owner[cell] === chosen.value ? -1 : raster.owner[cell]!;
  };
  const keys = mapKeys({ grid, cursor, setCursor, choose, zoom, shown, blocks });
  const taken = raster.taken.reduce((sum, each) => sum + each, 0);
  return (
    <div class="map">
      <div class="toolbar">
        {props.choices}
        <div class="row zoom">
          <Button label="Zoom in" onClick={() => zoom(1 / 2)}>+</Button>
          <Button label="Zoom out" onClick={() => zoom(2)}>−</Button>
          <Button label="Whole heap" onClick={() => (span.value = WHOLE)} disabled={!span.value.count} />
        </div>
      </div>
      <div class="map-body">
        <div>
          <div class="map-place" ref={place} data-columns={grid.columns} data-rows={grid.rows} style={{ height: `${grid.rows * grid.cellHeight}px` }}>
            <Picture raster={raster} paintKey={[raster, dark.value, props.broughtKey, heapBlocks]} draw={(context) =>
              paint(context, raster, colors, heapBlocks, props.brought)} />
            <Pointer
              grid={grid}
              cursor={cursor}
              setCursor={setCursor}
              choose={choose}
              zoom={zoom}
              pan={(by) => (span.value = clampSpan({ first: shown.first + by, count: shown.count }, blocks))}
              keys={keys}
              chosen={props.isChosenThere ? [objects.first[chosen.value]!, objects.end[chosen.value]!] : null}
            />
          </div>
          {shown.count < blocks && (
            <div class="where" aria-hidden="true">
              <i style={{ left: `${(100 * shown.first) / blocks}%`, width: `${(100 * shown.count) / blocks}%` }} />
            </div>
          )}
          <p class="map-scale">
            <code>{addressText(startAddress + shown.first * blockBytes)}</code>
            <span>
              {grid.blocksPerCell === 1 ? "one cell per block of " : `${countText(grid.blocksPerCell)} blocks per cell: `}
              {sizeText(grid.blocksPerCell * blockBytes)}; {countText(raster.objects)} objects,{" "}
              {shareText(taken, Math.min(shown.count, Math.max(heapBlocks - shown.first, 0)))} taken
            </span>
            <code>{addressText(startAddress + (shown.first + shown.count) * blockBytes)}</code>
          </p>
          {props.legend}
        </div>
        <output class="visually-hidden">{props.inShort(raster, cursor)}</output>
        <aside class="details" aria-label="What lies there">{props.said(raster, cursor)}</aside>
      </div>
    </div>
  );
}

function clampSpan({ first, count }: Span, whole: number): Span {
  const blocks = count ? Math.min(count, whole) : whole;
  return { first: Math.max(0, Math.min(first, whole - blocks)), count: blocks };
}

function zoomed(shown: Span, factor: number, around: number, whole: number): Span {
  const middle = around < 0 ? shown.first + shown.count / 2 : around;
  const least = Math.min(CLOSEST_BLOCKS, whole);
  const count = Math.round(Math.min(Math.max(shown.count * factor, least), whole));
  if (count === whole) return WHOLE;
  const share = (middle - shown.first) / shown.count;
  return clampSpan({ first: Math.round(middle - share * count), count }, whole);
}

function Picture(props: { raster: Raster; paintKey: unknown[]; draw: (context: CanvasRenderingContext2D) => void }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const { grid } = props.raster;
  useLayoutEffect(() => {
    props.draw(prepare(canvas.current!, { width: grid.columns * grid.cellWidth, height: grid.rows * grid.cellHeight }));
  }, props.paintKey);
  return <canvas ref={canvas} aria-hidden="true" />;
}

interface PointerProps {
  grid: Grid;
  cursor: number;
  setCursor(cell: number): void;
  choose(cell: number): void;
  zoom(factor: number, around?: number): void;
  pan(blocks: number): void;
  keys(event: KeyboardEvent): void;
  chosen: [number, number] | null;
}

/** The layer over the picture that takes the mouse and the keys, and frames what they point at. */
function Pointer(props: PointerProps) {
  const { grid, cursor } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  const drag = useRef<{ y: number; moved: boolean } | null>(null);
  const { span, blocksPerCell } = grid;
  useLayoutEffect(() => {
    const context = prepare(canvas.current!, { width: grid.columns * grid.cellWidth, height: grid.rows * grid.cellHeight });
    if (props.chosen) outline(context, grid, props.chosen[0], props.chosen[1], property("--accent"));
    const block = span.first + cursor * blocksPerCell;
    if (cursor >= 0) outline(context, grid, block, block + blocksPerCell, property("--ink"));
  }, [grid, cursor, props.chosen?.[0], props.chosen?.[1], dark.value]);

  const cellAt = (event: MouseEvent) => {
    const box = canvas.current!.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / grid.cellWidth);
    const row = Math.floor((event.clientY - box.top) / grid.cellHeight);
    const cell = row * grid.columns + column;
    const inside = column >= 0 && column < grid.columns && row >= 0 && cell * blocksPerCell < span.count;
    return inside ? cell : -1;
  };
  const move = (event: PointerEvent) => {
    const dragged = drag.current && Math.round((drag.current.y - event.clientY) / grid.cellHeight);
    if (drag.current && dragged) {
      drag.current = { y: event.clientY, moved: true };
      props.pan(dragged * grid.columns * blocksPerCell);
    }
    props.setCursor(cellAt(event));
  };
  const release = (event: PointerEvent) => {
    const cell = cellAt(event);
    if (drag.current && !drag.current.moved && cell >= 0 && blocksPerCell === 1) props.choose(cell);
    drag.current = null;
  };
  const wheel = (event: WheelEvent) => {
    // A wheel alone scrolls the page.
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const cell = cellAt(event);
    props.zoom(2 ** (event.deltaY / 200), cell < 0 ? -1 : span.first + cell * blocksPerCell);
  };
  return (
    <canvas
      ref={canvas}
      class="pointer"
      tabIndex={0}
      role="application"
      aria-label="Heap map. Arrow keys move from block to block, Enter chooses or looks closer, plus and minus zoom, Escape goes back."
      onPointerDown={(event) => (drag.current = { y: event.clientY, moved: false })}
      onPointerMove={move}
      onPointerUp={release}
      onPointerLeave={() => { drag.current = null; if (document.activeElement !== canvas.current) props.setCursor(-1); }}
      onDblClick={(event) => blocksPerCell > 1 && cellAt(event) >= 0 && props.choose(cellAt(event))}
      onWheel={wheel}
      onKeyDown={props.keys}
      onFocus={() => cursor < 0 && canvas.current!.matches(":focus-visible") && props.setCursor(0)}
      onBlur={() => props.setCursor(-1)}
    />
  );
}

interface KeyProps {
  grid: Grid;
  cursor: number;
  setCursor(cell: number): void;
  choose(cell: number): void;
  zoom(factor: number): void;
  shown: Span;
  blocks: number;
}

/** What the keys do that reach the map. */
function mapKeys({ grid, cursor, setCursor, choose, zoom, shown, blocks }: KeyProps) {
  const last = Math.ceil(grid.span.count / grid.blocksPerCell) - 1;
  const go = (cell: number) => {
    const rows = Math.trunc((cell < 0 ? cell - grid.columns + 1 : Math.max(cell - last + grid.columns - 1, 0)) / grid.columns);
    const moved = clampSpan({ first: shown.first + rows * grid.columns * grid.blocksPerCell, count: shown.count }, blocks);
    if (rows && moved.first !== shown.first) span.value = moved;
    setCursor(Math.min(Math.max(cell - rows * grid.columns, 0), last));
  };
  const actions: Record<string, () => void> = {
    ArrowLeft: () => go(cursor - 1),
    ArrowRight: () => go(cursor + 1),
    ArrowUp: () => go(cursor - grid.columns),
    ArrowDown: () => go(cursor + grid.columns),
    Home: () => setCursor(0),
    End: () => setCursor(last),
    Enter: () => cursor >= 0 && choose(cursor),
    " ": () => cursor >= 0 && choose(cursor),
    "+": () => zoom(1 / 2),
    "=": () => zoom(1 / 2),
    "-": () => zoom(2),
    Escape: () => (chosen.value >= 0 ? (chosen.value = -1) : (span.value = WHOLE)),
  };
  return (event: KeyboardEvent) => {
    const action = actions[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    action();
  };
}
