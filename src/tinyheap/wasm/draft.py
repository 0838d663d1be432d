"""Writing a changed module: a draft, in which everything has the number it had while editing, to bytes.

In each index space the imported go first and otherwise keep their order, which settles every number.  Then
each section is made anew as a list of entries and compared with what the module has: equal lists keep the
section's bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from tinyheap.errors import MalformedModuleError
from tinyheap.wasm import instructions
from tinyheap.wasm import sections as s
from tinyheap.wasm.body_edit import BodyEdit, Piece
from tinyheap.wasm.entities import (
    DataSegment,
    ElementSegment,
    Entity,
    Export,
    Expression,
    Function,
    FunctionType,
    Global,
    Import,
    Memory,
    Table,
    Tag,
)
from tinyheap.wasm.immediates import write_vector
from tinyheap.wasm.leb128 import encode_unsigned
from tinyheap.wasm.module import Module
from tinyheap.wasm.names import Names, write_names
from tinyheap.wasm.renumbering import Renumbering
from tinyheap.wasm.sections import ORDER, Section, SectionId

Entry = TypeVar("Entry")
Defined = TypeVar("Defined", Function, Table, Memory, Global, Tag)

_STALE = (".debug_", "reloc.", "linking", "metadata.code.", "sourceMappingURL", "external_debug_info")
"""How the names of custom sections begin that hold offsets into code."""


class NewBody(NamedTuple):
    """A body written while editing: declared locals, and code with its closing `end`."""

    locals: bytes
    code: bytes


@dataclass(slots=True)
class Draft:
    """A module and what is to become of it."""

    module: Module
    types: list[FunctionType]
    functions: list[Function]
    tables: list[Table]
    memories: list[Memory]
    globals: list[Global]
    tags: list[Tag]
    exports: list[Export]
    edits: dict[int, BodyEdit]
    """Changes to bodies that the module has, by function."""
    bodies: dict[int, NewBody]
    """Bodies that it does not have, by function."""
    redirected: dict[int, int]
    """Where direct calls in the module's own code go, by function."""
    names: dict[int, str]
    """Names of functions that were added, or given another one."""
    custom: dict[str, bytes]
    """Payloads of custom sections that are added, or replaced, by name."""

    @staticmethod
    def of(module: Module) -> Draft:
        """A draft without changes."""
        return Draft(
            module=module,
            types=list(module.types),
            functions=list(module.functions),
            tables=list(module.tables),
            memories=list(module.memories),
            globals=list(module.globals),
            tags=list(module.tags),
            exports=list(module.exports),
            edits={},
            bodies={},
            redirected={},
            names={},
            custom={},
        )

    @property
    def spaces(self) -> Mapping[str, Sequence[Entity]]:
        """The index spaces whose numbers may move."""
        return {
            "function": self.functions,
            "table": self.tables,
            "memory": self.memories,
            "global": self.globals,
            "tag": self.tags,
        }


def write(draft: Draft) -> bytes:
    """The changed module as bytes."""
    return s.HEADER + b"".join([section.encode() for section in _Writer(draft).sections()])


class Origins:
    """Where the code of a changed module comes from.

    Args:
        draft: What was written.
    """

    def __init__(self, draft: Draft) -> None:
        self._draft, self._writer = draft, _Writer(draft)
        self._written = Module.parse(write(draft))
        self._old = {new: old for old, new in enumerate(_imported_first(draft.functions))}

    def of(self, function: int, offset: int) -> tuple[int, int] | None:
        """An instruction's place in the original: its function's index and its offset in the file; None for added code.

        Args:
            function: The index of its function in the changed module.
            offset: Its offset in that module's file.
        """
        body = self._written.functions[function].body if function < len(self._written.functions) else None
        if body is None or not body.start <= offset < body.end:
            return None
        old, at = self._old[function], offset - body.start
        for piece in self._writer.pieces(self._draft.functions[old]):
            if at < len(piece.code):
                return None if piece.origin is None else (old, self._original(old, piece, at))
            at -= len(piece.code)
        return None

    def _original(self, function: int, piece: Piece, at: int) -> int:
        """The offset in the original of the instruction that is at a place in a piece: both have the same number of them."""
        body = self._draft.functions[function].body
        assert body is not None, "a piece with an origin is of the module's own code"
        original = piece.origin or 0
        written = instructions.walk(piece.code, 0, len(piece.code))
        for (place, _), (offset, _) in zip(written, instructions.walk(body.data, original, body.end), strict=False):
            if place > at:
                break
            original = offset
        return original


