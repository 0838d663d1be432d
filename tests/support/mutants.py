"""Mutants of the kernel: faults made by hand, each of which changes what it does in some heap."""

from __future__ import annotations

from typing import Final

from source_edits import Edit

_BEST_ALLOCATE: Final = "bestfit/_allocate.py"
_BEST_MARK: Final = "bestfit/_mark.py"
_BEST_MARKER: Final = "bestfit/_marker.pxd"
_BEST_SWEEP: Final = "bestfit/_sweep.py"
_BEST_TABLE: Final = "bestfit/_table.pxd"
_BEST_STATE: Final = "bestfit/_state.py"
_BEST_BORDER: Final = "bestfit/_kernel.py"
_FREELIST: Final = "bestfit/_freelist.py"
_INDEX: Final = "bestfit/_index.pxd"
_NODE: Final = "bestfit/_node.pxd"
_ALLOCATE: Final = "nextfit/_allocate.py"
_MARK: Final = "nextfit/_mark.py"
_MARKER: Final = "nextfit/_marker.pxd"
_SWEEP: Final = "nextfit/_sweep.py"
_TALLIES: Final = "nextfit/_sweep.pxd"
_BORDER: Final = "nextfit/_kernel.py"
_WORDS: Final = "_words.h"
_STATE_TYPES: Final = "nextfit/_state.pxd"
_STATE: Final = "nextfit/_state.py"
_TABLE: Final = "nextfit/_table.pxd"

