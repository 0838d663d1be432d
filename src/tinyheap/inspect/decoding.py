"""What lies in memory, as text: values by their types, and the names of words.

A word's name is how a program would write it, seen from what it is in: ``.next``, ``[17].body``, ``["key"]``.  Where Go
follows a pointer without saying so (from a slice to its elements, from a map to its buckets) the name says nothing either, so
that the names along a path make one expression: ``main.cache.entries[17].body``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from tinyheap.inspect.go_types import BUCKET_ENTRIES, Shape
from tinyheap.inspect.heap_memory import WORD_BYTES
from tinyheap.inspect.typed import TypedHeap
from tinyheap.symbols.types import Kind, Type

_TEXT_BYTES: Final = 32
"""Of a string, shown at most."""
_TEXT_SHARE: Final = 0.75
"""Of bytes that are shown as text, so much can be printed, at least."""
_DEEPEST: Final = 64
_SILENT: Final = {
    Shape.STRING: ("ptr",),
    Shape.SLICE: ("ptr",),
    Shape.FUNCTION: ("context",),
    Shape.MAP: ("buckets",),
    Shape.BUCKET: ("next",),
    Shape.CHANNEL: ("buf",),
}
"""Fields that a program does not write."""
_FLOATS: Final = {4: "<f", 8: "<d"}


class Value(NamedTuple):
    """A value within an object."""

    name: str
    """Seen from the object."""
    offset_bytes: int
    type: str
    text: str


def word_name(heap: TypedHeap, index: int, offset_bytes: int) -> str:
    """The name of a word of an object.

    Args:
        heap: The heap.
        index: The object.
        offset_bytes: Of the word, from the beginning of the object's contents.

    Returns:
        The name; ``+0x10``, say, where the object's type is not known.
    """
    claim = heap.claim(index)
    if claim is None:
        return _offset(offset_bytes)
    size_bytes, offset = heap.go[claim.type].size_bytes, offset_bytes - claim.start_bytes
    if not 0 <= offset < claim.length * size_bytes:
        return _offset(offset_bytes)
    element, within = divmod(offset, size_bytes)
    bucket = heap.go.shape(claim.type) is Shape.BUCKET
    before = "" if bucket or claim.length == 1 else f"[{element}]"
    return before + _name(heap, claim.type, heap.memory.address(index) + offset_bytes - within, within)


def untyped(name: str) -> bool:
    """Whether a word's name says no more than where it is."""
    return not name or name.startswith("+")


def expression(heap: TypedHeap, address: int, words: Iterable[tuple[int, int]]) -> str | None:
    """What a program would write for what a path leads to; None where a part of it has no name.

    Args:
        heap: The heap.
        address: Of the word that the path begins with, outside of the heap.
        words: Of the objects on the path: each object, and the offset of the word in its contents.
    """
    name = variable_name(heap, address)
    parts = [word_name(heap, index, offset_bytes) for index, offset_bytes in words]
    return None if name is None or any(part.startswith("+") for part in parts) else name + "".join(parts)


def variable_name(heap: TypedHeap, address: int) -> str | None:
    """The name of a word outside of the heap: its variable's, and what it is of that; None where that is not known."""
    known = heap.known_at(address)
    return None if known is None else known.name + _name(heap, known.type, known.start, address - known.start)


def _name(heap: TypedHeap, number: int, start: int, offset: int) -> str:
    """The name of a word of a value that lies at an address."""
    parts: list[str] = []
    for _ in range(_DEEPEST):
        each, shape = heap.go[number], heap.go.shape(number)
        if shape is Shape.INTERFACE:
            return "".join(parts) + _asserted(heap, start, offset)
        if each.kind is Kind.RECORD:
            field = max(
                (at for at in each.fields if at.offset_bytes <= offset), key=lambda at: at.offset_bytes, default=None
            )
            if field is None:
                return "".join(parts)
            if shape is Shape.BUCKET and field.name in ("keys", "values"):
                return "".join(parts) + _entry(heap, each, start, offset)
            if field.name not in _SILENT.get(shape, ()):
                parts.append(f".{field.name}")
            number, start, offset = field.type, start + field.offset_bytes, offset - field.offset_bytes
        elif each.kind is Kind.ARRAY and each.element >= 0 and heap.go[each.element].size_bytes:
            index, within = divmod(offset, heap.go[each.element].size_bytes)
            parts.append(f"[{index}]")
            number, start, offset = each.element, start + offset - within, within
        else:
            break
    return "".join(parts)


