"""`needs`: a missing tool skips a test on a developer's machine and fails it in CI."""

from __future__ import annotations

from pathlib import Path

import pytest

import needs


def test_a_tool_that_is_there_is_returned() -> None:
    assert needs.tool("sh").name == "sh"


@pytest.mark.parametrize(
    ("in_ci", "outcome"),
    [(True, pytest.fail.Exception), (False, pytest.skip.Exception)],
    ids=["ci", "elsewhere"],
)
class TestMissing:
    @pytest.fixture(autouse=True)
    def place(self, monkeypatch: pytest.MonkeyPatch, in_ci: bool) -> None:
        monkeypatch.setattr(needs, "IN_CI", in_ci)

    def test_tool(self, outcome: type[BaseException]) -> None:
        with pytest.raises(outcome, match="'no-such-tool' is not installed"):
            needs.tool("no-such-tool")

    def test_path(self, outcome: type[BaseException], tmp_path: Path) -> None:
        with pytest.raises(outcome, match=r"the folder of vectors is not at .*nowhere"):
            needs.path(tmp_path / "nowhere", "the folder of vectors")
