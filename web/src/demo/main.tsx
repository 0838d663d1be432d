/** Reads the modules that the page was made for, and lets its reader run them. */
import { render } from "preact";
import "../style.css";
import "./demo.css";
import { COMMON, followFragment } from "../choices";
import { read } from "../container";
import { followTheme } from "../theme";
import { App } from "./app";
import { COLUMNS, type DemoFacts } from "./schema";

async function show(): Promise<void> {
  followTheme();
  const container = await read<DemoFacts>("demo");
  const modules = COLUMNS.module.map((name) => container.bytes(`module.${name}`).slice());
  followFragment(COMMON, new Set(["blocks"]));
  render(<App facts={container.json} modules={modules} />, document.getElementById("page")!);
}

show().catch((error: unknown) => {
  console.error(error);
  document.getElementById("page")!.replaceChildren(`This page cannot be shown: ${error instanceof Error ? error.message : error}`);
});
