/** All outcomes as a table to sort, and one of them in words. */
import { object } from "../choices";
import { countText, shareText, sizeText, timeText } from "../format";
import { Empty } from "../parts";
import { DataTable, type TableColumn } from "../table";
import { PAGE } from "./plot";
import type { LabSummary, Outcome } from "./schema";

/** What is not known is sorted below all that is. */
const UNKNOWN = -1;

export function Outcomes({ lab }: { lab: LabSummary }) {
  const known = (format: (value: number) => string) => (value: number) => (value === UNKNOWN ? "–" : format(value));
  const column = (title: string, value: (outcome: Outcome) => number | null, format: (value: number) => string, hint?: string): TableColumn =>
    ({ title, value: (row) => value(lab.rows[row]!.outcome) ?? UNKNOWN, format: known(format), hint });
  const share = (value: number) => shareText(value, 1);
  const longest = Math.max(0, ...lab.rows.map(({ outcome }) => outcome.condition.length));
  return (
    <>
      <DataTable
        name="outcomes"
        label="Outcomes"
        rows={lab.rows.length}
        columns={[
          { title: "Condition", value: (row) => lab.rows[row]!.outcome.condition, text: true, rem: Math.min(40, Math.max(12, 0.5 * longest + 2)) },
          { title: "Ended", value: (row) => `${lab.rows[row]!.outcome.ended}${lab.rows[row]!.changes_output ? ", other output" : ""}`, text: true, rem: 12 },
          column("Peak", (each) => each.peak_bytes, sizeText, "The most that was in use at once, as far as collections saw it"),
          column("Memory", (each) => (each.memory_pages === null ? null : each.memory_pages * PAGE), sizeText),
          column("Collections", (each) => each.collections, countText),
          column("50%", (each) => each.pause_50_ns, timeText, "Half of the pauses are not longer"),
          column("99%", (each) => each.pause_99_ns, timeText, "99% of the pauses are not longer"),
          column("Longest", (each) => each.longest_pause_ns, timeText),
          column("All pauses", (each) => each.collector_ns, timeText),
          column("In 10 ms", (each) => each.utilization_10_ms, share, "Minimum mutator utilization: the program's share of the worst 10 ms"),
          column("Fragmented", (each) => each.fragmentation, share, "1 - largest free run / free memory, at the end"),
          column("Would fit", (each) => each.largest_free_bytes, sizeText, "The largest request that would still fit at the end"),
        ]}
        initialSort={3}
        activation="a row says how it ended"
        onActivate={(row) => (object.value = row)}
      />
      <Chosen lab={lab} />
    </>
  );
}

function Chosen({ lab }: { lab: LabSummary }) {
  const row = lab.rows[object.value];
  if (!row) return <Empty>Choose a condition, in the table or a picture, to see how it ended.</Empty>;
  const { outcome } = row;
  return (
    <div class="chosen-outcome" role="status">
      <h3>{outcome.condition}</h3>
      <p>
        {outcome.ended}
        {outcome.exit_code === null ? "" : `, exit code ${outcome.exit_code}`}
      </p>
      {outcome.evidence.map((phrase) => <p key={phrase} class="evidence">{phrase}</p>)}
    </div>
  );
}
