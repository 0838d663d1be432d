/** Objects by group, and roots by what has them. */
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
