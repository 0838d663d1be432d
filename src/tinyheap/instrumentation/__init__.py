"""Programs that record themselves, where tinyheap cannot be: a log that the module keeps, and recordings made of it.

**Read `operation.py` first**: what is changed in a module.  The code that keeps the log is C (`kernel/log.c`), compiled by
``make kernel``; `tinyheap-log.js` collects logs in a browser or node, `log.py` reads them, and `importing.py` makes
recordings of them.
"""

from tinyheap import _loading

__getattr__, __dir__, __all__ = _loading.attach(__name__)
