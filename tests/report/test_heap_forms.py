"""What a notebook shows of a heap is what a terminal does, and names in it cannot act as code."""

from __future__ import annotations

import re
from html import unescape

import pytest

from inspected_heaps import inspected, typed_nodes
from tinyheap.inspect import Inspection, NamedGraph, compare_heaps, holes_for, object_view, overview, why
from tinyheap.inspect.answers import answers_of
from tinyheap.inspect.naming import Groups, ShapeNames
from tinyheap.results import Result

HTML = "<script>document.title='out'</script>"


def shown(result: Result | Inspection) -> str:
    """The text of a form."""
    return unescape(re.sub("<[^>]*>", "", result._repr_html_()))


def test_results_show_what_they_say() -> None:
    inspection = inspected(typed_nodes())
    named = inspection.named
    [node, *_] = [found for found in range(len(named.graph)) if named.group_of(found) == "main.node"]
    assert "main.many[0].next" in shown(why(named, node))
    assert '"node 0"' in shown(object_view(inspection, node))
    assert "alone hold" in shown(overview(inspection)) == shown(inspection)
    assert "do not fit" in shown(holes_for(named, 1 << 20))
    assert "new: 0 objects" in shown(compare_heaps(named, named))
    answers = answers_of(inspection, "main.node", None, None, None, retained=True)
    assert answers.why is not None
    assert shown(answers.why) in shown(answers)
    assert "what would take others with it" in shown(answers)


class Hostile(ShapeNames):
    """All objects have one name, which is code."""

    def groups(self, graph: object) -> Groups:
        named = typed_nodes()
        return Groups(named.groups.of * 0, (HTML,))


@pytest.mark.parametrize("form", ["overview", "why", "object"])
def test_names_cannot_act_as_code(form: str) -> None:
    inspection = inspected(NamedGraph(typed_nodes().graph, Hostile()))
    result: Result = {
        "overview": overview(inspection),
        "why": why(inspection.named, 0),
        "object": object_view(inspection, 0),
    }[form]
    assert "<script" not in result._repr_html_()
    assert HTML in shown(result).replace("\n", "")
