"""What is generated is what its source makes of it, and the files that hold it say so."""

from __future__ import annotations

from pathlib import Path

import pytest

import generated
from project_files import ROOT


@pytest.mark.parametrize("path", generated.FILES, ids=lambda path: path.name)
def test_it_is_what_its_source_makes(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text == generated.FILES[path](text), f"{path.relative_to(ROOT)} is old: run `make generated`, and commit it"
    assert "make generated" in text
