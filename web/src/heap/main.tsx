/** Reads the heap that the page was made for, and shows it. */
import { signal } from "@preact/signals";
import { render } from "preact";
import "../style.css";
import "./heap.css";
import { followTheme } from "../theme";
import { App } from "./app";
import { type Graph, readGraph, readHeap } from "./heap";
import { followHeap } from "./state";

async function show(): Promise<void> {
  followTheme();
  const heap = await readHeap();
  followHeap();
  const graph = signal<Graph | null>(null);
  render(<App heap={heap} graph={graph} />, document.getElementById("page")!);
  graph.value = await readGraph(heap);
  // Says to tests, and to whoever makes pictures, that all is there.
  requestAnimationFrame(() => (document.documentElement.dataset.objects = String(graph.value!.count)));
}

show().catch((error: unknown) => {
  console.error(error);
  document.getElementById("page")!.replaceChildren(`This page cannot be shown: ${error instanceof Error ? error.message : error}`);
});
