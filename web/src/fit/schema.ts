/** Facts of a page, written from `tinyheap.report.html.fit_contents` by `make generated`: change that. */

/** Sizes that follow each other and have the same answer. */
export interface Stretch {
  first: number;
  last: number;
  passes: boolean;
}

/** An initial memory, and how far it gets. */
export interface Start {
  /** Of 64 KiB, at the beginning. */
  pages: number;
  /** After the last step that the limit allows. */
  most_pages: number;
  /** How often it doubles until then. */
  steps: number;
}

/** Whether the program passed with one size. */
export interface FitTrial {
  size: number;
  passed: boolean;
}

/** The smallest size with which the program passes, under one condition.  Sizes are in units. */
export interface FitRow {
  condition: string;
  /** What the sizes are of: an option. */
  limit: string;
  /** null where not even the largest passes. */
  smallest: number | null;
  smallest_bytes: number | null;
  /** The size from which all that were tried pass. */
  safe_from: number | null;
  /** Sizes that fail although a smaller one passes, ascending. */
  failing_above: number[];
  /** How many sizes were. */
  tried: number;
  /** By ascending size; of sizes without gap that have the same answer the first and the last. */
  trials: FitTrial[];
  /** The sizes around the smallest, without gap; none where none passes. */
  zone: Stretch[];
  /** The size whose obstacle it is; null where nothing smaller can be tried. */
  below: number | null;
  obstacle: string[];
}

/** All of the facts. */
export interface FitSummary {
  /** Or a trace. */
  module: string;
  arguments: string[];
  /** Of all runs. */
  options: string[];
  /** ``page`` or ``block``. */
  unit: string;
  unit_bytes: number;
  rows: FitRow[];
  /** The initial memory, and those that get further, the last to the limit; none where there is no limit. */
  starts: Start[];
  tinyheap_version: string;
}
