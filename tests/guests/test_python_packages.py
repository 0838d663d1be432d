"""Real Python packages that carry programs which TinyGo compiled, recorded as they are used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import guests_modules
import needs
from tinyheap.profile import host_calls
from tinyheap.profile.calls import HostCalls
from tinyheap.recordings.recording import Recording

WHEELS = guests_modules.GUESTS / "wheels"
LICENCES = """
from eu_licence_validator import is_valid

PLATES = ["B-MA 1234", "AB12 CDE", "XX", "1234 BCD", "W-12345A", "WA 12345", "AA-229-BB", ""]
COUNTRIES = ["DE", "GB", "ES", "AT", "PL", "FR", "??"]
first = [is_valid(plate, country) for plate in PLATES for country in COUNTRIES]
for _ in range(4):
    assert [is_valid(plate, country) for plate in PLATES for country in COUNTRIES] == first
print(first)
"""
FORGETTING = """
import eu_licence_validator as validator

store, instance = validator._instance()
for _ in range(200):
    validator._write(store, instance, b"B-MA 1234" * 20)
print(validator.is_valid("B-MA 1234", "DE"))
"""
FLAGS = """
import sys, threading
from pathlib import Path
from gofeatureflag_python_provider import wasm
from gofeatureflag_python_provider.wasm import EvaluateWasm, WasmFlagContext, WasmInput

def asked(user, members=3):
    names = ", ".join(f'"u{number}@x.org"' for number in range(members))
    rule = {"query": f"email in [{names}]", "variation": "on"}
    flag = {"variations": {"on": True, "off": False}, "targeting": [rule], "defaultRule": {"variation": "off"}}
    context = {"targetingKey": user, "email": f"{user}@x.org"}
    return WasmInput(flagKey="flag", flag=flag, evalContext=context, flagContext=WasmFlagContext(defaultSdkValue=False))

def said(members):
    try:
        return evaluator.evaluate(asked("u1", members)).value
    except Exception as error:
        return type(error).__name__, type(error.__cause__).__name__

evaluator = EvaluateWasm(str(next(Path(wasm.__file__).parent.glob("*.wasi"))), 3)
evaluator.initialize()
answers = {}

def work(number):
    answers[number] = [evaluator.evaluate(asked(f"u{user}")).model_dump() for user in range(6)]

for _ in range(5):
    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
print(answers[0] == answers[1] == answers[2], answers[0])
print(said(100), said(160), said(3))
evaluator.dispose()
"""


def ran(code: str, lists: tuple[str, ...], *command: str) -> str:
    """What a program prints on standard output, with these lists of packages."""
    folders = [needs.path(WHEELS / name, f"the packages of {name}.txt (`make guests` installs them)") for name in lists]
    Path("app.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    result = subprocess.run(
        [sys.executable, *command, "app.py"], capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


PROFILE = ("-m", "tinyheap", "profile")


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_a_validator_of_licence_plates() -> None:
    native = ran(LICENCES, ("wheels",))
    assert "True" in native
    assert ran(LICENCES, ("wheels",), *PROFILE) == native
    with Recording.open("app-1.tinyheap") as recording:
        assert recording.run.is_complete
        assert (recording.run.runtime, recording.run.runtime_version) == ("TinyGo", "0.41.1")
        calls = host_calls(recording)
        assert isinstance(calls, HostCalls)
        counts = {each.export: each.calls for each in calls.exports}
        assert counts == {"validate": 5 * 56, "alloc": 2 * 5 * 56, "dealloc": 2 * 5 * 56}
        assert recording.sql("SELECT count(*) FROM events").one()[0] > 1000
        assert calls.lent.objects == 0 or calls.lent.is_upper_bound


@pytest.mark.slow
def test_what_its_host_does_not_free_is_found() -> None:
    native = ran(FORGETTING, ("wheels",))
    assert ran(FORGETTING, ("wheels",), *PROFILE) == native == "True\n"
    with Recording.open("app-1.tinyheap") as recording:
        calls = host_calls(recording)
        assert isinstance(calls, HostCalls)
        assert calls.lent.objects >= 200
        assert calls.lent.bytes >= 200 * 180
        assert {each.export for each in calls.lent.oldest} == {"alloc"}


@pytest.mark.parametrize(
    ("lists", "version"), [(("wheels", "wheels-needed"), "0.40.1"), (("wheels-older", "wheels-needed"), "0.40.1")]
)
@pytest.mark.slow
@pytest.mark.share(1, in_ci=1)
def test_flags_are_evaluated_by_a_pool_of_stores(lists: tuple[str, ...], version: str) -> None:
    native = ran(FLAGS, lists)
    assert native.startswith("True ")
    assert ran(FLAGS, lists, *PROFILE) == native
    runs = sorted(Path().glob("app-*.tinyheap"))
    assert len(runs) == (4 if "WasmEvaluationTrapError" in native else 3)
    trapped = 0
    for path in runs:
        with Recording.open(path) as recording:
            assert recording.run.runtime_version == version
            trapped += "the program's stack overflowed" in (recording.run.error or "")
            assert recording.sql("SELECT count(*) FROM objects").one()[0] > 500
            names = {row[0] for row in recording.sql("SELECT DISTINCT export FROM calls").fetch()}
            assert {"_start", "malloc", "free", "evaluate"} >= names >= {"_start"}
    assert trapped == ("Trap" in native)
