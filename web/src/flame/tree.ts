/**
 * Stacks as a tree of functions below their callers: calls from different lines of one function are one node.
 *
 * Nodes are numbers.  Node 0 is the root, which stands for everything; a node is always above its caller's.  The order of
 * nodes and the callers are the same for all measures, so a zoom stays where it is when the measure changes.
 */
import type { Column } from "../container";
import type { Recording } from "../recording";

export interface Tree {
  caller: Uint32Array;
  /** -1 for the root. */
  fn: Int32Array;
  depth: Uint32Array;
  /** 1 where it was inlined into its caller, in all calls. */
  inlined: Uint8Array;
  nodeOfStack: Uint32Array;
}

export function grow({ stacks }: Recording): Tree {
  const nodeOfStack = new Uint32Array(stacks.rows);
  const caller = [0];
  const fn = [-1];
  const depth = [0];
  const inlined = [0];
  const below: Map<number, number>[] = [new Map()];
  for (let stack = 1; stack < stacks.rows; stack++) {
    const parent = nodeOfStack[stacks.parent[stack]!]!;
    const siblings = below[parent]!;
    let node = siblings.get(stacks.function[stack]!);
    if (node === undefined) {
      node = caller.length;
      siblings.set(stacks.function[stack]!, node);
      caller.push(parent);
      fn.push(stacks.function[stack]!);
      depth.push(depth[parent]! + 1);
      inlined.push(1);
      below.push(new Map());
    }
    inlined[node]! &= stacks.is_inlined[stack]!;
    nodeOfStack[stack] = node;
  }
  return {
    caller: Uint32Array.from(caller),
    fn: Int32Array.from(fn),
    depth: Uint32Array.from(depth),
    inlined: Uint8Array.from(inlined),
    nodeOfStack,
  };
}

/** The tree by one measure: what each node has itself and in all, and the nodes below it from the heaviest on. */
export interface Weighed {
  own: Float64Array;
  total: Float64Array;
  children: number[][];
}

export function weigh(tree: Tree, weights: Column): Weighed {
  const own = new Float64Array(tree.caller.length);
  weights.forEach((weight: number, stack: number) => void (own[tree.nodeOfStack[stack]!]! += weight));
  const total = own.slice();
  for (let node = total.length - 1; node > 0; node--) total[tree.caller[node]!]! += total[node]!;
  const children: number[][] = Array.from(total, () => []);
  for (let node = 1; node < total.length; node++) if (total[node]) children[tree.caller[node]!]!.push(node);
  for (const nodes of children) nodes.sort((a, b) => total[b]! - total[a]! || a - b);
  return { own, total, children };
}

/** A node as it is drawn; `left` and `width` are shares of the picture. */
export interface Frame {
  node: number;
  left: number;
  width: number;
  /** Rows from the top. */
  row: number;
}

/** The frames that are wide enough to be seen: the callers of a node over its whole width, and all below it. */
export function layOut(tree: Tree, weighed: Weighed, root: number, narrowest: number): Frame[] {
  const above = path(tree, root);
  const frames: Frame[] = above.map((node, row) => ({ node, left: 0, width: 1, row }));
  const whole = weighed.total[root]!;
  const waiting: Frame[] = whole ? [frames.at(-1)!] : [];
  while (waiting.length) {
    const { node, left, row } = waiting.pop()!;
    let at = left;
    for (const child of weighed.children[node]!) {
      const width = weighed.total[child]! / whole;
      // All that follow are narrower still.
      if (width < narrowest) break;
      const frame = { node: child, left: at, width, row: row + 1 };
      frames.push(frame);
      waiting.push(frame);
      at += width;
    }
  }
  return frames;
}

/** From the root to a node. */
export function path(tree: Tree, node: number): number[] {
  const nodes = [node];
  while (node) nodes.push((node = tree.caller[node]!));
  return nodes.reverse();
}

export interface Sum {
  fn: number;
  own: number;
  total: number;
}

/** The functions at and below a node, each counted once however often it recurs in a stack. */
export function byFunction(tree: Tree, weighed: Weighed, root: number): Sum[] {
  const sums = new Map<number, Sum>();
  const open = new Map<number, number>();
  const visit = (node: number) => {
    const fn = tree.fn[node]!;
    const sum = sums.get(fn) ?? { fn, own: 0, total: 0 };
    sums.set(fn, sum);
    sum.own += weighed.own[node]!;
    if (!open.get(fn)) sum.total += weighed.total[node]!;
    open.set(fn, (open.get(fn) ?? 0) + 1);
  };
  // A negative number closes a node: stacks may be deeper than the engine's own.
  const waiting = [root];
  while (waiting.length) {
    const node = waiting.pop()!;
    if (node < 0) {
      const fn = tree.fn[~node]!;
      open.set(fn, open.get(fn)! - 1);
      continue;
    }
    visit(node);
    waiting.push(~node);
    for (const child of weighed.children[node]!) waiting.push(child);
  }
  sums.delete(-1);
  return [...sums.values()].sort((a, b) => b.total - a.total || a.fn - b.fn);
}
