/** What there is to say of a place in the heap: its object with its life and its call stack, or the free run. */
import { Inspecting } from "../inspecting";
import { Button, Facts } from "../parts";
import { addressText, countText, shareText, sizeText, timeText } from "../format";
import type { Objects, Recording } from "../recording";
import { object as chosen } from "../choices";
import { highlighted, time } from "../state";
import { lookAt, type Raster } from "./raster";

interface Props {
  recording: Recording;
  objects: Objects;
}

export function Details(props: Props & { object: number }) {
  const { recording, objects, object } = props;
  const { block_bytes } = recording.summary.run;
  const blocks = objects.end[object]! - objects.first[object]!;
  const site = objects.siteOf(object);
  return (
    <>
      <h3>
        Object {countText(objects.id[object]!)} <span class="quiet">{sizeText(objects.size[object]!)}</span>
      </h3>
      <p class="site">{recording.name(site)}</p>
      <Facts
        facts={[
          ["Address", <code>{addressText(objects.address[object]!)}</code>],
          ["Size", `${countText(objects.size[object]!)} B in ${countText(blocks)} ${blocks === 1 ? "block" : "blocks"} of ${block_bytes} B`],
          ...life(recording, objects, object),
        ]}
      />
      <Neighbors {...props} />
      <div class="row">
        <Button label="To its birth" onClick={() => (time.value = objects.birth(object))} />
        {objects.death(object) < Infinity && (
          <Button label="To its last moment" onClick={() => (time.value = Math.max(objects.death(object) - 1, objects.birth(object)))} />
        )}
        <Button
          label={highlighted.value === site ? "Show all functions" : "Only this function"}
          onClick={() => (highlighted.value = highlighted.value === site ? -1 : site)}
        />
      </div>
      <Inspecting recording={recording} question="Why is it alive?" options={` --why 0x${objects.address[object]!.toString(16)}`} />
      <Stack recording={recording} stack={objects.stack[object]!} />
    </>
  );
}

function life(recording: Recording, objects: Objects, object: number): [string, string][] {
  const { duration_ns } = recording.summary.run;
  const [birth, death] = [objects.birth(object), objects.death(object)];
  const collection = objects.deathCollection[object]!;
  const end = death < Infinity ? `${timeText(death)}, by collection ${countText(collection)}` : "not in this run";
  return [
    ["Born", timeText(birth)],
    ["Age now", timeText(Math.max(Math.min(time.value, duration_ns) - birth, 0))],
    ["Freed", end],
    ["Lived", death < Infinity ? timeText(death - birth) : `${timeText(Math.max(duration_ns - birth, 0))}, to the end`],
  ];
}

function Neighbors({ objects, object, recording }: Props & { object: number }) {
  const { block_bytes } = recording.summary.run;
  const [first, end] = [objects.first[object]!, objects.end[object]!];
  const { before, after } = lookAt(objects, time.value, first);
  return (
    <div class="neighbors">
      <Neighbor objects={objects} object={before} word="Below" gap={before < 0 ? first : first - objects.end[before]!} block={block_bytes} />
      <Neighbor objects={objects} object={after} word="Above" gap={after < 0 ? 0 : objects.first[after]! - end} block={block_bytes} />
    </div>
  );
}

function Neighbor(props: { objects: Objects; object: number; word: string; gap: number; block: number }) {
  const { objects, object, word, gap, block } = props;
  const distance = gap ? `after ${sizeText(gap * block)} free` : "adjacent";
  if (object < 0) return <p class="quiet">{word}: no object</p>;
  return (
    <button type="button" class="button wide" onClick={() => (chosen.value = object)}>
      <span class="quiet">{word}</span> object {countText(objects.id[object]!)}, {sizeText(objects.size[object]!)}{" "}
      <span class="quiet">{distance}</span>
    </button>
  );
}

/** The calls that led to an allocation, the innermost first. */
export function Stack({ recording, stack }: { recording: Recording; stack: number }) {
  const path = recording.path(stack);
  if (!path.length) return <p class="quiet">No call stack is known.</p>;
  return (
    <div class="stack">
      <h4>Call stack, innermost first</h4>
      <ol>
        {path.map((at) => {
          const { stacks } = recording;
          const [offset, place] = [stacks.offset[at]!, recording.place(stacks.file[at]!, stacks.line[at]!)];
          return (
            <li key={at} class={stacks.is_runtime[at] ? "quiet" : ""}>
              {recording.name(stacks.function[at]!)}{" "}
              {place ? (
                <code title="place of the call in the source">{place}</code>
              ) : (
                offset >= 0 && <code title="place of the call in the program's file">{addressText(offset)}</code>
              )}
              {stacks.is_inlined[at] ? <span class="quiet"> inlined</span> : null}
            </li>
          );
        })}
      </ol>
    </div>
  );
}

/** A free block, with the run that it is in. */
export function FreeDetails({ recording, objects, block, heapBlocks }: Props & { block: number; heapBlocks: number }) {
  const { block_bytes, heap_start_address } = recording.summary.run;
  const { before, after } = lookAt(objects, time.value, block);
  const from = before < 0 ? 0 : objects.end[before]!;
  const to = after < 0 ? heapBlocks : objects.first[after]!;
  return (
    <>
      <h3>{block < heapBlocks ? "Free" : "Not part of the heap yet"}</h3>
      <Facts
        facts={[
          ["Address", <code>{addressText(heap_start_address + block * block_bytes)}</code>],
          ...(block < heapBlocks ? [["Free run", `${sizeText((to - from) * block_bytes)} in ${countText(to - from)} blocks`] as const] : []),
        ]}
      />
    </>
  );
}

/** A cell of several blocks. */
export function CellDetails({ recording, objects, raster, cell }: Props & { raster: Raster; cell: number }) {
  const { block_bytes, heap_start_address } = recording.summary.run;
  const { span, blocksPerCell } = raster.grid;
  const block = span.first + cell * blocksPerCell;
  const owner = raster.owner[cell]!;
  return (
    <>
      <h3>{sizeText(blocksPerCell * block_bytes)} of the heap</h3>
      <Facts
        facts={[
          ["From", <code>{addressText(heap_start_address + block * block_bytes)}</code>],
          ["Taken", `${countText(raster.taken[cell]!)} of ${countText(blocksPerCell)} blocks, ${shareText(raster.taken[cell]!, blocksPerCell)}`],
          ...(owner < 0 ? [] : [["Among others", `object ${countText(objects.id[owner]!)}, ${sizeText(objects.size[owner]!)}`] as const]),
        ]}
      />
      {owner >= 0 && <p class="site">{recording.name(objects.siteOf(owner))}</p>}
      <p class="quiet">Press Enter or double-click to look closer.</p>
    </>
  );
}
