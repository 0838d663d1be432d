/** Calls of the host: whether the heap grows with them, what they cost, and what the host was lent. */
import { useMemo } from "preact/hooks";
import { countText, sizeText, timeText } from "./format";
import { AsTableToo, Facts } from "./parts";
import type { Recording } from "./recording";
import type { Calls as Found, GrowingSite } from "./schema";
import { search } from "./state";
import { DataTable, type TableColumn } from "./table";

const WIDTH = 640;
const HEIGHT = 96;

export function Calls({ recording, calls }: { recording: Recording; calls: Found }) {
  const state = calls.grows === null ? "unknown" : calls.grows ? "grows" : "flat";
  return (
    <>
      <p class={`verdict ${state}`}>{calls.verdict}</p>
      {calls.growing.length > 0 && <Growing sites={calls.growing} />}
      <Spans recording={recording} calls={calls} />
      <Exports recording={recording} />
      <Lent recording={recording} calls={calls} />
    </>
  );
}

/** The sites that grow, the steepest first. */
function Growing({ sites }: { sites: GrowingSite[] }) {
  return (
    <table class="plain growing">
      <caption>What grows</caption>
      <thead>
        <tr>
          <th scope="col">A call</th>
          <th scope="col">Lives</th>
          <th scope="col">Lent</th>
          <th scope="col" class="words">Site</th>
        </tr>
      </thead>
      <tbody>
        {sites.map((site) => (
          <tr key={`${site.function} ${site.place}`}>
            <td>+{sizeText(Math.round(site.slope_bytes))}</td>
            <td>{sizeText(site.live_bytes)}</td>
            <td>{site.lent_bytes ? sizeText(site.lent_bytes) : "–"}</td>
            <td class="words">
              <button type="button" class="link" onClick={() => find(site.function)}>{site.function}</button> {site.place && <code>{site.place}</code>}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function find(name: string): void {
  search.value = name;
  document.getElementById("flame")?.scrollIntoView();
}

/** What calls allocated, in their order. */
function Spans({ recording: { spans }, calls }: { recording: Recording; calls: Found }) {
  const rows = [...Array(spans.rows).keys()];
  const costs = rows.map((row) => spans.allocated_bytes[row]! / spans.calls[row]!);
  const most = Math.max(...costs, 1);
  const width = WIDTH / Math.max(rows.length, 1);
  const name = (row: number) => {
    const [first, count] = [spans.first[row]!, spans.calls[row]!];
    return count === 1 ? `call ${countText(first)}` : `calls ${countText(first)} to ${countText(first + count - 1)}`;
  };
  const columns: TableColumn[] = [
    { title: "First call", value: (row) => spans.first[row]! },
    { title: "Calls", value: (row) => spans.calls[row]! },
    { title: "Allocated", value: (row) => spans.allocated_bytes[row]!, format: sizeText },
    { title: "A call", value: (row) => costs[row]!, format: rounded, bar: most },
    { title: "Time a call", value: (row) => spans.duration_ns[row]! / spans.calls[row]!, format: timeText },
  ];
  return (
    <figure class="spans">
      <figcaption>Allocated a call, over {countText(calls.calls)} calls: at most {rounded(most)}</figcaption>
      <svg class="series" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={`Bytes allocated a call, from the first to call ${countText(calls.calls)}`}>
        {rows.map((row) => {
          const height = (HEIGHT * costs[row]!) / most;
          return (
            <rect key={row} x={row * width} y={HEIGHT - height} width={width} height={height}>
              <title>{name(row)}: {rounded(costs[row]!)} a call</title>
            </rect>
          );
        })}
      </svg>
      <div class="map-scale"><span>call 1</span><span>call {countText(calls.calls)}</span></div>
      <AsTableToo name="spans">
        <DataTable name="spans" label="Calls in their order" rows={spans.rows} columns={columns} initialSort={0} />
      </AsTableToo>
    </figure>
  );
}

function Exports({ recording }: { recording: Recording }) {
  const { exports, summary } = recording;
  const columns = useMemo(() => {
    const all = Math.max(...exports.allocated_bytes, 1);
    const each = (of: (row: number) => number) => (row: number) => of(row) / exports.calls[row]!;
    const found: TableColumn[] = [
      { title: "Export", value: (row) => summary.exports[exports.export[row]!]!, text: true },
      { title: "Calls", value: (row) => exports.calls[row]!, rem: 5 },
      { title: "Allocated", value: (row) => exports.allocated_bytes[row]!, format: sizeText, bar: all },
      { title: "A call", value: each((row) => exports.allocated_bytes[row]!), format: rounded },
      { title: "Objects a call", value: each((row) => exports.allocated_objects[row]!), format: (count) => count.toFixed(1) },
      { title: "At most", value: (row) => exports.most_allocated_bytes[row]!, format: sizeText, hint: "By one call", rem: 6 },
      { title: "Time a call", value: each((row) => exports.duration_ns[row]!), format: timeText },
      { title: "Memory", value: (row) => exports.memory_growth_bytes[row]!, format: sizeText, hint: "By which linear memory grew", rem: 6 },
      { title: "Collections", value: (row) => exports.collections[row]!, hint: "That began within", rem: 6.5 },
      { title: "Failed", value: (row) => exports.failed[row]!, hint: "They trapped, or ended the program", rem: 5 },
    ];
    return found;
  }, [recording]);
  return <DataTable name="exports" label="Calls by export" rows={exports.rows} columns={columns} initialSort={2} />;
}

/** What the host was lent and did not give back. */
function Lent({ recording, calls }: { recording: Recording; calls: Found }) {
  const { lent, summary } = recording;
  const most = calls.is_upper_bound ? "at most " : "";
  const columns = useMemo(() => {
    const found: TableColumn[] = [
      { title: "By", value: (row) => summary.exports[lent.export[row]!]!, text: true },
      { title: "Size", value: (row) => lent.size_bytes[row]!, format: sizeText },
      { title: "In call", value: (row) => lent.call[row]!, format: (call) => (call ? countText(call) : "–") },
      { title: "Calls since", value: (row) => lent.age_calls[row]! },
      { title: "Age", value: (row) => lent.age_ns[row]!, format: timeText },
    ];
    return found;
  }, [recording]);
  return (
    <>
      <h3 class="lent">Lent to the host</h3>
      {!calls.lent_objects && <p class="quiet">Nothing that an export allocated for the host is left at the end.</p>}
      {calls.lent_objects > 0 && <Facts facts={[["At the end", `${most}${sizeText(calls.lent_bytes)}`], ["Objects", countText(calls.lent_objects)]]} />}
      {lent.rows > 0 && (
        <>
          <DataTable name="lent" label="Lent to the host, the oldest" rows={lent.rows} columns={columns} initialSort={4} />
          {lent.rows < calls.lent_objects && <p class="quiet">These are the oldest of them.</p>}
        </>
      )}
    </>
  );
}

function rounded(bytes: number): string {
  return sizeText(Math.round(bytes));
}
