/**
 * The heap map: a moment of the heap, block by block.
 *
 * Who points at a block, by mouse or by arrow keys, is told what is there; who chooses it keeps that in sight.
 */
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { prepare, useSize } from "../canvas";
import { property } from "../colors";
import { addressText, countText, shareText, sizeText } from "../format";
import { Button, Choice } from "../parts";
import type { Objects, Recording } from "../recording";
import { coloring, highlighted, object as chosen, span, time, WHOLE, type Span } from "../state";
import { dark } from "../theme";
import { type Legend, scheme } from "./colorings";
import { CellDetails, Details, FreeDetails } from "./details";
import { type Extent, extent } from "./extent";
import { blocksOf, outline, paint } from "./paint";
import { layOut, lives, rasterize, type Grid, type Raster } from "./raster";

const COLORINGS = [
  ["age", "Age"],
  ["size", "Size"],
  ["site", "Function"],
  ["fate", "Fate"],
] as const;
const HEIGHT = 460;
const CLOSEST_BLOCKS = 64;

export function HeapMap({ recording, objects }: { recording: Recording; objects: Objects }) {
  const whole = useMemo(() => extent(recording, objects), [objects]);
  const [place, size] = useSize<HTMLDivElement>();
  const [cursor, setCursor] = useState(-1);
  const shown = clampSpan(span.value, whole);
  const { grid, raster, colors } = useRaster(recording, objects, shown, size.width);
  const heapBlocks = whole.blocksAt(time.value);
  const block = cursor < 0 ? -1 : shown.first + cursor * grid.blocksPerCell;
  const zoom = (factor: number, around = block) => (span.value = zoomed(shown, factor, around, whole));

  const choose = (cell: number) => {
    if (grid.blocksPerCell > 1) zoom(1 / 8, shown.first + cell * grid.blocksPerCell);
    else chosen.value = raster.owner[cell] === chosen.value ? -1 : raster.owner[cell]!;
  };
  const keys = mapKeys({ grid, cursor, setCursor, choose, zoom, shown, whole });

  return (
    <div class="map">
      <div class="toolbar">
        <Choice label="Color by" value={coloring} options={COLORINGS} />
        <div class="row zoom">
          <Button label="Zoom in" onClick={() => zoom(1 / 2)}>+</Button>
          <Button label="Zoom out" onClick={() => zoom(2)}>−</Button>
          <Button label="Whole heap" onClick={() => (span.value = WHOLE)} disabled={!span.value.count} />
        </div>
      </div>
      <div class="map-body">
        <div>
          <div class="map-place" ref={place} data-columns={grid.columns} data-rows={grid.rows} style={{ height: `${grid.rows * grid.cellHeight}px` }}>
            <Picture raster={raster} paintKey={[raster, dark.value, highlighted.value, heapBlocks]} draw={(context) =>
              paint(context, raster, colors, heapBlocks, highlighted.value < 0 ? null : (at) => objects.siteOf(at) === highlighted.value)} />
            <Pointer
              grid={grid}
              cursor={cursor}
              setCursor={setCursor}
              choose={choose}
              zoom={zoom}
              pan={(blocks) => (span.value = clampSpan({ first: shown.first + blocks, count: shown.count }, whole))}
              keys={keys}
              chosen={lives(objects, chosen.value, time.value) ? blocksOf(objects, chosen.value) : null}
            />
          </div>
          {shown.count < whole.blocks && (
            <div class="where" aria-hidden="true">
              <i style={{ left: `${(100 * shown.first) / whole.blocks}%`, width: `${(100 * shown.count) / whole.blocks}%` }} />
            </div>
          )}
          <p class="map-scale">
            <code>{addressText(recording.summary.run.heap_start_address + shown.first * recording.summary.run.block_bytes)}</code>
            <span>
              {grid.blocksPerCell === 1 ? "one cell per block of " : `${countText(grid.blocksPerCell)} blocks per cell: `}
              {sizeText(grid.blocksPerCell * recording.summary.run.block_bytes)}; {countText(raster.objects)} objects,{" "}
              {shareText(raster.taken.reduce((sum, taken) => sum + taken, 0), Math.min(shown.count, Math.max(heapBlocks - shown.first, 0)))} taken
            </span>
            <code>{addressText(recording.summary.run.heap_start_address + (shown.first + shown.count) * recording.summary.run.block_bytes)}</code>
          </p>
          <LegendRow legend={colors.legend} />
        </div>
        <output class="visually-hidden">{inShort({ recording, objects, raster, cursor })}</output>
        <aside class="details" aria-label="What lies there">
          <Said recording={recording} objects={objects} raster={raster} cursor={cursor} heapBlocks={heapBlocks} />
        </aside>
      </div>
    </div>
  );
}

