/** Facts and columns of a page, written from `tinyheap.report.html.heap_contents` by `make generated`: change that. */

/** The names of columns, by the table that they are in. */
export const COLUMNS = {
  object: ["first", "blocks", "group", "dominator", "retained_objects", "retained_bytes", "step", "references"],
  reference: ["target", "offset", "word", "certainty"],
  root: ["target", "source", "address", "name", "certainty"],
  group: ["objects", "size_bytes", "garbage_objects", "garbage_bytes", "retained_bytes"],
} as const;

/** In a column of objects: none. */
export const NOTHING = 4294967295;
/** In a column of dominators: the roots together. */
export const ALL_ROOTS = 4294967294;

/** What has some roots. */
export interface Source {
  kind: string;
  name: string;
  /** Where its memory begins; 0 if it is no memory. */
  start_address: number;
}

/**
 * What the words of one source of roots hold.
 *
 * Args:
 *     source: what has the words: a variable, a function's frame.
 *     words: how many of its words refer to objects.
 *     objects: how many objects it holds that no other source leads to.
 *     retained_bytes: of these.
 */
export interface HeldBy {
  source: string;
  words: number;
  objects: number;
  retained_bytes: number;
}

/** Where much has accumulated. */
export interface Suspect {
  object: number;
  /** How the many hang on it, a verb with its object. */
  gathering: string;
  count: number;
  /** The name of these, of most if they have several. */
  group: string;
  retained_objects: number;
  retained_bytes: number;
}

/**
 * Objects of one group, before and after.
 *
 * Args:
 *     group: its name.
 *     objects_before: how many there were.
 *     objects_after: how many there are.
 *     bytes_before: what they took.
 *     bytes_after: what they take.
 *     new: how many are there that were not, by address.
 *     gone: how many were there that are not.
 */
export interface GroupDifference {
  group: string;
  objects_before: number;
  objects_after: number;
  bytes_before: number;
  bytes_after: number;
  new: number;
  gone: number;
}

/**
 * Objects on one path, before and after.
 *
 * Args:
 *     path: what it leads through.
 *     objects_before: how many there were on it: at its end, or all of those that repeat there.
 *     objects_after: how many there are.
 *     bytes_before: what they took.
 *     bytes_after: what they take.
 *     length_before: the most words from a root to one of them.
 *     length_after: the same now.
 */
export interface PathDifference {
  path: string;
  objects_before: number;
  objects_after: number;
  bytes_before: number;
  bytes_after: number;
  length_before: number;
  length_after: number;
}

/** What an earlier heap of the program was compared for. */
export interface Changes {
  /** Of the earlier one. */
  moment: string;
  new_objects: number;
  gone_objects: number;
  /** What names objects of one of the two heaps only, so that they are not compared by it. */
  left_out: string[];
  groups: GroupDifference[];
  paths: PathDifference[];
}

/** The objects whose value is in ``[low, high)``. */
export interface Bucket {
  low: number;
  high: number;
  objects: number;
  bytes: number;
}

/**
 * Objects of one group that stand at the end of a free run.
 *
 * Args:
 *     group: their name.
 *     objects: how many there are.
 *     size_bytes: of these.
 *     free_bytes: of the runs that they end.
 *     garbage: how many of them the next collection frees.
 */
export interface Cutter {
  group: string;
  objects: number;
  size_bytes: number;
  free_bytes: number;
  garbage: number;
}

/** The facts that are there at once. */
export interface HeapSummary {
  module: string;
  moment: string;
  trap: string | null;
  collector: string;
  is_precise: boolean;
  memory_bytes: number;
  heap_bytes: number;
  free_bytes: number;
  heap_start_address: number;
  blocks: number;
  block_bytes: number;
  word_bytes: number;
  /** From the start of an object's first block to its contents. */
  body_offset_bytes: number;
  header_bytes: number;
  objects: number;
  object_bytes: number;
  garbage_objects: number;
  garbage_bytes: number;
  /** null without debug information. */
  typed_objects: number | null;
  typed_bytes: number | null;
  /** Blocks that belong to no object and are not free; 0 in a sound heap. */
  orphan_blocks: number;
  groups: string[];
  held_by: HeldBy[];
  suspects: Suspect[];
  /** Runs of free blocks by their length in bytes. */
  free_runs: Bucket[];
  /** What stands at their ends. */
  cutters: Cutter[];
  /** null where nothing was compared. */
  changes: Changes | null;
  /** What the page does not show, or could not be read, in sentences. */
  notes: string[];
  tinyheap_version: string;
}

/** A value within an object. */
export interface Field {
  name: string;
  offset_bytes: number;
  type: string;
  text: string;
}

/** What an object consists of. */
export interface Decoded {
  object: number;
  fields: Field[];
}

/** Where an object comes from. */
export interface Origin {
  object: number;
  /** Of its allocation. */
  number: number;
  /** Since the run's beginning. */
  born_ns: number;
  site: string;
}

/** The facts that come with the objects. */
export interface HeapObjectsHead {
  /** Names of words; the first stands for no name, an empty one for what programs do not write. */
  words: string[];
  /** What a program would write for roots; the first stands for no name. */
  root_names: string[];
  /** How sure it can be that a word is a pointer. */
  certainties: string[];
  sources: Source[];
  /** Of the objects that retain most, and have a known type. */
  decoded: Decoded[];
  /** Of the objects that retain most, of a recorded run. */
  origins: Origin[];
}

/** The facts that come with the bytes of the heap, a column ``memory`` that begins where the heap does. */
export interface HeapMemoryHead {
  /** Whether the page holds it. */
  is_there: boolean;
}
