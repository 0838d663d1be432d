/** The command that goes on from a recording to the heap itself. */
import type { Recording } from "./recording";

export function Inspecting({ recording, question, options = "" }: { recording: Recording; question: string; options?: string }) {
  const { module, arguments: words } = recording.summary.run;
  const rest = words.length ? ` -- ${words.map(quoted).join(" ")}` : "";
  return (
    <p class="quiet">
      {question} Of a run that is the same, <code>tinyheap inspect {quoted(module)}{options}{rest}</code> tells.
    </p>
  );
}

/** A word as a shell takes it. */
function quoted(word: string): string {
  return /^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
