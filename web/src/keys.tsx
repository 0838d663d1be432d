/** What the keys do, for who asks. */
import { Dialog } from "./parts";

const KEYS: [string, [string[], string][]][] = [
  ["Moment of the run", [
    [["←", "→"], "a little back and on"],
    [["PgUp", "PgDn"], "a lot"],
    [["[", "]"], "from collection to collection"],
    [[",", "."], "from allocation to allocation"],
    [["+", "−"], "look closer, less closely"],
  ]],
  ["Heap map", [
    [["←", "→", "↑", "↓"], "from block to block"],
    [["Enter"], "keep an object in sight, look into a cell"],
    [["+", "−"], "zoom"],
    [["Esc"], "let go of the object, show the whole heap"],
  ]],
  ["Flame graph", [
    [["↑", "↓"], "to the caller, to the heaviest callee"],
    [["←", "→"], "to neighbors"],
    [["Enter", "Esc"], "zoom in, zoom out"],
  ]],
  ["Tables", [
    [["↑", "↓", "Home", "End"], "from row to row"],
    [["Enter"], "go where the row leads; on a heading, sort"],
  ]],
];

export function Keys() {
  return (
    <Dialog label="Keys">
      <p>Tab goes from part to part. In each of them:</p>
      <table class="keys">
        {KEYS.map(([part, keys]) => (
          <tbody key={part}>
            <tr><th scope="rowgroup" colSpan={2}>{part}</th></tr>
            {keys.map(([names, meaning]) => (
              <tr key={meaning}>
                <td>{names.map((name) => <span key={name}><kbd>{name}</kbd> </span>)}</td>
                <td>{meaning}</td>
              </tr>
            ))}
          </tbody>
        ))}
      </table>
    </Dialog>
  );
}
