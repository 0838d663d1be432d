/** Sizes along one axis, a line for each condition: where it passes, or how its memory grew. */
import { sizeText } from "../format";
import { Legend, type Mark, Shape, useWidth } from "./plot";

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

/** All sizes are bytes above 0; the axis is logarithmic, since sizes double. */
export function Tracks({ label, tracks, marks, onChoose }: { label: string; tracks: Track[]; marks: readonly Mark[]; onChoose?: (row: number) => void }) {
  const [place, width] = useWidth();
  const shown = tracks.slice(0, MOST);
  const sizes = shown.flatMap((track) => track.marks.map(({ at }) => at));
  const least = Math.floor(Math.log2(Math.min(...sizes)));
  const most = Math.max(Math.ceil(Math.log2(Math.max(...sizes))), least + 1);
  const x = (size: number) => SIDE + ((width - 2 * SIDE) * (Math.log2(size) - least)) / (most - least);
  const every = Math.ceil(((most - least) * 64) / (width - 2 * SIDE));
  const powers = Array.from({ length: most - least + 1 }, (_, i) => least + i).filter((_, i) => i % every === 0);
  const height = TOP + ROW * shown.length + 4;
  return (
    <div ref={place}>
      <svg class="plot tracks" viewBox={`0 0 ${width} ${height}`} width={width} height={height} role="img" aria-label={label}>
        {powers.map((power) => (
          <g key={power}>
            <path class="grid-line" d={`M${x(2 ** power)} ${TOP - 6}V${height}`} />
            <text x={x(2 ** power)} y={12} text-anchor={power === least ? "start" : power === most ? "end" : "middle"}>{sizeText(2 ** power)}</text>
          </g>
        ))}
        {shown.map((track, i) => {
          const y = TOP + ROW * i + 30;
          const inside = track.marks.filter(({ mark }) => mark !== "limit" && mark !== "refused").map(({ at }) => x(at));
          return (
            <g key={track.name} class="track" onClick={() => track.row >= 0 && onChoose?.(track.row)}>
              <text class="name" x={SIDE} y={y - 13}>{track.name}</text>
              {inside.length > 0 && <path class="span" d={`M${Math.min(...inside)} ${y}H${Math.max(...inside)}`} />}
              {track.marks.map(({ at, mark }, j) => (
                <g key={j}>
                  <title>{`${track.name}\n${sizeText(at)}`}</title>
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
