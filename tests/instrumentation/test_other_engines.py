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
from tinyheap.formatters import ShellOptions, ShSyntaxFormatter, process_arguments
from tinyheap.guests.program import Program
from tinyheap.hosts.world import world_of
from tinyheap.instrumentation.importing import import_log
from tinyheap.instrumentation.operation import instrument, script

if TYPE_CHECKING:
    from playwright.sync_api import Page

_SEEDED: Final = """
const seedWith = (random) => {
  const next = random[Symbol.iterator]();
  const getRandomValues = (bytes) => bytes.forEach((_, at) => { bytes[at] = next.next().value; });
  // The glue of sh-syntax 0.3 assigns it, which node permits no longer.
  Object.defineProperty(globalThis, "crypto", { value: { getRandomValues }, writable: true });
};
"""
_FORMAT: Final = (
    _SEEDED
    + """
import { watch } from "./tinyheap-log.js";
const { entry, text, path, random } = JSON.parse(await new Response(process.stdin).text());
const logs = [];
watch((log) => logs.push(log));
seedWith(random);
const glue = await import(entry);
if (glue.default && glue.format) await glue.default();
const result = glue.format ? await glue.format(text) : await glue.print(text, { filepath: path });
if (logs.length !== 1) throw new Error(`${logs.length} logs`);
await logs[0].save("run.log");
process.stdout.write(JSON.stringify(result), () => process.exit(0));
"""
)
_ENTRIES: Final = {"gofmt-0.4.9": ("gofmt_node.js", "x.go")}
_SHELL_ENTRY: Final = ("lib/index.js", "x.sh")
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
_FORMAT_IN_PAGE: Final = (
    "async ([script, glue, module, text, given, random]) => {"
    + _SEEDED
    + """
  seedWith(random);
  const decoded = (each) => Uint8Array.from(atob(each), (letter) => letter.charCodeAt(0));
  const { HeapLog } = await import(`data:text/javascript;base64,${script}`);
  new Function(new TextDecoder().decode(decoded(glue)))();
  const go = new Go();
  const { instance } = await WebAssembly.instantiate(decoded(module), go.importObject);
  const log = new HeapLog(instance);
  void go.run(instance);
  const { memory, wasmAlloc, wasmFree, process } = instance.exports;
  const handles = [];
  const words = Object.fromEntries(["x.sh", text, ""].flatMap((each, at) => {
    const data = new TextEncoder().encode(each);
    const handle = wasmAlloc(data.length);
    const address = new DataView(memory.buffer).getUint32(handle, true);
    new Uint8Array(memory.buffer).set(data, address);
    handles.push(handle);
    return [[`address ${at}`, address], [`length ${at}`, data.length]];
  }));
  const result = process(...given.map((word) => words[word] ?? word));
  handles.forEach((handle) => wasmFree(handle));
  const all = new Uint8Array(memory.buffer).subarray(result);
  const answer = JSON.parse(new TextDecoder().decode(all.subarray(0, all.indexOf(0))));
  return { text: answer.text, log: btoa(Array.from(log.bytes(), (byte) => String.fromCharCode(byte)).join("")) };
}
"""
)
"""As the package's own JavaScript, which writes its texts over the program's slices, but to where these point."""


def random_bytes() -> list[int]:
    """Those that a program gets which `logged.SEEDED` is granted to; programs ask for 4 or 8 at a time."""
    assert logged.SEEDED.seed is not None
    return list(world_of(logged.SEEDED.seed).random_bytes(1 << 14))


