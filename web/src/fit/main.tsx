/** Reads what `tinyheap fit` found, which the page was made for, and shows it. */
import { render } from "preact";
import "../style.css";
import "../lab/lab.css";
import "./fit.css";
import { COMMON, followFragment, table } from "../choices";
import { read } from "../container";
import { followTheme } from "../theme";
import { App } from "./app";
import type { FitSummary } from "./schema";

async function show(): Promise<void> {
  followTheme();
  const { json } = await read<FitSummary>("summary");
  followFragment({ smallest: table("smallest"), ...COMMON }, new Set(["smallest"]));
  render(<App fit={json} />, document.getElementById("page")!);
  // Says to tests, and to whoever makes pictures, that all is there.
  requestAnimationFrame(() => (document.documentElement.dataset.objects = String(json.rows.length)));
}

show().catch((error: unknown) => {
  console.error(error);
  document.getElementById("page")!.replaceChildren(`This page cannot be shown: ${error instanceof Error ? error.message : error}`);
});
