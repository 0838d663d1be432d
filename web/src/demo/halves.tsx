/** What there is of each module, side by side. */
import type { ComponentChildren } from "preact";
import type { Result } from "./contest";

/** The modules, in the order of results. */
export const NAMES = ["Original", "Transplanted"] as const;

/** Something of each module, side by side where there is room; of one that failed why it did. */
export function Halves(props: { results: Result[]; children: (result: Result, at: number) => ComponentChildren }) {
  return (
    <div class="halves">
      {props.results.map((result, at) => (
        <div key={NAMES[at]}>
          <h3>{NAMES[at]}</h3>
          {result.error === undefined ? props.children(result, at) : <p class="problem">It cannot be run here: {result.error}</p>}
        </div>
      ))}
    </div>
  );
}
