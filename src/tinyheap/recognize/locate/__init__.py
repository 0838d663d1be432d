"""Finding TinyGo's block collectors in a program, by the shape of their code; names only confirm.

**Read `block_heap.py` first**: what the collector up to 0.39 is known by, and the order in which it is found; then
`best_fit.py`, the same of the one that came after it.  One module per fact.  Both have `bounds` (where the heap lies), `region`
(the functions that are the collector), `roots` (on `scanning` and `stack`) and `replacing` (what must be redirected to
replace it).  The older one has `alloc`, `counters`, `marking` (on `mark_array`) and `resizing`; the newer one
`list_alloc`, `free_list`, `collecting` and `finalizers`.
"""
