/**
 * References: the 64-bit words that stand for JavaScript's values in a Go program, and the table behind them.
 *
 * A number is itself, as an IEEE double.  Everything else is a NaN whose low half is an index into the table and whose high
 * half tells the type; `tinyheap.hosts.gojs.references` says more.
 */

const NAN_HEAD = 0x7ff80000n << 32n;
const ZERO = NAN_HEAD | 1n;
const TYPE_FLAGS: Partial<Record<string, bigint>> = { string: 2n, function: 4n };
const OBJECT_FLAG = 1n;

const word = new DataView(new ArrayBuffer(8));

export class ValueTable {
  private readonly values: unknown[];
  private readonly counts = new Map<number, number>();
  private readonly indices = new Map<unknown, number>();
  private readonly free: number[] = [];
  /** The places before it are those of values that every program has. */
  private readonly firstFree: number;

  /** `first` are the values that a program has from its start: its global object, and the object for calls into Go. */
  constructor(...first: unknown[]) {
    this.values = [NaN, 0, null, true, false, ...first];
    this.firstFree = this.values.length;
    this.values.forEach((value, index) => this.indices.set(value, index));
  }

  unbox(reference: bigint): unknown {
    word.setBigUint64(0, BigInt.asUintN(64, reference));
    const number = word.getFloat64(0);
    if (number === 0) return undefined;
    return Number.isNaN(number) ? this.values[word.getUint32(4)] : number;
  }

  /** The reference of a value, which is entered into the table, or counted once more. */
  box(value: unknown): bigint {
    if (value === undefined) return 0n;
    if (typeof value === "number") return numeric(value);
    const index = this.indexOf(value);
    this.counts.set(index, (this.counts.get(index) ?? 0) + 1);
    const isObject = typeof value === "object" && value !== null;
    const flag = TYPE_FLAGS[typeof value] ?? (isObject ? OBJECT_FLAG : 0n);
    return NAN_HEAD | (flag << 32n) | BigInt(index);
  }

  /** Gives one count of a reference back; the last one frees its place. */
  release(reference: bigint): void {
    const index = Number(BigInt.asUintN(32, reference));
    const count = this.counts.get(index);
    if (count === undefined || index < this.firstFree) return;
    this.counts.set(index, count - 1);
    if (count > 1) return;
    this.counts.delete(index);
    this.indices.delete(this.values[index]);
    this.values[index] = null;
    this.free.push(index);
  }

  private indexOf(value: unknown): number {
    const known = this.indices.get(value);
    if (known !== undefined) return known;
    const index = this.free.pop() ?? this.values.length;
    this.values[index] = value;
    this.indices.set(value, index);
    return index;
  }
}

function numeric(value: number): bigint {
  if (value === 0) return ZERO;
  if (Number.isNaN(value)) return NAN_HEAD;
  word.setFloat64(0, value);
  return word.getBigUint64(0);
}
