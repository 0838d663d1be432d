// Builds the code of all pages into the Python package, or into another folder: node build.mjs [FOLDER]
import { join } from "node:path";
import { build } from "vite";

const folder = process.argv[2] ?? "../src/tinyheap/report/page";
for (const page of ["recording", "heap", "lab", "fit", "demo"]) {
  await build({ mode: page, logLevel: "warn", build: { outDir: join(folder, page), emptyOutDir: true } });
}
