"""JUnit XML: of the shape that its readers' schemas have in common, whatever names hold."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Final
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from small_recordings import opened, requests
from tinyheap.budgets import Budget, BudgetLimit, Checks, Quantity, check
from tinyheap.report.exports.junit import junit_xml

SCHEMA: Final = {
    # element: required attributes, further attributes, children in their order
    "testsuites": (set(), {"name", "time", "tests", "failures", "errors", "disabled"}, ("testsuite",)),
    "testsuite": ({"name", "tests"}, {"failures", "errors", "skipped", "time", "timestamp", "hostname"}, ("testcase",)),
    "testcase": ({"name", "classname"}, {"time"}, ("failure",)),
    "failure": (set(), {"type", "message"}, ()),
}
BUDGET: Final = Budget(
    (
        BudgetLimit(Quantity.PEAK, 100),
        BudgetLimit(Quantity.PAGES, 1),
        BudgetLimit(Quantity.ALLOCATIONS, 10**6),
        BudgetLimit(Quantity.LONGEST_PAUSE, 1),
    )
)


def valid(document: bytes) -> ET.Element:
    """The document, checked against the schema."""
    root = ET.fromstring(document)
    waiting = [root]
    while waiting:
        element = waiting.pop()
        required, further, children = SCHEMA[element.tag]
        assert required <= element.attrib.keys() <= required | further
        places = [children.index(child.tag) for child in element]
        assert places == sorted(places)
        waiting += element
    for element in (root, *root):
        cases = list(element.iter("testcase"))
        assert int(element.attrib["tests"]) == len(cases)
        assert int(element.attrib["failures"]) == len(list(element.iter("failure")))
        assert element.attrib["errors"] == "0"
    return root


@cache
def checks(function: str = "main.parse") -> Checks:
    rows = requests()
    rows.frames = [replace(each, function=each.function.replace("main.parse", function)) for each in rows.frames]
    with opened(rows) as recording:
        return check(recording, BUDGET)


def test_each_limit_is_a_case_and_so_is_the_run() -> None:
    root = valid(junit_xml(checks()))
    cases = {each.attrib["name"]: [child.tag for child in each] for each in root.iter("testcase")}
    assert cases == {
        "run": [],
        "peak": ["failure"],
        "pages": ["failure"],
        "allocations": [],
        "longest-pause": ["failure"],
    }
    failure = next(root.iter("failure"))
    assert failure.attrib == {"type": "over", "message": "peak 4.10 KiB of 100 B: over by 4.00 KiB (4100%)"}
    assert str(failure.text).startswith("live at the peak:\nmain.main")


def test_a_run_that_did_not_pass_is_a_failure() -> None:
    root = valid(junit_xml(replace(checks(), failure="exit <code> 7")))
    failure = next(root.iter("failure"))
    assert failure.attrib == {"type": "run", "message": "the run did not pass: exit <code> 7"}


@given(st.text(min_size=1))
def test_names_that_hold_anything_are_escaped(name: str) -> None:
    made = checks()
    shares = tuple(replace(each, site=replace(each.site, function=name)) for each in made.checks[0].measurement.sites)
    first = replace(made.checks[0], measurement=replace(made.checks[0].measurement, sites=shares))
    root = valid(junit_xml(replace(made, subject=name, failure=name, checks=(first, *made.checks[1:]))))
    said = next(root.iter("failure")).attrib["message"].removeprefix("the run did not pass: ")
    if name.isprintable():
        assert said == name
        assert name in str(root.findall(".//failure")[1].text)
    assert next(root.iter("testcase")).attrib["classname"] == said