MUTANTS: Final = {
    # ---- words of the table ----
    "a short last word of odd length lacks its last byte": Edit(
        _WORDS, "load_short", "(size_t)bytes", "(size_t)bytes & 6"
    ),
    "a short last word of odd length is not written whole": Edit(
        _WORDS, "store_short", "(size_t)bytes", "(size_t)bytes & 6"
    ),
    "the last word is written past the table's end": Edit(_TABLE, "put_table_word", "left >= 8", "left >= 7"),
    "a head is looked for one block too low": Edit(_TABLE, "head_of", "<< (62 -", "<< (60 -"),
    "a head in the word before is one off": Edit(_TABLE, "head_of", "(word << 5) + 31 -", "(word << 5) + 30 -"),
    "tails in the last word are not followed": Edit(
        _TABLE, "skip_tails", "while block < heap.end_block", "while block + 32 < heap.end_block"
    ),
    "marked heads are not skipped": Edit(
        _TABLE, "next_of", "state_of(heap, block) & HEAD", "state_of(heap, block) == HEAD"
    ),
    "the low bits of states lack one": Edit(
        _WORDS, "", "TH_EVEN 0x5555555555555555ULL", "TH_EVEN 0x1555555555555555ULL"
    ),
    # ---- allocation ----
    "full blocks take one more": Edit(
        _STATE_TYPES, "blocks_for", "(<u64>1 << heap.block_shift) - 1", "(<u64>1 << heap.block_shift)"
    ),
    "the free run is bumped one block too far": Edit(
        _ALLOCATE, "alloc_object", "end > heap.free_until", "end > heap.free_until + 1"
    ),
    "the bytes of headers are not counted": Edit(
        _ALLOCATE,
        "alloc_object",
        "heap.total_alloc_bytes += size_bytes",
        "heap.total_alloc_bytes += size_bytes - heap.header_bytes",
    ),
    "an object that reaches into the next word is written into one": Edit(
        _ALLOCATE, "commit", "32 - (bit >> 1)", "33 - (bit >> 1)"
    ),
    "the last tail is not written": Edit(
        _ALLOCATE, "set_states", "62 - (((end - 1) & 31) << 1)", "64 - (((end - 1) & 31) << 1)"
    ),
    "the middle of long objects is heads": Edit(
        _ALLOCATE, "set_states", "store64(heap.table + (word << 3), ODD)", "store64(heap.table + (word << 3), EVEN)"
    ),
    "whole blocks are never cleared": Edit(_ALLOCATE, "commit", "needed << heap.block_shift", "size_bytes"),
    "the header's padding is cleared": Edit(
        _ALLOCATE,
        "commit",
        "clear(heap.memory + offset, size_bytes)",
        "clear(heap.memory + offset - heap.header_bytes + (1 << heap.word_shift) * heap.precise, size_bytes)",
    ),
    "the last bytes of small objects are not cleared": Edit(_ALLOCATE, "clear", "zero16(at + last)", "", nth=2),
    "bytes 16 to 31 of objects of 33 to 128 bytes are not cleared": Edit(
        _ALLOCATE, "clear", "zero16(at + (16 if last > 16 else last))", ""
    ),
    "bytes 96 to 111 of objects of 113 to 128 bytes are not cleared": Edit(
        _ALLOCATE, "clear", "zero16(at + (96 if last > 96 else last))", ""
    ),
    "small objects are cleared past their end": Edit(_ALLOCATE, "clear", "last > 48", "last > 40"),
    "objects of 33 bytes are cleared as if they were smaller": Edit(_ALLOCATE, "clear", "bytes <= 32", "bytes <= 33"),
    "objects of 129 bytes are cleared as if they were smaller": Edit(_ALLOCATE, "clear", "bytes > 128", "bytes > 129"),
    "an object lies past the last block": Edit(
        _ALLOCATE, "find_near", "end > heap.end_block", "end > heap.end_block + 1"
    ),
    "too much is remembered as free": Edit(_ALLOCATE, "find_near", "ctz64(x) >> 1", "ctz64(x)"),
    "runs wrap around the end of the heap": Edit(_ALLOCATE, "find_room", "heap.run_blocks = 0", ""),
    "the search does not wrap": Edit(_ALLOCATE, "find_room", "find_free_run(heap, 0, heap.next_alloc, needed)", "0"),
    "the run before next_alloc is forgotten": Edit(
        _ALLOCATE, "find_free_run", "run: u64 = heap.run_blocks", "run: u64 = 0"
    ),
    "the run before next_alloc is forgotten in long searches": Edit(
        _ALLOCATE, "find_long_run", "run: u64 = heap.run_blocks", "run: u64 = 0"
    ),
    "free blocks past the end of a search count": Edit(
        _ALLOCATE, "find_free_run", "last - block < count", "last - block + 1 < count"
    ),
    "a full word does not end a run": Edit(_ALLOCATE, "find_free_run", "run = 0", "run = run"),
    "a run across words ends where its last word does": Edit(
        _ALLOCATE, "find_free_run", "run - needed", "(run - needed) & 1"
    ),
    "a run at the end of a word is one short": Edit(
        _ALLOCATE,
        "find_free_run",
        "clz64(taken << (64 - (count << 1))) >> 1",
        "clz64(taken << (64 - (count << 1))) >> 1 & 30",
    ),
    "runs of one need two": Edit(_ALLOCATE, "run_starts", "1 if needed > 1 else 0", "1"),
    "runs may be shorter than asked": Edit(_ALLOCATE, "run_starts", "free & (free >> ((needed - have) << 1))", "free"),
    "long searches look one block too far": Edit(
        _ALLOCATE, "find_long_run", "known + needed - run", "known + needed - run + 1"
    ),
    "long searches miss a run that fits exactly": Edit(
        _ALLOCATE, "find_long_run", "last - known >= needed - run", "last - known > needed - run"
    ),
    "blocks before the search count as taken": Edit(
        _ALLOCATE, "last_occupied", "last if last >= first else NO_BLOCK", "last"
    ),
    "the free run is remembered past the last block": Edit(
        _ALLOCATE, "free_end", "block if block < limit else limit", "block"
    ),
    "the last byte of a leaking heap is used": Edit(
        _ALLOCATE,
        "alloc_leaking",
        "heap.start + heap.heap_bytes - address <= size_bytes",
        "heap.start + heap.heap_bytes - address < size_bytes",
    ),
    "the old size is cut short": Edit(_ALLOCATE, "old_size", "8 << heap.word_shift", "4 << heap.word_shift"),
    "memory that was written by hand is still taken for free": Edit(
        _BORDER, "Kernel.write_table", "self._heap.free_until = self._heap.next_alloc", "pass"
    ),
    "half of the heap is headroom": Edit(_BORDER, "Kernel._search_on", "heap.pool_bytes // 3", "heap.pool_bytes // 2"),
    "a failed allocation stays counted": Edit(_BORDER, "Kernel._uncount", "heap.mallocs -= 1", ""),
    # ---- freeing and growing ----
    "freeing leaves long tails": Edit(_ALLOCATE, "clear_states", "keep = 0", "keep = keep"),
    "freeing takes the neighbor along": Edit(
        _ALLOCATE, "clear_states", "62 - (((end - 1) & 31) << 1)", "60 - (((end - 1) & 31) << 1)"
    ),
    "freed blocks are poisoned with another byte": Edit(
        _ALLOCATE, "free_object", "heap.poison_byte", "heap.poison_byte + 1"
    ),
    "the table's new blocks are not free": Edit(
        _STATE, "move_table", "fill(heap.table + table_bytes, heap.table_bytes - table_bytes, 0)", "pass"
    ),
    "the table's new last byte is not cleared": Edit(
        _STATE,
        "move_table",
        "heap.table_bytes - table_bytes",
        "(heap.table_bytes - table_bytes) & ~cython.cast(u64, 1)",
    ),
    # ---- marking ----
    "the bounded mark stack holds one more": Edit(
        _MARKER, "load_marker", "heap.stack_limit if", "heap.stack_limit + 1 if"
    ),
    "overflows are not noticed": Edit(_MARKER, "drop", "heap.overflowed = 1", "heap.overflowed = 0"),
    "one rescan is always enough": Edit(
        _MARK, "finish_marking", "heap.overflowed != 0", "heap.overflowed != 0 and last == 0"
    ),
    "rescans are not counted": Edit(_MARK, "finish_marking", "heap.rescans += 1", "heap.rescans += 0"),
    "a rescan misses what it dropped itself, further on": Edit(
        _MARK, "finish_marking", "bits = load64(at) & ((ONES << 1) << (last & 63))", "bits &= bits - 1"
    ),
    "a rescan goes on with what it dropped itself, behind": Edit(
        _MARK, "finish_marking", "load64(at) & ((ONES << 1) << (last & 63))", "load64(at)"
    ),
    "what was dropped is another object": Edit(_MARKER, "note_dropped", "(block >> 6) << 3", "(block >> 7) << 3"),
    "the last word of a block of 64-bit words is not scanned": Edit(
        _MARKER, "scan_fours", "while at < piece", "while at + 8 < piece", nth=1
    ),
    "the last word of a block of 32-bit words is not scanned": Edit(
        _MARKER, "scan_fours", "while at < piece", "while at + 4 < piece", nth=2
    ),
    "words are compared by four for the first one's sake only": Edit(
        _MARKER,
        "scan_fours",
        "long_words_below(at, marker.start, marker.pool_bytes) != 0",
        "long_words_below(at, marker.start, marker.pool_bytes) & 1 != 0",
    ),
    "the last four of sixteen words of long objects are not looked at": Edit(
        _MARKER, "skip_data", "| fours_below(marker, at + (four << 1) + four)", ""
    ),
    "the third four of sixteen words of long objects are the second": Edit(
        _MARKER, "skip_data", "at + (four << 1))", "at + four)"
    ),
    "sixteen words without pointers are taken for more": Edit(
        _MARKER, "skip_data", "at += four << 2", "at += four << 3"
    ),
    "tails are looked for in bytes of the table from the wrong block on": Edit(
        _MARKER, "object_end", "(head & 3) << 1", "(head & 2) << 1"
    ),
    "the table is read past its end": Edit(
        _MARKER, "load_marker", "(heap.end_block >> 2) - 8", "(heap.end_block >> 2) - 6"
    ),
    "of the bytes behind a head's own the first is passed over": Edit(
        _MARKER, "object_end", "load64(at + 1)", "load64(at + 2)"
    ),
    "two-byte words are taken for four-byte ones": Edit(
        _MARKER, "scan_all", "marker.step_shift > 1", "marker.step_shift > 0"
    ),
    "two-byte words of roots are taken for four-byte ones": Edit(
        _MARKER, "scan_words", "marker.step_shift > 1", "marker.step_shift > 0"
    ),
    "headers are scanned": Edit(_MARKER, "scan_by_mask", "at += marker.header_bytes", "at += 0"),
    "long objects are scanned by 64 words of their layouts": Edit(_MARKER, "scan_by_mask", "words > 64", "words > 68"),
    "out-of-line layouts are read as bits": Edit(_MARKER, "scan_by_mask", "layout & 1 == 0", "layout == 0"),
    "what a long object pushes is forgotten": Edit(_MARK, "drain_precise", "marker.top = heap.stack_top", ""),
    "an object is marked by its lowest block in the byte": Edit(
        _MARKER, "mark_block", "byte | (<u64>MARK << shift)", "byte | 2"
    ),
    "interior references mark nothing across bytes": Edit(
        _MARKER, "mark_block", "at = marker.table + (block >> 2)\n        byte = load8(at)", "pass"
    ),
    "a tail that ends with its word of the table leads on": Edit(
        _MARKER, "object_end", "block += ctz64(others) >> 1", "block += ctz64(others) >> 1 & 15"
    ),
    "the queue of objects forgets its turn": Edit(
        _MARKER, "next_in_queue", "(heap.queue_first + 1) & (QUEUE - 1)", "(heap.queue_first + 1) & (QUEUE - 2)"
    ),
    "the most entries of the mark stack are those before the last": Edit(
        _MARK, "drain_conservative", "marker.peak = marker.top", "marker.peak = marker.top - 1"
    ),
    "the pool's last byte is not a place to refer to": Edit(
        _MARKER, "mark_word", "word - marker.start < marker.pool_bytes", "word - marker.start + 1 < marker.pool_bytes"
    ),
    "layouts repeat a word too early": Edit(
        _MARKER, "inline_bits", "bitmap |= bitmap << size", "bitmap |= bitmap << (size - 1)"
    ),
    "layouts repeat one time too few": Edit(
        _MARKER, "inline_bits", "while size < words and", "while size + size <= words and"
    ),
    "layouts of no length mean nothing": Edit(
        _MARKER, "inline_bits", "if size != 0:", "if size == 0:\n        bitmap = 0\n    else:"
    ),
    "layouts of no length repeat after 64 words": Edit(
        _MARK, "scan_pattern", "64 // size * size if size != 0 else words", "64 // size * size if size != 0 else 64"
    ),
    "long objects are scanned by pieces that the pattern does not divide": Edit(
        _MARK, "scan_pattern", "64 // size * size", "64"
    ),
    "the first piece of long objects is all that is scanned": Edit(
        _MARK, "scan_pattern", "words -= piece", "words = 0"
    ),
    "the bits above a layout's size are not ignored": Edit(
        _MARKER, "inline_bits", "bitmap &= (<u64>1 << size) - 1", "bitmap &= ONES"
    ),
    "layouts reach past the object": Edit(_MARKER, "scan_bits", "index >= words", "index > words"),
    "out-of-line layouts reach past the object": Edit(
        _MARK, "scan_static", "piece = piece if words > piece else words", "pass"
    ),
    "out-of-line layouts repeat by whole bytes": Edit(
        _MARK, "scan_static", "8 if size - index > 8 else size - index", "8"
    ),
    "an out-of-line layout may not end with the statics": Edit(
        _MARK, "static_layout_size", "size > (heap.statics_bytes - at) << 3", "size >= (heap.statics_bytes - at) << 3"
    ),
    "an out-of-line layout may end past the statics": Edit(
        _MARK, "static_layout_size", "(heap.statics_bytes - at) << 3", "((heap.statics_bytes - at) << 3) + 1"
    ),
    "headers of long objects are scanned": Edit(_MARK, "scan_long_object", "at += heap.header_bytes", "at += 0"),
    "the size field of layouts is a bit too wide": Edit(
        _MARKER, "inline_bits", "<u64>8 << word_shift", "<u64>16 << word_shift"
    ),
    "words of long objects are counted as bytes": Edit(
        _MARK,
        "scan_long_object",
        "heap.words_scanned += (stop - at) >> heap.step_shift",
        "heap.words_scanned += stop - at",
    ),
    "words are scanned but not counted": Edit(_MARKER, "store_marker", "heap.words_scanned += marker.scanned", "pass"),
    "roots are read across their end": Edit(_MARK, "mark_range", "word_bytes - step", "0"),
    "giving up leaves the mark of a word's last block": Edit(_MARK, "unmark_all", "x & EVEN", "x & (EVEN >> 2)"),
    # ---- sweeping ----
    "the carry into the next word is lost": Edit(
        _SWEEP, "free_dead", "(head >> 62) | cython.cast(u64, total < fields)", "head >> 62"
    ),
    "a dead head in a word's last block frees nothing behind it": Edit(
        _SWEEP, "free_dead", "(head >> 62) | cython.cast(u64, total < fields)", "cython.cast(u64, total < fields)"
    ),
    "the carry is lost between pieces of the table": Edit(
        _SWEEP,
        "sweep_table",
        "free_dead(heap.table + (word << 3), heap.table + ((word + count) << 3), carry)",
        "free_dead(heap.table + (word << 3), heap.table + ((word + count) << 3), 0)",
    ),
    "the carry is lost before the short last word": Edit(
        _SWEEP, "sweep_table", "free_dead(at, at + 8, carry)", "free_dead(at, at + 8, 0)"
    ),
    "dead heads keep their tails": Edit(_SWEEP, "free_dead", "total & x & ODD", "x & ODD & ~(mark << 1)"),
    "marked objects lose their tails": Edit(_SWEEP, "free_dead", "mark | (total & x & ODD)", "mark"),
    "the short last word is not swept": Edit(
        _SWEEP, "sweep_table", "word < words", "word < (words if heap.poison != 0 else whole)"
    ),
    "the short last word is not counted when it is swept": Edit(_SWEEP, "sweep_table", "after += tally(at, 1)", ""),
    "the short last word is not counted": Edit(_SWEEP, "count_blocks", "counts = tally(at, 1)", ""),
    "free blocks end what is freed": Edit(_SWEEP, "free_dead", "low ^ EVEN", "x >> 1 & ~low & EVEN"),
    "sums of many words overflow": Edit(_TALLIES, "", "TALLY = 63", "TALLY = 66"),
    "words that three does not divide are not counted": Edit(_SWEEP, "tally", "words -= stride // 8 * 3", "words = 0"),
    "the second third of the words is counted from its second on": Edit(
        _SWEEP, "tally", "load64(at + stride)", "load64(at + stride + 8)"
    ),
    "the second third of the words is counted twice": Edit(_SWEEP, "tally", "at + 2 * stride", "at + stride"),
    "words that three does not divide are counted from the second third on": Edit(
        _SWEEP, "tally", "at += 2 * stride", "at += stride"
    ),
    "marks are counted as tails": Edit(_SWEEP, "tally", "y >> 1 & ~y", "y >> 1"),
    "dead tails are not poisoned": Edit(_SWEEP, "sweep_table", "x | (x >> 1)", "x"),
    "marked objects are poisoned": Edit(
        _SWEEP, "sweep_table", "(x | (x >> 1)) & EVEN & ~load64(at)", "(x | (x >> 1)) & EVEN"
    ),
    "kept tails are poisoned": Edit(_SWEEP, "sweep_table", "x ^= load64(at)", ""),
    "a word's last block is not poisoned": Edit(_SWEEP, "poison_fields", "fields - 1", "(fields - 1) << 2 >> 2"),
    # ---- looking ----
    "tails behind the word before are wrong": Edit(_BORDER, "wrong_fields", "cython.cast(u64, before != 0)", "0"),
    "states just past the last block are right": Edit(_BORDER, "wrong_fields", "past << 1", "(past + 1) << 1"),
    "marked heads are counted twice": Edit(_BORDER, "Kernel.census", "heap.heads - marks", "heap.heads"),
    "the last word on the heap cannot be read": Edit(
        _BORDER,
        "Kernel._place",
        "address - heap.start > heap.pool_bytes - word_bytes",
        "address - heap.start >= heap.pool_bytes - word_bytes",
    ),
    # ---- primitives ----
    "only ten of sixteen bytes are zeroed": Edit(
        _WORDS, "zero16", "memset(TH_AT(address), 0, 16)", "memset(TH_AT(address), 0, 10)"
    ),
    "four words are compared as if they had signs": Edit(
        _WORDS,
        "words_below",
        "start + 0x80000000u)));\n    const __m128i limits = _mm_set1_epi32((int)((uint32_t)bytes - 0x80000000u));",
        "start)));\n    const __m128i limits = _mm_set1_epi32((int)((uint32_t)bytes));",
    ),
    "four words lack the last byte": Edit(
        _WORDS, "words_below", "(uint32_t)bytes - 0x80000000u", "(uint32_t)bytes - 1 - 0x80000000u"
    ),
    "the low halves of long words are compared as if they had signs": Edit(
        _WORDS, "long_words_below", "_mm_xor_si128(low, sign)", "low"
    ),
    "the last two of four long words are the first two": Edit(
        _WORDS, "long_words_below", "_mm_shuffle_ps(a, b, 0x88)", "_mm_shuffle_ps(a, a, 0x88)"
    ),
    "the high halves of long words are looked for in the low ones": Edit(
        _WORDS, "long_words_below", "_mm_shuffle_ps(a, b, 0xDD)", "_mm_shuffle_ps(a, b, 0x88)"
    ),
    "32-bit words lose a byte": Edit(
        _WORDS, "load32", "uint32_t v; memcpy(&v, TH_AT(address), 4);", "uint32_t v = 0; memcpy(&v, TH_AT(address), 3);"
    ),
    "filling is always with zeros": Edit(_WORDS, "fill", "(int)byte", "0"),
    "the last byte is not moved": Edit(_WORDS, "move", "(size_t)bytes", "(size_t)bytes & ~7"),
    # ---- best-fit: the table ----
    "best-fit: the nibbles of a word's upper half are lost": Edit(
        _BEST_TABLE, "plane_of", "(x | x >> 16) & PLANE", "x & PLANE"
    ),
    "best-fit: blocks past the end of the heap are free": Edit(
        _BEST_TABLE, "free_in", "free & ((<u64>1 << left) - 1)", "free"
    ),
    "best-fit: a head above is one off": Edit(
        _BEST_TABLE, "tails_above", "block += ctz64(others)", "block += ctz64(others) + 1"
    ),
    "best-fit: the header lies at the start of the last block": Edit(
        _BEST_TABLE, "header_of", "(head + 1) << heap.block_shift", "head << heap.block_shift"
    ),
    "best-fit: the table's new bytes are not cleared": Edit(
        _BEST_STATE, "move_table", "fill(heap.table + table_bytes, heap.table_bytes - table_bytes, 0)", "pass"
    ),
    # ---- best-fit: the free list ----
    "best-fit: a range of the same length is passed over": Edit(
        _INDEX, "next_length", "& (ONES << (blocks & 63))", "& ((ONES << 1) << (blocks & 63))"
    ),
    "best-fit: lengths in the next word of the index are not found": Edit(
        _INDEX, "next_length", "(ONES << 1) << (word & 63)", "((ONES << 1) << 1) << (word & 63)"
    ),
    "best-fit: the node before is one of a length that is not shorter": Edit(
        _INDEX, "last_length", "(blocks if blocks < SHORT else SHORT) - 1", "blocks if blocks < SHORT else SHORT - 1"
    ),
    "best-fit: a length that is used up stays in the index": Edit(
        _FREELIST, "take_from", "drop_length(heap, blocks)", "pass"
    ),
    "best-fit: the outer node is used first": Edit(_FREELIST, "take_from", "(inner if inner != 0 else node)", "node"),
    "best-fit: the object gets the high end": Edit(
        _FREELIST,
        "take_from",
        "insert_by(heap, first + needed, blocks - needed, shift)",
        "insert_by(heap, first, blocks - needed, shift)",
    ),
    "best-fit: inner lists lose all but their first": Edit(
        _FREELIST,
        "put_inner",
        "field(node, INNER, shift)",
        "0",
    ),
    "best-fit: a new outer node keeps an old inner list": Edit(
        _NODE, "put_outer", "set_field(at, INNER, shift, 0)", "pass"
    ),
    "best-fit: a run at the heap's start is not in the list": Edit(
        _FREELIST, "insert_runs", "rarely(base == 0 and end != 0)", "False"
    ),
    "best-fit: the block below a run is taken for free": Edit(
        _FREELIST, "insert_runs", "blocks = end - first", "blocks = end - first + (end == base + 32)"
    ),
    "best-fit: the rest is taken where a shorter range is long enough": Edit(
        _NODE, "fits_rest", "needed > heap.rest_shorter", "needed >= heap.rest_shorter"
    ),
    "best-fit: the rest stays where it is as long as a shorter range": Edit(
        _NODE, "fits_rest", "heap.rest_blocks > needed", "heap.rest_blocks >= needed"
    ),
    "best-fit: the rest is not put back into the index": Edit(
        _FREELIST, "settle_rest", "note_length(heap, heap.rest_blocks, heap.rest_first)", "pass"
    ),
    "best-fit: what is placed at once has its head at its first block": Edit(
        _NODE, "claim", "top if heap.back != 0 else begin", "begin"
    ),
    "best-fit: a range that fits is not taken off its list": Edit(
        _NODE, "place_exactly", "field(heap.memory + offset, 0, shift)", "inner"
    ),
    # ---- best-fit: allocation ----
    "best-fit: objects have no tails": Edit(
        _BEST_ALLOCATE, "set_states", "31 if word < last >> 5 else last & 31", "first"
    ),
    "best-fit: the first block is always the head": Edit(
        _BEST_ALLOCATE, "set_states", "first if heap.back == 0 else end - 1", "first"
    ),
    "best-fit: only an object's first block is cleared": Edit(
        _BEST_ALLOCATE, "alloc_by", "(blocks << (shift + 2)) - header_bytes", "(1 << (shift + 2)) - header_bytes"
    ),
    "best-fit: the header is cleared, too": Edit(
        _BEST_ALLOCATE,
        "clear_body",
        "(blocks << heap.block_shift) - heap.header_bytes",
        "(blocks << heap.block_shift) - heap.header_bytes * (1 - heap.back)",
    ),
    "best-fit: freeing leaves the object's last block": Edit(
        _BEST_ALLOCATE, "clear_states", "last: u64 = end - 1", "last: u64 = end - 1 - (end - 1 > first)"
    ),
    "best-fit: the old size has the header in it": Edit(
        _BEST_ALLOCATE,
        "old_size",
        "((tails_above(heap, block) + 1) << heap.block_shift) - heap.header_bytes",
        "(tails_above(heap, block) + 1) << heap.block_shift",
    ),
    "best-fit: half of the heap is headroom": Edit(
        _BEST_BORDER, "Kernel._search_on", "heap.pool_bytes // 3", "heap.pool_bytes // 2"
    ),
    "best-fit: a heap that grew keeps its list": Edit(_BEST_BORDER, "Kernel.resize", "not heap.back", "False"),
    # ---- best-fit: marking and sweeping ----
    "best-fit: the table is read past its end": Edit(
        _BEST_MARKER, "load_marker", "(heap.end_block >> 2) - 8", "(heap.end_block >> 2) - 6"
    ),
    "best-fit: of the bytes behind a head's own the first is passed over": Edit(
        _BEST_MARKER, "body_end", "load64(at + 1)", "load64(at + 2)"
    ),
    "best-fit: tails are looked for in bytes of the table from the wrong block on": Edit(
        _BEST_MARKER, "body_end", "(<u64>-2 << (head & 3))", "(<u64>-2 << (head & 2))"
    ),
    "best-fit: a layout of one element is read as one of none": Edit(
        _BEST_MARKER, "scan_by_mask", "words >= size:", "words > size:"
    ),
    "best-fit: of four words the last is not looked at": Edit(
        _BEST_MARKER, "scan_words", "while at < piece:", "while at < piece - (<u64>1 << marker.step_shift):"
    ),
    "best-fit: pointers to tails mark nothing": Edit(_BEST_MARKER, "mark_block", "!= TAIL_BITS", "!= 2"),
    "best-fit: link words are not written": Edit(
        _BEST_MARKER, "mark_block", "marker.word_shift, marker.top)", "marker.word_shift, 0)"
    ),
    "best-fit: an element that is not whole is scanned": Edit(
        _BEST_MARK, "scan_pattern", "stop - at >= element", "stop > at"
    ),
    "best-fit: what lies inside an object is taken for its head": Edit(_BEST_MARK, "steps_to", "head == block", "True"),
    "best-fit: bitmaps of statics wrap at their first byte": Edit(
        _BEST_MARK, "scan_static", "bitmap + (index >> 3)", "bitmap"
    ),
    "best-fit: tails in the next word stay": Edit(
        _BEST_SWEEP, "run_through", "carry[0] = runs_on | (total < carry[0])", "carry[0] = 0"
    ),
    "best-fit: a word that is all tails stops what runs through": Edit(
        _BEST_SWEEP, "run_through", "runs_on | (total < carry[0])", "runs_on"
    ),
    "best-fit: blocks are turned round by twos": Edit(
        _BEST_SWEEP, "turned_round", "x = (x & FIELDS_1) << 1 | (x >> 1 & FIELDS_1)", "x = x"
    ),
    "best-fit: tails of the last of 32 words are not counted": Edit(
        _BEST_SWEEP, "free_dead", "tails += x >> 4 & LOW_NIBBLES", "tails = x >> 4 & LOW_NIBBLES", 1
    ),
}
