"""The garbage collector of TinyGo, as a library and a toolbox.

    from tinyheap import Heap, Layout               a heap, and what its objects are like
    from tinyheap import Trace, replay              what a program asked of its heap, run again
    from tinyheap import Grants, Policy, Program    a WebAssembly program and its heap; needs the extra `run`
    from tinyheap import Recording, profile         a recorded run and its analyses; need the extra `profile`

Here are the names that most users meet.  The rest of what is public is in the ``__all__`` of each package, and in `errors` and
`units`.  Each name is loaded when it is used; one that needs a library which is not installed raises a `MissingLibraryError`
then, which says how to get it.
"""

from tinyheap import _loading

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = _loading.attach(__name__)
