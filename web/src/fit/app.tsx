/** The page of `tinyheap fit`: its sections, and what stands above. */
import { Bar, type SectionEntry } from "../bar";
import { object } from "../choices";
import { countText, sizeText } from "../format";
import { Foot } from "../lab/foot";
import { PAGE } from "../lab/plot";
import { type Track, type TrackMark, Tracks } from "../lab/tracks";
import { Section } from "../parts";
import { DataTable, type TableColumn } from "../table";
import { EdgePicture } from "./edge";
import type { FitRow, FitSummary, Start } from "./schema";

/** How many sizes that fail above one that passes are named. */
const HOLES_SHOWN = 8;
/** What is not there is sorted below all that is. */
const UNKNOWN = -1;

const nameOf = (row: FitRow) => `${row.condition}, ${row.limit}`;

export function App({ fit }: { fit: FitSummary }) {
  const units = (size: number) => `${countText(size)} ${fit.unit}${size === 1 ? "" : "s"}`;
  const inBytes = fit.unit === "page";
  const survivals = fit.rows.map((row): Track => ({
    name: nameOf(row),
    marks: row.trials.map(({ size, passed }) => ({ at: inBytes ? size * fit.unit_bytes : size, mark: passed ? "passed" : "failed" })),
    row: -1,
  }));
  const sections: SectionEntry[] = [
    ["smallest", "Smallest"],
    ["survival", "Survival"],
    ["edge", "At the edge"],
    ...(fit.starts.length ? [["start", "Initial memory"] as const] : []),
  ];
  return (
    <>
      <Bar sections={sections} />
      <main>
        <Head fit={fit} units={units} />
        <Section id="smallest" title="The smallest size" lead={`With how few ${fit.unit}s it comes to its end, under each condition.`}>
          <Smallest fit={fit} units={units} />
        </Section>
        <Section id="survival" title="Survival by size" lead={`All sizes that were tried${inBytes ? "" : `, in ${fit.unit}s`}; of those that follow each other the first and the last.`}>
          <Tracks label="Sizes with which it passes" tracks={survivals} marks={["passed", "failed"]} text={inBytes ? sizeText : countText} />
        </Section>
        <Section id="edge" title="At the edge" lead={`In ${fit.unit}s: what passes stands above the line, what does not below it; and what stands in the way of less.`}>
          <div class="edges">{fit.rows.map((row, i) => <Edge key={nameOf(row)} row={row} number={i} units={units} />)}</div>
        </Section>
        {fit.starts.length > 0 && (
          <Section id="start" title="Initial memory" lead="Where memory doubles, how far it gets under the limit depends on where it begins; what lies between the last size and the limit is never used.">
            <Tracks label="Sizes of memory, by where it begins" tracks={fit.starts.map((start, i) => startTrack(fit, start, i))} marks={["step", "refused", "limit"]} />
          </Section>
        )}
        <Foot version={fit.tinyheap_version} />
      </main>
    </>
  );
}

/** The sizes that memory has from a start, and the one that is refused then. */
function startTrack(fit: FitSummary, { pages, most_pages, steps }: Start, number: number): Track {
  // The best start ends at the limit.
  const limit = fit.starts.at(-1)!.most_pages;
  const marks: TrackMark[] = Array.from({ length: steps + 1 }, (_, i) => ({ at: pages * 2 ** i * PAGE, mark: "step" }));
  marks.push({ at: 2 * most_pages * PAGE, mark: "refused" }, { at: limit * PAGE, mark: "limit" });
  const whose = number ? "an initial memory" : "the initial memory";
  return { name: `${whose} of ${sizeText(pages * PAGE)} ends at ${sizeText(most_pages * PAGE)}`, marks, row: -1 };
}

function Smallest({ fit, units }: { fit: FitSummary; units: (size: number) => string }) {
  const column = (title: string, value: (row: FitRow) => number | null, format: (value: number) => string, hint?: string): TableColumn => ({
    title,
    value: (row) => value(fit.rows[row]!) ?? UNKNOWN,
    format: (value) => (value === UNKNOWN ? "–" : format(value)),
    hint,
    rem: 9,
  });
  return (
    <DataTable
      name="smallest"
      label="The smallest sizes"
      rows={fit.rows.length}
      columns={[
        { title: "Condition", value: (row) => fit.rows[row]!.condition, text: true, rem: 18 },
        { title: "Limit", value: (row) => fit.rows[row]!.limit, text: true, rem: 9 },
        column("Smallest", (row) => row.smallest, units),
        column("In bytes", (row) => row.smallest_bytes, countText, "What to ask for"),
        column("Passes from", (row) => row.safe_from, units, "All sizes from there that were tried pass"),
        column("Tried", (row) => row.tried, countText, "How many sizes were"),
      ]}
      initialSort={2}
      activation="a row shows its edge"
      onActivate={(row) => {
        object.value = row;
        document.getElementById(`edge-${row}`)!.scrollIntoView({ block: "center" });
      }}
    />
  );
}

function Edge({ row, number, units }: { row: FitRow; number: number; units: (size: number) => string }) {
  return (
    <div id={`edge-${number}`} class={object.value === number ? "chosen" : undefined}>
      <h3>{nameOf(row)}</h3>
      {row.zone.length > 0 && <EdgePicture row={row} name={nameOf(row)} />}
      {row.failing_above.length > 0 && <p class="problem">{ragged(row)}</p>}
      <p>{row.below === null ? "Nothing smaller can be tried." : row.smallest === null ? `Does not pass in ${units(row.below)} either:` : `With ${units(row.below)}:`}</p>
      {row.obstacle.map((phrase) => <p key={phrase} class="evidence">{phrase}</p>)}
    </div>
  );
}

function ragged(row: FitRow): string {
  const shown = row.failing_above.slice(0, HOLES_SHOWN).map(countText).join(", ");
  const more = row.failing_above.length - HOLES_SHOWN;
  return `Not monotone: it passes with ${countText(row.smallest!)}, and fails with ${shown}${more > 0 ? ` and ${countText(more)} more` : ""}. From ${countText(row.safe_from!)} on all that were tried pass.`;
}

function Head({ fit, units }: { fit: FitSummary; units: (size: number) => string }) {
  const { rows } = fit;
  const failed = rows.filter((row) => row.smallest === null).length;
  const ragged = rows.filter((row) => row.failing_above.length).map(nameOf);
  return (
    <header class="page-head">
      <div class="title">
        <h1 title={fit.module}>{fit.module.split(/[/\\]/).at(-1) || "A program"}</h1>
        <span class={`badge ${failed ? "bad" : "good"}`}>
          {failed ? `passes in no size in ${failed} of ${rows.length} cases` : rows.length === 1 ? `passes in ${units(rows[0]!.smallest!)}` : `passes in all ${rows.length} cases`}
        </span>
      </div>
      {fit.arguments.length > 0 && <p class="arguments"><code>{fit.arguments.join(" ")}</code></p>}
      {fit.options.length > 0 && <p class="lead">Each run with <code>{fit.options.join(" ")}</code></p>}
      {ragged.length > 0 && <p class="problem">Larger is not always better, since other collections leave other holes: {ragged.join("; ")}.</p>}
    </header>
  );
}
