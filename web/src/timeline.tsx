/**
 * The time line: the heap as a whole through the run, with its collections and growths.
 *
 * A click chooses the moment that the heap map shows; dragging looks closer at a part of the run.
 */
import { effect } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { useSize } from "./canvas";
import { property } from "./colors";
import { shareText, sizeText, timeText } from "./format";
import type { Recording } from "./recording";
import { withWord } from "./choices";
import { hidden, period, time } from "./state";
import { dark } from "./theme";

interface Line {
  key: string;
  text: string;
  color: string;
  scale: "bytes" | "share";
  values: (number | null)[];
  fill?: boolean;
  /** Whether it stays as it is until the next moment; else it is taken to go there evenly. */
  steps?: boolean;
}

const HEIGHT = 260;

export function TimeLine({ recording }: { recording: Recording }) {
  const [place, size] = useSize<HTMLDivElement>();
  const plot = useRef<uPlot | null>(null);
  const lines = useRef<Line[]>(undefined);
  lines.current ??= linesOf(recording);
  useLayoutEffect(() => {
    if (!size.width) return;
    const chart = new uPlot(options(recording, lines.current!, size.width), data(recording, lines.current!), place.current!);
    plot.current = chart;
    const stop = effect(() => {
      const [from, to] = period.value ?? [recording.summary.run.begun_ns, recording.summary.run.duration_ns];
      chart.setScale("x", { min: from, max: Math.max(to, from + 1) });
    });
    const follow = effect(() => {
      void time.value;
      chart.redraw(false);
    });
    const switches = effect(() => {
      lines.current!.forEach((line, i) => chart.setSeries(i + 1, { show: !hidden.value.includes(line.key) }));
    });
    return () => [stop, follow, switches, () => chart.destroy()].forEach((end) => end());
  }, [size.width, dark.value, recording]);
  return (
    <div class="timeline">
      <ul class="legend">
        {lines.current.map((line) => (
          <li key={line.key}>
            <button type="button" class="link" aria-pressed={!hidden.value.includes(line.key)} onClick={() => toggle(line.key)}>
              <span class="swatch" style={{ background: `var(${line.color})` }} /> {line.text}
            </button>
          </li>
        ))}
        {recording.collections.rows > 0 && <li><span class="swatch line" style={{ background: "var(--line-collection)" }} /> collection</li>}
        {recording.growths.rows > 0 && <li><span class="swatch triangle" /> growth</li>}
        <Reading recording={recording} lines={lines.current} />
      </ul>
      <div
        class="chart"
        ref={place}
        style={{ height: `${HEIGHT}px` }}
        role="img"
        aria-label={`The heap through ${timeText(recording.summary.run.duration_ns)}${inWords(recording)}. The numbers of the chosen moment stand beside it.`}
      />
    </div>
  );
}

function toggle(key: string): void {
  hidden.value = withWord(hidden.value, key, !hidden.value.includes(key));
}

/** What is known to have happened. */
function inWords({ summary: { run }, collections, growths }: Recording): string {
  const happened = [
    ...(run.unseen_collections === null ? [`${collections.rows} collections, each in the table of collections`] : []),
    ...(run.unseen_heap === null ? [`${growths.rows} growths`] : []),
  ];
  return happened.length ? `: ${happened.join("; ")}` : "";
}

/** The numbers at the chosen moment, in words. */
function Reading({ recording, lines }: { recording: Recording; lines: Line[] }) {
  const at = indexAt(recording.points.time_ns, Math.max(time.value, 0));
  const numbers = lines.flatMap((line) => {
    const value = lastKnown(line.values, at);
    return value === null ? [] : [`${line.text} ${line.scale === "bytes" ? sizeText(value) : shareText(value, 1)}`];
  });
  return <li class="reading">{numbers.join(" · ")}</li>;
}

function linesOf(recording: Recording): Line[] {
  const { points } = recording;
  const { lives } = recording.summary.run;
  const known = (column: Float64Array | Uint32Array) => Array.from(column, (value) => (Number.isNaN(value) ? null : value));
  const free = known(points.free_bytes);
  const largest = known(points.largest_free_run_bytes);
  const fragmentation = free.map((bytes, i) => (bytes && largest[i] !== null ? 1 - largest[i]! / bytes : null));
  const lines: Line[] = [
    { key: "memory", text: "linear memory", color: "--line-heap", scale: "bytes", values: memoryAt(recording), steps: true },
    { key: "heap", text: "heap size", color: "--line-heap", scale: "bytes", values: known(points.heap_bytes), steps: true },
    { key: "used", text: "used", color: "--line-used", scale: "bytes", values: known(points.used_bytes), fill: true },
    lives !== "unknown"
      ? { key: "live", text: lives === "at most" ? "not freed, at most" : "not freed", color: "--line-live", scale: "bytes", values: known(points.live_bytes) }
      : { key: "allocated", text: "allocated so far", color: "--line-live", scale: "bytes", values: known(points.allocated_bytes) },
    { key: "free", text: "free", color: "--line-free", scale: "bytes", values: free },
    { key: "largest", text: "largest free run", color: "--line-largest", scale: "bytes", values: largest },
    { key: "fragmentation", text: "fragmentation", color: "--line-fragmentation", scale: "share", values: fragmentation },
  ];
  return lines.filter((line) => line.values.some((value) => value !== null));
}

