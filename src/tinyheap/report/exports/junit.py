"""A run held against a budget as JUnit XML, which build servers show beside the tests.

Each limit is a test case, and so is the run itself, ``run``.  What is not within the budget is a failure, whose type says why:
``over``, ``unknown``, or ``run`` where the run did not pass.  There are no errors, an element that the schemas in use do not
agree on; what is here is valid by Jenkins' (``junit-10.xsd``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from tinyheap.budgets.checking import CheckVerdict
from tinyheap.report.terminal.budget_table import amount_text, check_text

if TYPE_CHECKING:
    from tinyheap.budgets.checking import Check, Checks

SUITE: Final = "tinyheap check"
RUN: Final = "run"
_NO_CHARACTERS: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, not even escaped."""


def junit_xml(checks: Checks) -> bytes:
    """The document, in UTF-8."""
    failures = (checks.failure is not None) + sum(each.verdict is not CheckVerdict.WITHIN for each in checks.checks)
    counts = {"tests": str(len(checks.checks) + 1), "failures": str(failures), "errors": "0"}
    root = ET.Element("testsuites", {"name": SUITE, **counts})
    suite = ET.SubElement(root, "testsuite", {"name": _text(checks.subject), **counts, "skipped": "0", "time": "0"})
    run = _case(suite, checks, RUN)
    if checks.failure is not None:
        _fail(run, RUN, f"the run did not pass: {checks.failure}", "")
    for each in checks.checks:
        _check(_case(suite, checks, each.measurement.quantity), each)
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _case(suite: ET.Element, checks: Checks, name: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", {"name": name, "classname": _text(checks.subject), "time": "0"})


def _check(case: ET.Element, check: Check) -> None:
    if check.verdict is not CheckVerdict.WITHIN:
        measurement = check.measurement
        sites = (f"{each.site.name}: {amount_text(each.amount, measurement.sites_unit)}" for each in measurement.sites)
        _fail(case, check.verdict, check_text(check), "\n".join([f"{measurement.sites_are}:", *sites]))


def _fail(case: ET.Element, why: str, message: str, text: str) -> None:
    ET.SubElement(case, "failure", {"type": why, "message": _text(message)}).text = _text(text)


def _text(text: str) -> str:
    """The text, with escapes of Python's for what XML cannot hold."""
    return _NO_CHARACTERS.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)
