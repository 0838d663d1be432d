/** The page of a sweep: its sections, and what stands above and below. */
import { Bar, type SectionEntry } from "../bar";
import { object } from "../choices";
import { Section } from "../parts";
import { Effects } from "./effects";
import { Foot } from "./foot";
import { Outcomes } from "./outcomes";
import { PAGE } from "./plot";
import { markOf, Scatter } from "./scatter";
import type { LabSummary } from "./schema";
import { type Track, type TrackMark, Tracks } from "./tracks";

const choose = (row: number) => void (object.value = row);

export function App({ lab }: { lab: LabSummary }) {
  const steps = stepTracks(lab);
  const survivals = lab.survivals.map(({ condition, limit, trials }): Track => ({
    name: condition === "default" ? limit : `${condition}, by ${limit}`,
    marks: trials.map(({ size_bytes, passed }) => ({ at: size_bytes, mark: passed ? "passed" : "failed" })),
    row: -1,
  }));
  const sections: SectionEntry[] = [
    ["outcomes", "Outcomes"],
    ...(lab.effects.length ? [["options", "Options"] as const] : []),
    ["pauses", "Memory and pauses"],
    ...(survivals.length ? [["survival", "Survival"] as const] : []),
    ...(steps.length ? [["growth", "Growth"] as const] : []),
  ];
  return (
    <>
      <Bar sections={sections} />
      <main>
        <Head lab={lab} />
        <Section id="outcomes" title="Outcomes" lead="A condition a row: what became of the program's heap under it.">
          <Outcomes lab={lab} />
        </Section>
        {lab.effects.length > 0 && (
          <Section id="options" title="What each option does" lead="The conditions by the values of one option, whatever the others were: how many pass, and medians of those that do.">
            <Effects effects={lab.effects} />
          </Section>
        )}
        <Section id="pauses" title="Memory against pauses" lead="What a condition saves in one, it often costs in the other; the best are at the lower left.">
          <Scatter lab={lab} />
        </Section>
        {survivals.length > 0 && (
          <Section id="survival" title="Survival by size" lead="With which sizes the program comes to its end; larger is not always better, since other collections leave other holes.">
            <Tracks label="Sizes with which the program passes" tracks={survivals} marks={["passed", "failed"]} />
          </Section>
        )}
        {steps.length > 0 && (
          <Section id="growth" title="Growth against the limit" lead="The sizes that linear memory had, one after the other. What lies between the last and the limit was never used.">
            <Tracks label="Sizes of memory, and limits" tracks={steps} marks={["step", "refused", "limit"]} onChoose={choose} />
          </Section>
        )}
        <Foot version={lab.tinyheap_version} />
      </main>
    </>
  );
}

/** How memory grew under each condition of which that is known. */
function stepTracks(lab: LabSummary): Track[] {
  return lab.rows.flatMap(({ outcome, limit_bytes }, row) => {
    if (!outcome.memory_steps_pages?.length) return [];
    const marks: TrackMark[] = outcome.memory_steps_pages.map((pages) => ({ at: pages * PAGE, mark: "step" }));
    if (outcome.refused_pages !== null) marks.push({ at: outcome.refused_pages * PAGE, mark: "refused" });
    if (limit_bytes) marks.push({ at: limit_bytes, mark: "limit" });
    return [{ name: outcome.condition, marks, row }];
  });
}

/** Words as a sentence of their own. */
const sentence = (words: string) => `${words[0]!.toUpperCase()}${words.slice(1)}.`;

function Head({ lab }: { lab: LabSummary }) {
  const failed = lab.rows.filter((row) => !row.passed).length;
  const changed = lab.rows.filter((row) => markOf(row) === "changed").map(({ outcome }) => outcome.condition);
  const differing = lab.differences.map(({ condition, name, first, second }) => `${name} (${first} and ${second}) under ${condition}`);
  return (
    <header class="page-head">
      <div class="title">
        <h1 title={lab.module}>{lab.module.split(/[/\\]/).at(-1) || "A program"}</h1>
        <span class={`badge ${failed ? "bad" : "good"}`}>
          {failed ? `does not pass under ${failed} of ${lab.rows.length} conditions` : `passes under ${lab.rows.length === 1 ? "one condition" : `all ${lab.rows.length} conditions`}`}
        </span>
      </div>
      {lab.sample !== null && <p class="lead sample">{sentence(lab.sample)}</p>}
      {lab.arguments.length > 0 && <p class="arguments"><code>{lab.arguments.join(" ")}</code></p>}
      {lab.options.length > 0 && <p class="lead">Each run with <code>{lab.options.join(" ")}</code></p>}
      {changed.length > 0 && <p class="problem">The program writes something else under: {changed.join(", ")}.</p>}
      {differing.length > 0 && (
        <p class="problem">
          Not deterministic: two runs under the same condition differ in {differing.join(", ")}. Outcomes cannot be compared, unless --seed makes runs the same.
        </p>
      )}
      {!lab.was_repeated && <p class="note">No condition was run twice yet, so that it is not known whether the program does the same each time.</p>}
    </header>
  );
}
