/** The heap map of a recording: the heap at a moment of the run. */
import { useMemo } from "preact/hooks";
import { object as chosen } from "../choices";
import { countText, sizeText } from "../format";
import { Choice } from "../parts";
import type { Objects, Recording } from "../recording";
import { coloring, highlighted, time } from "../state";
import { dark } from "../theme";
import { BlockMap } from "./block_map";
import { type Legend, scheme } from "./colorings";
import { CellDetails, Details, FreeDetails } from "./details";
import { extent } from "./extent";
import { lives, type Raster } from "./raster";

const COLORINGS = [
  ["age", "Age"],
  ["size", "Size"],
  ["site", "Function"],
  ["fate", "Fate"],
] as const;

export function HeapMap({ recording, objects }: { recording: Recording; objects: Objects }) {
  const whole = useMemo(() => extent(recording, objects), [objects]);
  const now = time.value;
  const colors = useMemo(
    () => scheme(coloring.value, recording, objects, now),
    [objects, coloring.value, dark.value, coloring.value === "age" || coloring.value === "fate" ? now : 0],
  );
  const heapBlocks = whole.blocksAt(now);
  return (
    <BlockMap
      objects={objects}
      time={now}
      blocks={whole.blocks}
      heapBlocks={heapBlocks}
      blockBytes={recording.summary.run.block_bytes}
      startAddress={recording.summary.run.heap_start_address}
      colors={colors}
      brought={highlighted.value < 0 ? null : (at) => objects.siteOf(at) === highlighted.value}
      broughtKey={highlighted.value}
      isChosenThere={lives(objects, chosen.value, now)}
      choices={<Choice label="Color by" value={coloring} options={COLORINGS} />}
      legend={<LegendRow legend={colors.legend} />}
      said={(raster, cursor) => <Said recording={recording} objects={objects} raster={raster} cursor={cursor} heapBlocks={heapBlocks} />}
      inShort={(raster, cursor) => inShort({ recording, objects, raster, cursor })}
    />
  );
}

/** What the cursor is on, for those who listen. */
function inShort(props: { recording: Recording; objects: Objects; raster: Raster; cursor: number }): string {
  const { recording, objects, raster, cursor } = props;
  const { blocksPerCell } = raster.grid;
  if (cursor < 0 || cursor >= raster.owner.length) return "";
  if (blocksPerCell > 1) return `${countText(raster.taken[cursor]!)} of ${countText(blocksPerCell)} blocks taken`;
  const owner = raster.owner[cursor]!;
  if (owner < 0) return "free";
  return `object ${countText(objects.id[owner]!)}, ${sizeText(objects.size[owner]!)}, ${recording.name(objects.siteOf(owner))}`;
}

function Said(props: { recording: Recording; objects: Objects; raster: Raster; cursor: number; heapBlocks: number }) {
  const { recording, objects, raster, cursor, heapBlocks } = props;
  const common = { recording, objects };
  if (lives(objects, chosen.value, time.value)) return <Details {...common} object={chosen.value} />;
  const { grid } = raster;
  if (cursor < 0 || cursor >= raster.owner.length) {
    return (
      <p class="quiet">
        Point at a block, or go to the map with Tab and move with the arrow keys. A click or Enter keeps an object here.
        {chosen.value >= 0 && " The object that was chosen does not live at this moment."}
      </p>
    );
  }
  if (grid.blocksPerCell > 1) return <CellDetails {...common} raster={raster} cell={cursor} />;
  const owner = raster.owner[cursor]!;
  if (owner >= 0) return <Details {...common} object={owner} />;
  return <FreeDetails {...common} block={grid.span.first + cursor} heapBlocks={heapBlocks} />;
}

function LegendRow({ legend }: { legend: Legend }) {
  if ("scale" in legend) {
    return (
      <div class="legend scale">
        <div>
          <div class="ramp" style={{ background: legend.scale }} />
          <div class="words">{legend.words.map((word) => <span key={word}>{word}</span>)}</div>
        </div>
        <Nothing />
      </div>
    );
  }
  return (
    <ul class="legend">
      {legend.entries.map((entry) => (
        <li key={entry.text}>
          <span class="swatch" style={{ background: entry.color }} />
          {entry.fn === undefined ? entry.text : <FunctionButton fn={entry.fn} text={entry.text} />}
        </li>
      ))}
      <li><Nothing /></li>
    </ul>
  );
}

/** The colors of what is not an object. */
function Nothing() {
  return (
    <span class="nothing">
      <span class="swatch free" /> free <span class="swatch beyond" /> not grown yet
    </span>
  );
}

function FunctionButton({ fn, text }: { fn: number; text: string }) {
  const on = highlighted.value === fn;
  return (
    <button type="button" class="link" aria-pressed={on} title="Bring out the objects of this function" onClick={() => (highlighted.value = on ? -1 : fn)}>
      {text}
    </button>
  );
}
