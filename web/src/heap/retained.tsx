/** The dominator tree as a tree to open, branch by branch. */
import { useState } from "preact/hooks";
import { countText, shareText, sizeText } from "../format";
import { Button } from "../parts";
import type { Graph } from "./heap";
import { ObjectLink } from "./object";
import { ALL_ROOTS } from "./schema";

const AT_FIRST = 12;
const MORE = 50;

export function RetainedTree({ graph }: { graph: Graph }) {
  return (
    <div class="tree">
      <Branch graph={graph} dominator={ALL_ROOTS} />
    </div>
  );
}

function Branch({ graph, dominator }: { graph: Graph; dominator: number }) {
  const below = graph.below(dominator);
  const [shown, setShown] = useState(AT_FIRST);
  return (
    <ul aria-label={dominator === ALL_ROOTS ? "Objects by what they retain" : undefined}>
      {[...below.subarray(0, shown)].map((object) => <Node key={object} graph={graph} object={object} />)}
      {below.length > shown && (
        <li>
          <Button label={`Show more of ${countText(below.length - shown)}`} onClick={() => setShown(shown + MORE)} />
        </li>
      )}
    </ul>
  );
}

function Node({ graph, object }: { graph: Graph; object: number }) {
  const [isOpen, setOpen] = useState(false);
  const inner = graph.below(object).length;
  const retained = graph.retained(object);
  return (
    <li>
      <div class="tree-row">
        {inner ? (
          <button type="button" class="fold" aria-expanded={isOpen} aria-label={`Inside of ${graph.name(object)}`} onClick={() => setOpen(!isOpen)}>
            {isOpen ? "▾" : "▸"}
          </button>
        ) : <span class="fold" />}
        <span class="amount">
          <i class="bar" style={{ width: `${(100 * retained) / (graph.heap.aliveBytes || 1)}%` }} />
          <span>{sizeText(retained)}</span>
        </span>
        <span class="share quiet">{shareText(retained, graph.heap.aliveBytes)}</span>
        <span class="what"><ObjectLink graph={graph} object={object} />{inner > 0 && <span class="quiet"> {countText(graph.objects.retained_objects[object]!)} objects</span>}</span>
      </div>
      {isOpen && <Branch graph={graph} dominator={object} />}
    </li>
  );
}
