/**
 * The heap as the page holds it: facts that are there at once, then the objects, and its memory when somebody looks into it.
 *
 * Objects, references, roots and groups are numbers.  What is asked of a million objects is found when it is asked.
 */
import { type Column, type Container, read } from "../container";
import { sizeText } from "../format";
import type { Living } from "../heapmap/raster";
import { ALL_ROOTS, COLUMNS, type Field, type HeapMemoryHead, type HeapObjectsHead, type HeapSummary, NOTHING, type Origin } from "./schema";

type Table<Name extends keyof typeof COLUMNS> = Readonly<Record<(typeof COLUMNS)[Name][number], Column>>;

function table<Name extends keyof typeof COLUMNS>(container: Container<unknown>, name: Name): Table<Name> {
  return Object.fromEntries(COLUMNS[name].map((column) => [column, container.column(`${name}.${column}`)])) as unknown as Table<Name>;
}

export class Heap {
  readonly summary: HeapSummary;
  readonly groups: Table<"group">;
  /** The groups that have objects, those that retain most first. */
  readonly byRetained: number[];

  constructor(container: Container<HeapSummary>) {
    this.summary = container.json;
    this.groups = table(container, "group");
    const { retained_bytes, size_bytes, objects } = this.groups;
    this.byRetained = [...objects.keys()].filter((group) => objects[group]! > 0);
    this.byRetained.sort((a, b) => retained_bytes[b]! - retained_bytes[a]! || size_bytes[b]! - size_bytes[a]!);
  }

  get aliveBytes(): number {
    return this.summary.object_bytes - this.summary.garbage_bytes;
  }
}

/** A way from a root to an object: the root, and the references on it. */
export interface Path {
  root: number;
  references: number[];
}

/** Numbers in groups: those of group i are `items[starts[i]..starts[i + 1] - 1]`. */
interface Grouped {
  starts: Uint32Array;
  items: Uint32Array;
}

function grouped(keys: Column, groups: number): Grouped {
  const starts = new Uint32Array(groups + 1);
  for (let i = 0; i < keys.length; i++) if (keys[i]! < groups) starts[keys[i]! + 1]!++;
  for (let group = 0; group < groups; group++) starts[group + 1]! += starts[group]!;
  const [items, next] = [new Uint32Array(starts[groups]!), starts.slice()];
  for (let i = 0; i < keys.length; i++) if (keys[i]! < groups) items[next[keys[i]!]!++] = i;
  return { starts, items };
}

export class Graph implements Living {
  readonly count: number;
  readonly first: Uint32Array;
  readonly end: Uint32Array;
  /** The objects lie at one moment, and do not die: what the map asks of those that do. */
  readonly deathCollection: Column;
  readonly deaths = new Float64Array([Infinity]);
  readonly objects: Table<"object">;
  readonly references: Table<"reference">;
  readonly roots: Table<"root">;
  private readonly facts: HeapObjectsHead;
  private readonly starts: Uint32Array;
  private readonly fields: Map<number, Field[]>;
  private readonly origins: Map<number, Origin>;
  private dominated: Grouped | null = null;
  private incoming: Grouped | null = null;
  private readonly children = new Map<number, Uint32Array>();

  constructor(readonly heap: Heap, container: Container<HeapObjectsHead>) {
    this.facts = container.json;
    this.objects = table(container, "object");
    this.references = table(container, "reference");
    this.roots = table(container, "root");
    this.count = this.objects.first.length;
    this.first = this.objects.first as Uint32Array;
    this.end = new Uint32Array(this.count);
    this.deathCollection = new Uint32Array(this.count);
    this.starts = new Uint32Array(this.count + 1);
    for (let i = 0; i < this.count; i++) {
      this.end[i] = this.first[i]! + this.objects.blocks[i]!;
      this.starts[i + 1] = this.starts[i]! + this.objects.references[i]!;
    }
    this.fields = new Map(this.facts.decoded.map((each) => [each.object, each.fields]));
    this.origins = new Map(this.facts.origins.map((each) => [each.object, each]));
  }

  bornUntil(): number {
    return this.count;
  }

  // ---- objects

  address(object: number): number {
    const { heap_start_address, block_bytes, body_offset_bytes } = this.heap.summary;
    return heap_start_address + this.first[object]! * block_bytes + body_offset_bytes;
  }

  size(object: number): number {
    return this.objects.blocks[object]! * this.heap.summary.block_bytes;
  }

  group(object: number): string {
    return this.heap.summary.groups[this.objects.group[object]!]!;
  }

  isGarbage(object: number): boolean {
    return this.objects.dominator[object] === NOTHING;
  }

  /** An object in words. */
  name(object: number): string {
    return `${this.group(object)} at 0x${this.address(object).toString(16)}`;
  }

