/** What the collector cost: its pauses, what was left to the program, and each collection. */
import { useLayoutEffect, useMemo } from "preact/hooks";
import uPlot from "uplot";
import { Bars } from "./bars";
import { useSize } from "./canvas";
import { property } from "./colors";
import { countText, shareText, sizeText, timeText } from "./format";
import { AsTableToo, Empty, Facts, Unknown } from "./parts";
import type { Recording } from "./recording";
import type { Bucket } from "./schema";
import { time } from "./state";
import { DataTable } from "./table";
import { dark } from "./theme";

export function Pauses({ recording }: { recording: Recording }) {
  const { summary, collections } = recording;
  const buckets = useMemo(() => bucketsOf(collections.pause_ns), [recording]);
  const collector_ns = summary.totals.collector_ns;
  if (summary.run.unseen_collections !== null || collector_ns === null) {
    return <Unknown why={summary.run.unseen_collections} />;
  }
  if (!collections.rows) return <Empty>No collection ran, so there was no pause.</Empty>;
  return (
    <>
      <Facts
        facts={[
          ...summary.percentiles.map(({ percent, pause_ns }) => [percent === 100 ? "Longest" : `${percent}% at most`, timeText(pause_ns)] as const),
          ["All together", timeText(collector_ns)],
          ["Of the run", shareText(collector_ns, summary.run.duration_ns - summary.run.begun_ns)],
        ]}
      />
      <div class="halves">
        <Bars label="Pauses by their length" word="Pauses" buckets={buckets} value={timeText} bytes={false} />
        <Utilization recording={recording} />
      </div>
    </>
  );
}

/** Pauses counted by powers of two. */
function bucketsOf(pauses: ArrayLike<number>): Bucket[] {
  const counts = new Map<number, number>();
  for (let i = 0; i < pauses.length; i++) {
    const power = pauses[i]! > 0 ? Math.floor(Math.log2(pauses[i]!)) : 0;
    counts.set(power, (counts.get(power) ?? 0) + 1);
  }
  const powers = [...counts.keys()];
  const first = Math.min(...powers);
  return Array.from({ length: Math.max(...powers) - first + 1 }, (_, i) => ({
    low: 2 ** (first + i),
    high: 2 ** (first + i + 1),
    objects: counts.get(first + i) ?? 0,
    bytes: 0,
  }));
}

const HEIGHT = 240;

/** Minimum mutator utilization: what the program had of the worst window of each length. */
function Utilization({ recording }: { recording: Recording }) {
  const { utilizations } = recording;
  const [place, size] = useSize<HTMLDivElement>();
  useLayoutEffect(() => {
    if (!size.width || utilizations.rows < 2) return;
    const chart = new uPlot(
      utilizationOptions(size.width),
      [Array.from(utilizations.window_ns), Array.from(utilizations.utilization)],
      place.current!,
    );
    return () => chart.destroy();
  }, [size.width, dark.value, recording]);
  return (
    <figure class="utilization">
      <figcaption>Left to the program in the worst window of each length (minimum mutator utilization)</figcaption>
      <div class="chart" ref={place} style={{ height: utilizations.rows < 2 ? 0 : `${HEIGHT}px` }} aria-hidden="true" />
      <AsTableToo name="pauses" isOpen={utilizations.rows < 2}>
        <table class="plain">
          <thead><tr><th scope="col">Window</th><th scope="col">Left to the program</th></tr></thead>
          <tbody>
            {Array.from(utilizations.window_ns, (window, i) => (
              <tr key={window}><th scope="row">{timeText(window)}</th><td>{shareText(utilizations.utilization[i]!, 1)}</td></tr>
            ))}
          </tbody>
        </table>
      </AsTableToo>
    </figure>
  );
}

function utilizationOptions(width: number): uPlot.Options {
  const axis = { stroke: property("--ink-quiet"), grid: { stroke: property("--grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    cursor: { drag: { x: false, y: false } },
    scales: { x: { time: false, distr: 3 }, y: { range: [0, 1] } },
    axes: [
      { ...axis, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : timeText(tick))) },
      { ...axis, values: (_, ticks) => ticks.map((tick) => shareText(tick, 1)) },
    ],
    series: [{}, { stroke: property("--accent"), width: 2, fill: `${property("--accent")}1c`, points: { show: true, size: 6 } }],
  };
}

/** Every collection; a row goes to its moment. */
export function Collections({ recording }: { recording: Recording }) {
  const { collections: all, summary } = recording;
  const place = (stack: number) => recording.name(recording.stacks.site[stack]!);
  const columns = useMemo(() => [
    { title: "Number", rem: 5.5, value: (row: number) => row + 1 },
    { title: "Why", value: (row: number) => summary.reasons[all.reason[row]!]!, text: true, rem: 7 },
    { title: "At", value: (row: number) => place(all.stack[row]!), text: true, rem: 20, hint: "The function whose call made it happen" },
    { title: "Wanted", value: (row: number) => all.wanted_bytes[row]!, format: sizeText, hint: "The allocation that found no room" },
    { title: "Begun", value: (row: number) => all.begun_ns[row]!, format: timeText },
    { title: "Pause", value: (row: number) => all.pause_ns[row]!, format: timeText, bar: Math.max(...recording.summary.percentiles.map(({ pause_ns }) => pause_ns), 1) },
    { title: "Mark", value: (row: number) => all.mark_ns[row]!, format: timeText },
    { title: "Sweep", value: (row: number) => all.sweep_ns[row]!, format: timeText },
    { title: "Freed", value: (row: number) => all.freed_bytes[row]!, format: sizeText },
    { title: "Freed objects", value: (row: number) => all.freed_objects[row]! },
    { title: "Left", value: (row: number) => all.live_bytes[row]!, format: sizeText },
    { title: "Left objects", value: (row: number) => all.live_objects[row]! },
    { title: "Roots", value: (row: number) => all.roots_bytes[row]!, format: sizeText },
    { title: "Words scanned", value: (row: number) => all.words_scanned[row]!, format: countText },
    { title: "Rescans", value: (row: number) => all.rescans[row]!, hint: "Of the heap, after the mark stack was full" },
  ], [recording]);
  if (summary.run.unseen_collections !== null) return <Unknown why={summary.run.unseen_collections} />;
  if (!all.rows) return <Empty>No collection ran.</Empty>;
  return (
    <DataTable
      name="collections"
      label="Collections"
      rows={all.rows}
      columns={columns}
      initialSort={5}
      activation="a row goes to its moment"
      onActivate={(row) => {
        time.value = recording.collectionEnd(row + 1);
        document.getElementById("heap")?.scrollIntoView();
      }}
    />
  );
}
