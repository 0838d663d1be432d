from tinyheap.wasm.assembler import Code as Code
from tinyheap.wasm.editor import EMPTY as EMPTY, Editor as Editor
from tinyheap.wasm.immediates import Catch as Catch, MemoryArgument as MemoryArgument
from tinyheap.wasm.instructions import Instruction as Instruction
from tinyheap.wasm.module import Module as Module
