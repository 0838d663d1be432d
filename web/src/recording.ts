/**
 * The run as the page holds it: a summary that is there at once, and the objects, which follow.
 *
 * What there is of it says `schema`.  Times are nanoseconds since the run's beginning, sizes bytes.  A *stack* is a
 * number; its parent is the stack without the innermost frame, and 0 is the empty stack.
 */
import { type Column, type Container, read } from "./container";
import { COLUMNS, type ObjectColumn, type ObjectsHead, type Summary, type Unit, type What } from "./schema";

/** A table of the page: equally long columns by name. */
export type Table<Name extends keyof typeof COLUMNS> = Readonly<Record<(typeof COLUMNS)[Name][number], Column>> & { readonly rows: number };

export class Recording {
  readonly summary: Summary;
  /** Moments of the run; NaN stands for what is not known of one. */
  readonly points: Table<"point">;
  readonly collections: Table<"collection">;
  readonly growths: Table<"growth">;
  /** How large linear memory is from each time on; no rows where that is not known. */
  readonly memory: Table<"memory">;
  readonly functions: Table<"function">;
  readonly sites: Table<"site">;
  /** Source lines that allocate, as far as they are known. */
  readonly lines: Table<"line">;
  readonly utilizations: Table<"utilization">;
  /** Calls of the host: by export, in their order, and what it was lent; no rows where there are none to speak of. */
  readonly exports: Table<"export">;
  readonly spans: Table<"span">;
  readonly lent: Table<"lent">;
  /**
   * Of each stack: its parent, its innermost frame's function and where in the code that calls on; and the function to
   * which its allocations are put down, the innermost one outside the runtime; and whether the innermost is the runtime's.
   */
  readonly stacks: Table<"stack">;

  constructor(private readonly container: Container<Summary>) {
    this.summary = container.json;
    this.points = this.table("point");
    this.collections = this.table("collection");
    this.growths = this.table("growth");
    this.memory = this.table("memory");
    this.functions = this.table("function");
    this.sites = this.table("site");
    this.lines = this.table("line");
    this.utilizations = this.table("utilization");
    this.exports = this.table("export");
    this.spans = this.table("span");
    this.lent = this.table("lent");
    this.stacks = this.table("stack");
  }

  /** Whether what each stack weighs by a measure is known. */
  knows(what: What): boolean {
    return this.container.has(`weight.${what}_bytes`);
  }

  /** What each stack itself allocated, by one measure that is known; index 0 is the empty stack. */
  weights(what: What, unit: Unit): Column {
    return this.container.column(`weight.${what}_${unit}`);
  }

  name(fn: number): string {
    return this.summary.functions[fn]!;
  }

  /** A place in the source as text; empty where it is not known. */
  place(file: number, line: number): string {
    return file && line ? `${this.summary.files[file]}:${line}` : "";
  }

  /** Whether any source line is known. */
  get hasLines(): boolean {
    return this.lines.rows > 0;
  }

  /** The stacks from the innermost frame of a stack out; none for the empty stack. */
  path(stack: number): number[] {
    const stacks = [];
    for (let at = stack; at > 0; at = this.stacks.parent[at]!) stacks.push(at);
    return stacks;
  }

  /** The end of a collection, counted from 1. */
  collectionEnd(number: number): number {
    return this.collections.begun_ns[number - 1]! + this.collections.pause_ns[number - 1]!;
  }

  private table<Name extends keyof typeof COLUMNS>(name: Name): Table<Name> {
    const columns = COLUMNS[name].map((column) => [column, this.container.column(`${name}.${column}`)] as const);
    return { ...Object.fromEntries(columns), rows: columns[0]![1].length } as unknown as Table<Name>;
  }
}

/**
 * All objects that the page holds, in the order of their births.
 *
 * An object takes the blocks from `first` up to, not including, `end`.  It lives from its birth until its death, which
 * is the end of the collection that freed it, or Infinity.
 */
export class Objects {
  readonly count: number;
  readonly total: number;
  readonly id: Column;
  readonly address: Column;
  readonly size: Column;
  readonly stack: Column;
  /** The collection that freed it; 0 for none. */
  readonly deathCollection: Column;
  readonly first: Uint32Array;
  readonly end: Uint32Array;
  private readonly births: Column;
  private readonly tick: number;
  private readonly ends: Float64Array;

  constructor(container: Container<ObjectsHead>, private readonly recording: Recording) {
    const { block_bytes: block, heap_start_address: start } = recording.summary.run;
    const column = (name: ObjectColumn) => container.column(name);
    this.total = container.json.total;
    this.tick = container.json.tick_ns;
    this.id = column("id");
    this.address = column("address");
    this.size = column("size");
    this.stack = column("stack");
    this.deathCollection = column("death");
    this.births = column("birth");
    this.count = this.id.length;
    this.first = new Uint32Array(this.count);
    this.end = new Uint32Array(this.count);
    for (let i = 0; i < this.count; i++) {
      const offset = this.address[i]! - start;
      // Objects without a size lie nowhere in the heap; all have the same address.
      if (offset < 0 || this.size[i] === 0) continue;
      this.first[i] = offset / block;
      this.end[i] = (offset + this.size[i]! - 1) / block + 1;
    }
    this.ends = new Float64Array(recording.collections.rows + 1);
    this.ends[0] = Infinity;
    for (let number = 1; number < this.ends.length; number++) this.ends[number] = recording.collectionEnd(number);
  }

  birth(object: number): number {
    return this.births[object]! * this.tick;
  }

  death(object: number): number {
    return this.ends[this.deathCollection[object]!]!;
  }

  /** The ends of collections by their number, for loops over all objects; 0 stands for the run's end and never comes. */
  get deaths(): Float64Array {
    return this.ends;
  }

  /** How many objects were born up to a moment. */
  bornUntil(time: number): number {
    const tick = Math.floor(time / this.tick);
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.births[middle]! <= tick) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The function to which an object is put down. */
  siteOf(object: number): number {
    return this.recording.stacks.site[this.stack[object]!]!;
  }
}

export async function readRecording(): Promise<Recording> {
  return new Recording(await read<Summary>("summary"));
}

export async function readObjects(recording: Recording): Promise<Objects> {
  return new Objects(await read<ObjectsHead>("objects"), recording);
}
