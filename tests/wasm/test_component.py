"""Core modules are found in components, and what only looks like a component is refused."""

from __future__ import annotations

import pytest

from tinyheap.errors import MalformedModuleError
from tinyheap.wasm import EMPTY
from tinyheap.wasm.component import COMPONENT_HEADER, core_modules, is_component
from wasm.samples import component

CUSTOM, CORE_MODULE, COMPONENT = 0, 1, 4
MODULE = EMPTY.encode()


def test_core_modules_are_found_in_the_order_of_the_file_however_deep() -> None:
    inner = component((CORE_MODULE, b"second"), (CUSTOM, b"no module"))
    outer = component((CORE_MODULE, MODULE), (7, b"types"), (COMPONENT, inner), (CORE_MODULE, b"third"))
    assert core_modules(outer) == (MODULE, b"second", b"third")
    assert is_component(outer)
    assert not is_component(MODULE)


@pytest.mark.parametrize("cut", range(8, len(component((CORE_MODULE, MODULE)))))
def test_a_component_that_ends_early_is_refused(cut: int) -> None:
    whole = component((CORE_MODULE, MODULE))
    if cut == len(COMPONENT_HEADER):
        assert core_modules(whole[:cut]) == ()
        return
    with pytest.raises(MalformedModuleError, match=r"component, byte 0x.*(are left|one more byte)"):
        core_modules(whole[:cut])


def test_components_nested_too_deeply_are_refused() -> None:
    nested = component()
    for _ in range(200):
        nested = component((COMPONENT, nested))
    with pytest.raises(MalformedModuleError, match="nested more than 100 deep"):
        core_modules(nested)
