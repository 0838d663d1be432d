/** What stands below the pages of the lab. */
import { Dialog } from "../parts";

export function Foot({ version }: { version: string }) {
  return (
    <footer>
      <p>
        Made by tinyheap {version}. This page holds all of its data, and asks no network for anything.{" "}
        <Dialog label="Licenses of what it is made with" link>
          <pre>{document.getElementById("licenses")?.textContent}</pre>
        </Dialog>
      </p>
    </footer>
  );
}
