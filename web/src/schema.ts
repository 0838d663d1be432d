/** Facts and columns of a page, written from `tinyheap.report.html.contents` by `make generated`: change that. */

/** The names of columns, by the table that they are in. */
export const COLUMNS = {
  point: ["time_ns", "allocated_bytes", "live_objects", "live_bytes", "heap_bytes", "used_bytes", "free_bytes", "largest_free_run_bytes"],
  collection: ["begun_ns", "pause_ns", "mark_ns", "sweep_ns", "wanted_bytes", "roots_bytes", "words_scanned", "rescans", "freed_objects", "freed_bytes", "live_objects", "live_bytes", "reason", "stack"],
  growth: ["time_ns", "old_bytes", "new_bytes"],
  memory: ["time_ns", "bytes"],
  function: ["function", "own_objects", "own_bytes", "total_objects", "total_bytes", "live_objects", "live_bytes", "mean_size_bytes", "dead_young_objects", "median_lifetime_ns"],
  site: ["function", "own_objects", "own_bytes", "total_objects", "total_bytes", "live_objects", "live_bytes", "mean_size_bytes", "dead_young_objects", "median_lifetime_ns", "code_offset", "file", "line", "trend", "is_telling"],
  line: ["file", "line", "own_objects", "own_bytes", "total_objects", "total_bytes", "live_objects", "live_bytes", "mean_size_bytes", "dead_young_objects", "median_lifetime_ns"],
  utilization: ["window_ns", "utilization"],
  stack: ["parent", "function", "is_runtime", "offset", "site", "file", "line", "is_inlined"],
  export: ["export", "calls", "failed", "allocated_objects", "allocated_bytes", "most_allocated_bytes", "duration_ns", "memory_growth_bytes", "collections"],
  span: ["first", "calls", "allocated_bytes", "duration_ns"],
  lent: ["export", "size_bytes", "call", "age_calls", "age_ns"],
} as const;

export type ObjectColumn = "id" | "address" | "size" | "stack" | "birth" | "death";
/** What stacks are weighed by, in which units. */
export type What = "allocated" | "peak" | "end" | "dead_young";
export type Unit = "bytes" | "objects";

/** What ran, and how it ended. */
export interface Run {
  module: string;
  module_sha256: string;
  arguments: string[];
  runtime: string;
  runtime_version: string | null;
  /** The kind of the program's collector, such as `precise`. */
  collector: string;
  /** Whether its heap only grows, so that no collection ever runs. */
  never_frees: boolean;
  /**
   * Who managed the heap: tinyheap's `kernel` or `model`, or, as `injected` code observed or its own log tells
   * (`logged`), the program itself.
   */
  source: string;
  /** Why collections are not known; null where they are. */
  unseen_collections: string | null;
  /** What is known of what lives: `exact`, `at most` (deaths were inferred) or `unknown`. */
  lives: string;
  /** Why the heap as a whole is not known; null where it is. */
  unseen_heap: string | null;
  started_at: string;
  /** `finished`, `failed`, or `running` where the end was not written. */
  state: string;
  error: string | null;
  exit_code: number | null;
  /** How far the recording goes, where its end was not written. */
  ends_early: string | null;
  block_bytes: number;
  heap_start_address: number;
  /** When what is recorded begins; 0 but for the last part of a run. */
  begun_ns: number;
  duration_ns: number;
  tinyheap_version: string;
}

/**
 * The moment at which the recorded objects that lived had the most bytes; of several equal moments the first.
 *
 * Bytes only grow between collections, so it is the beginning of one, or the end.  Where deaths were inferred, it is right
 * after an event, and there were so many at most.
 */
export interface Peak {
  /** The one that began then; for the end, one more than there were.  null where collections were not observed. */
  collection: number | null;
  /** The last event before. */
  event_id: number;
  time_ns: number;
  objects: number;
  bytes: number;
}

/**
 * A recording in a few statistics.  Sizes are bytes that the program asked for, unless they say whole blocks.
 *
 * What was not `observed` is null.  Of the last part of a run (`Observed.last_part`) they are of what happened in it; the
 * objects that lived at its beginning count among those that were allocated.
 */
export interface Totals {
  /** null where allocations were not observed, like the next. */
  allocations: number | null;
  allocated_bytes: number | null;
  /** At the end: those that no collection freed; at most, where deaths were inferred (`Observed.lives`). */
  live_objects: number | null;
  live_bytes: number | null;
  peak: Peak | null;
  collections: number | null;
  /** All pauses together. */
  collector_ns: number | null;
  growths: number | null;
  /** At the end, block table included; null also where it was not sampled before the recording ended early. */
  heap_bytes: number | null;
  /** At the end, in whole blocks. */
  used_bytes: number | null;
  /** At the end: 1 - largest run of free blocks / all free blocks.  0 is one run; null where nothing is free. */
  fragmentation: number | null;
}

/** The shortest pause that so many percent of the pauses do not exceed. */
export interface Percentile {
  percent: number;
  pause_ns: number;
}

/** The objects whose value is in ``[low, high)``. */
export interface Bucket {
  low: number;
  high: number;
  objects: number;
  bytes: number;
}

/** Objects by a statistic of theirs. */
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

/** A site that may leak. */
export interface Suspect {
  function: string;
  code_offset: number;
  /** ``file:line``. */
  place: string | null;
  score: number;
  growth_bytes: number;
  explanation: string;
  /** Bytes that lived after the collections that `Leaks.collections` names. */
  series_bytes: number[];
}

/** What may leak. */
export interface Leaks {
  can_tell: boolean;
  /** What a step of the series is: `collection`, or `turnover`. */
  step: string;
  /** What the suspects were judged by, where collections were not seen. */
  caveat: string | null;
  collections: number[];
  suspects: Suspect[];
}

/** A site whose live bytes grow with the calls. */
export interface GrowingSite {
  function: string;
  /** ``file:line``. */
  place: string | null;
  /** A call. */
  slope_bytes: number;
  live_bytes: number;
  /** What of it the host was lent. */
  lent_bytes: number;
}

/** Calls of the host, where the program is called again and again. */
export interface Calls {
  calls: number;
  /** Whether the heap grows with them, in a sentence. */
  verdict: string;
  /** The same in a word; null where that cannot be told. */
  grows: boolean | null;
  growing: GrowingSite[];
  lent_objects: number;
  lent_bytes: number;
  /** Whether some of what is lent may be gone. */
  is_upper_bound: boolean;
}

/** A source file, as far as it is shown: the lines around those that allocate. */
export interface Source {
  /** A place in `Summary.files`. */
  file: number;
  /** Of the lines, from 1. */
  numbers: number[];
  texts: string[];
}

/** The facts that are there at once. */
export interface Summary {
  run: Run;
  totals: Totals;
  functions: string[];
  files: string[];
  /** Empty where no folder with sources was named. */
  sources: Source[];
  reasons: string[];
  /** Empty where no collection ran, or none is known. */
  percentiles: Percentile[];
  sizes: Histogram;
  lifetimes: Histogram | Unknown;
  leaks: Leaks | Unknown;
  /** null for a program that is not called again and again. */
  calls: Calls | null;
  exports: string[];
  /** How the objects of sites follow each other, in phrases. */
  trends: string[];
  /** What of the recording the page does not show, in sentences. */
  notes: string[];
}

/** The facts that come with the objects. */
export interface ObjectsHead {
  /** Births are counted in ticks of so many nanoseconds. */
  tick_ns: number;
  /** Objects in the recording; the page may hold fewer. */
  total: number;
}
