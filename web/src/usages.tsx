/** Who allocates: by function, by allocation site. */
import { useMemo } from "preact/hooks";
import { addressText, shareText, sizeText, timeText } from "./format";
import type { Recording } from "./recording";
import { search } from "./state";
import { DataTable, type TableColumn } from "./table";

const TRENDS = 8;

type Named = Recording["functions"] | Recording["sites"];
type Usages = Named | Recording["lines"];

export function Functions({ recording }: { recording: Recording }) {
  const { functions } = recording;
  const columns = useMemo(() => [named(recording, functions), ...metrics(recording, functions)], [recording]);
  return (
    <DataTable
      name="functions"
      label="Functions"
      rows={functions.rows}
      columns={columns}
      initialSort={1}
      activation="a row finds its function in the flame graph"
      onActivate={(row) => find(recording.name(functions.function[row]!))}
    />
  );
}

export function Sites({ recording }: { recording: Recording }) {
  const { sites } = recording;
  const columns = useMemo(() => {
    const offset: TableColumn = {
      title: "Call at",
      value: (row) => sites.code_offset[row]!,
      format: (offset) => addressOf(offset) || "–",
      hint: "Where the call stands in the program's file",
    };
    const line: TableColumn = { title: "Line", value: (row) => recording.place(sites.file[row]!, sites.line[row]!), text: true };
    const trend: TableColumn = {
      title: "Trend",
      value: (row) => recording.summary.trends[sites.trend[row]!]!,
      text: true,
      rem: 20,
      hint: "How its objects follow each other, and what of them is kept",
    };
    const [name, all] = [named(recording, sites), metrics(recording, sites)];
    return [name, ...all, recording.hasLines ? line : offset, trend];
  }, [recording]);
  return (
    <>
      <DataTable
        name="sites"
        label="Allocation sites"
        rows={sites.rows}
        columns={columns}
        initialSort={1}
        activation="a row finds its function in the flame graph"
        onActivate={(row) => find(recording.name(sites.function[row]!))}
      />
      <Trends recording={recording} />
    </>
  );
}

/** The trends that say something, of the sites that allocated most. */
function Trends({ recording }: { recording: Recording }) {
  const { sites, summary } = recording;
  const telling = [...Array(sites.rows).keys()].filter((row) => sites.is_telling[row]).slice(0, TRENDS);
  if (!telling.length) return null;
  return (
    <ul class="trends" aria-label="Trends">
      {telling.map((row) => (
        <li key={row}>
          <button type="button" class="link" onClick={() => find(recording.name(sites.function[row]!))}>{recording.name(sites.function[row]!)}</button>{" "}
          <code>{recording.place(sites.file[row]!, sites.line[row]!) || addressOf(sites.code_offset[row]!)}</code>: {summary.trends[sites.trend[row]!]}
        </li>
      ))}
    </ul>
  );
}

function addressOf(offset: number): string {
  return offset < 0 ? "" : addressText(offset);
}

function find(name: string): void {
  search.value = name;
  document.getElementById("flame")?.scrollIntoView();
}

function named(recording: Recording, usages: Named): TableColumn {
  return { title: "Function", value: (row) => recording.name(usages.function[row]!), text: true };
}

export function metrics(recording: Recording, usages: Usages): TableColumn[] {
  const all = recording.summary.totals.allocated_bytes || 1;
  const share = (part: (row: number) => number) => (row: number) => (usages.own_objects[row] ? part(row) / usages.own_objects[row]! : NaN);
  const { lives, unseen_collections } = recording.summary.run;
  const most = lives === "at most" ? ", at most" : "";
  const live: TableColumn = { title: `Live at end${most}`, value: (row) => usages.live_bytes[row]!, format: sizeText };
  const young: TableColumn = {
    title: "Dead young",
    value: share((row) => usages.dead_young_objects[row]!),
    format: (part) => shareText(part, 1),
    hint: "Of its own objects, those that the first collection after their birth freed",
  };
  const life: TableColumn = {
    title: `Median life${most}`,
    value: (row) => usages.median_lifetime_ns[row]!,
    format: timeText,
    hint: "Of its own objects that died",
  };
  return [
    { title: "Own bytes", value: (row) => usages.own_bytes[row]!, format: sizeText, bar: all, hint: "Of objects that it allocated itself" },
    { title: "Own objects", value: (row) => usages.own_objects[row]! },
    { title: "Total bytes", value: (row) => usages.total_bytes[row]!, format: sizeText, bar: all, hint: "With all that it called" },
    { title: "Mean size", value: (row) => usages.mean_size_bytes[row]!, format: (bytes) => sizeText(Math.round(bytes)) },
    ...(lives === "unknown" ? [] : unseen_collections === null ? [live, young, life] : [live, life]),
  ];
}
