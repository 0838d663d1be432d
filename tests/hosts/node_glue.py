"""The test's oracle for formatters: node, running each package with the JavaScript that comes with it."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import guests_modules
import needs

if TYPE_CHECKING:
    from collections.abc import Sequence

_SCRIPT = """
import { pathToFileURL } from "node:url";
const { entry, kind, texts, path } = JSON.parse(await new Response(process.stdin).text());
// The glue of sh-syntax 0.3 assigns it, which Node permits no longer.
Object.defineProperty(globalThis, "crypto", { value: globalThis.crypto, writable: true });
const glue = await import(pathToFileURL(entry));
if (kind === "init") await glue.default();
const format = {
  init: (text) => glue.format(text),
  plain: (text) => glue.format(text, path),
  shell: (text) => glue.print(text, { filepath: path }),
}[kind];
const results = [];
for (const text of texts) {
  try { results.push([true, await format(text)]); }
  catch (error) { results.push([false, String(error.message ?? error.Text)]); }
}
process.stdout.write(JSON.stringify(results), () => process.exit(0));
"""

_ENTRIES = {
    "gofmt-0.4.9": ("gofmt_node.js", "init"),
    "gofmt-0.6.1": ("gofmt_node.js", "plain"),
    "gofmt-0.7.3": ("gofmt_node.js", "plain"),
    "shfmt-0.2.7": ("shfmt_node.js", "plain"),
}
_SHELL_ENTRY = ("lib/index.js", "shell")


def format_all(module: str, texts: Sequence[str], path: str) -> list[tuple[bool, str]]:
    """For each text whether the package formats it, and what it makes of it or says about it."""
    entry, kind = _ENTRIES.get(module, _SHELL_ENTRY)
    package = guests_modules.INSTALLED / module
    guests_modules.path(module)
    request = {"entry": str(package / entry), "kind": kind, "texts": list(texts), "path": path}
    done = subprocess.run(
        [needs.tool("node"), "--input-type=module", "--eval", _SCRIPT],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
    )
    return [(formats, text) for formats, text in json.loads(done.stdout)]
