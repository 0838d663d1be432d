/* Mark: from the roots, every object that can be reached, in the original's order and on its own mark stack.
 *
 * That stack is small (16 or 32 entries) and lies where the original's frame would be.  What no longer fits is marked but not
 * scanned: *dropped*.  For each such overflow the original scans all marked objects of the heap again.  But an object that
 * was scanned leads to nothing new; so it is noted which were dropped, in a bitmap of one bit a block, and only those are
 * visited, in the original's order.
 *
 * The bitmap lies in pages that are added to memory behind the heap's end when the first object is dropped, is all zeros
 * between collections, and becomes part of the heap with its next growth.  Where memory cannot be had, marked objects
 * are all scanned again, as in the original.
 *
 * A word *lies on the heap* if it is an address below the table.  The mark stack may lie in an object that is being scanned
 * (goroutines' stacks are objects), so words are read one after the other, behind what was pushed before; only where
 * none of four lies on the heap they are left behind at once.
 */

#ifndef MARK_H
#define MARK_H

#include "table.h"

#define NO_BITMAP 1

/* ---- dropped objects ---- */

/* Where the bitmap lies, which is made if there is none behind this heap; NO_BITMAP where there is no memory for it. */
INLINE u32 bitmap_behind(u32 heap_end) {
    u32 bitmap = bitmap_address();
    if (bitmap == NO_BITMAP || (bitmap != 0 && bitmap >= heap_end))
        return bitmap;
    u32 pages = (load32(end_block_at()) >> (3 + PAGE_SHIFT)) + 1, old_pages = grow_memory(pages);
    if (old_pages == REFUSED) {
        bitmap = NO_BITMAP;
    } else {
        bitmap = old_pages << PAGE_SHIFT;
        set_extra_pages(extra_pages() + pages);
    }
    set_bitmap_address(bitmap);
    return bitmap;
}

INLINE void note_dropped(u32 bitmap, u32 head) {
    u32 at = bitmap + (head >> 3);
    store8(at, load8(at) | 1u << (head & 7));
}

APART void drop(u32 head) {
    count_drop();
    store8(overflow_flag_at(), 1);
    u32 bitmap = bitmap_behind(load32(heap_end_at()));
    if (bitmap != NO_BITMAP)
        note_dropped(bitmap, head);
}

/* ---- from the mark stack to the mark stack ---- */

/* What scanning needs to know: where the heap's blocks, its table and its end are, and the mark stack. */
#define PLACES u32 start, u32 table, u32 heap_end, u32 stack
#define SAME_PLACES start, table, heap_end, stack

INLINE u32 is_on_heap(u32 word, u32 start, u32 table) { return word - start < table - start; }

/* As head_of, for what is not done often. */
APART u32 head_of_apart(u32 table, u32 block) { return head_of(table, block); }

/* The head of the object that a word leads to, which is marked here; NO_BLOCK if it leads to none, or to a marked one. */
INLINE u32 mark_object(u32 word, u32 is_root, u32 start, u32 table) {
    u32 block = (word - start) >> BLOCK_SHIFT, state = state_of(table, block);
    if (state == FREE)
        return NO_BLOCK;
    if (state == TAIL) {
        block = (is_root ? head_of_apart : head_of)(table, block);
        state = state_of(table, block);
    }
    if (state == MARK)
        return NO_BLOCK;
    set_mark(table, block);
    return block;
}

/* Mark what a word that lies on the heap leads to, and push it; returns the mark stack's new length. */
INLINE u32 mark_and_push(u32 word, u32 length, u32 start, u32 table, u32 stack) {
    u32 block = mark_object(word, 0, start, table);
    if (block == NO_BLOCK)
        return length;
    if (length == mark_stack_entries()) {
        drop(block);
        return length;
    }
    store32(stack + (length << 2), block);
    return length + 1;
}

INLINE u32 some_of_four_on_heap(u32 at, u32 start, u32 table) {
    return is_on_heap(load32(at), start, table) | is_on_heap(load32(at + 4), start, table) |
           is_on_heap(load32(at + 8), start, table) | is_on_heap(load32(at + 12), start, table);
}

