"""Finding TinyGo's block collector in a program, by the shape of its code; names only confirm.

**Read `block_heap.py` first**: what the collector is known by, and the order in which it is found.  One module a fact:
`bounds` (where the heap lies), `alloc`, `region` (the functions that are the collector), `counters`, `roots` (on `scanning`
and `stack`), `marking` (on `mark_array`), and `replacing` and `resizing` (what must be redirected to replace it).
"""
