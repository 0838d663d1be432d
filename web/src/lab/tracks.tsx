/** Sizes along one axis, a line for each condition: where it passes, or how its memory grew. */
import { sizeText } from "../format";
import { labels, Legend, type Mark, Shape, useWidth } from "./plot";

export interface TrackMark {
  at: number;
  mark: Mark;
}
export interface Track {
  name: string;
  marks: TrackMark[];
  /** The row of the outcome that it is of; -1 for none. */
  row: number;
}

const ROW = 46;
const TOP = 26;
const SIDE = 16;
const MOST = 60;

interface Props {
  label: string;
  tracks: Track[];
  marks: readonly Mark[];
  onChoose?(row: number): void;
  /** What a size is in words; bytes without it. */
  text?(size: number): string;
}

/** All sizes are above 0; the axis is logarithmic, since sizes double. */
export function Tracks({ label, tracks, marks, onChoose, text = sizeText }: Props) {
  const [place, width] = useWidth();
  const shown = tracks.slice(0, MOST);
  const sizes = shown.flatMap((track) => track.marks.map(({ at }) => at));
  const least = Math.floor(Math.log2(Math.min(...sizes)));
  const most = Math.max(Math.ceil(Math.log2(Math.max(...sizes))), least + 1);
  const x = (size: number) => SIDE + ((width - 2 * SIDE) * (Math.log2(size) - least)) / (most - least);
  const powers = Array.from({ length: most - least + 1 }, (_, i) => 2 ** (least + i));
  const height = TOP + ROW * shown.length + 4;
  return (
    <div ref={place}>
      <svg class="plot tracks" viewBox={`0 0 ${width} ${height}`} width={width} height={height} role="img" aria-label={label}>
        {powers.map((power) => <path key={power} class="grid-line" d={`M${x(power)} ${TOP - 6}V${height}`} />)}
        {labels(powers, x, text, SIDE, width - SIDE).map(({ x, text, anchor }) => <text key={text} x={x} y={12} text-anchor={anchor}>{text}</text>)}
        {shown.map((track, i) => {
          const y = TOP + ROW * i + 30;
          const inside = track.marks.filter(({ mark }) => mark !== "limit" && mark !== "refused").map(({ at }) => x(at));
          return (
            <g key={track.name} class="track" onClick={() => track.row >= 0 && onChoose?.(track.row)}>
              <text class="name" x={SIDE} y={y - 13}>{track.name}</text>
              {inside.length > 0 && <path class="span" d={`M${Math.min(...inside)} ${y}H${Math.max(...inside)}`} />}
              {track.marks.map(({ at, mark }, j) => (
                <g key={j}>
                  <title>{`${track.name}\n${text(at)}`}</title>
                  <Shape mark={mark} x={x(at)} y={y} />
                </g>
              ))}
            </g>
          );
        })}
      </svg>
      <Legend marks={marks} />
      {tracks.length > MOST && <p class="quiet">The first {MOST} of {tracks.length}; all are in the table.</p>}
    </div>
  );
}
