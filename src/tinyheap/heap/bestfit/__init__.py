"""TinyGo's collectors since 0.40: best-fit from a free list, a header in each object, no mark stack.

``model.py`` is what both have in common; ``front.py`` (0.40 and 0.41) and ``back.py`` (0.42) are what differs.  Both are
engines by `tinyheap.heap.contract`.  ``freelist.py`` looks at the free list of any such engine, ``finalizers.py`` is 0.42's
table of finalizers, and ``afterlife.py`` puts it in the place of the finalizers that a `Heap` has otherwise.
"""
