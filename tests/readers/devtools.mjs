// Loads a heap snapshot by the code of Chrome DevTools, as its Memory panel does, and prints what that shows: of each
// node its id, name, sizes, distance, and the ids of what retains it with the names of the words.
//
//     node devtools.mjs FOLDER SNAPSHOT [--counts]      FOLDER is for the code, which is bundled once
import { createReadStream, existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

// A file that the build of DevTools writes, with the languages that it speaks.
const languages = {
  name: "languages",
  setup(build) {
    build.onResolve({ filter: /\/locales\.js$/ }, ({ path }) => ({ path, namespace: "languages" }));
    build.onLoad({ filter: /.*/, namespace: "languages" }, () => ({ contents: LANGUAGES }));
  },
};
const LANGUAGES = `
  export const [DEFAULT_LOCALE, LOCALES, BUNDLED_LOCALES] = ["en-US", ["en-US"], ["en-US"]];
  export const [LOCAL_FETCH_PATTERN, REMOTE_FETCH_PATTERN] = ["", ""];
`;

const [folder, file, counts] = process.argv.slice(2);
const code = join(folder, "devtools.mjs");
const worker = "node_modules/chrome-devtools-frontend/front_end/entrypoints/heap_snapshot_worker/heap_snapshot_worker.ts";
if (!existsSync(code)) {
  const entry = fileURLToPath(new URL(worker, import.meta.url));
  await build({ entryPoints: [entry], outfile: code, bundle: true, format: "esm", platform: "node", plugins: [languages] });
}
// Older versions of Node lack it.
Promise.withResolvers ??= () => {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
};

const { HeapSnapshot, HeapSnapshotLoader } = await import(pathToFileURL(code).href);
const loader = new HeapSnapshotLoader.HeapSnapshotLoader({ sendEvent() {} });
for await (const piece of createReadStream(file, "utf8")) loader.write(piece);
loader.close();
const { port1, port2 } = new MessageChannel();
new HeapSnapshot.SecondaryInitManager(port2);
const snapshot = await loader.buildSnapshot(port1);
const shown = counts ? snapshot.nodeCount : nodes(snapshot);
// A port that is listened to would keep the process.
process.stdout.write(JSON.stringify(shown), () => process.exit(0));

function nodes(snapshot) {
  const found = [];
  const node = snapshot.createNode(0);
  for (let ordinal = 0; ordinal < snapshot.nodeCount; ordinal++) {
    node.nodeIndex = ordinal * snapshot.nodeFieldCount;
    const retainers = [];
    for (const each = node.retainers(); each.hasNext(); each.next()) {
      const edge = each.retainer;
      retainers.push([edge.node().id(), edge.name(), edge.isWeak()]);
    }
    found.push([node.id(), node.name(), node.selfSize(), node.retainedSize(), node.distance(), retainers]);
  }
  return found;
}
