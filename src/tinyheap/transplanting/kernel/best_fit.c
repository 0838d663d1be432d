/* TinyGo's collector of releases from 0.40 on, only faster: what runs ahead of the original's marking, and leaves it the end.
 *
 * The original keeps its pointers in records on the stack, and a program may see what is left of them there.  Which of its
 * variables lies where, the compiler chose.  So the original's functions stay, in their frames; but each finds most of its
 * work done:
 *
 *     scanConservative   all words of a range but the last are marked from already, unless its frame lies there; what that
 *                        and the frame of markRoot hold afterwards is of the last word
 *     finishMark         with the first object that it scans, all that follows is marked in its order, up to the last object
 *                        that is scanned.  That one is put back on the list, with what it alone leads to unmarked
 *     scanWithMask       is only where it may be noticed that finishMark has begun
 *
 * Two more objects are the original's own.  One in which the present stack lies, since its own frames, which it scans there,
 * hold other words by then; marking goes on behind it.  And the last one whose layout lies in the program's data, since
 * pointers to that are kept in finishMark's frame until the end: it is scanned once more, with all marked already.
 *
 * Marked objects are chained in the original's order, so that links in headers are the original's, too.  Source of what is
 * done: TinyGo, src/runtime/gc_blocks.go and gc_precise.go; the models in tinyheap.heap.bestfit say the same in Python.
 */

#include "nibbles.h"

/* The phase of a collection. The globals are scanned: what is scanned next is an object. */
#define MARKING_IS_AHEAD 1
#define NOTHING_IS_AHEAD 0
/* Any other phase is where the body of the object begins in which the present stack lies: all is marked up to that. */

/* How an object was scanned: not at all, whole, by a mask, or by a bitmap in the program's data. */
#define NOT 0
#define WHOLE 1
#define MASKED 2
#define MAPPED 3

#define PLACES u32 start, u32 table, u32 is_back, u32 header_bytes
#define SAME_PLACES start, table, is_back, header_bytes

INLINE u32 header_of(u32 head, PLACES) {
    u32 at = start + (head << BLOCK_SHIFT);
    return is_back ? at + BLOCK_BYTES - header_bytes : at;
}

INLINE u32 head_of(u32 block, PLACES) {
    return is_back ? end_of_tails(table, load32(heap_end_at()), block) : start_of_tails(table, block + 1) - 1;
}

INLINE u32 is_on_heap(u32 address, u32 start, u32 table) { return address - start < table - start; }

INLINE void mark_from(u32 word, PLACES) {
    if (!is_on_heap(word, start, table))
        return;
    u32 block = (word - start) >> BLOCK_SHIFT, state = state_of(table, block);
    if (state == FREE)
        return;
    if (state == TAIL) {
        block = head_of(block, SAME_PLACES);
        state = state_of(table, block);
    }
    if (state == MARK)
        return;
    flip_mark(table, block);
    u32 header = header_of(block, SAME_PLACES);
    store32(header, load32(scan_list_at()));
    store32(scan_list_at(), header);
}

INLINE void mark_range(u32 from, u32 end, PLACES) {
    for (u32 at = from; at != end; at += 4)
        mark_from(load32(at), SAME_PLACES);
}

INLINE void mark_masked(u32 at, u32 mask, PLACES) {
    for (; mask != 0; mask >>= 1, at += 4)
        if (mask & 1)
            mark_from(load32(at), SAME_PLACES);
}

/* Where an object's body begins and ends. */
INLINE u32 body_of(u32 header, PLACES) {
    if (!is_back)
        return header + header_bytes;
    return start + (start_of_tails(table, (header - start) >> BLOCK_SHIFT) << BLOCK_SHIFT);
}

INLINE u32 end_of_body(u32 header, PLACES) {
    if (is_back)
        return header;
    u32 behind = ((header - start) >> BLOCK_SHIFT) + 1;
    return start + (end_of_tails(table, load32(heap_end_at()), behind) << BLOCK_SHIFT);
}

INLINE u32 header_of_body(u32 body, PLACES) {
    return header_of(head_of((body - start) >> BLOCK_SHIFT, SAME_PLACES), SAME_PLACES);
}

/* Mark from an object's words; says how. */
INLINE u32 scan(u32 header, u32 is_precise, PLACES) {
    u32 layout = is_precise ? load32(header + 4) : 0;
    if ((layout & 1) && layout >> 6 == 0)
        return NOT;
    u32 at = body_of(header, SAME_PLACES), end = end_of_body(header, SAME_PLACES);
    if (layout == 0) {
        tell_scanned(end - at);
        mark_range(at, end, SAME_PLACES);
        return WHOLE;
    }
    u32 is_mapped = !(layout & 1), words = is_mapped ? load32(layout) : layout >> 1 & 31, element_bytes = words << 2;
    if (end - at < element_bytes)
        /* Nothing is called for it that would leave something on the stack. */
        return NOT;
    tell_scanned(end - at);
    for (; end - at >= element_bytes; at += element_bytes) {
        if (!is_mapped) {
            mark_masked(at, layout >> 6, SAME_PLACES);
            continue;
        }
        for (u32 index = 0; index < (words + 7) >> 3; index++)
            mark_masked(at + (index << 5), load8(layout + 4 + index), SAME_PLACES);
    }
    return is_mapped ? MAPPED : MASKED;
}

