"""What a profiled run leaves behind: one DuckDB file with every allocation, every object freed and every collection.

Public is a `Recording`, which reads such a file, with its `RunInfo` and `Rows`; and, to record runs of another kind, a
`RecordingWriter` with the `Batch` that it takes.  All of it needs the extra `profile`.

`schema` is the file's tables, `batch` what a run hands over from time to time, `writer` puts it into the file as the
run goes, and `recording` reads it back.  Knows no WebAssembly.
"""

from tinyheap import _loading

__getattr__, __dir__, __all__ = _loading.attach(__name__)
