"""What the HTML page of a heap at one moment is given: facts, which become JSON, and columns of numbers.

`heap_data` fills all of it in.  The page's code sees the same: `make generated` writes `web/src/heap/schema.ts` from here.
Objects, references, roots and groups are numbers, as in `tinyheap.inspect.graph`.  Of words there are no names but those that
types give, each once: a million objects have a few hundred of them.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypedDict

from tinyheap.inspect.comparing import GroupDifference, PathDifference
from tinyheap.inspect.holes import Cutter
from tinyheap.inspect.overviews import HeldBy
from tinyheap.profile.histograms import Bucket

NOTHING: Final = 2**32 - 1
"""In a column of objects: none."""
ALL_ROOTS: Final = 2**32 - 2
"""In a column of dominators: no object, but the roots together."""

COLUMNS: Final = {
    "object": (
        "first", "blocks", "group", "dominator", "retained_objects", "retained_bytes", "step", "references",
    ),
    "reference": ("target", "offset", "word", "certainty"),
    "root": ("target", "source", "address", "name", "certainty"),
    "group": ("objects", "size_bytes", "garbage_objects", "garbage_bytes", "retained_bytes"),
}  # fmt: skip
"""The columns by table; together they are named ``TABLE.COLUMN``.

``first`` of an object is its first block; ``references`` is how many it holds, in the order of objects; ``step`` the last of a
shortest path, which is a reference or, counted on from the last of these, a root.  ``word`` of a reference is its name, a place
in `HeapObjectsHead.words`; ``name`` of a root one in `HeapObjectsHead.root_names`; ``certainty`` one in
`HeapObjectsHead.certainties`.
"""


class Source(TypedDict):
    """What has some roots."""

    kind: str
    name: str
    start_address: int
    """Where its memory begins; 0 if it is no memory."""


class Suspect(TypedDict):
    """Where much has accumulated."""

    object: int
    gathering: str
    """How the many hang on it, a verb with its object."""
    count: int
    group: str
    """The name of these, of most if they have several."""
    retained_objects: int
    retained_bytes: int


class Changes(TypedDict):
    """What an earlier heap of the program was compared for."""

    moment: str
    """Of the earlier one."""
    new_objects: int
    gone_objects: int
    left_out: list[str]
    """What names objects of one of the two heaps only, so that they are not compared by it."""
    groups: list[Annotated[dict[str, Any], GroupDifference]]
    paths: list[Annotated[dict[str, Any], PathDifference]]


class HeapSummary(TypedDict):
    """The facts that are there at once."""

    module: str
    moment: str
    trap: str | None
    collector: str
    is_precise: bool
    memory_bytes: int
    heap_bytes: int
    free_bytes: int
    heap_start_address: int
    blocks: int
    block_bytes: int
    word_bytes: int
    body_offset_bytes: int
    """From the start of an object's first block to its contents."""
    header_bytes: int
    objects: int
    object_bytes: int
    garbage_objects: int
    garbage_bytes: int
    typed_objects: int | None
    """None without debug information."""
    typed_bytes: int | None
    orphan_blocks: int
    """Blocks that belong to no object and are not free; 0 in a sound heap."""
    groups: list[str]
    held_by: list[Annotated[dict[str, Any], HeldBy]]
    suspects: list[Suspect]
    free_runs: list[Annotated[dict[str, Any], Bucket]]
    """Runs of free blocks by their length in bytes."""
    cutters: list[Annotated[dict[str, Any], Cutter]]
    """What stands at their ends."""
    changes: Changes | None
    """None where nothing was compared."""
    notes: list[str]
    """What the page does not show, or could not be read, in sentences."""
    tinyheap_version: str


class Field(TypedDict):
    """A value within an object."""

    name: str
    offset_bytes: int
    type: str
    text: str


class Decoded(TypedDict):
    """What an object consists of."""

    object: int
    fields: list[Field]


class Origin(TypedDict):
    """Where an object comes from."""

    object: int
    number: int
    """Of its allocation."""
    born_ns: int
    """Since the run's beginning."""
    site: str


class HeapObjectsHead(TypedDict):
    """The facts that come with the objects."""

    words: list[str]
    """Names of words; the first stands for no name, an empty one for what programs do not write."""
    root_names: list[str]
    """What a program would write for roots; the first stands for no name."""
    certainties: list[str]
    """How sure it can be that a word is a pointer."""
    sources: list[Source]
    decoded: list[Decoded]
    """Of the objects that retain most, and have a known type."""
    origins: list[Origin]
    """Of the objects that retain most, of a recorded run."""


class HeapMemoryHead(TypedDict):
    """The facts that come with the bytes of the heap, a column ``memory`` that begins where the heap does."""

    is_there: bool
    """Whether the page holds it."""
