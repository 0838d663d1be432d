"""What a program was at one moment: all of its linear memory, its globals, its call stack, and where its heap lies.

**Read `snapshot.py` first**, what there is to know of a moment; `moments.py` is which moments can be asked for.  A snapshot is
kept as a WebAssembly core dump (`core_dump.py`), which other tools read, too, and may be one of theirs, or a bare memory
image.  Knows no engine that runs modules, and needs no extra.
"""

from tinyheap import _loading

__getattr__, __dir__, __all__ = _loading.attach(__name__)