/* Every word may be a pointer.  Objects are whole blocks of four words. */
INLINE u32 scan_words(u32 at, u32 stop, u32 length, PLACES) {
    for (; at != stop; at += BLOCK_BYTES) {
        if (!some_of_four_on_heap(at, start, table))
            continue;
        for (u32 word_at = at; word_at != at + BLOCK_BYTES; word_at += 4)
            if (is_on_heap(load32(word_at), start, table))
                length = mark_and_push(load32(word_at), length, start, table, stack);
    }
    return length;
}

/* The words whose bits are set may be pointers, the lowest bit for the first word. */
INLINE u32 scan_bits(u32 at, u32 stop, u64 bits, u32 length, PLACES) {
    u32 words = (stop - at) >> 2;
    if (words < 64)
        bits &= ~(ONES << words);
    for (; bits != 0; bits &= bits - 1) {
        u32 word = load32(at + (trailing_zeros(bits) << 2));
        if (is_on_heap(word, start, table))
            length = mark_and_push(word, length, start, table, stack);
    }
    return length;
}

/* The words of an object that its layout calls pointers.
 *
 * A layout is 0, and all words may be pointers; or a word of its own, {1, size (5 bits), that many bits}; or the address of
 * such among the program's constants, {size, that many bits}.  The bits come again and again. */
INLINE u32 scan_by_layout(u32 at, u32 stop, u32 layout, u32 length, PLACES) {
    u32 words = (stop - at) >> 2, is_constant = !(layout & 1), size = layout >> 1 & 31, index = 0;
    u64 bits = layout >> 6, all = ONES >> (64 - size);
    if (layout == 0 || (!is_constant && size != 0 && (bits & all) == all))
        return scan_words(at, stop, length, SAME_PLACES);
    if (is_constant) {
        size = load32(layout);
    } else if (size == 0) {
        /* Its bits do not come again. */
        size = words | 64;
    } else {
        /* As many at a time as there is room for. */
        for (bits &= all; size < words && size <= 32; size <<= 1)
            bits |= bits << size;
    }
    while (at < stop) {
        u32 step = size;
        if (is_constant) {
            u32 left = size - index;
            step = left - 1 < 7 ? left : 8;
            bits = load8(layout + 4 + (index >> 3)) & 0xffu >> (8 - step);
            index = left == step ? 0 : index + step;
        }
        length = scan_bits(at, stop, bits, length, SAME_PLACES);
        at += step << 2;
    }
    return length;
}

/* Scan a marked object, and all that it leads to, as far as the mark stack holds it. */
INLINE void scan_from(u32 head, u32 header_bytes, u32 stack) {
    u32 start = heap_start(), table = load32(metadata_start_at()), heap_end = load32(heap_end_at()), length = 1;
    store32(stack, head);
    if (mark_stack_is_zeroed())
        for (u32 entry = 1; entry < mark_stack_entries(); entry++)
            store32(stack + (entry << 2), 0);
    while (length != 0) {
        u32 block = load32(stack + (--length << 2)), at = start + (block << BLOCK_SHIFT);
        u32 layout = header_bytes == 0 ? 0 : load32(at);
        if ((layout & 1) != 0 && layout >> 6 == 0)
            continue;
        u32 stop = start + (end_of_tails(table, heap_end, block + 1) << BLOCK_SHIFT);
        tell_scanned(stop - at - header_bytes);
        if (header_bytes == 0)
            length = scan_words(at, stop, length, SAME_PLACES);
        else
            length = scan_by_layout(at + header_bytes, stop, layout, length, SAME_PLACES);
    }
}

/* Two functions, since engines compile no constant into one. */
APART void scan_from_conservative(u32 head, u32 stack) { scan_from(head, 0, stack); }
APART void scan_from_precise(u32 head, u32 stack) { scan_from(head, BLOCK_BYTES, stack); }
INLINE void scan_marked(u32 head, u32 is_precise, u32 stack) {
    (is_precise ? scan_from_precise : scan_from_conservative)(head, stack);
}

/* ---- roots ---- */

INLINE void mark_roots(u32 at, u32 stop, u32 is_precise, u32 stack) {
    u32 start = heap_start(), table = load32(metadata_start_at());
    for (; at < stop; at += 4) {
        while (stop - at >= 16 && !some_of_four_on_heap(at, start, table)) {
            at += 16;
            if (at >= stop)
                return;
        }
        if (!is_on_heap(load32(at), start, table))
            continue;
        u32 head = mark_object(load32(at), 1, start, table);
        if (head != NO_BLOCK)
            scan_marked(head, is_precise, stack);
    }
}