  /** The object that an address lies in, -1 for none. */
  at(address: number): number {
    const { heap_start_address, block_bytes } = this.heap.summary;
    const block = Math.floor((address - heap_start_address) / block_bytes);
    const object = last(this.first, block);
    return object >= 0 && block < this.end[object]! ? object : -1;
  }

  fieldsOf(object: number): Field[] {
    return this.fields.get(object) ?? [];
  }

  originOf(object: number): Origin | undefined {
    return this.origins.get(object);
  }

  // ---- references and roots

  referencesOf(object: number): [from: number, to: number] {
    return [this.starts[object]!, this.starts[object + 1]!];
  }

  holder(reference: number): number {
    return last(this.starts, reference, this.count);
  }

  /** The references that lead to an object. */
  referencesTo(object: number): Uint32Array {
    this.incoming ??= grouped(this.references.target, this.count);
    return this.incoming.items.subarray(this.incoming.starts[object]!, this.incoming.starts[object + 1]!);
  }

  /** What a program writes for a reference's word; null where that is not known. */
  word(reference: number): string | null {
    const word = this.references.word[reference]!;
    return word ? this.facts.words[word]! : null;
  }

  /** How sure it is that a reference is a pointer. */
  certainty(reference: number): string {
    return this.facts.certainties[this.references.certainty[reference]!]!;
  }

  rootCertainty(root: number): string {
    return this.facts.certainties[this.roots.certainty[root]!]!;
  }

  /** Of the words on a path, the root's first. */
  certainties({ root, references }: Path): string[] {
    return [this.rootCertainty(root), ...references.map((reference) => this.certainty(reference))];
  }

  rootsTo(object: number): number[] {
    const found: number[] = [];
    this.roots.target.forEach((target: number, root: number) => target === object && found.push(root));
    return found;
  }

  /** What a program writes for a root; empty where that is not known. */
  rootName(root: number): string {
    return this.facts.root_names[this.roots.name[root]!]!;
  }

  rootText(root: number): string {
    const { kind, name, start_address } = this.facts.sources[this.roots.source[root]!]!;
    if (this.rootName(root)) return `${kind} ${this.rootName(root)}`;
    const offset = start_address ? this.roots.address[root]! - start_address : 0;
    return `${kind} ${name}`.trimEnd() + (offset ? `+${offset}` : "");
  }

  /** The shortest path to an object; null for garbage. */
  path(object: number): Path | null {
    const references: number[] = [];
    const { step } = this.objects;
    const count = this.references.target.length;
    if (step[object] === NOTHING) return null;
    let at = step[object]!;
    for (; at < count; at = step[this.holder(at)]!) references.push(at);
    return { root: at - count, references: references.reverse() };
  }

  /** What a program would write for what a path leads to; empty where a type on the way is not known. */
  expression({ root, references }: Path): string {
    const words = references.map((reference) => this.word(reference));
    return this.rootName(root) && words.every((word) => word !== null) ? this.rootName(root) + words.join("") : "";
  }

  // ---- what holds how much

  /** The objects whose immediate dominator is that one, or the roots; those that retain most first. */
  below(dominator: number): Uint32Array {
    const key = dominator === ALL_ROOTS ? this.count : dominator;
    let found = this.children.get(key);
    if (!found) {
      this.dominated ??= grouped(this.objects.dominator.map((each) => (each === ALL_ROOTS ? this.count : each)), this.count + 1);
      const { retained_bytes } = this.objects;
      found = this.dominated.items.slice(this.dominated.starts[key]!, this.dominated.starts[key + 1]!);
      found.sort((a, b) => retained_bytes[b]! - retained_bytes[a]! || a - b);
      this.children.set(key, found);
    }
    return found;
  }

  retained(dominator: number): number {
    return dominator === ALL_ROOTS ? this.heap.aliveBytes : this.objects.retained_bytes[dominator]!;
  }

  retainedText(object: number): string {
    return this.isGarbage(object) ? "garbage" : sizeText(this.objects.retained_bytes[object]!);
  }
}

/** The place of the last of ascending numbers that does not exceed one; -1 for none. */
function last(numbers: ArrayLike<number>, wanted: number, count = numbers.length): number {
  let [low, high] = [0, count];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (numbers[middle]! <= wanted) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

export async function readHeap(): Promise<Heap> {
  return new Heap(await read<HeapSummary>("summary"));
}

export async function readGraph(heap: Heap): Promise<Graph> {
  return new Graph(heap, await read<HeapObjectsHead>("objects"));
}

let memory: Promise<Uint8Array | null> | null = null;

/** The bytes of the blocks, which are unpacked when first asked for; null where the page has none. */
export function readMemory(): Promise<Uint8Array | null> {
  memory ??= read<HeapMemoryHead>("memory").then((container) => (container.json.is_there ? container.bytes("memory") : null));
  return memory;
}
