/** What the reader of a demo's page has before them: a text, and what came of it. */
import { signal } from "@preact/signals";
import { Contest, type Result } from "./contest";
import type { DemoFacts } from "./schema";

export const text = signal("");
/** What is under way; null for nothing. */
export const doing = signal<string | null>(null);
/** What came of the last text: of the original, then of the transplanted module; null before there is any. */
export const results = signal<Result[] | null>(null);

let contest: Contest | null = null;

/** Runs both modules on the text. */
export async function run(modules: Uint8Array<ArrayBuffer>[], facts: DemoFacts): Promise<void> {
  results.value = null;
  contest = new Contest(modules, facts);
  results.value = await contest.run(text.value, (what) => (doing.value = what));
  doing.value = null;
}

/** Ends what is under way. */
export function stop(): void {
  contest?.stop();
  doing.value = null;
}
