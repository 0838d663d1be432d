/**
 * The heap at one moment as a grid of cells, row by row from low addresses to high ones.
 *
 * A cell is one block where there is room for it, and else several blocks.  Cells of one block know their object;
 * cells of several know how many of their blocks are taken, and whose color prevails.
 */
import type { Span } from "../choices";
import type { Objects } from "../recording";

export interface Grid {
  span: Span;
  columns: number;
  rows: number;
  blocksPerCell: number;
  /** The size of a cell, in CSS pixels; rows fill the width, so that its width may be a fraction. */
  cellWidth: number;
  cellHeight: number;
}

const LARGEST_CELL = 20;
const SMALLEST_CELL = 4;

/** A grid for these blocks that fills the width and does not exceed the height. */
export function layOut(span: Span, width: number, height: number): Grid {
  for (let cell = LARGEST_CELL; cell >= SMALLEST_CELL; cell--) {
    const columns = roundColumns(Math.floor(width / cell));
    if (columns * Math.floor(height / cell) >= span.count) return grid(span, columns, 1, cell, width);
  }
  const columns = roundColumns(Math.floor(width / SMALLEST_CELL));
  const blocksPerCell = Math.ceil(span.count / (columns * Math.floor(height / SMALLEST_CELL)));
  return grid(span, columns, blocksPerCell, SMALLEST_CELL, width);
}

function grid(span: Span, columns: number, blocksPerCell: number, cellHeight: number, width: number): Grid {
  const rows = Math.ceil(span.count / blocksPerCell / columns);
  return { span, columns, rows, blocksPerCell, cellHeight, cellWidth: width / columns };
}

/** Rows that begin at round addresses. */
function roundColumns(columns: number): number {
  return columns >= 32 ? columns - (columns % 16) : Math.max(columns, 1);
}

export interface Raster {
  grid: Grid;
  /** Blocks in each cell that are taken. */
  taken: Uint32Array;
  /** In each cell of one block the object that is there, and in others the last one that was found there; -1 for none. */
  owner: Int32Array;
  /** Objects that lie, with a part at least, in the blocks of the grid. */
  objects: number;
  /** Sums of what `weigh` said of the objects, one value per block. */
  value: Float32Array;
  /** For colors without an order: blocks by cell and kind. */
  kinds: Uint32Array | null;
}

/** What an object's color stands for. */
export interface Weighing {
  /** Kinds without an order; 0 where colors come from a scale instead. */
  kinds: number;
  /** The kind of an object, or its place on a scale from 0 to 1. */
  weigh(object: number): number;
}

/** What is needed of objects to find those that live at a moment, and where they lie. */
export type Living = Pick<Objects, "first" | "end" | "deathCollection" | "deaths" | "bornUntil">;

/** All objects that live at a moment, in their cells. */
export function rasterize(objects: Living, time: number, grid: Grid, weighing: Weighing): Raster {
  const { span, blocksPerCell } = grid;
  const cells = grid.columns * grid.rows;
  const raster: Raster = {
    grid,
    taken: new Uint32Array(cells),
    owner: new Int32Array(cells).fill(-1),
    objects: 0,
    value: new Float32Array(weighing.kinds ? 0 : cells),
    kinds: weighing.kinds ? new Uint32Array(cells * weighing.kinds) : null,
  };
  const { first, end, deathCollection, deaths } = objects;
  const spanEnd = span.first + span.count;
  for (let object = objects.bornUntil(time) - 1; object >= 0; object--) {
    if (deaths[deathCollection[object]!]! <= time) continue;
    let block = Math.max(first[object]!, span.first);
    const last = Math.min(end[object]!, spanEnd);
    if (block >= last) continue;
    raster.objects++;
    const weight = weighing.weigh(object);
    while (block < last) {
      const cell = Math.floor((block - span.first) / blocksPerCell);
      const next = Math.min(last, span.first + (cell + 1) * blocksPerCell);
      raster.taken[cell]! += next - block;
      raster.owner[cell] = object;
      if (raster.kinds) raster.kinds[cell * weighing.kinds + weight]! += next - block;
      else raster.value[cell]! += weight * (next - block);
      block = next;
    }
  }
  return raster;
}

/** The kind that has most blocks of a cell. */
export function prevailing(kinds: Uint32Array, count: number, cell: number): number {
  let best = 0;
  for (let kind = 1; kind < count; kind++) {
    if (kinds[cell * count + kind]! > kinds[cell * count + best]!) best = kind;
  }
  return best;
}

/** What lies at a block: an object or the free run between two of them; -1 stands for no object. */
export interface Place {
  object: number;
  before: number;
  after: number;
}

/** The object at a block, and the nearest objects on both sides. */
export function lookAt(objects: Living, time: number, block: number): Place {
  const place: Place = { object: -1, before: -1, after: -1 };
  const { first, end, deathCollection, deaths } = objects;
  for (let object = objects.bornUntil(time) - 1; object >= 0; object--) {
    if (deaths[deathCollection[object]!]! <= time || end[object] === 0) continue;
    if (end[object]! <= block) {
      if (place.before < 0 || first[object]! > first[place.before]!) place.before = object;
    } else if (first[object]! > block) {
      if (place.after < 0 || first[object]! < first[place.after]!) place.after = object;
    } else if (place.object < 0) {
      place.object = object;
    }
  }
  return place;
}

/** Whether an object lives at a moment. */
export function lives(objects: Objects, object: number, time: number): boolean {
  return object >= 0 && object < objects.count && objects.birth(object) <= time && objects.death(object) > time;
}