def _entry(heap: TypedHeap, bucket: Type, start: int, offset: int) -> str:
    """The name of a word of a map's entry."""
    keys, values = bucket.fields[2:]
    of_value = offset >= values.offset_bytes
    part = values if of_value else keys
    element, key = heap.go[part.type].element, heap.go[keys.type].element
    place, within = divmod(offset - part.offset_bytes, heap.go[element].size_bytes)
    if place >= BUCKET_ENTRIES:
        return _offset(offset)
    at = start + part.offset_bytes + place * heap.go[element].size_bytes
    name = value_text(heap, key, start + keys.offset_bytes + place * heap.go[key].size_bytes)
    return f"[{name}]" + (_name(heap, element, at, within) if of_value else " (key)")


def _asserted(heap: TypedHeap, at: int, offset: int) -> str:
    name = heap.dynamic_type(heap.memory.word(at))
    return f".({name})" if name is not None and offset >= WORD_BYTES else ""


def _offset(offset_bytes: int) -> str:
    return f"+0x{offset_bytes:x}"


# ---- values ---------------------------------------------------------------------------------------------------------


def decoded(heap: TypedHeap, index: int, limit: int = 64) -> list[Value]:
    """The values that an object consists of, as far as its type is known.

    Args:
        heap: The heap.
        index: The object.
        limit: How many values there are to be at most.
    """
    claim = heap.claim(index)
    if claim is None:
        return []
    found: list[Value] = []
    start = heap.memory.address(index) + claim.start_bytes
    size_bytes = heap.go[claim.type].size_bytes
    if size_bytes == 1:
        text = shown(heap.memory.bytes_at(start, claim.length))
        return [Value("", claim.start_bytes, heap.name(index) or "", text)]
    for element in range(claim.length):
        name = f"[{element}]" if claim.length > 1 else ""
        for each in _values(heap, claim.type, start + element * size_bytes, name, _DEEPEST):
            if len(found) == limit:
                return found
            found.append(each._replace(offset_bytes=each.offset_bytes - heap.memory.address(index)))
    return found


def _values(heap: TypedHeap, number: int, at: int, name: str, deepest: int) -> Iterator[Value]:
    """The values of a type, with their addresses in place of offsets."""
    each, shape = heap.go[number], heap.go.shape(number)
    if not deepest:
        return
    if shape is Shape.BUCKET:
        yield from _entries(heap, each, at, deepest)
    elif each.kind is Kind.RECORD and shape in (Shape.PLAIN, Shape.MAP, Shape.CHANNEL):
        for field in each.fields:
            yield from _values(heap, field.type, at + field.offset_bytes, f"{name}.{field.name}", deepest - 1)
    elif each.kind is Kind.ARRAY and each.element >= 0 and not _is_text(heap, each):
        for index in range(each.count):
            place = at + index * heap.go[each.element].size_bytes
            yield from _values(heap, each.element, place, f"{name}[{index}]", deepest - 1)
    else:
        yield Value(name, at, each.name, value_text(heap, number, at))


