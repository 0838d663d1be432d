/** One object: why it is alive, what refers to it, and what is in it. */
import { useEffect, useMemo, useState } from "preact/hooks";
import { object as chosen } from "../choices";
import { addressText, countText, sizeText, timeText } from "../format";
import { Button, Empty, Facts } from "../parts";
import { type Graph, type Path, readMemory } from "./heap";
import { distinctPaths, FALSE } from "./paths";
import { ALL_ROOTS } from "./schema";
import { show } from "./state";

/** Of a long path its beginning and its end; of many words or holders the first. */
const STEPS = 12;
const HOLDERS = 30;
const PATHS = 8;
const WORDS = 256;

export function ObjectSection({ graph }: { graph: Graph }) {
  const object = chosen.value >= 0 && chosen.value < graph.count ? chosen.value : -1;
  return (
    <>
      <Finder graph={graph} />
      {object < 0 ? (
        <Empty>Choose an object in the tree, in the treemap or on the map, or by its address.</Empty>
      ) : (
        <div class="object" data-object={object}>
          <div>
            <h3>{graph.group(object)} <code>{addressText(graph.address(object))}</code></h3>
            <ObjectFacts graph={graph} object={object} />
            <h4>Why it is alive</h4>
            <Way graph={graph} object={object} />
            <DistinctPaths graph={graph} object={object} key={object} />
            <Holders graph={graph} object={object} />
          </div>
          <div>
            <Fields graph={graph} object={object} />
            <Words graph={graph} object={object} key={object} />
          </div>
        </div>
      )}
    </>
  );
}

/** Goes to the object at an address. */
function Finder({ graph }: { graph: Graph }) {
  const [said, say] = useState("");
  const find = (event: SubmitEvent) => {
    event.preventDefault();
    const text = new FormData(event.currentTarget as HTMLFormElement).get("address") as string;
    const found = /^\s*(0x[0-9a-f]+|\d+)\s*$/i.test(text) ? graph.at(Number(text)) : -1;
    say(found < 0 ? `No object at ${text}.` : "");
    if (found >= 0) chosen.value = found;
  };
  return (
    <form class="toolbar" onSubmit={find}>
      <label class="search">
        <span class="visually-hidden">Address of an object</span>
        <input type="search" name="address" placeholder="Address, 0x… or decimal" />
      </label>
      <button type="submit" class="button">Go to the object</button>
      <output class="quiet">{said}</output>
    </form>
  );
}

function ObjectFacts({ graph, object }: { graph: Graph; object: number }) {
  const { header_bytes } = graph.heap.summary;
  const dominator = graph.objects.dominator[object]!;
  const retained = graph.objects.retained_objects[object]!;
  const origin = graph.originOf(object);
  const facts: [string, preact.ComponentChildren][] = [
    ["Size", `${sizeText(graph.size(object))} in blocks, ${countText(graph.size(object) - header_bytes)} bytes of them the program's`],
    ["Retains", graph.isGarbage(object) ? "nothing: it is garbage" : `${sizeText(graph.retained(object))}, ${countText(retained)} ${retained === 1 ? "object" : "objects"}`],
  ];
  if (dominator < graph.count) facts.push(["Within", <ObjectLink graph={graph} object={dominator} />]);
  else if (dominator === ALL_ROOTS) facts.push(["Within", "no other object alone"]);
  if (origin) facts.push(["Allocation", `${countText(origin.number)}, after ${timeText(origin.born_ns)}, by ${origin.site}`]);
  return <Facts facts={facts} />;
}

export function ObjectLink({ graph, object }: { graph: Graph; object: number }) {
  return <button type="button" class="link" onClick={() => show(object)}>{graph.name(object)}</button>;
}

/** The shortest path to an object. */
export function Way({ graph, object }: { graph: Graph; object: number }) {
  const path = graph.path(object);
  return path ? <PathView graph={graph} path={path} /> : <p>Held by nobody: garbage, freed by the next collection.</p>;
}

/** All distinct paths to an object, some at first: finding each takes a search of the heap. */
function DistinctPaths({ graph, object }: { graph: Graph; object: number }) {
  const [most, setMost] = useState(0);
  const found = useMemo(() => (most ? distinctPaths(graph, object, most + 1) : []), [graph, object, most]);
  if (graph.isGarbage(object)) return null;
  const [shown, isMore] = [found.slice(0, most), found.length > most];
  return (
    <div class="paths">
      {most > 0 && <h4>{isMore ? `${countText(most)} distinct paths of more` : `All distinct paths: ${countText(shown.length)}`}</h4>}
      {shown.length > 1 && <p class="quiet">No two share an object that another path could avoid.</p>}
      {shown.map((path, at) => <PathView key={at} graph={graph} path={path} />)}
      {(most === 0 || isMore) && <Button label={most ? "Show more paths" : "Show all distinct paths"} onClick={() => setMost(most ? most * 8 : PATHS)} />}
    </div>
  );
}

/** A path, as a program would write it, where that is known, and by words. */
function PathView({ graph, path }: { graph: Graph; path: Path }) {
  const { root, references } = path;
  const expression = graph.expression(path);
  const cut = references.length > STEPS ? references.length - STEPS : 0;
  return (
    <div class="way">
      {expression && <p class="expression"><code>{shortened(expression)}</code></p>}
      <ol>
        <li>{graph.rootText(root)} <Certainty of={graph.rootCertainty(root)} /></li>
        {references.slice(0, STEPS / 2).map((reference) => <Step key={reference} graph={graph} reference={reference} />)}
        {cut > 0 && <li class="quiet">… {countText(cut)} more …</li>}
        {references.slice(STEPS / 2).slice(cut).map((reference) => <Step key={reference} graph={graph} reference={reference} />)}
      </ol>
    </div>
  );
}

