/** Draws a raster of the heap, and over it what is pointed at. */
import { type Color, css, mix, property } from "../colors";
import { prevailing, type Grid, type Raster } from "./raster";
import type { Scheme } from "./colorings";

interface Surface {
  free: Color;
  /** Where the heap has not grown to yet: hatched, so that it differs from free blocks for every eye. */
  beyond: CanvasPattern;
}

function surface(context: CanvasRenderingContext2D): Surface {
  return { free: parse(property("--map-free")), beyond: hatching(context) };
}

/** From line to line, in pixels. */
const HATCH = 10;

function hatching(context: CanvasRenderingContext2D): CanvasPattern {
  const tile = new OffscreenCanvas(HATCH, HATCH);
  const lines = tile.getContext("2d")!;
  lines.fillStyle = property("--map-beyond");
  lines.fillRect(0, 0, HATCH, HATCH);
  lines.strokeStyle = property("--map-hatch");
  lines.beginPath();
  // The corners belong to the lines of the tiles beside it.
  for (const shift of [-HATCH, 0, HATCH]) {
    lines.moveTo(shift - 1, HATCH + 1);
    lines.lineTo(shift + HATCH + 1, -1);
  }
  lines.stroke();
  return context.createPattern(tile, "repeat")!;
}

/** Hatches the cells behind the heap's end. */
function hatch(context: CanvasRenderingContext2D, grid: Grid, heapBlocks: number, pattern: CanvasPattern): void {
  const { columns, rows, cellHeight, span, blocksPerCell } = grid;
  const cells = Math.ceil(span.count / blocksPerCell);
  const end = Math.max(Math.ceil((heapBlocks - span.first) / blocksPerCell), 0);
  context.fillStyle = pattern;
  for (let row = Math.floor(end / columns); row < rows; row++) {
    const [from, to] = [Math.max(end - row * columns, 0), Math.min(cells - row * columns, columns)];
    if (from < to) context.fillRect(left(grid, from), row * cellHeight, left(grid, to) - left(grid, from), cellHeight);
  }
}

function parse(hex: string): Color {
  const value = Number.parseInt(hex.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

/** A test of which objects are brought out; the others are drawn faint. */
export type Brought = ((object: number) => boolean) | null;

export function paint(context: CanvasRenderingContext2D, raster: Raster, scheme: Scheme, heapBlocks: number, brought: Brought): void {
  const colors = surface(context);
  hatch(context, raster.grid, heapBlocks, colors.beyond);
  if (raster.grid.blocksPerCell === 1) paintBlocks(context, raster, scheme, heapBlocks, brought, colors);
  else paintCells(context, raster, scheme, heapBlocks, colors);
}

/** One cell per block: an object is a bar, which may go on in the next row; a gap stands between objects. */
function paintBlocks(
  context: CanvasRenderingContext2D, { grid, owner }: Raster, scheme: Scheme, heapBlocks: number, brought: Brought, colors: Surface,
): void {
  const { columns, rows, cellHeight, span } = grid;
  const gap = cellHeight >= 6 ? 1 : 0.5;
  const bar = (from: number, to: number, row: number, space: number) => {
    const x = left(grid, from);
    context.fillRect(x, row * cellHeight, left(grid, to) - x - space, cellHeight - gap);
  };
  context.fillStyle = css(colors.free);
  for (let row = 0; row < rows; row++) {
    const blocks = Math.min(columns, heapBlocks - span.first - row * columns, span.count - row * columns);
    if (blocks > 0) bar(0, blocks, row, gap);
  }
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; ) {
      const object = owner[row * columns + column]!;
      const from = column++;
      if (object < 0) continue;
      while (column < columns && owner[row * columns + column] === object) column++;
      const goesOn = column === columns && owner[(row + 1) * columns] === object;
      const color = scheme.color(scheme.weigh(object));
      context.fillStyle = css(brought && !brought(object) ? mix(colors.free, color, 0.16) : color);
      bar(from, column, row, goesOn ? 0 : gap);
    }
  }
}

/** Where a column begins, on a whole pixel. */
function left(grid: Grid, column: number): number {
  return Math.round(column * grid.cellWidth);
}

/** Several blocks per cell: its color is that which prevails, the fainter the more of it is free. */
function paintCells(context: CanvasRenderingContext2D, raster: Raster, scheme: Scheme, heapBlocks: number, colors: Surface): void {
  const { grid, taken, value, kinds } = raster;
  const image = new ImageData(grid.columns, grid.rows);
  const pixels = new Uint32Array(image.data.buffer);
  const scale = kinds ? null : Array.from({ length: 256 }, (_, i) => scheme.color(i / 255));
  for (let cell = 0; cell < taken.length; cell++) {
    const block = grid.span.first + cell * grid.blocksPerCell;
    // What is left out of the image lets the hatching be seen.
    if (block >= grid.span.first + grid.span.count || (!taken[cell] && block >= heapBlocks)) continue;
    let color = colors.free;
    if (taken[cell]) {
      const prevails = scale
        ? scale[Math.round((255 * value[cell]!) / taken[cell]!)]!
        : scheme.color(prevailing(kinds!, scheme.kinds, cell));
      color = mix(colors.free, prevails, 0.2 + (0.8 * taken[cell]!) / grid.blocksPerCell);
    }
    pixels[cell] = 0xff000000 | (color[2] << 16) | (color[1] << 8) | color[0];
  }
  const small = new OffscreenCanvas(grid.columns, grid.rows);
  small.getContext("2d")!.putImageData(image, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, grid.columns * grid.cellWidth, grid.rows * grid.cellHeight);
}

/** Frames around the cells of an object, or around one cell. */
export function outline(context: CanvasRenderingContext2D, grid: Grid, firstBlock: number, endBlock: number, color: string): void {
  const { span, columns, cellHeight, blocksPerCell } = grid;
  const from = Math.max(Math.floor((firstBlock - span.first) / blocksPerCell), 0);
  const to = Math.min(Math.ceil((endBlock - span.first) / blocksPerCell), columns * grid.rows);
  context.lineWidth = 2;
  for (let at = from; at < to; ) {
    const row = Math.floor(at / columns);
    const until = Math.min(to, (row + 1) * columns);
    const x = left(grid, at - row * columns);
    const width = left(grid, until - row * columns) - x;
    context.strokeStyle = property("--surface");
    context.strokeRect(x - 2, row * cellHeight - 2, width + 3, cellHeight + 3);
    context.strokeStyle = color;
    context.strokeRect(x - 1, row * cellHeight - 1, width + 1, cellHeight + 1);
    at = until;
  }
}
