/** The objects of a program's heap, as its block table in its memory has them. */
import type { Living } from "../heapmap/raster";
import type { HeapPlaces } from "./schema";

const BLOCKS_PER_BYTE = 4;
const [FREE, HEAD, TAIL] = [0, 1, 2];

export class Heap implements Living {
  readonly startAddress: number;
  readonly blocks: number;
  readonly count: number;
  readonly first: Uint32Array;
  readonly end: Uint32Array;
  /** The objects lie at one moment, and do not die. */
  readonly deathCollection: Uint32Array;
  readonly deaths = new Float64Array([Infinity]);

  constructor(
    memory: Uint8Array<ArrayBuffer>,
    private readonly places: HeapPlaces,
  ) {
    const word = (address: number) => new DataView(memory.buffer).getUint32(address, true);
    const { start_address, start_variable_address, table_start_variable_address, block_bytes } = places;
    const table = word(table_start_variable_address);
    this.startAddress = start_address ?? word(start_variable_address!);
    this.blocks = Math.max(Math.floor((table - this.startAddress) / block_bytes), 0);
    const states = this.states(memory.subarray(table));
    const [first, end] = places.head_is_last ? endingWithHeads(states) : beginningWithHeads(states);
    this.count = first.length;
    this.first = Uint32Array.from(first);
    this.end = Uint32Array.from(end);
    this.deathCollection = new Uint32Array(this.count);
  }

  bornUntil(): number {
    return this.count;
  }

  address(object: number): number {
    return this.startAddress + this.first[object]! * this.places.block_bytes;
  }

  size(object: number): number {
    return (this.end[object]! - this.first[object]!) * this.places.block_bytes;
  }

  /** The size of the largest object. */
  get largest(): number {
    let most = 0;
    for (let object = 0; object < this.count; object++) most = Math.max(most, this.size(object));
    return most;
  }

  private states(table: Uint8Array): Uint8Array {
    const { has_planes } = this.places;
    return Uint8Array.from({ length: this.blocks }, (_, block) => {
      const [byte, place] = [table[Math.floor(block / BLOCKS_PER_BYTE)]!, block % BLOCKS_PER_BYTE];
      return has_planes ? ((byte >> place) & 1) | (((byte >> (place + BLOCKS_PER_BYTE)) & 1) << 1) : (byte >> (2 * place)) & 3;
    });
  }
}

/** Objects are a head and the tails behind it.  Marked heads are heads. */
function beginningWithHeads(states: Uint8Array): [number[], number[]] {
  const [first, end]: [number[], number[]] = [[], []];
  states.forEach((state, block) => {
    if (state === FREE) return;
    if (state !== TAIL || !first.length) first.push(block);
    end[first.length - 1] = block + 1;
  });
  return [first, end];
}

/** Objects are tails and the head behind them. */
function endingWithHeads(states: Uint8Array): [number[], number[]] {
  const [first, end]: [number[], number[]] = [[], []];
  let start = 0;
  states.forEach((state, block) => {
    if (state === FREE) start = block + 1;
    if (state < HEAD || state === TAIL) return;
    first.push(start);
    end.push(block + 1);
    start = block + 1;
  });
  return [first, end];
}