/* Let the original scan an object once more, before what it is to scan then. */
INLINE void scan_once_more(u32 header, u32 then, PLACES) {
    set_repeated_body(body_of(header, SAME_PLACES));
    set_repeated_header(header);
    set_repeated_link(load32(header));
    store32(header, then);
    store32(scan_list_at(), header);
}

/* The object in which the present stack lies; 0 where that is none. */
INLINE u32 object_of_stack(PLACES) {
    u32 pointer = stack_pointer();
    return is_on_heap(pointer, start, table) ? header_of_body(pointer, SAME_PLACES) : 0;
}

/* Unmark what was put on the list after what is below it. */
INLINE void take_back(u32 list, u32 below, PLACES) {
    for (; list != below; list = load32(list))
        flip_mark(table, (list - start) >> BLOCK_SHIFT);
}

/* The original begins to scan an object, which it has taken off the list: mark all that follows. */
INLINE void mark_ahead(u32 body, u32 is_precise, PLACES) {
    u32 first = header_of_body(body, SAME_PLACES), stack = object_of_stack(SAME_PLACES);
    if (first == stack) {
        /* It is behind this one that marking goes on. */
        tell_scanned(end_of_body(first, SAME_PLACES) - body);
        return;
    }
    u32 object = first, last = first, list_after_last = 0, last_mapped = 0;
    for (; object != 0 && object != stack; object = load32(scan_list_at())) {
        store32(scan_list_at(), load32(object));
        u32 how = scan(object, is_precise, SAME_PLACES);
        if (how == NOT)
            continue;
        last = object;
        list_after_last = load32(scan_list_at());
        if (how == MAPPED)
            last_mapped = object;
    }
    if (object == 0) {
        set_phase(NOTHING_IS_AHEAD);
        take_back(list_after_last, load32(last), SAME_PLACES);
        object = last;
        store32(scan_list_at(), last == first ? load32(first) : last);
    } else
        set_phase(body_of(stack, SAME_PLACES));
    if (last_mapped != 0 && last_mapped != object)
        scan_once_more(last_mapped, object, SAME_PLACES);
}

APART void mark_ahead_front_conservative(u32 body, u32 start, u32 table) { mark_ahead(body, 0, start, table, 0, 16); }
APART void mark_ahead_front_precise(u32 body, u32 start, u32 table) { mark_ahead(body, 1, start, table, 0, 16); }
APART void mark_ahead_back_conservative(u32 body, u32 start, u32 table) { mark_ahead(body, 0, start, table, 1, 4); }
APART void mark_ahead_back_precise(u32 body, u32 start, u32 table) { mark_ahead(body, 1, start, table, 1, 8); }

/* The original begins to scan an object, or a part of one. */
INLINE void notice(u32 at, u32 is_precise, u32 start, u32 table, u32 is_back) {
    if (at == repeated_body()) {
        store32(repeated_header(), repeated_link());
        set_repeated_body(0);
        return;
    }
    if (phase() == at)
        set_phase(MARKING_IS_AHEAD);
    if (phase() == MARKING_IS_AHEAD) {
        if (is_back)
            (is_precise ? mark_ahead_back_precise : mark_ahead_back_conservative)(at, start, table);
        else
            (is_precise ? mark_ahead_front_precise : mark_ahead_front_conservative)(at, start, table);
        /* Or as much as can be by now: what is behind the present stack is told of later. */
        tell_marked();
    }
}

/* The original begins to scan a range: returns how many bytes are left to it, which are the last ones. */
INLINE u32 begin_range(u32 from, u32 bytes, u32 is_precise, u32 is_back, u32 header_bytes) {
    u32 start = heap_start(), table = load32(metadata_start_at());
    if (is_on_heap(from, start, table))
        notice(from, is_precise, start, table, is_back);
    else {
        tell_roots(bytes);
        if (from == globals_start()) {
            count_collection();
            set_phase(MARKING_IS_AHEAD);
        }
    }
    /* The present stack is scanned by those whose frames are on it. */
    if (!marks_in_own_frame() || bytes < 8 || stack_pointer() - from < bytes)
        return bytes;
    u32 left = 4 + (bytes & 3);
    mark_range(from, from + bytes - left, SAME_PLACES);
    return left;
}

u32 begin_range_front_conservative(u32 from, u32 bytes) { return begin_range(from, bytes, 0, 0, 16); }
u32 begin_range_front_precise(u32 from, u32 bytes) { return begin_range(from, bytes, 1, 0, 16); }
u32 begin_range_back_conservative(u32 from, u32 bytes) { return begin_range(from, bytes, 0, 1, 4); }
u32 begin_range_back_precise(u32 from, u32 bytes) { return begin_range(from, bytes, 1, 1, 8); }
void begin_mask_front(u32 at) { notice(at, 1, heap_start(), load32(metadata_start_at()), 0); }
void begin_mask_back(u32 at) { notice(at, 1, heap_start(), load32(metadata_start_at()), 1); }

/* The original is about to grow memory, by as many pages as there are: returns by how many it is to.
 *
 * What it does afterwards (it moves the table, and lists the new blocks) it does for any number of them.  Pages that a host has
 * added may be enough, or more than that: the original is not to see them then.
 */
u32 begin_growth(u32 pages_asked) {
    u32 start = heap_start(), heap_end = load32(heap_end_at()), there = memory_pages();
    u32 wanted = next_pages(there, start, heap_end - start);
    if (wanted <= heap_end >> PAGE_SHIFT)
        /* As much as no memory has is refused. */
        return REFUSED;
    set_extra_pages(wanted < there ? there - wanted : 0);
    return wanted < there ? 0 : wanted - there;
}
