"""Python programs that run WebAssembly by wasmtime and know nothing of tinyheap, served and recorded while they run.

**Read `attachment.py` first.**  `patches` is what of wasmtime is replaced meanwhile, `modules` what becomes of a module that
the program compiles, `stores` what happens in a store that it has instances in.
"""
