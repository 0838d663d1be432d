/** Where what retains much has accumulated. */
import { countText, shareText, sizeText } from "../format";
import { Button } from "../parts";
import type { Graph, Heap } from "./heap";
import { Way } from "./object";
import type { Suspect } from "./schema";
import { show } from "./state";

export function Suspects({ heap, graph }: { heap: Heap; graph: Graph }) {
  return (
    <ol class="suspects">
      {heap.summary.suspects.map((suspect) => (
        <li key={suspect.object}>
          <article>
            <h3>
              {sizeText(suspect.retained_bytes)}{" "}
              <span class="quiet">{shareText(suspect.retained_bytes, heap.aliveBytes)} of what is alive, {countText(suspect.retained_objects)} objects</span>
            </h3>
            <p>{sentence(graph, suspect)}</p>
            <Way graph={graph} object={suspect.object} />
            <div class="row"><Button label="Look at it" onClick={() => show(suspect.object)} /></div>
          </article>
        </li>
      ))}
    </ol>
  );
}

function sentence(graph: Graph, { object, gathering, count, group }: Suspect): string {
  const what = count ? `: ${countText(count)} objects, ${group}` : "";
  return `${graph.name(object)} ${gathering}${what}.`;
}