class _Writer:
    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._module = draft.module
        spaces = {space: _imported_first(entities) for space, entities in draft.spaces.items()}
        self._added = Renumbering(spaces)
        """For what is not code of the module, or was added to it."""
        self._kept = Renumbering(spaces, draft.redirected)
        """For the module's own code."""
        self._payloads: dict[SectionId, bytes] = {}
        """The payloads of sections that change."""

    def sections(self) -> list[Section]:
        """The sections of the changed module, in order."""
        self._write_declarations()
        self._write_uses()
        code_changed = SectionId.CODE in self._payloads
        sections = [
            self._payloads_put_into(section)
            for section in self._module.sections
            if not (code_changed and section.id is SectionId.CUSTOM and section.name.startswith(_STALE))
        ]
        present = {section.id for section in sections}
        for section_id, payload in self._payloads.items():
            if section_id not in present:
                sections.insert(_place(sections, section_id), s.make_section(section_id, payload))
        return self._customized(self._name(sections))

    def _customized(self, sections: list[Section]) -> list[Section]:
        """The same sections with the custom sections that are added behind them, or in their old place."""
        left = dict(self._draft.custom)
        replaced = [
            _with_payload(section, left.pop(section.name))
            if section.id is SectionId.CUSTOM and section.name in left
            else section
            for section in sections
        ]
        return replaced + [s.make_section(SectionId.CUSTOM, payload, name) for name, payload in left.items()]

    def _payloads_put_into(self, section: Section) -> Section:
        payload = self._payloads.get(section.id)
        return section if payload is None else _with_payload(section, payload)

    def _change(
        self,
        section_id: SectionId,
        before: Sequence[Entry],
        after: Sequence[Entry],
        write_entry: Callable[[Entry], bytes],
    ) -> None:
        if list(before) != list(after):
            self._payloads[section_id] = write_vector([write_entry(entry) for entry in after])

    def _write_declarations(self) -> None:
        """The sections that say what there is."""
        draft, module, change = self._draft, self._module, self._change
        functions, declared = _defined(draft.functions), _defined(module.functions)
        change(SectionId.TYPE, module.types, draft.types, s.write_function_type)
        change(SectionId.IMPORT, module.imports, self._imports(), s.write_import)
        change(
            SectionId.FUNCTION,
            [function.type_index for function in declared],
            [function.type_index for function in functions],
            encode_unsigned,
        )
        change(
            SectionId.TABLE,
            _defined(module.tables),
            [*map(self._table, _defined(draft.tables))],
            s.write_table,
        )
        change(SectionId.MEMORY, _defined(module.memories), _defined(draft.memories), s.write_memory)
        change(
            SectionId.TAG,
            [tag.type for tag in _defined(module.tags)],
            [tag.type for tag in _defined(draft.tags)],
            s.write_tag_type,
        )
        change(
            SectionId.GLOBAL,
            _defined(module.globals),
            [*map(self._global, _defined(draft.globals))],
            s.write_global,
        )
        change(
            SectionId.CODE,
            [function.body.encoding for function in declared if function.body],
            [self._body(function) for function in functions],
            s.write_body,
        )

    def _write_uses(self) -> None:
        """The sections that mention what there is."""
        module, change = self._module, self._change
        change(SectionId.EXPORT, module.exports, [*map(self._export, self._draft.exports)], s.write_export)
        change(
            SectionId.ELEMENT,
            module.elements,
            [*map(self._element, module.elements)],
            s.write_element_segment,
        )
        change(
            SectionId.DATA,
            module.data_segments,
            [*map(self._data, module.data_segments)],
            s.write_data_segment,
        )
        if module.start is not None:
            start = self._added.index("function", module.start)
            if start != module.start:
                self._payloads[SectionId.START] = encode_unsigned(start)

    def _imports(self) -> list[Import]:
        """The module's imports that are left, and then those that are new, space by space."""
        counts: dict[str, int] = {}
        left: list[Import] = []
        for entry in self._module.imports:
            index = counts.get(entry.kind, 0)
            counts[entry.kind] = index + 1
            imported = self._draft.spaces[entry.kind][index].imported
            left += [] if imported is None else [imported]
        new = [
            entity.imported
            for space, entities in self._draft.spaces.items()
            for entity in entities[counts.get(space, 0) :]
            if entity.imported is not None
        ]
        return left + new

    def _constant(self, expression: Expression | None) -> Expression | None:
        return expression and self._added.expression(expression)

    def _table(self, table: Table) -> Table:
        return replace(table, initial=self._constant(table.initial))

    def _global(self, entry: Global) -> Global:
        return replace(entry, initial=self._constant(entry.initial))

    def _export(self, export: Export) -> Export:
        return replace(export, index=self._added.index(export.kind, export.index))

    def _element(self, segment: ElementSegment) -> ElementSegment:
        move, functions, expressions = self._added, segment.functions, segment.expressions
        return replace(
            segment,
            functions=functions and tuple([move.index("function", index) for index in functions]),
            expressions=expressions and tuple([move.expression(expression) for expression in expressions]),
            table=move.index("table", segment.table),
            offset=self._constant(segment.offset),
        )

    def _data(self, segment: DataSegment) -> DataSegment:
        memory = self._added.index("memory", segment.memory)
        return replace(segment, memory=memory, offset=self._constant(segment.offset))

    def _body(self, function: Function) -> bytes:
        return b"".join([piece.code for piece in self.pieces(function)])

    def pieces(self, function: Function) -> Iterable[Piece]:
        """The parts of a function's body."""
        draft, body = self._draft, function.body
        if edit := draft.edits.get(function.index):
            return edit.pieces(self._kept, self._added)
        if body is None:
            new = draft.bodies[function.index]
            return [Piece(new.locals + self._added.code(new.code, 0, len(new.code)))]
        code = body.data[body.code_start : body.end]
        if not self._kept.is_identity:
            code = self._kept.code(body.data, body.code_start, body.end)
        return [Piece(body.data[body.start : body.code_start]), Piece(code, body.code_start)]

    def _name(self, sections: list[Section]) -> list[Section]:
        """The same sections with the name section brought up to date; one that cannot be read is dropped."""
        old = self._module.custom_section("name")
        try:
            before = self._module.names
        except MalformedModuleError:
            return [section for section in sections if section is not old]
        after = self._names(before)
        if after == before:
            return sections
        payload = write_names(after)
        if old is None:
            return [*sections, s.make_section(SectionId.CUSTOM, payload, "name")]
        return [_with_payload(section, payload) if section is old else section for section in sections]

    def _names(self, names: Names) -> Names:
        by_space = {space: self._moved(named, space) for space, named in names.by_space.items()}
        if self._draft.names:
            new = {self._added.index("function", index): name for index, name in self._draft.names.items()}
            by_space["function"] = {**by_space.get("function", {}), **new}
        gone = {
            function.index
            for function, now in zip(self._module.functions, self._draft.functions, strict=False)
            if function.body is not None and now.body is None
        }
        within = dict(names.within)
        for space, unnamed in (("local", gone), ("label", gone | self._draft.edits.keys())):
            if space in within:
                kept = {index: inner for index, inner in within[space].items() if index not in unnamed}
                within[space] = self._moved(kept, "function")
        return replace(names, by_space=by_space, within=within)

    def _moved(self, named: Mapping[int, Entry], space: str) -> dict[int, Entry]:
        """Names by new number, of those indices only that the module has."""
        entities = self._draft.spaces.get(space)
        return {
            self._added.index(space, index): name
            for index, name in named.items()
            if entities is None or index < len(entities)
        }


def _imported_first(entities: Sequence[Entity]) -> list[int]:
    """The number that each will have."""
    order = sorted(range(len(entities)), key=lambda index: entities[index].imported is None)
    numbers = [0] * len(order)
    for new, old in enumerate(order):
        numbers[old] = new
    return numbers


def _defined(entities: Sequence[Defined]) -> list[Defined]:
    return [entity for entity in entities if entity.imported is None]


def _with_payload(section: Section, payload: bytes) -> Section:
    return s.make_section(section.id, payload, section.name, s.length_width_bytes(section))


def _place(sections: Sequence[Section], section_id: SectionId) -> int:
    """Where a new section goes: behind the last that must stand before it."""
    before = [
        place
        for place, section in enumerate(sections, 1)
        if section.id is not SectionId.CUSTOM and ORDER[section.id] < ORDER[section_id]
    ]
    return max(before, default=0)
