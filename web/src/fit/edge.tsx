/** The sizes around one edge, without gap: what passes stands above the line, what does not below it. */
import { countText } from "../format";
import { labels, useWidth } from "../lab/plot";
import type { FitRow } from "./schema";

const SIDE = 16;
const BAR = 14;
const LINE = 22;
const HEIGHT = 58;
/** In pixels; what is narrower would not be seen. */
const NARROWEST = 0.5;

export function EdgePicture({ row, name }: { row: FitRow; name: string }) {
  const [place, width] = useWidth();
  const first = row.zone[0]!.first;
  const last = row.zone.at(-1)!.last;
  const unit = (width - 2 * SIDE) / (last - first + 1);
  const x = (size: number) => SIDE + unit * (size - first);
  const middle = (size: number) => x(size) + unit / 2;
  // Where the answer changes is what one wants to read.
  const told = [first, last, row.smallest!, row.safe_from!, ...row.zone.map((each) => each.first)];
  return (
    <div ref={place}>
      <svg class="plot" viewBox={`0 0 ${width} ${HEIGHT}`} width={width} height={HEIGHT} role="img" aria-label={`Sizes around the edge of ${name}`}>
        {row.zone.map((each) => (
          <rect
            key={each.first}
            class={`stretch ${each.passes ? "passes" : "fails"}`}
            x={x(each.first)}
            y={each.passes ? LINE - BAR : LINE}
            width={Math.max(x(each.last + 1) - x(each.first), NARROWEST)}
            height={BAR}
          >
            <title>{`${sizes(each.first, each.last)}: ${each.passes ? "passes" : "does not pass"}`}</title>
          </rect>
        ))}
        <path class="edge-line" d={`M${SIDE} ${LINE}H${width - SIDE}`} />
        {labels(told, middle, countText, SIDE, width - SIDE).map(({ x, text, anchor }) => <text key={text} x={x} y={HEIGHT - 6} text-anchor={anchor}>{text}</text>)}
      </svg>
    </div>
  );
}

function sizes(first: number, last: number): string {
  return first === last ? countText(first) : `${countText(first)} to ${countText(last)}`;
}
