/** Source lines: what each allocates, as a table, and beside the text where there is one. */
import { useMemo } from "preact/hooks";
import { countText, sizeText } from "./format";
import { Empty } from "./parts";
import type { Recording } from "./recording";
import type { Source } from "./schema";
import { DataTable, type TableColumn } from "./table";
import { metrics } from "./usages";

export function Lines({ recording }: { recording: Recording }) {
  const { lines, summary } = recording;
  const columns = useMemo(() => {
    const place: TableColumn = { title: "Line", value: (row) => recording.place(lines.file[row]!, lines.line[row]!), text: true, rem: 24 };
    return [place, ...metrics(recording, lines)];
  }, [recording]);
  if (!recording.hasLines) return <Empty>No source line is known: the module has no debug information.</Empty>;
  return (
    <>
      <DataTable name="source" label="Source lines" rows={lines.rows} columns={columns} initialSort={1} />
      {summary.sources.map((source) => (
        <Listing key={source.file} recording={recording} source={source} />
      ))}
      {!summary.sources.length && <p class="quiet">tinyheap report --html PAGE --source FOLDER shows the text beside it.</p>}
    </>
  );
}

/** The lines of a file around those that allocate. */
function Listing({ recording, source }: { recording: Recording; source: Source }) {
  const { lines, summary } = recording;
  const rows = useMemo(() => {
    const found = new Map<number, number>();
    for (let row = 0; row < lines.rows; row++) if (lines.file[row] === source.file) found.set(lines.line[row]!, row);
    return found;
  }, [recording, source]);
  return (
    <details class="listing" open>
      <summary>
        <code>{summary.files[source.file]}</code>
      </summary>
      <table aria-label={summary.files[source.file]!}>
        <thead>
          <tr><th scope="col">Bytes</th><th scope="col">Objects</th><th scope="col">Line</th><th scope="col">Text</th></tr>
        </thead>
        <tbody>
          {source.numbers.map((number, i) => {
            const row = rows.get(number);
            const known = row !== undefined;
            return (
              <tr key={number} class={`${known ? "hot" : ""}${i && number > source.numbers[i - 1]! + 1 ? " gap" : ""}`}>
                <td class="number">{known && sizeText(lines.own_bytes[row]!)}</td>
                <td class="number">{known && countText(lines.own_objects[row]!)}</td>
                <td class="number quiet">{number}</td>
                <td><code>{source.texts[i]}</code></td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </details>
  );
}
