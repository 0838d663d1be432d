"""TinyGo's collector up to 0.39: next-fit search over a table of two bits a block, mark and sweep.

``model.py`` is the specification, one block at a time, to be read next to TinyGo's ``gc_blocks.go``; ``_kernel.py`` is the
same on 64-bit words, compiled, and the modules below it are its concerns.  Both are engines by `tinyheap.heap.contract`.
"""
