/**
 * A table of any length to sort and to filter; only the rows in sight are on the page.
 *
 * The keys: on a heading Enter sorts; on the rows the arrow keys, Page Up, Page Down, Home and End go from row to row,
 * and Enter does with a row what a click does.
 */
import { elementScroll, observeElementOffset, observeElementRect, Virtualizer } from "@tanstack/virtual-core";
import { useLayoutEffect, useMemo, useReducer, useRef, useState } from "preact/hooks";
import { countText } from "./format";
import { type Arrangement, tables } from "./choices";

export interface TableColumn {
  title: string;
  /** What a row is sorted by, and what it shows unless `format` says otherwise. */
  value(row: number): number | string;
  format?(value: number): string;
  /** Whether it holds words; numbers stand to the right. */
  text?: boolean;
  /** How wide it is at least, in rem; else all columns of words are as wide, and all of numbers. */
  rem?: number;
  /** A bar behind the number, whose full length is this much. */
  bar?: number;
  hint?: string;
}

interface Props {
  /** What its arrangement is called in a link. */
  name: string;
  label: string;
  rows: number;
  columns: TableColumn[];
  /** The column that sorts it first, from the greatest down. */
  initialSort: number;
  onActivate?(row: number): void;
  /** What activating a row does, in words. */
  activation?: string;
}

const ROW = 30;
const MOST_IN_SIGHT = 14;
const PRINTED = 60;
const TEXT_REM = 12;
const NUMBER_REM = 7.3;

export function DataTable({ name, label, rows, columns, initialSort, onActivate, activation }: Props) {
  const first = { column: initialSort, descending: true, filter: "" };
  const chosen = tables.value[name] ?? first;
  const sort = chosen.column < columns.length ? chosen : { ...chosen, column: initialSort };
  const arrange = (change: Partial<Arrangement>) => {
    const { [name]: _, ...others } = tables.peek();
    const next = { ...sort, ...change };
    const isFirst = next.column === first.column && next.descending && !next.filter;
    tables.value = isFirst ? others : { ...others, [name]: next };
  };
  const { filter } = sort;
  const [active, setActive] = useState(-1);
  const order = useMemo(() => arranged(rows, columns, sort, filter), [rows, columns, sort.column, sort.descending, filter]);
  const [place, virtualizer] = useVirtual(order.length);
  const width = (column: TableColumn) => column.rem ?? (column.text ? TEXT_REM : NUMBER_REM);
  const least = columns.reduce((sum, column) => sum + width(column), 0);
  const template = columns.map((column) => (column.text ? `minmax(${width(column)}rem, 1fr)` : `${width(column)}rem`)).join(" ");
  const go = (to: number) => {
    const row = Math.min(Math.max(to, 0), order.length - 1);
    setActive(row);
    virtualizer.scrollToIndex(row);
  };
  const page = Math.max(Math.floor((place.current?.clientHeight ?? 0) / ROW) - 1, 1);
  const keys: Record<string, () => void> = {
    ArrowDown: () => go(active + 1),
    ArrowUp: () => go(active - 1),
    PageDown: () => go(active + page),
    PageUp: () => go(active - page),
    Home: () => go(0),
    End: () => go(order.length - 1),
    Enter: () => active >= 0 && onActivate?.(order[active]!),
  };
  const id = label.replaceAll(/\W+/g, "-");
  return (
    <div class="data-table">
      <div class="toolbar">
        <label class="search">
          <span class="visually-hidden">Filter: {label}</span>
          <input type="search" placeholder="Filter" value={filter} onInput={(event) => { arrange({ filter: event.currentTarget.value }); setActive(-1); }} />
        </label>
        <output class="quiet">
          {order.length === rows ? "" : `${countText(order.length)} of `}{countText(rows)} rows{activation ? `; ${activation}` : ""}
        </output>
      </div>
      <div
        class="grid"
        ref={place}
        role="grid"
        aria-label={label}
        aria-rowcount={order.length + 1}
        aria-colcount={columns.length}
        aria-activedescendant={active >= 0 ? `${id}-${active}` : undefined}
        tabIndex={0}
        style={{ "--columns": template, "--least": `${least}rem`, height: `${ROW * Math.min(order.length, MOST_IN_SIGHT) + ROW + 18}px` }}
        onKeyDown={(event) => {
          if (event.target !== place.current || !keys[event.key]) return;
          event.preventDefault();
          keys[event.key]!();
        }}
      >
        <div class="grid-row head" role="row" aria-rowindex={1}>
          {columns.map((column, i) => (
            <Heading key={column.title} column={column} sort={sort.column === i ? sort.descending : null}
              onClick={() => arrange({ column: i, descending: sort.column === i ? !sort.descending : !column.text })} />
          ))}
        </div>
        <div role="presentation" style={{ height: `${virtualizer.getTotalSize()}px`, position: "relative" }}>
          {virtualizer.getVirtualItems().map(({ index, start }) => (
            <div
              key={index}
              id={`${id}-${index}`}
              class={`grid-row${index === active ? " active" : ""}${onActivate ? " can" : ""}`}
              role="row"
              aria-rowindex={index + 2}
              aria-selected={index === active}
              style={{ transform: `translateY(${start}px)` }}
              onClick={() => { setActive(index); onActivate?.(order[index]!); }}
            >
              {columns.map((column) => <Cell key={column.title} column={column} row={order[index]!} />)}
            </div>
          ))}
        </div>
      </div>
    </div>
  );
}