/** How large linear memory is at each moment, where the heap in it was not seen. */
function memoryAt({ summary, memory, points }: Recording): (number | null)[] {
  if (summary.run.unseen_heap === null || !memory.rows) return [];
  return Array.from(points.time_ns, (ns) => memory.bytes[indexAt(memory.time_ns, ns)]!);
}

function data(recording: Recording, lines: Line[]): uPlot.AlignedData {
  return [Array.from(recording.points.time_ns), ...lines.map((line) => line.values)];
}

function options(recording: Recording, lines: Line[], width: number): uPlot.Options {
  const ink = property("--ink-quiet");
  const axis = { stroke: ink, grid: { stroke: property("--grid"), width: 1 }, ticks: { stroke: property("--grid") }, font: "12px system-ui, sans-serif" };
  const share: uPlot.Axis = { ...axis, scale: "share", side: 1, size: 52, grid: { show: false }, values: (_, ticks) => ticks.map((tick) => shareText(tick, 1)) };
  return {
    width,
    height: HEIGHT,
    padding: [14, 0, 0, 0],
    legend: { show: false },
    cursor: { drag: { x: true, y: false, setScale: false }, points: { size: 6 } },
    scales: {
      x: { time: false },
      bytes: { range: (_, __, most) => [0, (most || 1) * 1.05] },
      share: { range: [0, 1] },
    },
    axes: [
      { ...axis, values: (_, ticks) => ticks.map((tick) => timeText(Math.round(tick))), space: 80 },
      { ...axis, scale: "bytes", size: 72, incrs: powersOfTwo(), values: (_, ticks) => ticks.map(sizeText) },
      ...(lines.some((line) => line.scale === "share") ? [share] : []),
    ],
    series: [
      {},
      ...lines.map((line) => ({
        label: line.text,
        scale: line.scale,
        stroke: property(line.color),
        width: line.key === "used" ? 1.5 : 1.25,
        dash: line.scale === "share" ? [4, 3] : undefined,
        fill: line.fill ? `${property(line.color)}22` : undefined,
        spanGaps: true,
        paths: line.steps ? uPlot.paths.stepped!({ align: 1 }) : undefined,
        points: { show: false },
      })),
    ],
    hooks: {
      draw: [(chart) => drawMarks(chart, recording)],
      setSelect: [(chart) => select(chart)],
      ready: [(chart) => listen(chart)],
    },
  };
}

function powersOfTwo(): number[] {
  return Array.from({ length: 45 }, (_, exponent) => 2 ** exponent);
}

/** Collections as bands as long as their pause, growths as triangles, the chosen moment as a line. */
function drawMarks(chart: uPlot, recording: Recording): void {
  const { ctx: context, bbox } = chart;
  const scale = devicePixelRatio || 1;
  const place = (ns: number) => Math.round(chart.valToPos(ns, "x", true));
  const { begun_ns, pause_ns, rows } = recording.collections;
  context.save();
  context.beginPath();
  context.rect(bbox.left, 0, bbox.width, bbox.top + bbox.height);
  context.clip();
  context.fillStyle = property("--line-collection");
  // Many collections must not hide the lines.
  context.globalAlpha = Math.max(Math.min(0.55, (bbox.width / scale / Math.max(rows, 1)) * 0.04), 0.06);
  for (let i = 0; i < rows; i++) {
    const from = place(begun_ns[i]!);
    const width = Math.max(place(begun_ns[i]! + pause_ns[i]!) - from, scale);
    if (from + width >= bbox.left && from <= bbox.left + bbox.width) context.fillRect(from, bbox.top, width, bbox.height);
  }
  context.globalAlpha = 1;
  context.fillStyle = property("--line-heap");
  for (const ns of recording.growths.time_ns) {
    const x = place(ns);
    context.beginPath();
    context.moveTo(x - 5 * scale, bbox.top - 10 * scale);
    context.lineTo(x + 5 * scale, bbox.top - 10 * scale);
    context.lineTo(x, bbox.top - 1 * scale);
    context.fill();
  }
  context.fillStyle = property("--accent");
  context.fillRect(place(time.peek()) - scale, bbox.top - 4 * scale, 2 * scale, bbox.height + 4 * scale);
  context.restore();
}

function select(chart: uPlot): void {
  const { left, width } = chart.select;
  if (width < 4) return;
  period.value = [left, left + width].map((at) => Math.max(chart.posToVal(at, "x"), 0)) as [number, number];
  chart.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
}

/** A click, which is not a drag, chooses a moment; a double click shows all of the run. */
function listen(chart: uPlot): void {
  let from = 0;
  chart.over.addEventListener("pointerdown", (event) => (from = event.clientX));
  chart.over.addEventListener("pointerup", (event) => {
    if (Math.abs(event.clientX - from) > 3) return;
    const box = chart.over.getBoundingClientRect();
    time.value = Math.max(chart.posToVal(event.clientX - box.left, "x"), 0);
  });
  chart.over.addEventListener("dblclick", () => (period.value = null));
}

/** The last of ascending times that is not after a moment; 0 where all are. */
function indexAt(times: ArrayLike<number>, moment: number): number {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (times[middle]! <= moment) low = middle + 1;
    else high = middle;
  }
  return Math.max(low - 1, 0);
}

function lastKnown(values: (number | null)[], at: number): number | null {
  for (let i = at; i >= 0; i--) if (values[i] !== null && values[i] !== undefined) return values[i]!;
  return null;
}
