/** Facts and columns of a page, written from `tinyheap.report.html.demo_contents` by `make generated`: change that. */

/** The names of columns, by the table that they are in. */
export const COLUMNS = {
  module: ["original", "transplanted"],
} as const;

/** A function of the Go/JavaScript bridge that the program imports; what the words mean is said in `hosts.gojs.abi`. */
export interface BridgeFunction {
  /** Without ``syscall/js.``. */
  name: string;
  parameters: string[];
  result: string;
}

/** Where in the program's memory its heap lies, and how its block table is to be read. */
export interface HeapPlaces {
  /** The first block's address, where it is a constant. */
  start_address: number | null;
  /** The word that holds it, where it is a variable. */
  start_variable_address: number | null;
  /** The word that holds the block table's address, which is the end of the blocks. */
  table_start_variable_address: number;
  block_bytes: number;
  /**
   * Whether a byte of the table holds the low bits of its four states in its low nibble, and the high ones in the high one;
   * else two bits a state.
   */
  has_planes: boolean;
  /** Whether an object's last block is its head; else its first. */
  head_is_last: boolean;
}

/** What there is to know of the program. */
export interface DemoFacts {
  /** Of the module's file. */
  name: string;
  /** By which convention it is called: ``sh-syntax``, ``reactor`` or ``script``. */
  driver: string;
  /** Whether each text has a new instance of the module, as with the JavaScript of the program's own package. */
  starts_anew: boolean;
  /** Of its texts: ``go`` or ``shell``. */
  language: string;
  /** What sh-syntax is called with: numbers, and names of numbers that depend on the text.  Empty for others. */
  process_arguments: (string | number)[];
  bridge: BridgeFunction[];
  /** Whether references cross as addresses of 64 bits; else as numbers. */
  is_addressed: boolean;
  /** Whether the program's clock and its sleep are in nanoseconds, as numbers of 64 bits; else in milliseconds. */
  ticks_in_nanoseconds: boolean;
  heap: HeapPlaces;
  /** Whether both memories have to be equal in the end. */
  is_exact: boolean;
  /** What is formatted at first; null for a text of the page's own. */
  text: string | null;
  tinyheap_version: string;
}
