/** How long both took, and whether they did the same. */
import { countText, sizeText, timeText } from "../format";
import { median, type Result } from "./contest";
import { Halves, NAMES } from "./halves";

export function Times({ results, isExact }: { results: Result[]; isExact: boolean }) {
  if (results.some((result) => result.error !== undefined)) {
    return <Halves results={results}>{() => <p class="quiet">It ran, but there is nothing to compare it with.</p>}</Halves>;
  }
  const rounds = results[0]!.warm.length;
  return (
    <>
      <Verdict results={results} isExact={isExact} />
      <table class="times">
        <thead>
          <tr><td />{NAMES.map((name) => <th key={name} scope="col">{name}</th>)}<th scope="col">Ratio</th></tr>
        </thead>
        <tbody>
          <Row title="First run" times={results.map((result) => result.first)} />
          <Row title={`Warm, median of ${countText(rounds)}`} times={results.map((result) => median(result.warm))} />
          <Row title="Warm, fastest" times={results.map((result) => Math.min(...result.warm))} />
          <Row title="Warm, slowest" times={results.map((result) => Math.max(...result.warm))} />
          <Row title="Compiled and started" times={results.map((result) => result.opened)} />
        </tbody>
      </table>
    </>
  );
}

function Row({ title, times }: { title: string; times: (number | undefined)[] }) {
  const [before, after] = times as [number, number];
  const most = Math.max(before, after, 1);
  return (
    <tr>
      <th scope="row">{title}</th>
      {[before, after].map((time, at) => (
        <td key={NAMES[at]} class={at ? "ours" : ""}>
          <svg class="bar" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true"><rect width={(100 * time) / most} height="1" /></svg>
          <span>{timeText(time)}</span>
        </td>
      ))}
      <td>{ratioText(after, before)}</td>
    </tr>
  );
}

/** What is to be seen at once: whether they did the same, and how much faster. */
function Verdict({ results, isExact }: { results: Result[]; isExact: boolean }) {
  const [before, after] = results as [Result, Result];
  const isSame = before.answer!.text === after.answer!.text && before.answer!.isRefusal === after.answer!.isRefusal;
  const ratio = ratioText(median(after.warm)!, median(before.warm)!);
  const isGood = isSame && (!isExact || haveSameMemory(before, after));
  return (
    <p class={`verdict ${isGood ? "flat" : "grows"}`}>
      {isSame ? "Both gave the same text" : "They gave different texts"}
      {isExact && (haveSameMemory(before, after) ? `, and left the same ${sizeText(before.memory!.length)} in memory, to the byte` : ", and left different bytes in memory")}
      . Warm, the transplanted one took <strong>{ratio}</strong> of the original's time.
    </p>
  );
}

/** Whether all bytes are equal; what one of them has more has to be zeros. */
export function haveSameMemory(before: Result, after: Result): boolean {
  const [one, other] = [before.memory!, after.memory!];
  return one.every((byte, at) => byte === other[at]) && other.subarray(one.length).every((byte) => byte === 0);
}

function ratioText(part: number, whole: number): string {
  return whole ? (part / whole).toFixed(2) : "–";
}
