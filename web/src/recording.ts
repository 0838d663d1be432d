/**
 * The run as the page holds it: a summary that is there at once, and the objects, which follow.
 *
 * What stands here is what `tinyheap.report.html.data` writes.  Times are nanoseconds since the run's beginning, sizes
 * bytes.  A *stack* is a number; its parent is the stack without the innermost frame, and 0 is the empty stack.
 */
import { type Column, type Container, read } from "./container";

export interface Run {
  module: string;
  module_sha256: string;
  arguments: string[];
  runtime: string;
  runtime_version: string | null;
  collector: string;
  /** Whether its heap only grows, so that no collection ever runs. */
  never_frees: boolean;
  /** Who served the heap: our engines, `kernel` or `model`, or the program itself, `injected`. */
  source: string;
  /** Why collections, and with them what lives, are not known; null where they are. */
  unseen_collections: string | null;
  /** Why the heap as a whole is not known; null where it is. */
  unseen_heap: string | null;
  options: Record<string, unknown>;
  started_at: string;
  /** `finished`, `failed`, or `running` where nobody wrote the end. */
  state: string;
  error: string | null;
  exit_code: number | null;
  /** How far the recording goes, where its end was not written. */
  ends_early: string | null;
  block_bytes: number;
  heap_start_address: number;
  duration_ns: number;
  tinyheap_version: string;
}

/** See `tinyheap.profile.summary.Totals`; null stands for what is not known. */
export interface Totals {
  allocations: number;
  allocated_bytes: number;
  live_objects: number | null;
  live_bytes: number | null;
  peak: { time_ns: number; objects: number; bytes: number } | null;
  collections: number | null;
  collector_ns: number | null;
  growths: number | null;
  heap_bytes: number | null;
  used_bytes: number | null;
  fragmentation: number | null;
}

/** How many values are at least `low` and below `high`, and how many bytes those objects have. */
export interface Bucket {
  low: number;
  high: number;
  objects: number;
  bytes: number;
}

export interface Histogram {
  buckets: Bucket[];
  /** Objects that have no such value. */
  beyond_objects: number;
  beyond_bytes: number;
}

/** Stands for what the recording cannot know, and says why. */
export interface Unknown {
  unknown: string;
}

export interface Suspect {
  function: string;
  code_offset: number;
  score: number;
  growth_bytes: number;
  explanation: string;
  /** Bytes that lived after the collections that `Leaks.collections` names. */
  series_bytes: number[];
}

export interface Leaks {
  can_tell: boolean;
  collections: number[];
  suspects: Suspect[];
}

export interface Summary {
  run: Run;
  totals: Totals;
  functions: string[];
  reasons: string[];
  /** None where no collection ran, or none is known. */
  percentiles: { percent: number; pause_ns: number }[];
  sizes: Histogram;
  lifetimes: Histogram | Unknown;
  leaks: Leaks | Unknown;
  /** What of the recording the page does not show, in sentences. */
  notes: string[];
}

export interface ObjectsHead {
  /** Births are counted in ticks of so many nanoseconds. */
  tick_ns: number;
  /** Objects in the recording; the page may hold fewer. */
  total: number;
}

/** Equally long columns by name: a table. */
export type Table<Names extends string> = Readonly<Record<Names, Column>> & { readonly rows: number };

const POINTS = [
  "time_ns", "allocated_bytes", "live_objects", "live_bytes", "heap_bytes", "used_bytes", "free_bytes", "largest_free_run_bytes",
] as const;
const COLLECTIONS = [
  "begun_ns", "pause_ns", "mark_ns", "sweep_ns", "reason", "stack", "wanted_bytes", "roots_bytes",
  "words_scanned", "rescans", "freed_objects", "freed_bytes", "live_objects", "live_bytes",
] as const;
const GROWTHS = ["time_ns", "old_bytes", "new_bytes"] as const;
const USAGES = [
  "function", "own_objects", "own_bytes", "total_objects", "total_bytes", "live_objects", "live_bytes",
  "mean_size_bytes", "dead_young_objects", "median_lifetime_ns",
] as const;
const SITES = [...USAGES, "code_offset"] as const;
const STACKS = ["parent", "function", "is_runtime", "offset", "site"] as const;

export class Recording {
  readonly summary: Summary;
  /** Moments of the run; NaN stands for what is not known of one. */
  readonly points: Table<(typeof POINTS)[number]>;
  readonly collections: Table<(typeof COLLECTIONS)[number]>;
  readonly growths: Table<(typeof GROWTHS)[number]>;
  readonly functions: Table<(typeof USAGES)[number]>;
  readonly sites: Table<(typeof SITES)[number]>;
  readonly utilizations: Table<"window_ns" | "utilization">;
  /**
   * Of each stack: its parent, its innermost frame's function and where in the code that calls on; and the function to
   * which its allocations are put down, the innermost one outside the runtime; and whether the innermost is the runtime's.
   */
  readonly stacks: Table<(typeof STACKS)[number]>;

  constructor(private readonly container: Container<Summary>) {
    this.summary = container.json;
    this.points = this.table("point", POINTS);
    this.collections = this.table("collection", COLLECTIONS);
    this.growths = this.table("growth", GROWTHS);
    this.functions = this.table("function", USAGES);
    this.sites = this.table("site", SITES);
    this.utilizations = this.table("utilization", ["window_ns", "utilization"] as const);
    this.stacks = this.table("stack", STACKS);
  }

  /** Whether what each stack weighs by a measure is known. */
  knows(what: string): boolean {
    return this.container.has(`weight.${what}_bytes`);
  }

  /** What each stack itself allocated, by one measure that is known; index 0 is the empty stack. */
  weights(what: string, unit: string): Column {
    return this.container.column(`weight.${what}_${unit}`);
  }

  name(fn: number): string {
    return this.summary.functions[fn]!;
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

  private table<Names extends string>(prefix: string, names: readonly Names[]): Table<Names> {
    const columns = names.map((name) => [name, this.container.column(`${prefix}.${name}`)] as const);
    return { ...Object.fromEntries(columns), rows: columns[0]![1].length } as unknown as Table<Names>;
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
    this.total = container.json.total;
    this.tick = container.json.tick_ns;
    this.id = container.column("id");
    this.address = container.column("address");
    this.size = container.column("size");
    this.stack = container.column("stack");
    this.deathCollection = container.column("death");
    this.births = container.column("birth");
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
