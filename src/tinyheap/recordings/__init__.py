"""What a profiled run leaves behind: one DuckDB file with every allocation, every death and every collection.

`schema` is the file's tables, `batch` what a run hands over from time to time, `writer` puts it into the file as the
run goes, and `recording` reads it back.  Knows no WebAssembly.
"""
