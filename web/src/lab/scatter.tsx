/** Memory against pause: a point for each condition, with its name where there is room for it. */
import { object } from "../choices";
import { sizeText, timeText } from "../format";
import { Choice, Empty } from "../parts";
import { labels, Legend, type Mark, PAGE, Shape, ticks, useWidth } from "./plot";
import type { LabRow, LabSummary, Outcome } from "./schema";
import { measure, MEASURES, pause, PAUSES } from "./state";

const HEIGHT = 360;
const LEFT = 66;
const RIGHT = 18;
const TOP = 14;
const BOTTOM = 40;
/** Of a character of a name, in pixels. */
const CHARACTER = 6.4;
const LINE = 14;
/** Half of a mark's width, in pixels. */
const MARK = 6;

interface Point {
  row: number;
  x: number;
  y: number;
}

export function markOf(row: LabRow): Mark {
  return !row.passed ? "failed" : row.changes_output ? "changed" : "passed";
}

const SIZES: Record<typeof measure.value, (outcome: Outcome) => number | null> = {
  memory: (outcome) => (outcome.memory_pages === null ? null : outcome.memory_pages * PAGE),
  peak: (outcome) => outcome.peak_bytes,
  heap: (outcome) => outcome.heap_bytes,
};
const LENGTHS: Record<typeof pause.value, (outcome: Outcome) => number | null> = {
  longest: (outcome) => outcome.longest_pause_ns,
  p99: (outcome) => outcome.pause_99_ns,
  p50: (outcome) => outcome.pause_50_ns,
  all: (outcome) => outcome.collector_ns,
};

export function Scatter({ lab }: { lab: LabSummary }) {
  const [place, width] = useWidth();
  const points: Point[] = lab.rows.flatMap(({ outcome }, row) => {
    const x = SIZES[measure.value](outcome);
    const y = LENGTHS[pause.value](outcome);
    return x === null || y === null ? [] : [{ row, x, y }];
  });
  const missing = lab.rows.length - points.length;
  return (
    <div>
      <div class="row lab-choices">
        <Choice label="Memory" value={measure} options={MEASURES} />
        <Choice label="Pause" value={pause} options={PAUSES} />
      </div>
      <div ref={place}>
        {points.length ? <Picture lab={lab} points={points} width={width} /> : <Empty>No condition has both: no collection ran, or none was seen.</Empty>}
      </div>
      <Legend marks={["passed", "changed", "failed"]} />
      {missing > 0 && points.length > 0 && <p class="quiet">{missing} of {lab.rows.length} conditions are not shown: no collection ran, or none was seen.</p>}
    </div>
  );
}

function Picture({ lab, points, width }: { lab: LabSummary; points: Point[]; width: number }) {
  const xs = ticks(Math.max(...points.map(({ x }) => x)), 2);
  const ys = ticks(Math.max(...points.map(({ y }) => y)), 10);
  const x = (value: number) => LEFT + ((width - LEFT - RIGHT) * value) / (xs.at(-1)! || 1);
  const y = (value: number) => HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * value) / (ys.at(-1)! || 1);
  const names = named(lab, points, x, y, width);
  return (
    <svg class="plot scatter" viewBox={`0 0 ${width} ${HEIGHT}`} width={width} height={HEIGHT} role="img" aria-label="Memory against pause, a point for each condition">
      {xs.map((value) => <path key={value} class="grid-line" d={`M${x(value)} ${TOP}V${HEIGHT - BOTTOM}`} />)}
      {labels(xs, x, sizeText, LEFT, width - RIGHT).map(({ x, text, anchor }) => (
        <text key={text} x={x} y={HEIGHT - BOTTOM + 18} text-anchor={anchor}>{text}</text>
      ))}
      {ys.map((value) => (
        <g key={value}>
          <path class="grid-line" d={`M${LEFT} ${y(value)}H${width - RIGHT}`} />
          <text x={LEFT - 8} y={y(value) + 4} text-anchor="end">{timeText(value)}</text>
        </g>
      ))}
      {points.map((point) => (
        <g key={point.row} class={`point${object.value === point.row ? " chosen" : ""}`} onClick={() => (object.value = point.row)}>
          <title>{`${lab.rows[point.row]!.outcome.condition}\n${sizeText(point.x)}, ${timeText(point.y)}`}</title>
          <Shape mark={markOf(lab.rows[point.row]!)} x={x(point.x)} y={y(point.y)} />
        </g>
      ))}
      {names.map(({ row, left, base, text }) => <text key={row} class="name" x={left} y={base}>{text}</text>)}
    </svg>
  );
}

/** The names that have room: none is on another, on a mark, or beyond the edge. */
function named(lab: LabSummary, points: Point[], x: (value: number) => number, y: (value: number) => number, width: number) {
  const boxes: { row: number; left: number; right: number; base: number; text: string }[] = [];
  const marks = points.map((point) => ({ row: point.row, left: x(point.x) - MARK, right: x(point.x) + MARK, base: y(point.y) + 4 }));
  for (const { row, x: size, y: length } of points) {
    const text = lab.rows[row]!.outcome.condition;
    const long = text.length * CHARACTER;
    const base = y(length) + 4;
    const taken = [...boxes, ...marks.filter((mark) => mark.row !== row)];
    const left = [x(size) + 9, x(size) - 9 - long].find((at) =>
      at >= LEFT && at + long <= width - 2 && taken.every((box) => at > box.right || at + long < box.left || Math.abs(base - box.base) >= LINE));
    if (left !== undefined) boxes.push({ row, left, right: left + long, base, text });
  }
  return boxes;
}
