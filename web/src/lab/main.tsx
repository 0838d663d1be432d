/** Reads the sweep that the page was made for, and shows it. */
import { render } from "preact";
import "../style.css";
import "./lab.css";
import { read } from "../container";
import { followTheme } from "../theme";
import { App } from "./app";
import type { LabSummary } from "./schema";
import { followLab } from "./state";

async function show(): Promise<void> {
  followTheme();
  const { json } = await read<LabSummary>("summary");
  followLab();
  render(<App lab={json} />, document.getElementById("page")!);
  // Says to tests, and to whoever makes pictures, that all is there.
  requestAnimationFrame(() => (document.documentElement.dataset.objects = String(json.rows.length)));
}

show().catch((error: unknown) => {
  console.error(error);
  document.getElementById("page")!.replaceChildren(`This page cannot be shown: ${error instanceof Error ? error.message : error}`);
});
