/** The top of the page: what ran, how it ended, and the run in a few metrics. */
import { countText, shareText, sizeText, timeText } from "./format";
import type { Recording } from "./recording";
import type { Run } from "./schema";

const SOURCES: Record<string, string> = {
  kernel: "heap served by tinyheap's kernel",
  model: "heap served by tinyheap's model",
  injected: "heap served by the program itself",
  logged: "heap served by the program itself, which kept a log",
};

export function Head({ recording }: { recording: Recording }) {
  const { run, notes } = recording.summary;
  const file = run.module.split(/[/\\]/).at(-1) || run.module;
  return (
    <header class="page-head">
      <div class="title">
        <h1 title={run.module}>{file}</h1>
        <State run={run} />
      </div>
      {run.arguments.length > 0 && <p class="arguments"><code>{run.arguments.join(" ")}</code></p>}
      <p class="lead">
        {run.runtime} {run.runtime_version}, {run.collector} collector; {SOURCES[run.source] ?? run.source}; recorded{" "}
        <time dateTime={run.started_at}>{run.started_at.replace("T", " ").slice(0, 16)}</time> UTC by tinyheap {run.tinyheap_version}
      </p>
      {run.error && <p class="problem">{run.error}</p>}
      {run.ends_early && <p class="problem">This recording ends early: {run.ends_early}.</p>}
      {notes.map((note) => <p class="note" key={note}>{note}</p>)}
      <Tiles recording={recording} />
    </header>
  );
}

function State({ run }: { run: Run }) {
  if (run.ends_early) return <span class="badge bad">ended early</span>;
  if (run.state === "failed") return <span class="badge bad">failed{run.exit_code === null ? "" : `, exit code ${run.exit_code}`}</span>;
  return <span class="badge good">complete{run.exit_code ? `, exit code ${run.exit_code}` : ""}</span>;
}

/** A word, its metric where it is known, how that is written, and what else there is to say then. */
type Tile = [string, number | null | undefined, (metric: number) => string, string | null | false];

function Tiles({ recording }: { recording: Recording }) {
  const { totals, run, percentiles } = recording.summary;
  const longest = percentiles.at(-1)?.pause_ns;
  const noPause = run.never_frees ? "this heap never frees" : "none ran";
  const scattered = totals.fragmentation === null ? "" : `, free memory ${shareText(totals.fragmentation, 1)} fragmented`;
  const most = run.lives === "at most" ? ", at most" : "";
  const tiles: Tile[] = [
    ["Allocated", totals.allocated_bytes, sizeText, totals.allocations !== null && `${countText(totals.allocations)} objects`],
    [`Peak${most}`, totals.peak?.bytes, sizeText, totals.peak && `${countText(totals.peak.objects)} objects, at ${timeText(totals.peak.time_ns)}`],
    [`Not freed at the end${most}`, totals.live_bytes, sizeText, totals.live_objects !== null && `${countText(totals.live_objects)} objects`],
    ["Heap", totals.heap_bytes, sizeText, totals.used_bytes !== null && `${sizeText(totals.used_bytes)} in use${scattered}`],
    ["Collections", totals.collections, countText, longest === undefined ? noPause : `longest pause ${timeText(longest)}`],
    [
      run.ends_early ? "Time recorded" : "Time",
      run.duration_ns,
      timeText,
      totals.collector_ns !== null && `${shareText(totals.collector_ns, run.duration_ns - run.begun_ns)} of it in the collector`,
    ],
  ];
  return (
    <dl class="tiles">
      {tiles.map(([word, metric, text, more]) => (
        <div key={word}>
          <dt>{word}</dt>
          <dd class="number">{metric === null || metric === undefined ? "unknown" : text(metric)}</dd>
          {metric !== null && metric !== undefined && more && <dd class="more">{more}</dd>}
        </div>
      ))}
    </dl>
  );
}
