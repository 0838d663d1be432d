/** What has changed since an earlier heap of the program. */
import { countText, sizeText } from "../format";
import { Empty } from "../parts";
import { DataTable } from "../table";
import type { Changes as Found } from "./schema";

export function Changes({ changes }: { changes: Found }) {
  const { groups, paths } = changes;
  return (
    <>
      <p>{countText(changes.new_objects)} objects are new, {countText(changes.gone_objects)} are gone.</p>
      {changes.left_out.length > 0 && <p class="quiet">Not compared by {changes.left_out.join(" or ")}, which only one of the two snapshots knows.</p>}
      <h3>By type</h3>
      <DataTable
        name="groups"
        label="Changes by type"
        rows={groups.length}
        columns={[
          { title: "What", value: (row) => groups[row]!.group, text: true, rem: 20 },
          { title: "Grown by", value: (row) => groups[row]!.bytes_after - groups[row]!.bytes_before, format: sizeText },
          { title: "Before", value: (row) => groups[row]!.objects_before, format: countText },
          { title: "After", value: (row) => groups[row]!.objects_after, format: countText },
          { title: "New", value: (row) => groups[row]!.new, format: countText },
          { title: "Gone", value: (row) => groups[row]!.gone, format: countText },
        ]}
        initialSort={1}
      />
      <h3>By path</h3>
      {paths.length ? (
        <DataTable
          name="paths"
          label="Changes by path"
          rows={paths.length}
          columns={[
            { title: "Path", value: (row) => paths[row]!.path, text: true, rem: 30 },
            { title: "Grown by", value: (row) => paths[row]!.bytes_after - paths[row]!.bytes_before, format: sizeText },
            { title: "Before", value: (row) => paths[row]!.objects_before, format: countText },
            { title: "After", value: (row) => paths[row]!.objects_after, format: countText },
            { title: "Longer by", value: (row) => paths[row]!.length_after - paths[row]!.length_before, format: countText, hint: "Words from a root to the farthest of them" },
          ]}
          initialSort={1}
        />
      ) : <Empty>No path has more objects, or fewer.</Empty>}
    </>
  );
}
