/** Numbers as short text, like `tinyheap.report.quantities`: sizes, times, counts, shares. */

const SIZES: [number, string][] = [
  [2 ** 40, "TiB"],
  [2 ** 30, "GiB"],
  [2 ** 20, "MiB"],
  [2 ** 10, "KiB"],
];
const TIMES: [number, string][] = [
  [1e9, "s"],
  [1e6, "ms"],
  [1e3, "µs"],
];
const COUNT = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

export function sizeText(bytes: number): string {
  return scaled(bytes, SIZES, "B");
}

export function timeText(ns: number): string {
  return scaled(ns, TIMES, "ns");
}

export function countText(count: number): string {
  return COUNT.format(count);
}

export function shareText(part: number, whole: number): string {
  if (!whole) return "–";
  const percent = (100 * part) / whole;
  if (percent === 0 || percent === 100) return `${percent}%`;
  if (percent > 0 && percent < 0.1) return "< 0.1%";
  if (percent > 99 && percent < 100) return "> 99%";
  return `${percent.toFixed(percent < 10 ? 1 : 0)}%`;
}

export function addressText(address: number): string {
  return `0x${address.toString(16).padStart(8, "0")}`;
}

/** A number in the unit of a measure. */
export function amountText(amount: number, unit: "bytes" | "objects"): string {
  return unit === "bytes" ? sizeText(amount) : `${countText(amount)} ${amount === 1 ? "object" : "objects"}`;
}

function scaled(value: number, units: [number, string][], base: string): string {
  const sign = value < 0 ? "−" : "";
  const size = Math.abs(value);
  for (const [scale, unit] of units) {
    if (size >= scale) {
      const amount = size / scale;
      const digits = amount >= 100 || Number.isInteger(amount) ? 0 : amount >= 10 ? 1 : 2;
      return `${sign}${amount < 1000 ? amount.toFixed(digits) : COUNT.format(amount)} ${unit}`;
    }
  }
  return `${sign}${COUNT.format(size)} ${base}`;
}
