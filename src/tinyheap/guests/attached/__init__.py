"""Python programs that run WebAssembly by wasmtime and know nothing of tinyheap, served and recorded while they run.

**Read `attachment.py` first.**  `patches` is what of wasmtime is replaced meanwhile, and tells `observing` what the program
asks for.  `modules` is what is known of a module that it compiles, `stores` what happens in a store that it has instances in,
and `names` has the recordings' names and files.
"""
