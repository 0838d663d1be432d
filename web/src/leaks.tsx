/** Leak suspects: allocation sites whose live bytes grow from collection to collection, or from turnover to turnover. */
import { addressText, countText, sizeText } from "./format";
import { Inspecting } from "./inspecting";
import { Button, Empty, Unknown } from "./parts";
import type { Recording } from "./recording";
import type { Leaks as Found, Suspect } from "./schema";
import { coloring, highlighted, search } from "./state";

const WIDTH = 320;
const HEIGHT = 64;
const SHOWN = 24;

export function Leaks({ recording }: { recording: Recording }) {
  const { leaks } = recording.summary;
  if ("unknown" in leaks) return <Unknown why={leaks.unknown} />;
  const { step } = leaks;
  if (!leaks.can_tell) return <Empty>There were too few {step}s to see anything grow from one to the next.</Empty>;
  if (!leaks.suspects.length) return <Empty>No site has live bytes that grow steadily from {step} to {step}.</Empty>;
  return (
    <>
      {leaks.caveat && <p class="lead">Note that {leaks.caveat}.</p>}
      <ol class="suspects">
        {leaks.suspects.slice(0, SHOWN).map((suspect) => (
          <li key={`${suspect.function} ${suspect.place ?? suspect.code_offset}`}>
            <Card recording={recording} leaks={leaks} suspect={suspect} />
          </li>
        ))}
      </ol>
      <Inspecting recording={recording} question="What keeps the objects alive?" />
      {leaks.suspects.length > SHOWN && <p class="quiet">And {countText(leaks.suspects.length - SHOWN)} more, with lower scores.</p>}
    </>
  );
}

function Card({ recording, leaks, suspect }: { recording: Recording; leaks: Found; suspect: Suspect }) {
  const fn = recording.summary.functions.indexOf(suspect.function);
  return (
    <article>
      <h3>
        {suspect.function} {where(suspect) && <code>{where(suspect)}</code>}
      </h3>
      <Series leaks={leaks} suspect={suspect} />
      <p>
        {suspect.explanation}. <span class="quiet">Score {suspect.score.toFixed(2)}.</span>
      </p>
      <div class="row">
        <Button
          label="Show on the map"
          onClick={() => {
            [coloring.value, highlighted.value] = ["site", fn];
            document.getElementById("heap")?.scrollIntoView();
          }}
        />
        <Button
          label="Show in the flame graph"
          onClick={() => {
            search.value = suspect.function;
            document.getElementById("flame")?.scrollIntoView();
          }}
        />
      </div>
    </article>
  );
}

/** The place of the call: in the source, or else in the program's file, where it is known. */
function where({ place, code_offset }: Suspect): string {
  return place ?? (code_offset < 0 ? "" : addressText(code_offset));
}

function Series({ leaks, suspect }: { leaks: Found; suspect: Suspect }) {
  const { series_bytes: series } = suspect;
  const most = Math.max(...series, 1);
  const points = series.map((bytes, i) => `${(WIDTH * i) / Math.max(series.length - 1, 1)},${HEIGHT - (HEIGHT - 4) * (bytes / most) - 2}`);
  const [first, last] = [leaks.collections[0]!, leaks.collections.at(-1)!];
  return (
    <svg
      class="series"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={`Live bytes after ${leaks.step} ${first} to ${last}: from ${sizeText(series[0]!)} to ${sizeText(series.at(-1)!)}`}
    >
      <polygon points={`0,${HEIGHT} ${points.join(" ")} ${WIDTH},${HEIGHT}`} />
      <polyline points={points.join(" ")} />
    </svg>
  );
}
