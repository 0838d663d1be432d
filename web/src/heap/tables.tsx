/** Objects by group, and roots by what has them. */
import { Bars } from "../bars";
import { countText, sizeText } from "../format";
import { DataTable, type TableColumn } from "../table";
import type { Heap } from "./heap";
import { marked } from "./state";

export function Types({ heap }: { heap: Heap }) {
  const { groups, byRetained: rows, summary } = heap;
  const most = groups.retained_bytes[rows[0] ?? 0] ?? 0;
  const column = (title: string, name: keyof typeof groups, format: (value: number) => string, bar?: number): TableColumn =>
    ({ title, value: (row) => groups[name][rows[row]!]!, format, bar });
  return (
    <DataTable
      name="types"
      label="Types"
      rows={rows.length}
      columns={[
        { title: "What", value: (row) => summary.groups[rows[row]!]!, text: true, rem: 20 },
        column("Retain", "retained_bytes", sizeText, most),
        column("Bytes", "size_bytes", sizeText),
        column("Objects", "objects", countText),
        column("Garbage", "garbage_bytes", sizeText),
      ]}
      initialSort={1}
      activation="a row brings its objects out on the map"
      onActivate={(row) => {
        marked.value = rows[row]!;
        document.getElementById("map")?.scrollIntoView();
      }}
    />
  );
}

/** The free runs by length, and what stands at their ends. */
export function Holes({ heap }: { heap: Heap }) {
  const { free_runs, cutters } = heap.summary;
  return (
    <div class="halves holes">
      <Bars label="Holes: runs of free blocks by their length" word="Runs" buckets={free_runs} value={sizeText} bytes />
      <div>
        <h3>What stands at the ends of holes</h3>
        <DataTable
          name="cutters"
          label="Ends of holes"
          rows={cutters.length}
          columns={[
            { title: "What", value: (row) => cutters[row]!.group, text: true },
            { title: "End", value: (row) => cutters[row]!.free_bytes, format: sizeText, hint: "Free bytes of the runs that they end", bar: cutters[0]?.free_bytes ?? 0 },
            { title: "Objects", value: (row) => cutters[row]!.objects, format: countText },
            { title: "Garbage", value: (row) => cutters[row]!.garbage, format: countText },
          ]}
          initialSort={1}
        />
      </div>
    </div>
  );
}

export function Roots({ heap }: { heap: Heap }) {
  const held = heap.summary.held_by;
  return (
    <DataTable
      name="roots"
      label="Roots"
      rows={held.length}
      columns={[
        { title: "What has them", value: (row) => held[row]!.source, text: true, rem: 24 },
        { title: "Alone hold", value: (row) => held[row]!.retained_bytes, format: sizeText, bar: held[0]?.retained_bytes ?? 0 },
        { title: "Objects", value: (row) => held[row]!.objects, format: countText },
        { title: "Words", value: (row) => held[row]!.words, format: countText },
      ]}
      initialSort={1}
    />
  );
}
