/** A histogram as a table: one row per bucket, with a bar as long as its share. */
import { countText, shareText, sizeText } from "./format";
import { Empty } from "./parts";
import type { Bucket } from "./schema";

interface Props {
  label: string;
  buckets: Bucket[];
  /** The bounds of a bucket in words. */
  value(bound: number): string;
  bytes: boolean;
  /** A last row for those that no bucket holds. */
  beyond?: { text: string; objects: number; bytes: number };
  word: string;
}

export function Bars({ label, buckets, value, bytes, beyond, word }: Props) {
  const rows = buckets.map((bucket) => ({ ...bucket, text: bucket.high <= 1 ? value(0) : `${value(bucket.low)} – ${value(bucket.high)}` }));
  const all = beyond?.objects ? [...rows, { ...beyond, low: -1, high: -1 }] : rows;
  const objects = all.reduce((sum, row) => sum + row.objects, 0);
  const size = all.reduce((sum, row) => sum + row.bytes, 0);
  const most = Math.max(...all.map((row) => row.objects / (objects || 1)), ...(bytes ? all.map((row) => row.bytes / (size || 1)) : []));
  if (!objects) return <Empty>There is nothing to count.</Empty>;
  return (
    <table class="bars">
      <caption>{label}</caption>
      <thead>
        <tr>
          <th scope="col" title="The second bound belongs to the next row">From – below</th>
          <th scope="col">{word}</th>
          {bytes && <th scope="col">Bytes</th>}
        </tr>
      </thead>
      <tbody>
        {all.map((row) => (
          <tr key={row.low}>
            <th scope="row">{row.text}</th>
            <Bar share={row.objects / objects / most} text={countText(row.objects)} title={shareText(row.objects, objects)} kind="objects" />
            {bytes && <Bar share={row.bytes / (size || 1) / most} text={sizeText(row.bytes)} title={shareText(row.bytes, size)} kind="bytes" />}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Bar({ share, text, title, kind }: { share: number; text: string; title: string; kind: string }) {
  return (
    <td title={title}>
      <span class={`bar ${kind}`} style={{ width: `${100 * share}%` }} />
      <span>{text}</span>
    </td>
  );
}
