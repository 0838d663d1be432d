/** The page of a demo: a text, what both modules made of it and how fast, and their heaps. */
import { useEffect } from "preact/hooks";
import { Bar, type SectionEntry } from "../bar";
import { countText, sizeText } from "../format";
import { Button, Dialog, Empty, Section } from "../parts";
import type { Result } from "./contest";
import { Halves } from "./halves";
import { Maps } from "./map";
import { sample } from "./samples";
import type { DemoFacts } from "./schema";
import { doing, results, run, stop, text } from "./state";
import { Times } from "./times";

const SECTIONS: SectionEntry[] = [
  ["text", "Text"],
  ["times", "Times"],
  ["outputs", "Output"],
  ["maps", "Heaps"],
];
const LENGTHS = [1 << 10, 40 << 10, 400 << 10];
/** So much of an output is shown. */
const SHOWN_LETTERS = 20_000;

interface Props {
  facts: DemoFacts;
  modules: Uint8Array<ArrayBuffer>[];
}

export function App({ facts, modules }: Props) {
  useEffect(() => void (text.value ||= facts.text ?? sample(facts.language, LENGTHS.at(-1)!)), []);
  const found = results.value;
  // Says to tests, and to whoever makes pictures, that all is there.
  useEffect(() => void (document.documentElement.dataset.runs = found ? "done" : ""), [found]);
  const waiting = <Empty>{doing.value === null ? "Nothing was run yet." : `${doing.value}…`}</Empty>;
  return (
    <>
      <Bar sections={SECTIONS} />
      <main>
        <Head facts={facts} modules={modules} />
        <Section id="text" title="A text to format" lead="It stays in this page, as the programs do.">
          <Editor facts={facts} modules={modules} />
        </Section>
        <Section id="times" title="Times" lead={`Both take turns, each in a thread of its own. The first run has the browser's compiling in it; the warm ones are of ${facts.starts_anew ? "a new instance for each text, as with the package's own JavaScript" : "the same program again"}.`}>
          {found ? <Times results={found} isExact={facts.is_exact} /> : waiting}
        </Section>
        <Section id="outputs" title="What they made of it">
          {found ? <Halves results={found}>{(result) => <Output result={result} />}</Halves> : waiting}
        </Section>
        <Section id="maps" title="Their heaps" lead="All blocks after the last run, as the block table in each memory has them: objects by their size, and free blocks.">
          {found ? <Maps results={found} places={facts.heap} /> : waiting}
        </Section>
        <Foot facts={facts} />
      </main>
    </>
  );
}

function Head({ facts, modules }: Props) {
  const [before, after] = modules.map((each) => each.length);
  return (
    <header class="page-head">
      <div class="title"><h1>{facts.name}</h1></div>
      <p class="lead">
        The same program twice: as it was compiled ({sizeText(before!)}), and with tinyheap's collector written into it ({sizeText(after!)}).
        Both see the same made-up clock and random numbers, so that what they leave in memory can be compared.
      </p>
    </header>
  );
}

function Editor({ facts, modules }: Props) {
  const isBusy = doing.value !== null;
  const open = async (event: Event) => {
    const [file] = (event.currentTarget as HTMLInputElement).files ?? [];
    if (file) text.value = await file.text();
  };
  return (
    <>
      <div class="toolbar">
        {isBusy ? <Button label="Stop" onClick={stop} /> : (
          <button type="button" class="button strong" onClick={() => void run(modules, facts)}>Format it with both</button>
        )}
        <div class="row">
          {LENGTHS.map((bytes) => (
            <Button key={bytes} label={`Sample of ${sizeText(bytes)}`} disabled={isBusy} onClick={() => (text.value = sample(facts.language, bytes))} />
          ))}
          {facts.text !== null && <Button label="The given text" disabled={isBusy} onClick={() => (text.value = facts.text!)} />}
          <label class="button">
            Open a file… <input type="file" class="visually-hidden" disabled={isBusy} onChange={open} />
          </label>
        </div>
        <output class="quiet">{doing.value === null ? `${countText(text.value.length)} letters` : `${doing.value}…`}</output>
      </div>
      <textarea aria-label="Text to format" spellcheck={false} rows={12} value={text.value} disabled={isBusy}
        onInput={(event) => (text.value = event.currentTarget.value)} />
    </>
  );
}

function Output({ result }: { result: Result }) {
  const { text: made, isRefusal } = result.answer!;
  if (isRefusal) return <p class="problem">The program refuses the text: {made}</p>;
  const left = made.length - SHOWN_LETTERS;
  return <pre class="output" tabIndex={0}>{made.slice(0, SHOWN_LETTERS)}{left > 0 && `\n… and ${countText(left)} letters more`}</pre>;
}

function Foot({ facts }: { facts: DemoFacts }) {
  return (
    <footer>
      <p>
        Made by tinyheap {facts.tinyheap_version}. This page holds both modules, and asks no network for anything.{" "}
        <Dialog label="Licenses of what it is made with" link>
          <pre>{document.getElementById("licenses")?.textContent}</pre>
        </Dialog>
      </p>
    </footer>
  );
}