APART void mark_roots_conservative(u32 at, u32 stop, u32 stack) { mark_roots(at, stop, 0, stack); }
APART void mark_roots_precise(u32 at, u32 stop, u32 stack) { mark_roots(at, stop, 1, stack); }
INLINE void mark_range(u32 at, u32 stop, u32 is_precise, u32 stack) {
    tell_roots(stop - at);
    if (is_precise)
        mark_roots_precise(at, stop, stack);
    else
        mark_roots_conservative(at, stop, stack);
}

INLINE void mark_stack_and_globals(u32 alloc_stack_pointer, u32 is_precise) {
    u32 stack = alloc_stack_pointer - root_bytes_below_alloc();
    for (u32 at = first_stack_object(); at != 0; at = load32(at))
        mark_range(at + 8, at + 8 + (load32(at + 4) << 2), is_precise, stack);
    mark_range(task_runs() ? stack_left_by_task() : alloc_stack_pointer - frame_bytes_scanned(), stack_top(), is_precise, stack);
    mark_range(globals_start(), globals_end(), is_precise, stack);
}

/* ---- overflows ---- */

/* Scan all marked objects again, with those that are marked meanwhile ahead, as the original does. */
INLINE void scan_all_marked(u32 is_precise, u32 stack) {
    u32 table = load32(metadata_start_at()), heap_end = load32(heap_end_at()), end_block = load32(end_block_at());
    for (u32 block = 0; block < end_block; block++) {
        u64 x = states_from(table, heap_end, block), marks = x & x >> 1 & EVEN;
        if (marks == 0) {
            block |= 31;
            continue;
        }
        block += trailing_zeros(marks) >> 1;
        scan_marked(block, is_precise, stack);
    }
}

/* Scan the dropped objects, with those that are dropped meanwhile ahead; returns the last that was scanned, if one was. */
INLINE u32 scan_dropped(u32 bitmap, u32 last, u32 is_precise, u32 stack) {
    u32 end = bitmap + (((load32(end_block_at()) + 63) >> 6) << 3);
    for (u32 at = bitmap; at < end; at += 8) {
        u64 bits = load64(at);
        while (bits != 0) {
            u32 bit = trailing_zeros(bits);
            last = ((at - bitmap) << 3) + bit;
            store64(at, load64(at) & ~(1ull << bit));
            scan_marked(last, is_precise, stack);
            /* What was dropped behind is for the next pass, what was dropped ahead for this one. */
            bits = load64(at) & ONES << 1 << bit;
        }
    }
    return last;
}

/* The last marked object. */
INLINE u32 last_marked(void) {
    u32 table = load32(metadata_start_at()), heap_end = load32(heap_end_at()), at = word_at(table, load32(end_block_at()) - 1);
    for (;;) {
        u64 x = table_bytes(at, heap_end), marks = x & x >> 1 & EVEN;
        if (marks != 0)
            return ((at - table) >> 3 << 5) + 31 - (leading_zeros(marks) >> 1);
        at -= 8;
    }
}

/* The head of the object in which the mark stack lies, if that is a marked one. */
INLINE u32 marked_around(u32 address) {
    u32 start = heap_start(), table = load32(metadata_start_at()), block = (address - start) >> BLOCK_SHIFT;
    if (!is_on_heap(address, start, table) || state_of(table, block) == FREE)
        return NO_BLOCK;
    block = head_of_apart(table, block);
    return state_of(table, block) == MARK ? block : NO_BLOCK;
}

INLINE void finish_marking(u32 stack, u32 is_precise) {
    u32 bitmap = bitmap_address(), last = NO_BLOCK;
    while (load8(overflow_flag_at()) != 0) {
        count_rescan();
        store8(overflow_flag_at(), 0);
        if (bitmap <= NO_BITMAP) {
            scan_all_marked(is_precise, stack);
            continue;
        }
        /* The words of an object in which the mark stack lies have changed. */
        u32 around = marked_around(stack);
        if (around != NO_BLOCK)
            note_dropped(bitmap, around);
        last = scan_dropped(bitmap, last, is_precise, stack);
    }
    if (last == NO_BLOCK)
        return;
    /* The original's last scan is that of the last marked object, and finds nothing. */
    u32 final = last_marked();
    if (final != last)
        scan_marked(final, is_precise, stack);
}

#endif
