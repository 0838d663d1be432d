/** What each option does, as far as a sample shows it. */
import { sizeText, timeText } from "../format";
import type { LabEffect } from "./schema";

const known = (format: (value: number) => string, value: number | null) => (value === null ? "–" : format(value));

export function Effects({ effects }: { effects: LabEffect[] }) {
  return (
    <div class="effects-place">
      <table class="plain effects">
        <thead>
          <tr>
            <th scope="col" class="words">Option</th>
            <th scope="col" class="words">Values</th>
            <th scope="col">Pass</th>
            <th scope="col">Peak</th>
            <th scope="col">Memory</th>
            <th scope="col">Longest pause</th>
          </tr>
        </thead>
        <tbody>
          {effects.map((effect, i) => {
            const isFirst = effect.option !== effects[i - 1]?.option;
            return (
              <tr key={`${effect.option} ${effect.values}`} class={isFirst ? "first" : ""}>
                <th scope="row" class="words">{isFirst ? effect.option : ""}</th>
                <td class="words">{effect.values}</td>
                <td>{effect.passed} of {effect.conditions}</td>
                <td>{known(sizeText, effect.peak_bytes)}</td>
                <td>{known(sizeText, effect.memory_bytes)}</td>
                <td>{known(timeText, effect.longest_pause_ns)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
