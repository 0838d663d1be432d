"""Transplanted programs in other engines, where memory is compared too, and in hosts that grow memory themselves."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

import needs
from browser_fixtures import Launch
from guests import collectors
from guests.collectors import Build
from guests.test_mutator import BUILDS, SOURCE
from tinyheap.transplanting.operation import perform
from tinyheap.transplanting.options import Options
from transplanting import twins
from transplanting.test_mutators import outcome, wasm_of

if TYPE_CHECKING:
    from playwright.sync_api import Page

SEEDS: Final = range(6)
_COMPARE: Final = """
(modules, seeds) => {
  const memories = [];
  for (const module of modules) {
    const instance = new WebAssembly.Instance(new WebAssembly.Module(module), { env: { panic() {} } });
    instance.exports._start();
    const results = seeds.map((seed) => instance.exports.mutate(seed, 1500));
    memories.push([results, new Uint8Array(instance.exports.memory.buffer)]);
  }
  const [[before, memory], [after, other]] = memories;
  return {
    results: before.every((result, at) => result === after[at]),
    memory: memory.every((byte, at) => byte === other[at]) && other.slice(memory.length).every((byte) => byte === 0),
    pages: [memory.length >> 16, other.length >> 16],
  };
}
"""
_FROM_BASE64: Final = "(module) => Uint8Array.from(atob(module), (letter) => letter.charCodeAt(0))"
SHAPES: Final = [build for build in BUILDS if not build.link_time]


def modules_of(build: Build) -> tuple[bytes, bytes]:
    wasm = collectors.compiled(build, SOURCE)
    return wasm, perform(wasm).wasm


def as_base64(build: Build) -> list[str]:
    return [base64.b64encode(each).decode() for each in modules_of(build)]


def hold(found: dict[str, Any]) -> None:
    assert found["results"]
    assert found["memory"]
    before, after = found["pages"]
    assert 2 < before <= after <= before + 1


@pytest.mark.parametrize("build", SHAPES, ids=str)
@pytest.mark.share(2)
def test_memory_is_the_same_in_node(build: Build) -> None:
    script = (
        "const [modules, seeds] = JSON.parse(await new Response(process.stdin).text());"
        f"process.stdout.write(JSON.stringify(({_COMPARE})(modules.map({_FROM_BASE64}), seeds)))"
    )
    done = subprocess.run(
        [needs.tool("node"), "--input-type=module", "--eval", script],
        input=json.dumps([as_base64(build), list(SEEDS)]),
        capture_output=True,
        text=True,
        check=True,
    )
    hold(json.loads(done.stdout))


@pytest.fixture(scope="module")
def page(launch: Launch) -> Iterator[Page]:
    page = launch().new_page()
    yield page
    page.close()


@pytest.mark.parametrize("build", SHAPES[:4], ids=str)
def test_memory_is_the_same_in_a_browser(build: Build, page: Page) -> None:
    call = f"([modules, seeds]) => ({_COMPARE})(modules.map({_FROM_BASE64}), seeds)"
    hold(page.evaluate(call, [as_base64(build), list(SEEDS)]))


@pytest.mark.parametrize("build", SHAPES, ids=str)
@pytest.mark.share(2)
def test_memory_is_the_same_in_webkit_s_engine(build: Build, tmp_path: Path) -> None:
    """JavaScriptCore, by its shell, which reads files but knows neither base64 nor standard input."""
    places = [tmp_path / "before.wasm", tmp_path / "after.wasm"]
    for place, wasm in zip(places, modules_of(build), strict=True):
        place.write_bytes(wasm)
    script = tmp_path / "compare.js"
    script.write_text(
        f"const modules = {json.dumps([str(place) for place in places])}.map((place) => readFile(place, 'binary'));"
        f"print(JSON.stringify(({_COMPARE})(modules, {json.dumps(list(SEEDS))})))"
    )
    done = subprocess.run([needs.tool("jsc"), script], capture_output=True, text=True, check=True)
    hold(json.loads(done.stdout))


@pytest.mark.parametrize("build", BUILDS[:6], ids=str)
@pytest.mark.share(2)
def test_a_host_that_grows_memory_finds_it_as_it_was(build: Build) -> None:
    """The heap takes the pages with its next growth, as the original's; they come behind the kernel's own here."""
    native, ours = twins.start(twins.compiled(wasm_of(build), Options()))
    for call in range(4):
        assert outcome(ours, call, 1500) == outcome(native, call, 1500)
        twins.assert_equal(native, ours)
        grown = [run.session.memory.raw.grow(run.session.store, 1) for run in (native, ours)]
        assert grown[1] - grown[0] in (0, 1)
