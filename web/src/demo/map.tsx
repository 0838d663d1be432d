/** The heap map of each module: what lies in which block, and the holes. */
import { useMemo } from "preact/hooks";
import { object as chosen } from "../choices";
import { scaleColor } from "../colors";
import { addressText, countText, shareText, sizeText } from "../format";
import { BlockMap } from "../heapmap/block_map";
import { gradient, type Scheme } from "../heapmap/colorings";
import type { Raster } from "../heapmap/raster";
import { Facts } from "../parts";
import { dark } from "../theme";
import type { Result } from "./contest";
import { Halves } from "./halves";
import { Heap } from "./heap";
import type { HeapPlaces } from "./schema";

const SHARES = [0, 0.25, 0.5, 0.75, 1];

export function Maps({ results, places }: { results: Result[]; places: HeapPlaces }) {
  const heaps = useMemo(() => results.map((result) => result.memory && new Heap(result.memory, places)), [results]);
  const colors = useMemo(() => bySize(heaps, places), [heaps, dark.value]);
  return (
    <Halves results={results}>
      {(_, at) => <HeapMap heap={heaps[at]!} colors={colors} blockBytes={places.block_bytes} />}
    </Halves>
  );
}

/** Colors for the objects of both heaps, from a block to the largest on a logarithmic scale. */
function bySize(heaps: (Heap | undefined)[], places: HeapPlaces): (heap: Heap) => Scheme {
  const low = Math.log2(places.block_bytes);
  const sizes = heaps.flatMap((heap) => (heap ? heap.largest : []));
  const high = Math.max(Math.log2(Math.max(...sizes, 1)), low + 1);
  return (heap) => ({
    kinds: 0,
    weigh: (object) => (Math.log2(heap.size(object)) - low) / (high - low),
    color: scaleColor,
    legend: { scale: gradient(scaleColor), words: SHARES.map((share) => sizeText(2 ** Math.round(low + share * (high - low)))) },
  });
}

function HeapMap({ heap, colors, blockBytes }: { heap: Heap; colors: (heap: Heap) => Scheme; blockBytes: number }) {
  const scheme = useMemo(() => colors(heap), [heap, colors]);
  return (
    <BlockMap
      objects={heap}
      time={0}
      blocks={heap.blocks}
      heapBlocks={heap.blocks}
      blockBytes={blockBytes}
      startAddress={heap.startAddress}
      colors={scheme}
      brought={null}
      broughtKey={null}
      isChosenThere={chosen.value >= 0 && chosen.value < heap.count}
      choices={null}
      legend={<Legend scheme={scheme} />}
      said={(raster, cursor) => <Said heap={heap} raster={raster} cursor={cursor} blockBytes={blockBytes} />}
      inShort={(raster, cursor) => inShort(heap, raster, cursor)}
    />
  );
}

function Legend({ scheme: { legend } }: { scheme: Scheme }) {
  return (
    <div class="legend scale">
      {"scale" in legend && (
        <div>
          <div class="ramp" style={{ background: legend.scale }} />
          <div class="words">{legend.words.map((word, at) => <span key={at}>{word}</span>)}</div>
        </div>
      )}
      <span class="nothing"><span class="swatch free" /> free</span>
    </div>
  );
}

/** The object that the cursor is on, -1 for none; null where it is on several blocks, or on none. */
function pointedAt(raster: Raster, cursor: number): number | null {
  const isOnBlock = cursor >= 0 && cursor < raster.owner.length && raster.grid.blocksPerCell === 1;
  return isOnBlock ? raster.owner[cursor]! : null;
}

function inShort(heap: Heap, raster: Raster, cursor: number): string {
  const object = pointedAt(raster, cursor);
  if (object !== null) return object < 0 ? "free" : `an object of ${sizeText(heap.size(object))}`;
  return cursor < 0 ? "" : `${countText(raster.taken[cursor] ?? 0)} of ${countText(raster.grid.blocksPerCell)} blocks taken`;
}

function Said({ heap, raster, cursor, blockBytes }: { heap: Heap; raster: Raster; cursor: number; blockBytes: number }) {
  const object = pointedAt(raster, cursor) ?? chosen.value;
  if (object >= 0 && object < heap.count) {
    return <Facts facts={[["Object at", <code>{addressText(heap.address(object))}</code>], ["Size", sizeText(heap.size(object))]]} />;
  }
  if (cursor < 0 || cursor >= raster.owner.length) return <p class="quiet">Point at a block; a double click looks closer, in both maps.</p>;
  const { span, blocksPerCell } = raster.grid;
  const address = heap.startAddress + (span.first + cursor * blocksPerCell) * blockBytes;
  const taken = raster.taken[cursor]!;
  const share = `${countText(taken)} of ${countText(blocksPerCell)} blocks, ${shareText(taken, blocksPerCell)}`;
  return <Facts facts={[["From", <code>{addressText(address)}</code>], ["Taken", blocksPerCell === 1 ? "free" : share]]} />;
}
