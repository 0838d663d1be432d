/** The page of a heap: its sections, and what stands above and below. */
import type { Signal } from "@preact/signals";
import { Bar, type SectionEntry } from "../bar";
import { countText, shareText, sizeText } from "../format";
import { Dialog, Empty, Section } from "../parts";
import { Changes } from "./changes";
import type { Graph, Heap } from "./heap";
import { HeapMap } from "./map";
import { ObjectSection } from "./object";
import { RetainedTree } from "./retained";
import { Suspects } from "./suspects";
import { Treemap } from "./treemap";
import { Holes, Roots, Types } from "./tables";

export function App({ heap, graph }: { heap: Heap; graph: Signal<Graph | null> }) {
  const { changes, suspects, moment } = heap.summary;
  const sections: SectionEntry[] = [
    ...(suspects.length ? [["suspects", "Accumulated", suspects.length] as const] : []),
    ["types", "Types"],
    ["retained", "Retained"],
    ["object", "Object"],
    ["map", "Heap map"],
    ["roots", "Roots"],
    ...(changes ? [["changes", "Compared"] as const] : []),
  ];
  const found = graph.value;
  const waiting = <Empty>Reading the objects…</Empty>;
  return (
    <>
      <Bar sections={sections} />
      <main>
        <Head heap={heap} />
        {suspects.length > 0 && (
          <Section id="suspects" title="Where much has accumulated" lead="Each with the shortest way to it from a root, by words.">
            {found ? <Suspects heap={heap} graph={found} /> : waiting}
          </Section>
        )}
        <Section id="types" title="Types" lead="Objects by what is known of them: their types, who allocated them, or what they look like. What a group retains would be freed with it; a row brings its objects out on the map.">
          <Types heap={heap} />
        </Section>
        <Section id="retained" title="What would take others with it" lead="Each object inside of the one that every way to it leads through, as large as what would be freed with it.">
          {found ? (
            <>
              <Treemap graph={found} />
              <RetainedTree graph={found} />
            </>
          ) : waiting}
        </Section>
        <Section id="object" title="One object" lead="Why it is alive, what refers to it, and what is in it.">
          {found ? <ObjectSection graph={found} /> : waiting}
        </Section>
        <Section id="map" title="Heap map" lead={`All blocks at ${moment}: what lies where, and the holes between.`}>
          {found ? <HeapMap heap={heap} graph={found} /> : waiting}
          <Holes heap={heap} />
        </Section>
        <Section id="roots" title="Roots" lead="From where a collection begins, and what only this leads to.">
          <Roots heap={heap} />
        </Section>
        {changes && (
          <Section id="changes" title="Compared" lead={`What has changed since ${changes.moment}.`}>
            <Changes changes={changes} />
          </Section>
        )}
        <Foot heap={heap} />
      </main>
    </>
  );
}

function Head({ heap }: { heap: Heap }) {
  const { summary, aliveBytes } = heap;
  const tiles: [string, string, string][] = [
    ["Alive", sizeText(aliveBytes), `${countText(summary.objects - summary.garbage_objects)} objects`],
    ["Garbage", sizeText(summary.garbage_bytes), `${countText(summary.garbage_objects)} objects, freed by the next collection`],
    ["Free", sizeText(summary.free_bytes), `of a heap of ${sizeText(summary.heap_bytes)}`],
    ["Memory", sizeText(summary.memory_bytes), "all of linear memory"],
  ];
  if (summary.typed_objects !== null && summary.typed_bytes !== null) {
    tiles.push(["Types known", shareText(summary.typed_bytes, summary.object_bytes), `of the bytes, ${countText(summary.typed_objects)} objects`]);
  }
  return (
    <header class="page-head">
      <div class="title">
        <h1 title={summary.module}>{summary.module.split(/[/\\]/).at(-1) || "A heap"}</h1>
        {summary.trap === null ? <span class="badge good">at {summary.moment}</span> : <span class="badge bad">{summary.moment}</span>}
      </div>
      <p class="lead">Collector: {summary.collector}</p>
      {summary.trap !== null && <p class="problem">{summary.trap}</p>}
      {summary.orphan_blocks > 0 && <p class="problem">Damaged: {countText(summary.orphan_blocks)} blocks belong to no object.</p>}
      {summary.notes.map((note) => <p class="note" key={note}>{note}</p>)}
      <dl class="tiles">
        {tiles.map(([word, metric, more]) => (
          <div key={word}>
            <dt>{word}</dt>
            <dd class="number">{metric}</dd>
            <dd class="more">{more}</dd>
          </div>
        ))}
      </dl>
    </header>
  );
}

function Foot({ heap }: { heap: Heap }) {
  return (
    <footer>
      <p>
        Made by tinyheap {heap.summary.tinyheap_version}. This page holds all of its data, and asks no network for anything.{" "}
        <Dialog label="Licenses of what it is made with" link>
          <pre>{document.getElementById("licenses")?.textContent}</pre>
        </Dialog>
      </p>
    </footer>
  );
}
