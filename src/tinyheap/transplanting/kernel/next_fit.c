/* TinyGo's collector of releases up to 0.39, only faster: what becomes of the allocator and collector of a module.
 *
 * Addresses, survivors, counters, the mark stack and every other byte of memory are the original's, but for zeroed pages behind
 * the heap (mark.h).  Source of what is done: TinyGo, src/runtime/gc_blocks.go and gc_precise.go; the model in
 * tinyheap.heap.nextfit says the same in Python.
 */

#include "allocate.h"
#include "mark.h"
#include "sweep.h"

INLINE u32 collect(u32 alloc_stack_pointer, u32 is_precise) {
    count_collection();
    if (bitmap_address() == NO_BITMAP)
        /* There may be memory for one by now. */
        set_bitmap_address(0);
    mark_stack_and_globals(alloc_stack_pointer, is_precise);
    finish_marking(alloc_stack_pointer - rescan_bytes_below_alloc(), is_precise);
    tell_marked();
    u32 free_bytes = sweep();
    tell_swept();
    return free_bytes;
}

/* Collections of a program's own, whose stack pointer is so many bytes below that of an alloc that collects. */
u32 collect_conservative(u32 bytes_below_alloc) { return collect(stack_pointer() + bytes_below_alloc, 0); }
u32 collect_precise(u32 bytes_below_alloc) { return collect(stack_pointer() + bytes_below_alloc, 1); }

/* Make memory and heap larger, and move the table to the new end; whether it could be done. */
APART u32 grow(void) {
    u32 start = heap_start(), table = load32(metadata_start_at()), heap_end = load32(heap_end_at());
    u32 there = memory_pages(), pages = there - extra_pages(), wanted = next_pages(pages, start, heap_end - start);
    if (wanted <= heap_end >> PAGE_SHIFT || wanted > MOST_PAGES)
        return 0;
    if (wanted > there && grow_memory(wanted - there) == REFUSED)
        return 0;
    count_growth();
    if (wanted > pages)
        /* The bitmap's zeros are the heap's from now on. */
        set_extra_pages(wanted > there ? 0 : there - wanted);
    u32 new_end = wanted << PAGE_SHIFT, new_table = new_end - (new_end - start + table_slack()) / table_divisor();
    u32 copied_end = new_table + heap_end - table;
    store32(heap_end_at(), new_end);
    store32(metadata_start_at(), new_table);
    store32(end_block_at(), (new_table - start) >> BLOCK_SHIFT);
    copy(new_table, table, heap_end - table);
    if (copied_end < heap_end)
        /* A small step: the old table lies where the new one has its new blocks. */
        clear(copied_end, heap_end - copied_end);
    tell_grown(heap_end);
    return 1;
}

/* The end of the blocks for an object that found no room nearby, which are taken: search, collect, and grow until there are
 * enough; 0 where memory is out. */
INLINE u32 find_slowly(u32 bytes, u32 needed, u32 is_precise) {
    u64 result = find_room(needed, 0);
    if ((u32)result == NO_BLOCK) {
        u32 free_bytes = is_precise ? collect_precise(0) : collect_conservative(0);
        /* Keep a third of headroom, or the next collections would come ever closer together. */
        if (keeps_headroom() && free_bytes < (load32(metadata_start_at()) - heap_start()) / 3)
            grow();
        while ((u32)(result = find_room(needed, (u32)(result >> 32))) == NO_BLOCK)
            if (!grow()) {
                /* Nothing was allocated yet. */
                count_allocation(bytes, needed, -1ull);
                return 0;
            }
    }
    u32 end = (u32)result;
    set_states(load32(metadata_start_at()), load32(heap_end_at()), end - needed, end);
    return end;
}

APART u32 find_slowly_conservative(u32 bytes, u32 needed) { return find_slowly(bytes, needed, 0); }
APART u32 find_slowly_precise(u32 bytes, u32 needed) { return find_slowly(bytes, needed, 1); }

INLINE u32 allocate(u32 size_bytes, u32 layout, u32 header_bytes) {
    if (size_bytes - 1 < UINT32_MAX - 2 * BLOCK_BYTES) {
        u32 bytes = size_bytes + header_bytes, needed = (bytes + BLOCK_BYTES - 1) >> BLOCK_SHIFT;
        count_allocation(bytes, needed, 1);
        u32 end = find_near(needed);
        if (end == 0)
            end = header_bytes ? find_slowly_precise(bytes, needed) : find_slowly_conservative(bytes, needed);
        if (end != 0)
            return commit(end, needed, size_bytes, layout, header_bytes);
    }
    /* 0, or so much that the original's numbers overflow; or memory is out: the original comes to the same end, and says so. */
    return original_alloc(size_bytes, layout);
}

u32 alloc_conservative(u32 size_bytes, u32 layout) { return allocate(size_bytes, layout, 0); }
u32 alloc_precise(u32 size_bytes, u32 layout) { return allocate(size_bytes, layout, BLOCK_BYTES); }

/* ---- for modules that do without bulk memory ---- */

/* Of more than 256 bytes, with zeros. */
void fill_by_loop(u32 at, u32 zero, u32 bytes) {
    u32 last = at + bytes - 8;
    for (; at < last; at += 8)
        store64(at, zero);
    store64(last, zero);
}

/* Forward or backward, whichever keeps what is still to be copied. */
void copy_by_loop(u32 to, u32 from, u32 bytes) {
    if (to <= from)
        for (u32 done = 0; done < bytes; done++)
            store8(to + done, load8(from + done));
    else
        while (bytes-- > 0)
            store8(to + bytes, load8(from + bytes));
}
