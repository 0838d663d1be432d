/** Facts of a page, written from `tinyheap.report.html.lab_contents` by `make generated`: change that. */

/**
 * The run of a program under one condition.  Sizes are in bytes, durations in nanoseconds.
 *
 * What is not known is null: of a module that keeps its own collector nearly all, of pauses where there was none.
 */
export interface Outcome {
  /** As `Condition` is written. */
  condition: string;
  /** Which run under this condition, from 1. */
  run: number;
  /** An `EndKind`, or ``worker died``. */
  ended: string;
  /** What shows how it ended, a phrase each. */
  evidence: string[];
  /** The command's; null where there is none. */
  exit_code: number | null;
  /** Of what the program wrote to standard output, in hexadecimal. */
  output_sha256: string | null;
  run_ns: number | null;
  allocations: number | null;
  allocated_bytes: number | null;
  /** The most that was in use at once, as far as it was seen: at the end, or when a collection began. */
  peak_bytes: number | null;
  /** In use at the end. */
  live_bytes: number | null;
  /** Of the heap at the end, which is its greatest. */
  heap_bytes: number | null;
  /** Of the linear memory at the end, 64 KiB each. */
  memory_pages: number | null;
  collections: number | null;
  /** Half of the pauses are not longer. */
  pause_50_ns: number | null;
  pause_99_ns: number | null;
  longest_pause_ns: number | null;
  /** In all collections together. */
  collector_ns: number | null;
  /** The minimum mutator utilization for windows of 1 ms: the program's share of the worst of them, from 0 to 1. */
  utilization_1_ms: number | null;
  /** null where the run was shorter, as in the next. */
  utilization_10_ms: number | null;
  utilization_100_ms: number | null;
  /** At the end: 1 - largest free run / free memory; null where nothing is free. */
  fragmentation: number | null;
  /** At the end: the largest request that would still fit, its header included. */
  largest_free_bytes: number | null;
  /** The sizes of the linear memory under the heap, 64 KiB each: when it began, and after each growth. */
  memory_steps_pages: number[] | null;
  /** The size that memory was refused last; null where none was. */
  refused_pages: number | null;
}

/** A statistic that two runs under the same condition do not share. */
export interface LabDifference {
  condition: string;
  name: string;
  first: string;
  second: string;
}

/** What an option does, as far as a sample shows it: medians of the conditions that have these values and pass. */
export interface LabEffect {
  option: string;
  values: string;
  conditions: number;
  passed: number;
  peak_bytes: number | null;
  memory_bytes: number | null;
  longest_pause_ns: number | null;
}

/** What became of the program under one condition. */
export interface LabRow {
  outcome: Outcome;
  passed: boolean;
  /** Whether the program wrote something else than under the first condition where it came to its end. */
  changes_output: boolean;
  /** What its linear memory could grow to; null where nothing but the address space ends it. */
  limit_bytes: number | null;
}

/** Whether the program passed with one size. */
export interface LabTrial {
  size_bytes: number;
  passed: boolean;
}

/** Where the program passes, by size, under what else was chosen. */
export interface LabSurvival {
  condition: string;
  /** What the sizes are of: an option. */
  limit: string;
  /** By ascending size. */
  trials: LabTrial[];
}

/** All of the facts. */
export interface LabSummary {
  module: string;
  arguments: string[];
  /** Of all runs. */
  options: string[];
  /** Of what grid the conditions are a sample; null where they are none. */
  sample: string | null;
  rows: LabRow[];
  /** Where the conditions are a sample: of each option that varies. */
  effects: LabEffect[];
  /** One for each choice of everything else; none where no limit varies. */
  survivals: LabSurvival[];
  /** What two runs under one condition do not share; none where the program is deterministic. */
  differences: LabDifference[];
  /** Whether there were two such runs. */
  was_repeated: boolean;
  tinyheap_version: string;
}