def _entries(heap: TypedHeap, bucket: Type, at: int, deepest: int) -> Iterator[Value]:
    """The entries of a map's bucket."""
    _, chained, keys, values = bucket.fields
    key, value = heap.go[keys.type].element, heap.go[values.type].element
    for place in range(BUCKET_ENTRIES):
        if heap.memory.byte(at + place):
            name = value_text(heap, key, at + keys.offset_bytes + place * heap.go[key].size_bytes)
            start = at + values.offset_bytes + place * heap.go[value].size_bytes
            yield from _values(heap, value, start, f"[{name}]", deepest - 1)
    if heap.memory.word(at + chained.offset_bytes):
        yield Value(
            " (next bucket)",
            at + chained.offset_bytes,
            "pointer",
            _pointer(heap, heap.memory.word(at + chained.offset_bytes)),
        )


def _is_text(heap: TypedHeap, array: Type) -> bool:
    return heap.go[array.element].size_bytes == 1


def value_text(heap: TypedHeap, number: int, at: int) -> str:
    """A value as text, in one line.

    Args:
        heap: The heap.
        number: The value's type.
        at: Its address.
    """
    each, shape = heap.go[number], heap.go.shape(number)
    data = heap.memory.bytes_at(at, each.size_bytes)
    if len(data) < each.size_bytes:
        return "beyond the end of memory"
    if shape is Shape.STRING:
        return quoted(heap, heap.memory.word(at), heap.memory.word(at + WORD_BYTES))
    if shape is Shape.SLICE:
        return _slice(heap, number, at)
    if shape is Shape.INTERFACE:
        return heap.dynamic_type(heap.memory.word(at)) or (
            "nil" if not heap.memory.word(at) else "of a type that is not known"
        )
    if shape is Shape.FUNCTION:
        return heap.memory.function_at(heap.memory.word(at + WORD_BYTES)) or (
            "nil" if not heap.memory.word(at + WORD_BYTES) else "func"
        )
    if each.kind is Kind.POINTER:
        return _pointer(heap, heap.memory.word(at))
    return _plain(each, data)


def _plain(each: Type, data: bytes) -> str:
    if each.kind is Kind.BOOL:
        return "true" if any(data) else "false"
    if each.kind is Kind.FLOAT and len(data) in _FLOATS:
        return f"{struct.unpack(_FLOATS[len(data)], data)[0]:g}"
    if each.kind in (Kind.SIGNED, Kind.UNSIGNED):
        return str(int.from_bytes(data, "little", signed=each.kind is Kind.SIGNED))
    return shown(data)


def shown(data: bytes) -> str:
    """The first bytes of some, as text where most of them are that, else as hexadecimal digits."""
    filled = data.rstrip(b"\0")
    text = filled[:_TEXT_BYTES].decode("utf-8", "replace").rstrip("\ufffd")
    more = "..." if len(filled) > _TEXT_BYTES else ""
    if not filled:
        return f"{len(data)} zeros"
    printable = "".join(each for each in text if each.isprintable() and each != "\ufffd")
    if len(printable.encode()) >= _TEXT_SHARE * min(len(filled), _TEXT_BYTES):
        return '"' + "".join(_escaped(each) for each in text) + '"' + more
    return filled[:_TEXT_BYTES].hex(" ") + more


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else f"\\x{ord(character):02x}"


def quoted(heap: TypedHeap, start: int, size_bytes: int) -> str:
    """A string as text."""
    return shown(heap.memory.bytes_at(start, min(size_bytes, 2 * _TEXT_BYTES))) if size_bytes else '""'


def _slice(heap: TypedHeap, number: int, at: int) -> str:
    start, length, capacity = (heap.memory.word(at + WORD_BYTES * index) for index in range(3))
    element = heap.go[heap.go[number].fields[0].type].element
    if not start:
        return "nil"
    text = f" {quoted(heap, start, length)}" if element >= 0 and heap.go[element].size_bytes == 1 else ""
    return f"{length} of {capacity}{text}"


def _pointer(heap: TypedHeap, target: int) -> str:
    if not target:
        return "nil"
    index = heap.memory.object_at(target)
    name = heap.name(index) if index >= 0 else variable_name(heap, target)
    return f"0x{target:x}" + (f" ({name})" if name else "")
