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
        _KERNEL,
        "zero16(at + (96 if last > 96 else last))\n    zero16(at + last)\n",
        "zero16(at + (96 if last > 96 else last))\n",
    ),
    "bytes 16 to 31 of objects of 33 to 128 bytes are not cleared": Edit(
        _KERNEL, "    zero16(at + (16 if last > 16 else last))\n", ""
    ),
    "bytes 96 to 111 of objects of 113 to 128 bytes are not cleared": Edit(
        _KERNEL, "    zero16(at + (96 if last > 96 else last))\n", ""
    ),
    "small objects are cleared past their end": Edit(
        _KERNEL, "zero16(at + (48 if last > 48 else last))", "zero16(at + (48 if last > 40 else last))"
    ),
    "objects of 33 bytes are cleared as if they were smaller": Edit(_KERNEL, "if bytes <= 32:", "if bytes <= 33:"),
    "objects of 129 bytes are cleared as if they were smaller": Edit(
        _KERNEL, "if bytes > 128 or bytes < 16:", "if bytes > 129 or bytes < 16:"
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
    "a failed allocation stays counted": Edit(
        _KERNEL, "        heap.mallocs -= 1\n\n    def _alloc_slowly", "\n    def _alloc_slowly"
    ),
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
        _KERNEL,
        "while at < piece:\n                        offset = load64(at)",
        "while at + 8 < piece:\n                        offset = load64(at)",
    ),
    "the last word of a block of 32-bit words is not scanned": Edit(
        _KERNEL,
        "while at < piece:\n                    offset = load32(at)",
        "while at + 4 < piece:\n                    offset = load32(at)",
    ),
    "words are compared by four for the first one's sake only": Edit(
        _KERNEL,
        "if long_words_below(at, start, pool_bytes) != 0:",
        "if long_words_below(at, start, pool_bytes) & 1 != 0:",
    ),
    "tails are looked for in a word of the table from the wrong block on": Edit(
        _KERNEL,
        "others = (load64(table + (head >> 5 << 3)) ^ ODD) >> ((head & 31) << 1)",
        "others = (load64(table + (head >> 5 << 3)) ^ ODD) >> ((head & 30) << 1)",
    ),
    "the byte that tails are looked for in is the one before": Edit(
        _KERNEL, "others = (load8(table + (head >> 2)) ^ 0xAA)", "others = (load8(table + (head - 1 >> 2)) ^ 0xAA)"
    ),
    "the table's short last word is read whole": Edit(
        _KERNEL, "whole_blocks: u64 = end_block & ~cython.cast(u64, 31)", "whole_blocks: u64 = end_block + 31"
    ),
    "two-byte words are taken for four-byte ones": Edit(
        _KERNEL, "heap.stack_limit == 0 and heap.step_shift > 1:", "heap.stack_limit == 0 and heap.step_shift > 0:"
    ),
    "headers are scanned where nothing bounds the mark stack": Edit(
        _KERNEL, "        at += header_bytes\n", "        at += 0\n"
    ),
    "long objects are scanned by 64 words of their layouts": Edit(
        _KERNEL, "stop - at > 64 << step_shift", "stop - at > 68 << step_shift"
    ),
    "out-of-line layouts are read as bits": Edit(_KERNEL, "if layout & 1 == 0 or stop - at > 64", "if stop - at > 64"),
    "what a long object pushes is forgotten": Edit(
        _KERNEL,
        "                scan_object(heap, head - 1)\n                top = heap.stack_top\n",
        "                scan_object(heap, head - 1)\n",
    ),
    "an object is marked by its lowest block in the byte": Edit(
        _KERNEL, "store8(at, byte | (cython.cast(u64, 2) << shift))", "store8(at, byte | 2)"
    ),
    "interior references mark nothing across bytes": Edit(
        _KERNEL,
        "        block -= 1\n        at = table + (block >> 2)\n        byte = load8(at)\n",
        "        block -= 1\n",
    ),
    "the mark stack is taken to lie apart from all objects": Edit(
        _KERNEL, "apart: cython.bint = heap.stack_limit == 0 or stop <= heap.stack or", "apart: cython.bint = True or"
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
        "offset = load(heap, at) - heap.start\n        if offset < heap.pool_bytes:",
        "offset = load(heap, at) - heap.start\n        if offset + 1 < heap.pool_bytes:",
    ),
    "layouts repeat a word too early": Edit(_KERNEL, "bitmap |= bitmap << size", "bitmap |= bitmap << (size - 1)"),
    "layouts repeat one time too few": Edit(
        _KERNEL, "while size < words and size < 64:", "while size + size <= words and size < 64:"
    ),
    "layouts of no length mean nothing": Edit(
        _KERNEL,
        "    if size != 0:\n        # A pattern of no length does not repeat.\n",
        "    if size == 0:\n        bitmap = 0\n    else:\n",
    ),
    "layouts of no length repeat after 64 words": Edit(
        _KERNEL, "64 // size * size if size != 0 else words", "64 // size * size if size != 0 else 64"
    ),
    "long objects are scanned by pieces that the pattern does not divide": Edit(
        _KERNEL, "64 // size * size if size != 0 else words", "64 if size != 0 else words"
    ),
    "the first piece of long objects is all that is scanned": Edit(
        _KERNEL, "        words -= piece\n    scan_bits(", "        words = 0\n    scan_bits("
    ),
    "the bits above a layout's size are not ignored": Edit(
        _KERNEL, "bitmap &= (cython.cast(u64, 1) << size) - 1", "bitmap &= ONES"
    ),
    "layouts reach past the object": Edit(
        _KERNEL, "return bitmap if words >= 64 else bitmap & ((cython.cast(u64, 1) << words) - 1)", "return bitmap"
    ),
    "out-of-line layouts reach past the object": Edit(_KERNEL, "piece = piece if words > piece else words", "pass"),
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
        _KERNEL, "((cython.cast(u64, 8) << word_shift) - 1)", "((cython.cast(u64, 16) << word_shift) - 1)"
    ),
    "scanned words are counted as bytes": Edit(
        _KERNEL, "heap.words_scanned += (stop - at) >> heap.step_shift", "heap.words_scanned += stop - at"
    ),
    "words are scanned but not counted where nothing bounds the mark stack": Edit(
        _KERNEL, "    heap.words_scanned += scanned\n", ""
    ),
    "the most entries of the unbounded mark stack are those before the last": Edit(
        _KERNEL,
        "        if top > peak:\n            peak = top\n",
        "        if top > peak:\n            peak = top - 1\n",
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
    "the carry is lost between pieces of the table": Edit(
        _KERNEL,
        "carry = free_dead(heap.table + (word << 3), heap.table + ((word + count) << 3), carry)",
        "carry = free_dead(heap.table + (word << 3), heap.table + ((word + count) << 3), 0)",
    ),
    "the carry is lost before the short last word": Edit(
        _KERNEL, "carry = free_dead(at, at + 8, carry)", "carry = free_dead(at, at + 8, 0)"
    ),
    "dead heads keep their tails": Edit(_KERNEL, "(total & x & ODD)", "(x & ODD & ~(mark << 1))"),
    "marked objects lose their tails": Edit(_KERNEL, "mark | (total & x & ODD)", "mark"),
    "the short last word is not swept": Edit(
        _KERNEL,
        "while word < words:\n        # The short last word;",
        "while word < (words if heap.poison != 0 else whole):\n        # The short last word;",
    ),
    "the short last word is not counted when it is swept": Edit(_KERNEL, "        after += tally(at, 1)\n", ""),
    "the short last word is not counted": Edit(_KERNEL, "        counts = tally(at, 1)\n", ""),
    "free blocks end what is freed": Edit(_KERNEL, "fields = (low ^ EVEN) * 3", "fields = (x >> 1 & ~low & EVEN) * 3"),
    "sums of many words overflow": Edit(_DECLARATIONS, "TALLY = 63", "TALLY = 66"),
    "words that three does not divide are not counted": Edit(_KERNEL, "words -= stride // 8 * 3\n", "words = 0\n"),
    "the second third of the words is counted from its second on": Edit(
        _KERNEL, "y = load64(at + stride)", "y = load64(at + stride + 8)"
    ),
    "the second third of the words is counted twice": Edit(
        _KERNEL, "z = load64(at + 2 * stride)", "z = load64(at + stride)"
    ),
    "words that three does not divide are counted from the second third on": Edit(
        _KERNEL, "    at += 2 * stride\n", "    at += stride\n"
    ),
    "marks are counted as tails": Edit(_KERNEL, "(y >> 1 & ~y & EVEN)", "(y >> 1 & EVEN)"),
    "dead tails are not poisoned": Edit(_KERNEL, "(x | (x >> 1)) & EVEN & ~load64(at)", "x & EVEN & ~load64(at)"),
    "marked objects are poisoned": Edit(_KERNEL, "(x | (x >> 1)) & EVEN & ~load64(at)", "(x | (x >> 1)) & EVEN"),
    "kept tails are poisoned": Edit(_KERNEL, "            x ^= load64(at)\n", ""),
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
    "only ten of sixteen bytes are zeroed": Edit(
        _PRIMITIVES, "memset(TH_AT(address), 0, 16)", "memset(TH_AT(address), 0, 10)"
    ),
    "four words are compared as if they had signs": Edit(
        _PRIMITIVES,
        "start + 0x80000000u)));\n    const __m128i limits = _mm_set1_epi32((int)((uint32_t)bytes - 0x80000000u));",
        "start)));\n    const __m128i limits = _mm_set1_epi32((int)((uint32_t)bytes));",
    ),
    "four words lack the last byte": Edit(
        _PRIMITIVES,
        "limits = _mm_set1_epi32((int)((uint32_t)bytes - 0x80000000u));\n    return",
        "limits = _mm_set1_epi32((int)((uint32_t)bytes - 1 - 0x80000000u));\n    return",
    ),
    "the low halves of long words are compared as if they had signs": Edit(
        _PRIMITIVES, "_mm_xor_si128(low, sign)", "low"
    ),
    "the last two of four long words are the first two": Edit(
        _PRIMITIVES, "_mm_shuffle_ps(a, b, 0x88)", "_mm_shuffle_ps(a, a, 0x88)"
    ),
    "the high halves of long words are looked for in the low ones": Edit(
        _PRIMITIVES, "_mm_shuffle_ps(a, b, 0xDD)", "_mm_shuffle_ps(a, b, 0x88)"
    ),
    "the high halves of long words do not matter": Edit(
        _PRIMITIVES,
        "_mm_and_si128(_mm_cmplt_epi32(_mm_xor_si128(low, sign), limits), _mm_cmpeq_epi32(high, high_limits))",
        "_mm_cmplt_epi32(_mm_xor_si128(low, sign), limits)",
    ),
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