function useRaster(recording: Recording, objects: Objects, shown: Span, width: number) {
  const now = time.value;
  const grid = useMemo(() => layOut(shown, Math.max(width, 64), HEIGHT), [shown.first, shown.count, width]);
  const colors = useMemo(
    () => scheme(coloring.value, recording, objects, now),
    [objects, coloring.value, dark.value, coloring.value === "age" || coloring.value === "fate" ? now : 0],
  );
  const raster = useMemo(() => rasterize(objects, now, grid, colors), [objects, now, grid, colors]);
  return { grid, raster, colors };
}

function clampSpan({ first, count }: Span, whole: Extent): Span {
  const blocks = count ? Math.min(count, whole.blocks) : whole.blocks;
  return { first: Math.max(0, Math.min(first, whole.blocks - blocks)), count: blocks };
}

function zoomed(shown: Span, factor: number, around: number, whole: Extent): Span {
  const middle = around < 0 ? shown.first + shown.count / 2 : around;
  const least = Math.min(CLOSEST_BLOCKS, whole.blocks);
  const count = Math.round(Math.min(Math.max(shown.count * factor, least), whole.blocks));
  if (count === whole.blocks) return WHOLE;
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
  whole: Extent;
}

/** What the keys do that reach the map. */
function mapKeys({ grid, cursor, setCursor, choose, zoom, shown, whole }: KeyProps) {
  const last = Math.ceil(grid.span.count / grid.blocksPerCell) - 1;
  const go = (cell: number) => {
    const rows = Math.trunc((cell < 0 ? cell - grid.columns + 1 : Math.max(cell - last + grid.columns - 1, 0)) / grid.columns);
    const moved = clampSpan({ first: shown.first + rows * grid.columns * grid.blocksPerCell, count: shown.count }, whole);
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

/** What the cursor is on, for those who listen. */
function inShort(props: { recording: Recording; objects: Objects; raster: Raster; cursor: number }): string {
  const { recording, objects, raster, cursor } = props;
  const { blocksPerCell } = raster.grid;
  if (cursor < 0 || cursor >= raster.owner.length) return "";
  if (blocksPerCell > 1) return `${countText(raster.taken[cursor]!)} of ${countText(blocksPerCell)} blocks taken`;
  const owner = raster.owner[cursor]!;
  if (owner < 0) return "free";
  return `object ${countText(objects.id[owner]!)}, ${sizeText(objects.size[owner]!)}, ${recording.name(objects.siteOf(owner))}`;
}

function Said(props: { recording: Recording; objects: Objects; raster: Raster; cursor: number; heapBlocks: number }) {
  const { recording, objects, raster, cursor, heapBlocks } = props;
  const common = { recording, objects };
  if (lives(objects, chosen.value, time.value)) return <Details {...common} object={chosen.value} />;
  const { grid } = raster;
  if (cursor < 0 || cursor >= raster.owner.length) {
    return (
      <p class="quiet">
        Point at a block, or go to the map with Tab and move with the arrow keys. A click or Enter keeps an object here.
        {chosen.value >= 0 && " The object that was chosen does not live at this moment."}
      </p>
    );
  }
  if (grid.blocksPerCell > 1) return <CellDetails {...common} raster={raster} cell={cursor} />;
  const owner = raster.owner[cursor]!;
  if (owner >= 0) return <Details {...common} object={owner} />;
  return <FreeDetails {...common} block={grid.span.first + cursor} heapBlocks={heapBlocks} />;
}

function LegendRow({ legend }: { legend: Legend }) {
  if ("scale" in legend) {
    return (
      <div class="legend scale">
        <div>
          <div class="ramp" style={{ background: legend.scale }} />
          <div class="words">{legend.words.map((word) => <span key={word}>{word}</span>)}</div>
        </div>
        <Nothing />
      </div>
    );
  }
  return (
    <ul class="legend">
      {legend.entries.map((entry) => (
        <li key={entry.text}>
          <span class="swatch" style={{ background: entry.color }} />
          {entry.fn === undefined ? entry.text : <FunctionButton fn={entry.fn} text={entry.text} />}
        </li>
      ))}
      <li><Nothing /></li>
    </ul>
  );
}

/** The colors of what is not an object. */
function Nothing() {
  return (
    <span class="nothing">
      <span class="swatch free" /> free <span class="swatch beyond" /> not grown yet
    </span>
  );
}

function FunctionButton({ fn, text }: { fn: number; text: string }) {
  const on = highlighted.value === fn;
  return (
    <button type="button" class="link" aria-pressed={on} title="Bring out the objects of this function" onClick={() => (highlighted.value = on ? -1 : fn)}>
      {text}
    </button>
  );
}
