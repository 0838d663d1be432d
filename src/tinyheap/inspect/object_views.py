"""One object of a heap: its bytes, each word that may refer to another, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tinyheap.inspect.certainty import certainty_of
from tinyheap.inspect.decoding import decoded
from tinyheap.inspect.holders import holders_of
from tinyheap.results import Result

if TYPE_CHECKING:
    from tinyheap.inspect.certainty import WordCertainty
    from tinyheap.inspect.decoding import Value
    from tinyheap.inspect.holders import Holder
    from tinyheap.inspect.inspection import Inspection

MOST_BYTES: Final = 4096
"""So much of an object is shown."""
MOST_VALUES: Final = 256
"""So many of its values."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word of an object.

    Args:
        offset: in the object's body, in bytes.
        name: of the word; an offset where nothing better is known.
        value: what it holds.
        target: the address of the object that it refers to; None for none.
        group: the name of that object; empty for none.
        certainty: how sure it is that it is a pointer; None where it refers to no object.
    """

    offset: int
    name: str
    value: int
    target: int | None = None
    group: str = ""
    certainty: WordCertainty | None = None


@dataclass(frozen=True, slots=True)
class ObjectView(Result):
    """An object.

    Args:
        address: what the program calls it.
        group: its name.
        size_bytes: in whole blocks, with its header.
        body_bytes: what the program may use of it.
        retained_objects: how many would be garbage without it; 0 where it is garbage itself.
        retained_bytes: of these.
        is_garbage: whether the next collection frees it.
        layout_word: of a precise heap; 0 for none.
        data: its bytes, the first ones of a large object.
        text: these as text, where they are; else None.
        words: its words, as far as ``data`` goes.
        holders: who refers to it.
        values: what it consists of, where its type is known.
        number: of its allocation; None, as the next two, where the run was not recorded.
        born_ns: nanoseconds from the beginning of the run.
        site: who allocated it.
    """

    address: int
    group: str
    size_bytes: int
    body_bytes: int
    retained_objects: int
    retained_bytes: int
    is_garbage: bool
    layout_word: int
    data: bytes
    text: str | None
    words: tuple[Word, ...]
    holders: tuple[Holder, ...]
    values: tuple[Value, ...] = ()
    number: int | None = None
    born_ns: int | None = None
    site: str | None = None


def object_view(inspection: Inspection, found: int) -> ObjectView:
    """An object by its number in the graph."""
    named, graph = inspection.named, inspection.graph
    address, data = graph.address_of(found), bytes(graph.body_of(found)[:MOST_BYTES])
    return ObjectView(
        address,
        named.group_of(found),
        int(graph.sizes_bytes[found]),
        graph.body_bytes_of(found),
        int(graph.tree.retained_objects[found]),
        int(graph.tree.retained_bytes[found]),
        bool(graph.is_garbage[found]),
        int(graph.layout_words[found]),
        data,
        _text(data),
        _words(inspection, found, data),
        holders_of(named, [found]),
        () if named.typed is None else tuple(decoded(named.typed, found, MOST_VALUES)),
        *_origin(inspection, address),
    )


def _text(data: bytes) -> str | None:
    """Bytes that are text, up to zeros that only fill."""
    try:
        text = data.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return None
    return text if text and all(each.isprintable() or each in "\t\r\n" for each in text) else None


def _words(inspection: Inspection, found: int, data: bytes) -> tuple[Word, ...]:
    named, graph = inspection.named, inspection.graph
    width = graph.facts.geometry.word_bytes
    targets = {int(graph.offsets[each]): int(graph.targets[each]) for each in graph.references_of(found)}
    words = []
    for offset in range(0, len(data) - width + 1, width):
        value = int.from_bytes(data[offset : offset + width], "little")
        name, target = named.names.word(graph, found, offset), targets.get(offset)
        if target is None:
            words.append(Word(offset, name, value))
        else:
            certainty = certainty_of(named, found, offset)
            words.append(Word(offset, name, value, graph.address_of(target), named.group_of(target), certainty))
    return tuple(words)


def _origin(inspection: Inspection, address: int) -> tuple[int | None, int | None, str | None]:
    """Number, birth and site, where the run was recorded."""
    origins = inspection.snapshot.origins
    if origins is None or address not in origins.address:
        return None, None, None
    at = origins.address.index(address)
    return origins.number[at], origins.born_ns[at], origins.sites[origins.site[at]]
