/**
 * Reads what `tinyheap.report.html.packing` wrote: base64 of gzip of a container.
 *
 * A container holds JSON and columns. Its first four bytes are the length of the JSON, which says under `columns` where
 * each column lies behind it, of which type it is and how it was made small. All numbers are little-endian.
 */

/** How a column was packed: as it is, or as differences between neighbors whose bytes of equal weight lie together. */
type Coding = "plain" | "differences";

interface Place {
  type: "u32" | "f64" | "u8";
  coding: Coding;
  offset: number;
  length: number;
}

/** Columns begin at multiples of it. */
const ALIGNMENT = 8;

export type Column = Uint32Array | Float64Array;

export interface Container<Json> {
  json: Json;
  has(name: string): boolean;
  /** The column of that name; an error names one that is not there. */
  column(name: string): Column;
  /** A column of bytes. */
  bytes(name: string): Uint8Array;
}

/** The container in the script tag of that id. */
export async function read<Json>(id: string): Promise<Container<Json>> {
  const text = document.getElementById(id)?.textContent ?? "";
  const bytes = await inflate(fromBase64(text.trim()));
  const jsonBytes = new DataView(bytes.buffer).getUint32(0, true);
  const json = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + jsonBytes)));
  const columns: Record<string, Place> = json.columns;
  const start = Math.ceil((4 + jsonBytes) / ALIGNMENT) * ALIGNMENT;
  const placed = (name: string): Place => {
    const place = columns[name];
    if (!place) throw new Error(`the page's data has no column ${name}`);
    return { ...place, offset: start + place.offset };
  };
  return {
    json,
    has: (name) => name in columns,
    column: (name) => decode(bytes, placed(name)),
    bytes(name) {
      const { offset, length } = placed(name);
      return bytes.subarray(offset, offset + length);
    },
  };
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const modern = Uint8Array as unknown as { fromBase64?: (text: string) => Uint8Array<ArrayBuffer> };
  if (modern.fromBase64) return modern.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

async function inflate(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function decode(bytes: Uint8Array<ArrayBuffer>, place: Place): Column {
  const { offset, length } = place;
  if (place.coding === "differences") return decodeDifferences(bytes, offset, length);
  return place.type === "u32" ? new Uint32Array(bytes.buffer, offset, length) : new Float64Array(bytes.buffer, offset, length);
}

/** Each value is the one before it plus a difference, whose sign is in its lowest bit (zigzag). */
function decodeDifferences(bytes: Uint8Array, offset: number, length: number): Uint32Array {
  const values = new Uint32Array(length);
  const [a, b, c, d] = [0, 1, 2, 3].map((plane) => offset + plane * length) as [number, number, number, number];
  let value = 0;
  for (let i = 0; i < length; i++) {
    const zigzag = bytes[a + i]! | (bytes[b + i]! << 8) | (bytes[c + i]! << 16) | (bytes[d + i]! << 24);
    value = (value + ((zigzag >>> 1) ^ -(zigzag & 1))) | 0;
    values[i] = value;
  }
  return values;
}