function Heading({ column, sort, onClick }: { column: TableColumn; sort: boolean | null; onClick: () => void }) {
  return (
    <div role="columnheader" class={column.text ? "" : "number"} aria-sort={sort === null ? "none" : sort ? "descending" : "ascending"}>
      <button type="button" title={column.hint} onClick={onClick}>
        {column.title} <span aria-hidden="true">{sort === null ? "" : sort ? "▾" : "▴"}</span>
      </button>
    </div>
  );
}

function Cell({ column, row }: { column: TableColumn; row: number }) {
  const value = column.value(row);
  const known = typeof value === "string" || !Number.isNaN(value);
  const text = typeof value === "string" ? value : known ? (column.format?.(value) ?? countText(value)) : "–";
  const bar = column.bar && known ? `${Math.min(100 * (Number(value) / column.bar), 100)}%` : null;
  return (
    <div role="gridcell" class={column.text ? "" : "number"} title={column.text ? text : undefined}>
      {bar && <span class="bar" style={{ width: bar }} />}
      <span>{text}</span>
    </div>
  );
}

/** The rows that pass the filter, in order; rows without a number come last. */
function arranged(rows: number, columns: TableColumn[], sort: { column: number; descending: boolean }, filter: string): number[] {
  const words = filter.trim().toLowerCase();
  const named = columns.filter((column) => column.text);
  const passing: number[] = [];
  for (let row = 0; row < rows; row++) {
    if (!words || named.some((column) => String(column.value(row)).toLowerCase().includes(words))) passing.push(row);
  }
  const { value } = columns[sort.column]!;
  const direction = sort.descending ? -1 : 1;
  const keys = new Map(passing.map((row) => [row, value(row)]));
  return passing.sort((a, b) => compare(keys.get(a)!, keys.get(b)!, direction) || a - b);
}

function compare(a: number | string, b: number | string, direction: number): number {
  if (typeof a === "string" || typeof b === "string") return direction * String(a).localeCompare(String(b), "en");
  if (Number.isNaN(a) || Number.isNaN(b)) return Number(Number.isNaN(a)) - Number(Number.isNaN(b));
  return direction * (a - b);
}

function useVirtual(count: number) {
  const place = useRef<HTMLDivElement>(null);
  const [, draw] = useReducer((turn: number) => turn + 1, 0);
  const [printing, setPrinting] = useState(false);
  const virtualizer = useMemo(
    () => new Virtualizer<HTMLDivElement, HTMLDivElement>({ ...common(place, draw), count }),
    [],
  );
  virtualizer.setOptions({ ...common(place, draw), count, overscan: printing ? PRINTED : 8 });
  useLayoutEffect(() => virtualizer._didMount(), []);
  useLayoutEffect(() => virtualizer._willUpdate());
  useLayoutEffect(() => {
    const [before, after] = [() => setPrinting(true), () => setPrinting(false)];
    addEventListener("beforeprint", before);
    addEventListener("afterprint", after);
    return () => {
      removeEventListener("beforeprint", before);
      removeEventListener("afterprint", after);
    };
  }, []);
  return [place, virtualizer] as const;
}

function common(place: { current: HTMLDivElement | null }, draw: (action: unknown) => void) {
  return {
    getScrollElement: () => place.current,
    estimateSize: () => ROW,
    scrollToFn: elementScroll,
    observeElementRect,
    observeElementOffset,
    // The heading stays in sight over the first of the rows.
    scrollPaddingStart: 0,
    scrollPaddingEnd: ROW,
    onChange: () => draw(undefined),
  };
}
