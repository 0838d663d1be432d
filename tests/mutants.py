"""Faults for the kernel, made by hand: each one changes what the kernel does in some heap."""

from __future__ import annotations

from typing import Final

from kernel_builds import Edit

_KERNEL: Final = "_kernel.py"
_DECLARATIONS: Final = "_kernel.pxd"
_PRIMITIVES: Final = "_kernel_ops.h"

MUTANTS: Final = {
    # ---- words of the table ----
    "the short last word is shifted too little": Edit(_KERNEL, ">> (64 - (have << 3))", ">> (60 - (have << 3))"),
    "a short table loses its first byte": Edit(
        _KERNEL, "while have > 0:\n        have -= 1", "while have > 1:\n        have -= 1"
    ),
    "the last word is written past the table's end": Edit(_KERNEL, "if at + 8 <= end:", "if at + 7 <= end:"),
    "the short last word is written twice as wide": Edit(_KERNEL, "value >>= 8", "value >>= 4"),
    "the last bytes of the table are not written": Edit(
        _KERNEL,
        "while at < end:\n        store8(at, value & 255)",
        "while at + 1 < end:\n        store8(at, value & 255)",
    ),
    "a head is looked for one block too low": Edit(
        _KERNEL, "(table_word(heap, word) ^ ODD) << (62 -", "(table_word(heap, word) ^ ODD) << (60 -"
    ),
    "a head in the word before is one off": Edit(
        _KERNEL, "return (word << 5) + 32 - (clz64(others) >> 1)", "return (word << 5) + 31 - (clz64(others) >> 1)"
    ),
    "tails in the last word are not followed": Edit(
        _KERNEL,
        "while block < heap.end_block:\n        others",
        "while block + 32 < heap.end_block:\n        others",
    ),
    "marked heads are not skipped": Edit(_KERNEL, "state_of(heap, block) & 1:", "state_of(heap, block) == 1:"),
    "the low bits of states lack one": Edit(
        _DECLARATIONS, "TH_EVEN 0x5555555555555555ULL", "TH_EVEN 0x1555555555555555ULL"
    ),
    # ---- allocation ----
    "full blocks take one more": Edit(
        _KERNEL,
        "- 1) >> heap.block_shift\n    heap.total_alloc_bytes += size_bytes",
        ") >> heap.block_shift\n    heap.total_alloc_bytes += size_bytes",
    ),
    "the free run is bumped one block too far": Edit(
        _KERNEL, "if end > heap.free_until:\n        end", "if end > heap.free_until + 1:\n        end"
    ),
    "the bytes of headers are not counted": Edit(
        _KERNEL,
        "heap.total_alloc_bytes += size_bytes\n    heap.mallocs += 1\n    heap.total_blocks",
        "heap.total_alloc_bytes += size_bytes - heap.header_bytes\n    heap.mallocs += 1\n    heap.total_blocks",
    ),
    "an object that reaches into the next word is written into one": Edit(
        _KERNEL, "needed <= 32 - (bit >> 1)", "needed <= 33 - (bit >> 1)"
    ),
    "the last tail is not written": Edit(_KERNEL, "end_mask: u64 = ONES >> (62 -", "end_mask: u64 = ONES >> (64 -"),
    "the middle of long objects is heads": Edit(
        _KERNEL, "store64(heap.table + (word << 3), ODD)", "store64(heap.table + (word << 3), EVEN)"
    ),
    "whole blocks are never cleared": Edit(
        _KERNEL, "size_bytes = needed << heap.block_shift", "size_bytes = size_bytes"
    ),
    "the header's padding is cleared": Edit(
        _KERNEL,
        "clear(heap.memory + offset, size_bytes)",
        "clear(heap.memory + offset - heap.header_bytes + (1 << heap.word_shift) * heap.precise, size_bytes)",
    ),
    "the last bytes of small objects are not cleared": Edit(
        _KERNEL, "    else:\n        store64(at, 0)\n        store64(end - 8, 0)", "    else:\n        store64(at, 0)"
    ),
    "the middle of objects of 33 to 64 bytes is not cleared": Edit(
        _KERNEL, "        store64(end - 32, 0)\n        store64(end - 24, 0)\n", "        store64(end - 32, 0)\n"
    ),
    "an object lies past the last block": Edit(
        _KERNEL, "if end > heap.end_block:\n        return 0", "if end > heap.end_block + 1:\n        return 0"
    ),
    "too much is remembered as free": Edit(
        _KERNEL,
        "heap.free_until += 32 - (end & 31) if x == 0 else ctz64(x) >> 1",
        "heap.free_until += 32 - (end & 31) if x == 0 else ctz64(x)",
    ),
    "runs wrap around the end of the heap": Edit(
        _KERNEL, "heap.run_blocks = 0\n        end = find_free_run(heap, 0,", "end = find_free_run(heap, 0,"
    ),
    "the search does not wrap": Edit(_KERNEL, "end = find_free_run(heap, 0, heap.next_alloc, needed)", "end = 0"),
    "the run before next_alloc is forgotten": Edit(
        _KERNEL, "run: u64 = heap.run_blocks\n    block: u64", "run: u64 = 0\n    block: u64"
    ),
    "the run before next_alloc is forgotten in long searches": Edit(
        _KERNEL, "run: u64 = heap.run_blocks\n    known: u64", "run: u64 = 0\n    known: u64"
    ),
    "free blocks past the end of a search count": Edit(
        _KERNEL, "if last - block < count:", "if last - block + 1 < count:"
    ),
    "a full word does not end a run": Edit(
        _KERNEL, "if taken == EVEN:\n            run = 0\n", "if taken == EVEN:\n            run = run\n"
    ),
    "a run across words ends where its last word does": Edit(
        _KERNEL, "block -= run - needed", "block -= (run - needed) & 1"
    ),
    "a run at the end of a word is one short": Edit(
        _KERNEL, "clz64(taken << (64 - (count << 1))) >> 1", "clz64(taken << (64 - (count << 1))) >> 1 & 30"
    ),
    "runs of one need two": Edit(_KERNEL, "more: u64 = 1 if needed > 1 else 0", "more: u64 = 1"),
    "runs may be shorter than asked": Edit(_KERNEL, "return free & (free >> ((needed - have) << 1))", "return free"),
    "long searches look one block too far": Edit(
        _KERNEL, "end = known + needed - run\n", "end = known + needed - run + 1\n"
    ),
    "long searches miss a run that fits exactly": Edit(
        _KERNEL, "while last - known >= needed - run:", "while last - known > needed - run:"
    ),
    "blocks before the search count as taken": Edit(_KERNEL, "return last if last > first else 0", "return last"),
    "the free run is remembered past the last block": Edit(
        _KERNEL, "return block if block < limit else limit", "return block"
    ),
    "the last byte of a leaking heap is used": Edit(_KERNEL, "- address <= size_bytes:", "- address < size_bytes:"),
    "the old size is cut short": Edit(_KERNEL, "(8 << heap.word_shift)) - 1", "(4 << heap.word_shift)) - 1"),
    "memory that was written by hand is still taken for free": Edit(
        _KERNEL, "        self._heap.free_until = self._heap.next_alloc\n", "        pass\n"
    ),
    "half of the heap is headroom": Edit(_KERNEL, "heap.pool_bytes // 3", "heap.pool_bytes // 2"),
    "a failed allocation stays counted": Edit(_KERNEL, "            heap.mallocs -= 1\n", ""),
    # ---- freeing and growing ----
    "freeing leaves long tails": Edit(_KERNEL, "        keep = 0\n", "        keep = keep\n"),
    "freeing takes the neighbor along": Edit(_KERNEL, "keep |= ~(ONES >> (62 -", "keep |= ~(ONES >> (60 -"),
    "freed blocks are poisoned with another byte": Edit(
        _KERNEL, "(end - head) << heap.block_shift, heap.poison - 1)", "(end - head) << heap.block_shift, heap.poison)"
    ),
    "the table's new blocks are not free": Edit(
        _KERNEL, "fill(heap.table + table_bytes, heap.table_bytes - table_bytes, 0)", "pass"
    ),
    "the table's new last byte is not cleared": Edit(
        _KERNEL,
        "fill(heap.table + table_bytes, heap.table_bytes - table_bytes, 0)",
        "fill(heap.table + table_bytes, (heap.table_bytes - table_bytes) & ~cython.cast(u64, 1), 0)",
    ),
    # ---- marking ----
    "the bounded mark stack holds one more": Edit(
        _KERNEL,
        "heap.stack_top == heap.stack_limit and",
        "heap.stack_top == heap.stack_limit + 1 and",
    ),
    "overflows are not noticed": Edit(_KERNEL, "heap.overflowed = 1", "heap.overflowed = 0"),
    "one rescan is always enough": Edit(_KERNEL, "while heap.overflowed != 0:", "if heap.overflowed != 0:"),
    "rescans are not counted": Edit(_KERNEL, "heap.rescans += 1", "heap.rescans += 0"),
    "a rescan misses what it dropped itself, further on": Edit(
        _KERNEL,
        "bits = load64(at) & ((ONES << 1) << (last & 63))",
        "bits &= bits - 1",
    ),
    "a rescan goes on with what it dropped itself, behind": Edit(
        _KERNEL,
        "bits = load64(at) & ((ONES << 1) << (last & 63))",
        "bits = load64(at)",
    ),
    "what was dropped is another object": Edit(
        _KERNEL,
        "at: u64 = heap.dropped + ((block >> 6) << 3)",
        "at: u64 = heap.dropped + ((block >> 7) << 3)",
    ),
    "the last word of a block of 64-bit words is not scanned": Edit(
        _KERNEL, "offset = load64(at + 24) - start", "offset = load64(at + 16) - start"
    ),
    "the last word of a block of 32-bit words is not scanned": Edit(
        _KERNEL, "offset = load32(at + 12) - start", "offset = load32(at + 8) - start"
    ),
    "a tail that ends with its word of the table leads on": Edit(
        _KERNEL,
        "stop = at + (((ctz64(others) >> 1) + 1) << block_shift)",
        "stop = at + (((ctz64(others) >> 1) + 1 & 15) << block_shift)",
    ),
    "the queue of objects forgets its turn": Edit(
        _KERNEL,
        "heap.queue_first = (heap.queue_first + 1) & (QUEUE - 1)",
        "heap.queue_first = (heap.queue_first + 1) & (QUEUE - 2)",
    ),
    "the most entries of the mark stack are those before the last": Edit(
        _KERNEL,
        "heap.stack_peak = heap.stack_top",
        "heap.stack_peak = heap.stack_top - 1",
    ),
    "the pool's last byte is no place to refer to": Edit(
        _KERNEL,
        "store32(next, offset >> heap.block_shift)\n        next += cython.cast(u64, offset < heap.pool_bytes) << 2",
        "store32(next, offset >> heap.block_shift)\n        next += cython.cast(u64, offset + 32 < heap.pool_bytes) << 2",
    ),
    "layouts repeat a word too early": Edit(_KERNEL, "bitmap |= bitmap << size", "bitmap |= bitmap << (size - 1)"),
    "the bits above a layout's size are not ignored": Edit(
        _KERNEL, "bitmap &= (cython.cast(u64, 1) << size) - 1", "bitmap &= ONES"
    ),
    "layouts reach past the object": Edit(_KERNEL, "bitmap & (ONES >> (64 - words))", "bitmap"),
    "out-of-line layouts repeat by whole bytes": Edit(
        _KERNEL, "piece = 8 if size - index > 8 else size - index", "piece = 8"
    ),
    "an out-of-line layout may not end with the statics": Edit(
        _KERNEL, "if size > (heap.statics_bytes - at) << 3:", "if size >= (heap.statics_bytes - at) << 3:"
    ),
    "an out-of-line layout may end past the statics": Edit(
        _KERNEL, "if size > (heap.statics_bytes - at) << 3:", "if size > ((heap.statics_bytes - at) << 3) + 1:"
    ),
    "headers are scanned": Edit(_KERNEL, "        at += heap.header_bytes\n", "        at += 0\n"),
    "the size field of layouts is a bit too wide": Edit(
        _KERNEL, "((cython.cast(u64, 8) << heap.word_shift) - 1)", "((cython.cast(u64, 16) << heap.word_shift) - 1)"
    ),
    "scanned words are counted as bytes": Edit(
        _KERNEL, "heap.words_scanned += (stop - at) >> heap.step_shift", "heap.words_scanned += stop - at"
    ),
    "roots are read across their end": Edit(_KERNEL, "stop -= word_bytes - step", "stop -= 0"),
    "giving up leaves the mark of a word's last block": Edit(
        _KERNEL, "x & ~(((x & EVEN) << 1) & x)", "x & ~(((x & (EVEN >> 2)) << 1) & x)"
    ),
    # ---- sweeping ----
    "the carry into the next word is lost": Edit(
        _KERNEL, "carry = (head >> 62) | cython.cast(u64, total < fields)", "carry = head >> 62"
    ),
    "a dead head in a word's last block frees nothing behind it": Edit(
        _KERNEL, "carry = (head >> 62) | cython.cast(u64, total < fields)", "carry = cython.cast(u64, total < fields)"
    ),
    "dead heads keep their tails": Edit(_KERNEL, "kept = high & ~low & total", "kept = high & ~low"),
    "free blocks end what is freed": Edit(_KERNEL, "fields = (low ^ EVEN) * 3", "fields = (high & ~low) * 3"),
    "sums of many words overflow": Edit(_KERNEL, "batch = word + 63", "batch = word + 66"),
    "sums of few words overflow": Edit(_KERNEL, "triple = word + 3", "triple = word + 4"),
    "dead tails are not poisoned": Edit(
        _KERNEL, "poison_fields(heap, word, (low | high) ^ mark ^ kept)", "poison_fields(heap, word, head)"
    ),
    "a word's last block is not poisoned": Edit(
        _KERNEL,
        "fields &= fields - 1\n\n\ndef sweep_table",
        "fields &= (fields - 1) & (ONES >> 2)\n\n\ndef sweep_table",
    ),
    # ---- looking ----
    "tails behind the word before are wrong": Edit(_KERNEL, "cython.cast(u64, before != 0))", "0)"),
    "states just past the last block are right": Edit(_KERNEL, "(ONES << (past << 1))", "(ONES << ((past + 1) << 1))"),
    "marked heads are counted twice": Edit(_KERNEL, "heap.heads - marks, heap.tails", "heap.heads, heap.tails"),
    "the last word on the heap cannot be read": Edit(
        _KERNEL,
        "address - heap.start > heap.pool_bytes - word_bytes:",
        "address - heap.start >= heap.pool_bytes - word_bytes:",
    ),
    # ---- primitives ----
    "32-bit words lose a byte": Edit(
        _PRIMITIVES, "uint32_t v; memcpy(&v, TH_AT(address), 4);", "uint32_t v = 0; memcpy(&v, TH_AT(address), 3);"
    ),
    "filling is always with zeros": Edit(_PRIMITIVES, "memset(TH_AT(address), (int)byte,", "memset(TH_AT(address), 0,"),
    "the last byte is not moved": Edit(
        _PRIMITIVES,
        "memmove(TH_AT(to), TH_AT(from), (size_t)bytes)",
        "memmove(TH_AT(to), TH_AT(from), (size_t)bytes & ~7)",
    ),
}