def run_in_node(name: str, wasm: bytes, text: str, folder: Path) -> tuple[str, bytes]:
    """What a package makes of a text in node, with another module in the place of its own; and the log."""
    entry, path = _ENTRIES.get(name, _SHELL_ENTRY)
    own = guests_modules.path(name)
    package = guests_modules.INSTALLED / name
    copied = folder / "node_modules" / name
    shutil.copytree(package, copied)
    for other in guests_modules.INSTALLED.iterdir():
        if other.name != name:
            (folder / "node_modules" / other.name).symlink_to(other)
    (copied / own.relative_to(package)).write_bytes(wasm)
    (folder / "tinyheap-log.js").write_text(script())
    (folder / "format.mjs").write_text(_FORMAT)
    done = subprocess.run(
        [needs.tool("node"), "format.mjs"],
        input=json.dumps({"entry": (copied / entry).as_uri(), "text": text, "path": path, "random": random_bytes()}),
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert [(True, found)] == node_glue.format_all(name, [text], path)
    return found, (folder / "run.log").read_bytes()


@pytest.mark.parametrize("name", guests_modules.cases(["gofmt-0.4.9", "sh-syntax-0.4.2"], in_ci=["gofmt-0.4.9"]))
def test_a_package_runs_in_node_and_its_log_is_imported(name: str, tmp_path: Path) -> None:
    made = instrument(guests_modules.read(name))
    _, log = run_in_node(name, made.wasm, texts.kinds(name)["medium"], tmp_path)
    found = import_log(log, made.wasm, tmp_path / "run.tinyheap")
    assert (found.lost, found.has_times) == (0, True)
    assert found.collections > 0
    with duckdb.connect(str(tmp_path / "run.tinyheap"), read_only=True) as connection:
        assert (
            connection.execute("SELECT min(pause_ns) >= 0, max(begun_ns) > 0 FROM collections").fetchone()
            == (True,) * 2
        )
        assert connection.execute("SELECT count(*) > 100 FROM deaths").fetchone() == (True,)


@pytest.mark.slow
def test_a_package_of_a_later_tinygo_says_in_node_what_its_profile_does(tmp_path: Path) -> None:
    name, text = "sh-syntax-0.6.0", texts.SHELL["medium"]
    made = instrument(guests_modules.read(name))
    formatted, log = run_in_node(name, made.wasm, text, tmp_path)
    assert import_log(log, made.wasm, tmp_path / "run.tinyheap").lost == 0
    with Program.open(guests_modules.read(name), logged.SEEDED, recording=tmp_path / "profiled.tinyheap") as program:
        program.start()
        # The package's own JavaScript writes its texts over the program's slices.
        assert ShSyntaxFormatter(program.session, overrun=True).format(text, "x.sh") == formatted
    found = logged.assert_same(tmp_path / "run.tinyheap", tmp_path / "profiled.tinyheap")
    assert len(found.tables["events"]) > 10_000


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


@pytest.mark.slow
def test_a_browser_hands_over_the_log_of_a_later_tinygo(page: Page, tmp_path: Path) -> None:
    name, text = "sh-syntax-0.7.0", texts.SHELL["medium"] * 8
    wasm = guests_modules.read(name)
    made = instrument(wasm)
    path, source, stop_at = ((f"address {at}", f"length {at}", f"length {at}") for at in range(3))
    glue = (guests_modules.INSTALLED / name / "vendors" / "wasm_exec.cjs").read_bytes()
    coded = [base64.b64encode(each).decode() for each in (script().encode(), glue, made.wasm)]
    given = process_arguments(22, path, source, stop_at, ShellOptions())
    done = page.evaluate(_FORMAT_IN_PAGE, [*coded, text, given, random_bytes()])
    import_log(base64.b64decode(done["log"]), made.wasm, tmp_path / "page.tinyheap")
    with Program.open(wasm, logged.SEEDED, recording=tmp_path / "profiled.tinyheap") as program:
        program.start()
        assert ShSyntaxFormatter(program.session).format(text, "x.sh") == done["text"]
    found = logged.assert_same(tmp_path / "page.tinyheap", tmp_path / "profiled.tinyheap", same_roots=False)
    assert found.tables["collections"]
    assert found.tables["deaths"]


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
