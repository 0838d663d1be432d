"""Edits find their place in source code by its text, however it is formatted, and in one place only."""

from __future__ import annotations

import pytest

from source_edits import Edit

pytestmark = pytest.mark.mutation

PYTHON = b'''
def first(a):
    """Text with a + 1 in it."""
    b = a + 1
    if (b > 2):  # a + 1
        b = (a
             + 2)
        return b
    return b


class Thing:
    def first(self, a):
        a = 2
        return a * (a + 1)

    def second(self, a):
        f(a)
        f(a)
'''
HEADER = b"""
/* not here: load(at) */
static inline int first(int at) { return load(at, 4); }
#if FAST
static inline int second(int at) {
    if (at > 4) { return 1; }
    return load(at,  /* wide */
                8);
}
#else
static inline int second(int at) { return 'x' + load(at, 2); }
#endif
"""
DECLARATIONS = b"""
cdef enum:
    SIZE = 4

cdef inline int first(int at) noexcept nogil:
    # It's not load(at).
    if at > 4:
        return load(at)
    return 0

cdef inline int second(int at) noexcept nogil:
    return load(at)
"""


def applied(file: str, source: bytes, function: str, old: str, new: str, nth: int | None = None) -> str:
    return Edit(file, function, old, new, nth).applied(source).decode()


class TestPython:
    def test_an_expression_becomes_another_and_all_else_stays(self) -> None:
        text = applied("a.py", PYTHON, "first", "a+1", "a - 1")
        assert text == PYTHON.decode().replace("    b = a + 1", "    b = (a - 1)")

    def test_the_layout_of_what_is_looked_for_does_not_matter(self) -> None:
        text = applied("a.py", PYTHON, "first", "b = a + 2\nreturn b", "return a")
        assert "    if (b > 2):  # a + 1\n        return a\n    return b" in text

    def test_a_method_is_named_with_its_class(self) -> None:
        assert "return a * ((a - 1))" in applied("a.py", PYTHON, "Thing.first", "a + 1", "a - 1")

    def test_what_is_removed_leaves_a_block_that_does_nothing(self) -> None:
        text = applied("a.py", PYTHON, "first", "b = a + 2\nreturn b", "")
        assert "    if (b > 2):  # a + 1\n        pass\n    return b" in text

    def test_one_of_several_places_is_chosen_in_the_order_of_the_text(self) -> None:
        assert applied("a.py", PYTHON, "Thing.second", "f(a)", "", 2).endswith("f(a)\n        pass\n")

    @pytest.mark.parametrize(
        ("function", "old", "nth"),
        [
            ("first", "a + 3", None),
            ("first", "return b", None),
            ("first", "b = a + 1", 1),
            ("Thing.second", "f(a)", 3),
            ("third", "a", None),
            ("Thing.third", "a", None),
        ],
    )
    def test_no_place_or_too_many_are_an_error(self, function: str, old: str, nth: int | None) -> None:
        with pytest.raises(LookupError):
            applied("a.py", PYTHON, function, old, "" if "return" in old else "b", nth)


class TestTokens:
    def test_tokens_of_one_function_become_others(self) -> None:
        text = applied("a.h", HEADER, "first", "load( at,4 )", "0")
        assert text == HEADER.decode().replace("load(at, 4)", "0")

    def test_a_function_may_be_defined_twice(self) -> None:
        assert "return 1; }\n    return 0;" in applied("a.h", HEADER, "second", "load(at, 8)", "0")
        assert "'x' + 0;" in applied("a.h", HEADER, "second", "load(at, 2)", "0")

    def test_without_a_function_the_whole_file_is_meant(self) -> None:
        assert "SIZE = 5" in applied("a.pxd", DECLARATIONS, "", "SIZE = 4", "SIZE = 5")

    def test_functions_of_declarations_end_where_the_next_begins(self) -> None:
        text = applied("a.pxd", DECLARATIONS, "first", "load(at)", "1")
        assert text == DECLARATIONS.decode().replace("        return load(at)", "        return 1")

    @pytest.mark.parametrize(("function", "old"), [("first", "load(at, 8)"), ("second", "load(at"), ("third", "load")])
    def test_no_place_or_too_many_are_an_error(self, function: str, old: str) -> None:
        with pytest.raises(LookupError):
            applied("a.h", HEADER, function, old, "0")
