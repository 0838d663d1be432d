/** The heap map: what lies in which block, and the holes. */
import { useMemo } from "preact/hooks";
import { object as chosen } from "../choices";
import { CATEGORIES, css, mix, OTHERS, scaleColor } from "../colors";
import { addressText, countText, shareText, sizeText } from "../format";
import { BlockMap } from "../heapmap/block_map";
import { gradient, type Scheme } from "../heapmap/colorings";
import { lookAt, type Raster } from "../heapmap/raster";
import { Button, Choice, Facts } from "../parts";
import { dark } from "../theme";
import { groupColors, groupKinds, topGroups } from "./colors";
import type { Graph, Heap } from "./heap";
import { coloring, type Coloring, marked, show } from "./state";

const COLORINGS = [
  ["group", "Type"],
  ["size", "Size"],
  ["retained", "Retained"],
] as const;
const SHARES = [0, 0.25, 0.5, 0.75, 1];

export function HeapMap({ heap, graph }: { heap: Heap; graph: Graph }) {
  const { blocks, block_bytes, heap_start_address } = heap.summary;
  const group = marked.value;
  const colors = useMemo(
    () => (group < 0 ? scheme(coloring.value, heap, graph) : bringingOut(group, heap, graph)),
    [graph, coloring.value, group, dark.value],
  );
  return (
    <BlockMap
      objects={graph}
      time={0}
      blocks={blocks}
      heapBlocks={blocks}
      blockBytes={block_bytes}
      startAddress={heap_start_address}
      colors={colors}
      brought={null}
      broughtKey={null}
      isChosenThere={chosen.value >= 0 && chosen.value < graph.count}
      choices={
        <>
          <Choice label="Color by" value={coloring} options={COLORINGS} />
          {group >= 0 && <Button label={`Show all, not ${heap.summary.groups[group]} only`} onClick={() => (marked.value = -1)} />}
        </>
      }
      legend={<LegendRow heap={heap} colors={colors} />}
      said={(raster, cursor) => <Said graph={graph} raster={raster} cursor={cursor} />}
      inShort={(raster, cursor) => inShort(graph, raster, cursor)}
    />
  );
}

function scheme(by: Coloring, heap: Heap, graph: Graph): Scheme {
  if (by === "group") {
    const [kinds, top] = [groupKinds(heap), topGroups(heap)];
    const color = (kind: number) => (kind < top.length ? CATEGORIES[kind]! : OTHERS);
    const entries = top.map((group, kind) => ({ color: css(color(kind)), text: heap.summary.groups[group]!, fn: group }));
    return {
      kinds: top.length + 1,
      weigh: (object) => kinds[graph.objects.group[object]!]!,
      color,
      legend: { entries: [...entries, { color: css(OTHERS), text: "all others" }] },
    };
  }
  // On a logarithmic scale, from a block to the largest.
  const { retained_bytes } = graph.objects;
  const amount = by === "size" ? (object: number) => graph.size(object) : (object: number) => retained_bytes[object]!;
  let most = heap.summary.block_bytes * 2;
  for (let object = 0; object < graph.count; object++) most = Math.max(most, amount(object));
  const low = Math.log2(heap.summary.block_bytes);
  const high = Math.log2(most);
  return {
    kinds: 0,
    weigh: (object) => Math.max(Math.log2(amount(object) || 1) - low, 0) / (high - low),
    color: scaleColor,
    legend: { scale: gradient(scaleColor), words: SHARES.map((share) => sizeText(2 ** Math.round(low + share * (high - low)))) },
  };
}

/** One group in its color, all others faint; a cell is the stronger the more of it is the group's. */
function bringingOut(group: number, heap: Heap, graph: Graph): Scheme {
  const faint = mix(OTHERS, dark.value ? [24, 27, 33] : [255, 255, 255], 0.45);
  const strong = groupColors(heap)(group);
  return {
    ...scheme("group", heap, graph),
    kinds: 0,
    weigh: (object) => Number(graph.objects.group[object] === group),
    color: (share) => (share ? mix(faint, strong, 0.3 + 0.7 * share) : faint),
  };
}