/** How sure it is that a word is a pointer. */
function Certainty({ of }: { of: string }) {
  return <span class={of === FALSE ? "certainty false" : "certainty"}>{of}</span>;
}

const LONGEST = 400;

/** An expression in which what is repeated, as along a list, is counted. */
function shortened(expression: string): string {
  const counted = expression.replaceAll(/(\.[^.[]+?)\1{3,}/g, (all, word: string) => `${word}… (${countText(all.length / word.length)} times)`);
  return counted.length > LONGEST ? `${counted.slice(0, LONGEST / 2)} … ${counted.slice(-LONGEST / 2)}` : counted;
}

function Step({ graph, reference }: { graph: Graph; reference: number }) {
  const holder = graph.holder(reference);
  return (
    <li>
      <ObjectLink graph={graph} object={holder} /> <WordName graph={graph} reference={reference} />
      {" "}<Certainty of={graph.certainty(reference)} />
    </li>
  );
}

function WordName({ graph, reference }: { graph: Graph; reference: number }) {
  return <code>{graph.word(reference) || `+${graph.references.offset[reference]}`}</code>;
}

function Holders({ graph, object }: { graph: Graph; object: number }) {
  const [references, roots] = [graph.referencesTo(object), graph.rootsTo(object)];
  const more = Math.max(references.length - HOLDERS, 0) + Math.max(roots.length - HOLDERS, 0);
  return (
    <>
      <h4>What refers to it</h4>
      {references.length + roots.length === 0 && <p>Nothing.</p>}
      <ul class="holders">
        {roots.slice(0, HOLDERS).map((root) => <li key={`root ${root}`}>{graph.rootText(root)}</li>)}
        {[...references.subarray(0, HOLDERS)].map((reference) => (
          <li key={reference}>
            <ObjectLink graph={graph} object={graph.holder(reference)} /> <WordName graph={graph} reference={reference} />
            {graph.isGarbage(graph.holder(reference)) && <span class="quiet"> garbage</span>}
          </li>
        ))}
        {more > 0 && <li class="quiet">… {countText(more)} more</li>}
      </ul>
    </>
  );
}

/** What an object consists of, where its type is known. */
function Fields({ graph, object }: { graph: Graph; object: number }) {
  const fields = graph.fieldsOf(object);
  if (!fields.length) return null;
  return (
    <>
      <h4>Values</h4>
      <table class="words">
        <thead><tr><th>offset</th><th>name</th><th>type</th><th>value</th></tr></thead>
        <tbody>
          {fields.map((field, at) => (
            <tr key={at}><td class="whole">+{field.offset_bytes}</td><td><code>{field.name}</code></td><td>{field.type}</td><td><code>{field.text}</code></td></tr>
          ))}
        </tbody>
      </table>
    </>
  );
}

/** The words of an object as they lie in memory, and as text. */
function Words({ graph, object }: { graph: Graph; object: number }) {
  const [memory, setMemory] = useState<Uint8Array | null | undefined>(undefined);
  useEffect(() => void readMemory().then(setMemory), []);
  const { block_bytes, body_offset_bytes, header_bytes, word_bytes: width } = graph.heap.summary;
  if (memory === undefined) return <p class="quiet">Reading the memory…</p>;
  if (memory === null) return null;
  const from = graph.first[object]! * block_bytes + body_offset_bytes;
  const bytes = memory.subarray(from, from + graph.size(object) - header_bytes);
  const targets = new Map<number, number>();
  const [begin, end] = graph.referencesOf(object);
  for (let reference = begin; reference < end; reference++) targets.set(graph.references.offset[reference]!, reference);
  const count = Math.floor(bytes.length / width);
  const text = textOf(bytes);
  return (
    <>
      {text && <><h4>As text</h4><pre class="text">{text}</pre></>}
      <h4>Words</h4>
      <table class="words">
        <thead><tr><th>offset</th><th>word</th><th>refers to</th></tr></thead>
        <tbody>
          {Array.from({ length: Math.min(count, WORDS) }, (_, at) => {
            const reference = targets.get(at * width);
            return (
              <tr key={at}>
                <td class="whole">+{at * width}</td>
                <td class="whole"><code>{hex(bytes, at * width, width)}</code></td>
                <td>{reference !== undefined && <><WordName graph={graph} reference={reference} /> <ObjectLink graph={graph} object={graph.references.target[reference]!} /> <Certainty of={graph.certainty(reference)} /></>}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
      {count > WORDS && <p class="quiet">… {countText(count - WORDS)} more words</p>}
    </>
  );
}

/** A word, the most significant digits first. */
function hex(bytes: Uint8Array, offset: number, width: number): string {
  const digits = [...bytes.subarray(offset, offset + width)].reverse().map((byte) => byte.toString(16).padStart(2, "0"));
  return `0x${digits.join("")}`;
}

const SHOWN_BYTES = 2000;

/** Bytes that are text, up to zeros that only fill; empty for others. */
function textOf(bytes: Uint8Array): string {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  try {
    // The end may be within a character.
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, Math.min(end, SHOWN_BYTES)), { stream: end > SHOWN_BYTES });
    return /[^\P{C}\t\r\n]/u.test(text) ? "" : text;
  } catch {
    return "";
  }
}
