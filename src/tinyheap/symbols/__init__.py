"""Source lines of a module's code, from its debug information (DWARF 4 and 5, as LLVM writes it for WebAssembly).

**Read `places.py` first**: a place is a function, a file and a line, and what stands at an address is a chain of them, since
compilers inline.  `reading.py` finds out what stands where, by a library in a process of its own (`worker.py`), so that
debug information from anywhere can neither stop nor crash anything here.  `paths.py` shortens the names of files.
"""

from tinyheap import _loading

__getattr__, __dir__, __all__ = _loading.attach(__name__)
