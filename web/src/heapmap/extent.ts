/** How large the heap is, in blocks, at each moment. */
import type { Objects, Recording } from "../recording";

export interface Extent {
  /** At its largest. */
  blocks: number;
  blocksAt(time: number): number;
}

/** Two bits of the block table, which lies behind the blocks, belong to each block. */
const TABLE_BLOCKS_PER_BYTE = 4;

export function extent(recording: Recording, objects: Objects): Extent {
  const { growths, points } = recording;
  const used = objects.end.reduce((most, end) => Math.max(most, end), 0);
  const inBlocks = (heapBytes: number) =>
    Math.floor((heapBytes * TABLE_BLOCKS_PER_BYTE) / (recording.summary.run.block_bytes * TABLE_BLOCKS_PER_BYTE + 1));
  const first = growths.rows ? growths.old_bytes[0]! : points.heap_bytes.find((bytes) => bytes > 0);
  if (first === undefined) return { blocks: Math.max(used, 1), blocksAt: () => Math.max(used, 1) };
  const blocksAt = (time: number) => {
    let bytes: number = first;
    for (let i = 0; i < growths.rows && growths.time_ns[i]! <= time; i++) bytes = growths.new_bytes[i]!;
    return inBlocks(bytes);
  };
  return { blocks: Math.max(used, blocksAt(Infinity), 1), blocksAt };
}
