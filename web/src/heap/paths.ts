/**
 * Distinct paths to an object: they share nothing but what all paths lead through, and there are as many as can be at once.
 *
 * Found as `tinyheap.inspect.paths` finds them, in the same order: one by one, each by the shortest search that may take back
 * words of those before it.
 */
import type { Graph, Path } from "./heap";
import { ALL_ROOTS, NOTHING } from "./schema";

/** How sure words are that are numbers by their type. */
export const FALSE = "false by type";

/** Up to so many; those that say most first; none for garbage. */
export function distinctPaths(graph: Graph, found: number, most: number): Path[] {
  const source = graph.objects.dominator[found]!;
  if (source === NOTHING) return [];
  const paths = source === ALL_ROOTS ? fromRoots(graph, found, most) : fromObject(graph, source, found, most);
  return paths.map((path) => [uncertainty(graph, path), path] as const).sort(([a], [b]) => compare(a, b)).map(([, path]) => path);
}

/** What leads through a number comes last; what a program would write, and what leads through pointers only, is before others. */
function uncertainty(graph: Graph, path: Path): number[] {
  const words = graph.certainties(path);
  const isSure = words.every((word) => word.startsWith("certain"));
  return [Number(words.includes(FALSE)), Number(!graph.expression(path)), Number(!isSure), path.references.length];
}

function compare(a: readonly number[], b: readonly number[]): number {
  const at = a.findIndex((number, index) => number !== b[index]);
  return at < 0 ? a.length - b.length : at < b.length ? a[at]! - b[at]! : 1;
}

function fromRoots(graph: Graph, found: number, most: number): Path[] {
  const direct = graph.rootsTo(found).slice(0, most);
  const rooted = new Map<number, number>();
  graph.roots.target.forEach((target: number, root: number) => {
    if (target !== NOTHING && target !== found && !rooted.has(target)) rooted.set(target, root);
  });
  const others = disjoint(graph, found, new Set(rooted.keys()), NOTHING, most - direct.length);
  return [
    ...direct.map((root) => ({ root, references: [] })),
    ...others.map((objects) => ({ root: rooted.get(objects[0]!)!, references: words(graph, objects) })),
  ];
}

function fromObject(graph: Graph, source: number, found: number, most: number): Path[] {
  const beginning = graph.path(source)!;
  const held = range(...graph.referencesOf(source));
  const direct = held.filter((reference) => graph.references.target[reference] === found).slice(0, most);
  const below = new Set(held.map((reference) => graph.references.target[reference]!));
  below.delete(source);
  below.delete(found);
  const others = disjoint(graph, found, below, source, most - direct.length);
  const ways = [...direct.map((reference) => [reference]), ...others.map((objects) => words(graph, [source, ...objects]))];
  return ways.map((way) => ({ root: beginning.root, references: [...beginning.references, ...way] }));
}

/** The words that lead from each object to the next. */
function words(graph: Graph, objects: number[]): number[] {
  return objects.slice(1).map((target, at) => range(...graph.referencesOf(objects[at]!)).find((reference) => graph.references.target[reference] === target)!);
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, at) => from + at);
}

/** Up to so many paths that share no other object, the shortest first: the objects on each, from one of the first ones on. */
function disjoint(graph: Graph, found: number, firsts: ReadonlySet<number>, source: number, most: number): number[][] {
  const network = new Network(graph, found, firsts, source);
  for (let count = 0; count < most && network.augment(); count++);
  return network.paths().sort((a, b) => a.length - b.length || compare(a, b));
}

/** A node of a search is an object and whether it is entered, as one number. */
type Node = number;
const node = (object: number, isEntered: boolean): Node => 2 * object + Number(isEntered);

class Network {
  /** The object before each on its path: `ALL_ROOTS` for the first, `NOTHING` for those on none. */
  private readonly before: Uint32Array;
  private readonly after = new Map<number, number>();
  private readonly last = new Set<number>();
  private readonly came: Uint32Array;
  private readonly queue: Uint32Array;

  constructor(private readonly graph: Graph, private readonly found: number, private readonly firsts: ReadonlySet<number>, private readonly source: number) {
    this.before = new Uint32Array(graph.count).fill(NOTHING);
    this.came = new Uint32Array(2 * graph.count);
    this.queue = new Uint32Array(2 * graph.count);
  }

  /** Find one path more, if there is one: the shortest. */
  augment(): boolean {
    const start = node(this.found, true);
    this.came.fill(NOTHING);
    this.came[start] = start;
    let [head, tail] = [0, 0];
    this.queue[tail++] = start;
    while (head < tail) {
      const at = this.queue[head++]!;
      const object = at >>> 1;
      if (at & 1 && this.firsts.has(object) && this.before[object] !== ALL_ROOTS) {
        this.take(at);
        return true;
      }
      this.residual(object, Boolean(at & 1), (other) => {
        if (this.came[other] !== NOTHING) return;
        this.came[other] = at;
        this.queue[tail++] = other;
      });
    }
    return false;
  }

  /** The nodes from which a path may come to one. */
  private residual(object: number, isEntered: boolean, visit: (node: Node) => void): void {
    const isOnPath = this.before[object] !== NOTHING;
    if (!isEntered) {
      const next = this.after.get(object);
      if (!isOnPath) visit(node(object, true));
      else if (next !== undefined) visit(node(next, true));
      return;
    }
    if (isOnPath) visit(node(object, false));
    for (const reference of this.graph.referencesTo(object)) {
      const holder = this.graph.holder(reference);
      const isTaken = object === this.found ? this.last.has(holder) : this.before[object] === holder;
      if (!this.graph.isGarbage(holder) && holder !== this.found && holder !== this.source && !isTaken) visit(node(holder, false));
    }
  }

  /** Make the way from a first object to the end a path, and take back what it goes against. */
  private take(from: Node): void {
    const steps: [holder: number, target: number, isForward: boolean][] = [];
    for (let at = from; this.came[at] !== at; at = this.came[at]!) {
      const following = this.came[at]!;
      if (at >>> 1 !== following >>> 1) steps.push([at >>> 1, following >>> 1, Boolean(following & 1)]);
    }
    this.takeBack(steps);
    this.before[from >>> 1] = ALL_ROOTS;
    for (const [holder, target, isForward] of steps) {
      if (isForward && target === this.found) this.last.add(holder);
      else if (isForward) {
        this.before[target] = holder;
        this.after.set(holder, target);
      }
    }
  }

  private takeBack(steps: [holder: number, target: number, isForward: boolean][]): void {
    for (const [target, holder, isForward] of steps) {
      if (isForward) continue;
      this.after.delete(holder);
      this.before[target] = NOTHING;
    }
  }

  paths(): number[][] {
    return [...this.last].sort((a, b) => a - b).map((last) => {
      const path = [this.found, last];
      while (this.before[path.at(-1)!] !== ALL_ROOTS) path.push(this.before[path.at(-1)!]!);
      return path.reverse();
    });
  }
}
