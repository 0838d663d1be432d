// Builds a page's code: one script, one style sheet, and the licenses of what is in them.
// `tinyheap.report.html.assembly` puts them, with the data, into one file.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig, type Plugin } from "vite";

/** Writes the licenses of all packages of which anything is in the script. */
function licenses(): Plugin {
  return {
    name: "licenses",
    generateBundle(_, bundle) {
      const modules = Object.values(bundle).flatMap((file) => (file.type === "chunk" ? file.moduleIds : []));
      const folders = modules.flatMap((id) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(id) ?? []);
      const texts = [...new Set(folders)].map(notice).sort();
      this.emitFile({ type: "asset", fileName: "licenses.txt", source: texts.join("\n") });
    },
  };
}

function notice(folder: string): string {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
  if (!file) throw new Error(`${name} comes without the text of its license`);
  const heading = `${name} ${version} (${license})`;
  return `${heading}\n${"=".repeat(heading.length)}\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
}

/** Where the code of each page begins; `build.mjs` names the page as mode. */
const PAGES: Record<string, string> = {
  recording: "src/main.tsx",
  heap: "src/heap/main.tsx",
  lab: "src/lab/main.tsx",
  fit: "src/fit/main.tsx",
  demo: "src/demo/main.tsx",
};

export default defineConfig(({ mode }) => ({
  plugins: [licenses()],
  build: {
    target: "es2022",
    cssCodeSplit: false,
    modulePreload: false,
    rollupOptions: {
      input: PAGES[mode]!,
      output: { format: "iife", entryFileNames: "page.js", assetFileNames: "page[extname]" },
    },
  },
}));
