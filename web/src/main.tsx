/** Reads the run that the page was made for, and shows it. */
import { signal } from "@preact/signals";
import { render } from "preact";
import "./style.css";
import { App } from "./app";
import { type Objects, readObjects, readRecording } from "./recording";
import { followRecording } from "./state";
import { followTheme } from "./theme";

async function show(): Promise<void> {
  followTheme();
  const recording = await readRecording();
  followRecording(recording.summary.totals.peak?.time_ns ?? recording.summary.run.duration_ns);
  const objects = signal<Objects | null>(null);
  render(<App recording={recording} objects={objects} />, document.getElementById("page")!);
  objects.value = await readObjects(recording);
  // Says to tests, and to whoever makes pictures, that all is there.
  requestAnimationFrame(() => (document.documentElement.dataset.objects = String(objects.value!.count)));
}

show().catch((error: unknown) => {
  console.error(error);
  document.getElementById("page")!.replaceChildren(`This page cannot be shown: ${error instanceof Error ? error.message : error}`);
});
