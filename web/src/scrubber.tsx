/** Moves through the run: a slider, keys, steps from collection to collection, and playing. */
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { countText, timeText } from "./format";
import { Button, Icon } from "./parts";
import type { Objects, Recording } from "./recording";
import { period, time } from "./state";

const playing = signal(false);
const PLAY_MS = 12_000;
const STEPS = 1000;
const PAGE_STEPS = 40;

export function Scrubber({ recording, objects }: { recording: Recording; objects: Objects | null }) {
  const { begun_ns: begun, duration_ns: whole } = recording.summary.run;
  const [from, to] = period.value ?? [begun, whole];
  const go = (moment: number) => (time.value = Math.min(Math.max(moment, begun), whole));
  const step = Math.max((to - from) / STEPS, 1);
  usePlaying(from, to);
  const past = collectionsUntil(recording, time.value);
  const knowsCollections = recording.summary.run.unseen_collections === null;
  const keys: Record<string, () => void> = {
    ArrowLeft: () => go(time.value - step),
    ArrowRight: () => go(time.value + step),
    ArrowDown: () => go(time.value - step),
    ArrowUp: () => go(time.value + step),
    PageDown: () => go(time.value - PAGE_STEPS * step),
    PageUp: () => go(time.value + PAGE_STEPS * step),
    Home: () => go(from),
    End: () => go(to),
    "[": () => go(collectionBefore(recording, time.value)),
    "]": () => go(collectionAfter(recording, time.value)),
    ",": () => objects && go(birthBefore(objects, time.value)),
    ".": () => objects && go(birthAfter(objects, time.value, whole)),
    "+": () => (period.value = around(time.value, (to - from) / 4, whole)),
    "-": () => (period.value = around(time.value, to - from, whole)),
  };
  return (
    <div class="scrubber">
      <div class="row">
        <Button label={playing.value ? "Pause" : "Play"} onClick={() => (playing.value = !playing.value)}>
          <Icon name={playing.value ? "pause" : "play"} />
        </Button>
        {knowsCollections && (
          <>
            <Button label="To the collection before" onClick={() => go(collectionBefore(recording, time.value))}><Icon name="back" /></Button>
            <Button label="To the next collection" onClick={() => go(collectionAfter(recording, time.value))}><Icon name="on" /></Button>
          </>
        )}
        <output class="moment">
          <strong>{timeText(Math.round(time.value))}</strong>
          <span class="quiet"> of {timeText(whole)}{knowsCollections && `, after ${countText(past)} of ${countText(recording.collections.rows)} collections`}</span>
        </output>
        {period.value && <Button label="Show the whole run" onClick={() => (period.value = null)} />}
      </div>
      <input
        type="range"
        aria-label="Moment of the run"
        aria-valuetext={`${timeText(Math.round(time.value))}${knowsCollections ? `, after ${past} collections` : ""}`}
        title="Left and right go through time, [ and ] from collection to collection, , and . from allocation to allocation, + and - look closer"
        min={from}
        max={Math.max(to, from + 1)}
        step="any"
        value={time.value}
        onInput={(event) => go(Number(event.currentTarget.value))}
        onKeyDown={(event) => {
          const action = keys[event.key];
          if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
          event.preventDefault();
          action();
        }}
      />
    </div>
  );
}

/** While it plays, the moment goes on with each picture that the screen shows. */
function usePlaying(from: number, to: number): void {
  useEffect(() => {
    if (!playing.value) return;
    if (time.peek() >= to) time.value = from;
    let last = performance.now();
    let frame = requestAnimationFrame(function next(now) {
      time.value = Math.min(time.peek() + ((now - last) / PLAY_MS) * (to - from), to);
      last = now;
      if (time.peek() >= to) playing.value = false;
      else frame = requestAnimationFrame(next);
    });
    return () => cancelAnimationFrame(frame);
  }, [playing.value, from, to]);
}

function around(moment: number, width: number, whole: number): [number, number] | null {
  if (width * 2 >= whole) return null;
  const from = Math.max(moment - width, 0);
  return [from, Math.min(from + 2 * width, whole)];
}

/** How many collections were over at a moment. */
export function collectionsUntil(recording: Recording, moment: number): number {
  let past = 0;
  while (past < recording.collections.rows && recording.collectionEnd(past + 1) <= moment) past++;
  return past;
}

function collectionBefore(recording: Recording, moment: number): number {
  let past = collectionsUntil(recording, moment);
  while (past && recording.collectionEnd(past) >= Math.floor(moment)) past--;
  return past ? recording.collectionEnd(past) : 0;
}

function collectionAfter(recording: Recording, moment: number): number {
  const next = collectionsUntil(recording, moment) + 1;
  return next <= recording.collections.rows ? recording.collectionEnd(next) : recording.summary.run.duration_ns;
}

function birthBefore(objects: Objects, moment: number): number {
  const born = objects.bornUntil(moment);
  let at = born - 1;
  while (at >= 0 && objects.birth(at) >= moment) at--;
  return at >= 0 ? objects.birth(at) : 0;
}

function birthAfter(objects: Objects, moment: number, whole: number): number {
  const next = objects.bornUntil(moment);
  return next < objects.count ? objects.birth(next) : whole;
}
