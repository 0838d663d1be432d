/** The page: its sections, the way between them, and what stands above and below. */
import type { Signal } from "@preact/signals";
import { Bar } from "./bar";
import { Bars } from "./bars";
import { Calls } from "./calls";
import { FlameGraph } from "./flame/view";
import { sizeText, timeText } from "./format";
import { Head } from "./head";
import { HeapMap } from "./heapmap/view";
import { Keys } from "./keys";
import { Leaks } from "./leaks";
import { Dialog, Empty, Section, Unknown } from "./parts";
import { Collections, Pauses } from "./pauses";
import type { Objects, Recording } from "./recording";
import { Scrubber } from "./scrubber";
import { Lines } from "./source";
import { TimeLine } from "./timeline";
import { Functions, Sites } from "./usages";

const SECTIONS = [
  ["heap", "Heap through time"],
  ["flame", "Flame graph"],
  ["functions", "Functions"],
  ["sites", "Sites"],
  ["lines", "Source lines"],
  ["leaks", "Leak suspects"],
  ["calls", "Calls"],
  ["pauses", "Pauses"],
  ["collections", "Collections"],
  ["sizes", "Sizes and lifetimes"],
] as const;

export function App({ recording, objects }: { recording: Recording; objects: Signal<Objects | null> }) {
  const { run, sizes, lifetimes, leaks, calls } = recording.summary;
  const counts: Record<string, number> = { leaks: "unknown" in leaks ? 0 : leaks.suspects.length, calls: calls?.growing.length ?? 0 };
  const sections = SECTIONS.filter(([id]) => id !== "calls" || calls).map(([id, title]) => [id, title, counts[id]] as const);
  return (
    <>
      <Bar sections={sections}>
        <Keys />
      </Bar>
      <main>
        <Head recording={recording} />
        <Section id="heap" title="Heap through time" lead={`Drag across the time line to look closer, click it to choose a moment${run.unseen_heap === null ? "; the map shows the heap at that moment" : ""}.`}>
          <TimeLine recording={recording} />
          <Moment recording={recording} objects={objects} />
        </Section>
        <Section id="flame" title="Flame graph" lead="Who called whom, the outermost on top; each as wide as what was allocated below it. Colors tell packages apart; the blue ones are the runtime's.">
          <FlameGraph recording={recording} />
        </Section>
        <Section id="functions" title="Functions" lead="What each function allocated: itself, and with all that it called.">
          <Functions recording={recording} />
        </Section>
        <Section id="sites" title="Sites" lead="The same by the call that allocated, the innermost outside of the runtime.">
          <Sites recording={recording} />
        </Section>
        <Section id="lines" title="Source lines" lead="The same by the line of source that the call is on.">
          <Lines recording={recording} />
        </Section>
        <Section id="leaks" title="Leak suspects" lead="Sites whose live bytes grow steadily. The score, from 0 to 1, is how steadily one grows, times its share of all that does.">
          <Leaks recording={recording} />
        </Section>
        {calls && (
          <Section id="calls" title="Calls" lead="What the host's calls into the program cost, whether the heap grows with them, and what the host was lent.">
            <Calls recording={recording} calls={calls} />
          </Section>
        )}
        <Section id="pauses" title="Pauses" lead="How long the collector kept the program waiting, and what was left to the program.">
          <Pauses recording={recording} />
        </Section>
        <Section id="collections" title="Collections">
          <Collections recording={recording} />
        </Section>
        <Section id="sizes" title="Sizes and lifetimes" lead="All objects by their size, and those that were freed by how long they lived.">
          <div class="halves">
            <Bars label="Sizes, in the bytes asked for" word="Objects" buckets={sizes.buckets} value={sizeText} bytes />
            <Lifetimes lifetimes={lifetimes} lives={run.lives} />
          </div>
        </Section>
        <Foot recording={recording} />
      </main>
    </>
  );
}

function Lifetimes({ lifetimes, lives }: { lifetimes: Recording["summary"]["lifetimes"]; lives: string }) {
  if ("unknown" in lifetimes) return <Unknown why={lifetimes.unknown} />;
  return (
    <Bars
      label={`Lifetimes, from birth to ${lives === "at most" ? "when it was known to be dead" : "the end of the collection that freed it"}`}
      word="Objects"
      buckets={lifetimes.buckets}
      value={timeText}
      bytes
      beyond={{ text: "to the end", objects: lifetimes.beyond_objects, bytes: lifetimes.beyond_bytes }}
    />
  );
}

/** What waits for the objects; the rest of the page is there before them. */
function Moment({ recording, objects: { value: objects } }: { recording: Recording; objects: Signal<Objects | null> }) {
  const { unseen_heap } = recording.summary.run;
  return (
    <>
      <Scrubber recording={recording} objects={objects} />
      {unseen_heap !== null ? (
        <Unknown why={unseen_heap} />
      ) : !objects ? (
        <Empty>Reading the objects…</Empty>
      ) : objects.count ? (
        <HeapMap recording={recording} objects={objects} />
      ) : (
        <Empty>No object was allocated while this was recorded, so there is nothing to map.</Empty>
      )}
    </>
  );
}

function Foot({ recording }: { recording: Recording }) {
  const { run } = recording.summary;
  return (
    <footer>
      <p>
        Made by tinyheap {run.tinyheap_version} from a recording of <code>{run.module}</code> (SHA-256 <code>{run.module_sha256}</code>).
        This page holds all of its data, and asks no network for anything.{" "}
        <Dialog label="Licenses of what it is made with" link>
          <pre>{document.getElementById("licenses")?.textContent}</pre>
        </Dialog>
      </p>
    </footer>
  );
}