function LegendRow({ heap, colors: { legend } }: { heap: Heap; colors: Scheme }) {
  const free = <span class="nothing"><span class="swatch free" /> free</span>;
  if ("scale" in legend) {
    return (
      <div class="legend scale">
        <div>
          <div class="ramp" style={{ background: legend.scale }} />
          <div class="words">{legend.words.map((word, at) => <span key={at}>{word}</span>)}</div>
        </div>
        {free}
      </div>
    );
  }
  return (
    <ul class="legend">
      {legend.entries.map(({ color, text, fn: group }) => (
        <li key={group ?? -1}>
          <span class="swatch" style={{ background: color }} />
          {group === undefined ? text : (
            <button type="button" class="link" aria-pressed={marked.value === group} title={`Bring out ${countText(heap.groups.objects[group]!)} objects`}
              onClick={() => (marked.value = marked.value === group ? -1 : group)}>
              {text}
            </button>
          )}
        </li>
      ))}
      <li>{free}</li>
    </ul>
  );
}

/** The object that the cursor is on, -1 for none; null where it is on several blocks, or on none. */
function pointedAt(raster: Raster, cursor: number): number | null {
  const isOnBlock = cursor >= 0 && cursor < raster.owner.length && raster.grid.blocksPerCell === 1;
  return isOnBlock ? raster.owner[cursor]! : null;
}

function inShort(graph: Graph, raster: Raster, cursor: number): string {
  const object = pointedAt(raster, cursor);
  if (object !== null) return object < 0 ? "free" : `${graph.name(object)}, ${sizeText(graph.size(object))}`;
  return cursor < 0 ? "" : `${countText(raster.taken[cursor] ?? 0)} of ${countText(raster.grid.blocksPerCell)} blocks taken`;
}

function Said({ graph, raster, cursor }: { graph: Graph; raster: Raster; cursor: number }) {
  const object = pointedAt(raster, cursor) ?? -1;
  const { block_bytes, heap_start_address } = graph.heap.summary;
  const { grid } = raster;
  if (object >= 0) return <Details graph={graph} object={object} />;
  if (cursor >= 0 && cursor < raster.owner.length) {
    const block = grid.span.first + cursor * grid.blocksPerCell;
    const address = heap_start_address + block * block_bytes;
    return grid.blocksPerCell === 1 ? (
      <FreeDetails graph={graph} block={block} address={address} />
    ) : (
      <>
        <h3>{sizeText(grid.blocksPerCell * block_bytes)} of the heap</h3>
        <Facts facts={[
          ["From", <code>{addressText(address)}</code>],
          ["Taken", `${countText(raster.taken[cursor]!)} of ${countText(grid.blocksPerCell)} blocks, ${shareText(raster.taken[cursor]!, grid.blocksPerCell)}`],
        ]} />
        <p class="quiet">Press Enter or double-click to look closer.</p>
      </>
    );
  }
  if (chosen.value >= 0 && chosen.value < graph.count) return <Details graph={graph} object={chosen.value} />;
  return <p class="quiet">Point at a block, or go to the map with Tab and move with the arrow keys. A click or Enter chooses an object.</p>;
}

function Details({ graph, object }: { graph: Graph; object: number }) {
  return (
    <>
      <h3>{graph.group(object)}</h3>
      <Facts facts={[
        ["Address", <code>{addressText(graph.address(object))}</code>],
        ["Size", sizeText(graph.size(object))],
        ["Retains", graph.retainedText(object)],
      ]} />
      <div class="row"><Button label="Why is it alive?" onClick={() => show(object)} /></div>
    </>
  );
}

function FreeDetails({ graph, block, address }: { graph: Graph; block: number; address: number }) {
  const { before, after } = lookAt(graph, 0, block);
  const { block_bytes, blocks } = graph.heap.summary;
  const from = before < 0 ? 0 : graph.end[before]!;
  const to = after < 0 ? blocks : graph.first[after]!;
  return (
    <>
      <h3>Free</h3>
      <Facts facts={[
        ["Address", <code>{addressText(address)}</code>],
        ["Free run", `${sizeText((to - from) * block_bytes)} in ${countText(to - from)} blocks`],
        ["Ends at", after < 0 ? "the heap's end" : <button type="button" class="link" onClick={() => show(after)}>{graph.name(after)}</button>],
      ]} />
    </>
  );
}
