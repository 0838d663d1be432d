"""Instrumented modules where tinyheap is not: in node with a package's own JavaScript, and in Chromium."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import duckdb
import pytest

import guests_modules
import needs
from browser_fixtures import Launch
from guests import texts
from hosts import node_glue
from instrumentation import logged
from tinyheap.guests.program import Program
from tinyheap.instrumentation.importing import import_log
from tinyheap.instrumentation.operation import instrument, script

if TYPE_CHECKING:
    from playwright.sync_api import Page

_FORMAT: Final = """
import { watch } from "./tinyheap-log.js";
const { entry, text, path } = JSON.parse(await new Response(process.stdin).text());
const logs = [];
watch((log) => logs.push(log));
Object.defineProperty(globalThis, "crypto", { value: globalThis.crypto, writable: true });
const glue = await import(entry);
if (glue.default && glue.format) await glue.default();
const result = glue.format ? await glue.format(text) : await glue.print(text, { filepath: path });
if (logs.length !== 1) throw new Error(`${logs.length} logs`);
await logs[0].save("run.log");
process.stdout.write(JSON.stringify(result), () => process.exit(0));
"""
_ENTRIES: Final = {"gofmt-0.4.9": ("gofmt_node.js", "x.go"), "sh-syntax-0.4.2": ("lib/index.js", "x.sh")}
_IN_PAGE: Final = """
async ([script, module]) => {
  const { HeapLog } = await import(`data:text/javascript;base64,${script}`);
  const bytes = Uint8Array.from(atob(module), (letter) => letter.charCodeAt(0));
  const { instance } = await WebAssembly.instantiate(bytes, { env: { panic() {} } });
  const log = new HeapLog(instance);
  instance.exports._start?.();
  const results = [0, 1, 2].map((seed) => { log.take(); return instance.exports.mutate(seed, 900); });
  const name = await new Promise((done) => {
    HTMLAnchorElement.prototype.click = function () { done(this.download); };
    log.download("page.log");
  });
  return { results, name, log: btoa(Array.from(log.bytes(), (byte) => String.fromCharCode(byte)).join("")) };
}
"""


@pytest.mark.parametrize("name", ["gofmt-0.4.9", pytest.param("sh-syntax-0.4.2", marks=pytest.mark.slow)])
def test_a_package_runs_in_node_and_its_log_is_imported(name: str, tmp_path: Path) -> None:
    text, (entry, path) = texts.kinds(name)["medium"], _ENTRIES[name]
    wasm = guests_modules.path(name)
    package = guests_modules.INSTALLED / name
    shutil.copytree(package, tmp_path / "node_modules" / name)
    for other in guests_modules.INSTALLED.iterdir():
        if not (tmp_path / "node_modules" / other.name).exists():
            (tmp_path / "node_modules" / other.name).symlink_to(other)
    made = instrument(wasm.read_bytes())
    copied = tmp_path / "node_modules" / name
    (copied / wasm.relative_to(package)).write_bytes(made.wasm)
    (tmp_path / "tinyheap-log.js").write_text(script())
    (tmp_path / "format.mjs").write_text(_FORMAT)
    done = subprocess.run(
        [needs.tool("node"), "format.mjs"],
        input=json.dumps({"entry": (copied / entry).as_uri(), "text": text, "path": path}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [(True, json.loads(done.stdout))] == node_glue.format_all(name, [text], path)
    found = import_log((tmp_path / "run.log").read_bytes(), made.wasm, tmp_path / "run.tinyheap")
    assert (found.lost, found.has_times) == (0, True)
    assert found.collections > 0
    with duckdb.connect(str(tmp_path / "run.tinyheap"), read_only=True) as connection:
        assert (
            connection.execute("SELECT min(pause_ns) >= 0, max(begun_ns) > 0 FROM collections").fetchone()
            == (True,) * 2
        )
        assert connection.execute("SELECT count(*) > 100 FROM deaths").fetchone() == (True,)


@pytest.fixture(scope="module")
def page(launch: Launch) -> Iterator[Page]:
    page = launch().new_page()
    yield page
    page.close()


def test_a_browser_hands_over_the_log(page: Page, tmp_path: Path) -> None:
    made = logged.instrumented_mutator()
    given = [base64.b64encode(each).decode() for each in (script().encode(), made.wasm)]
    done = page.evaluate(_IN_PAGE, given)
    assert done["name"] == "page.log"
    import_log(base64.b64decode(done["log"]), made.wasm, tmp_path / "page.tinyheap")
    with Program.open(logged.mutator(), logged.SEEDED, recording=tmp_path / "profiled.tinyheap") as program:
        program.start()
        assert [program.call("mutate", seed, 900) for seed in range(3)] == done["results"]
    found = logged.assert_same(tmp_path / "page.tinyheap", tmp_path / "profiled.tinyheap")
    assert len(found.tables["deaths"]) > 100


def test_what_is_not_instrumented_is_refused() -> None:
    source = base64.b64encode(script().encode()).decode()
    call = (
        f'const {{ HeapLog }} = await import("data:text/javascript;base64,{source}"); new HeapLog({{ exports: {{}} }})'
    )
    done = subprocess.run(
        [needs.tool("node"), "--input-type=module", "--eval", call], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "does not export tinyheap.take: expected one of a module that `tinyheap instrument` made" in done.stderr
