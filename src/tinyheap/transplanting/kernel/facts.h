/* What a kernel asks of the module that it is put into, and the words of the machine.
 *
 * Every function declared here is an import of the compiled object.  Merging replaces each call of one by what the module's
 * facts say (merging.py, parts.py): by a constant, by the read of a global, by an instruction, or by a call.  So the object
 * holds no address and no global, and needs no linker.
 */

#ifndef FACTS_H
#define FACTS_H

#include <stdint.h>

typedef uint32_t u32;
typedef uint64_t u64;

#define INLINE static inline __attribute__((always_inline))
#define APART static __attribute__((noinline))
#define CONSTANT __attribute__((const)) u32

/* Where the heap's variables lie; 0 for a counter that the program does not have. */
CONSTANT heap_end_at(void);
CONSTANT metadata_start_at(void);
CONSTANT end_block_at(void);
CONSTANT next_alloc_at(void);
CONSTANT overflow_flag_at(void);
CONSTANT total_alloc_bytes_at(void);
CONSTANT mallocs_at(void);
CONSTANT frees_at(void);
CONSTANT total_blocks_at(void);
CONSTANT freed_blocks_at(void);
__attribute__((pure)) u32 heap_start(void);

/* The table has one byte for `table_divisor` bytes of heap and table, after `table_slack` bytes are added to them. */
CONSTANT table_divisor(void);
CONSTANT table_slack(void);

/* Roots.  The stack is scanned up to its top; while a task runs, from where it was left.  Where it is not scanned then, it
 * was left at its top, and where a chain of stack objects (0 for none) stands for the stack, a task runs at all times. */
CONSTANT globals_start(void);
CONSTANT globals_end(void);
CONSTANT stack_top(void);
__attribute__((pure)) u32 task_runs(void);
__attribute__((pure)) u32 stack_left_by_task(void);
__attribute__((pure)) u32 first_stack_object(void);
u32 stack_pointer(void);

/* The original's mark stack, and its frames in bytes below the stack pointer at alloc's entry. */
CONSTANT mark_stack_entries(void);
CONSTANT mark_stack_is_zeroed(void);
CONSTANT root_bytes_below_alloc(void);
CONSTANT rescan_bytes_below_alloc(void);
CONSTANT frame_bytes_scanned(void);

/* How the heap is to be run. */
CONSTANT keeps_headroom(void);
CONSTANT clears_blocks(void);
u32 next_pages(u32 pages, u32 heap_start_address, u32 heap_bytes);

/* What kernels remember, in globals: pages of memory that the original is not to see, and where the bitmap lies. */
u32 extra_pages(void);
void set_extra_pages(u32 pages);
u32 bitmap_address(void);
void set_bitmap_address(u32 address);

/* Best-fit's list of objects to be scanned, and whether markRoot has a frame of its own. */
CONSTANT scan_list_at(void);
CONSTANT marks_in_own_frame(void);

/* What its kernel remembers, in globals: what is ahead, and an object that is scanned once more, with its own link. */
u32 phase(void);
void set_phase(u32 phase);
u32 repeated_body(void);
void set_repeated_body(u32 address);
u32 repeated_header(void);
void set_repeated_header(u32 address);
u32 repeated_link(void);
void set_repeated_link(u32 address);

/* What is counted for whoever looks; nothing unless that was asked for. */
void count_collection(void);
void count_growth(void);
void count_drop(void);
void count_rescan(void);

/* What is told to whoever records the run: bytes of roots and of objects that are scanned, and what has just been done. */
void tell_roots(u32 bytes);
void tell_scanned(u32 bytes);
void tell_marked(void);
void tell_swept(void);
void tell_grown(u32 old_end);

/* The allocator that the module had, and bulk memory, or loops where the module does without. */
u32 original_alloc(u32 size_bytes, u32 layout);
void fill(u32 at, u32 byte, u32 bytes);
void copy(u32 to, u32 from, u32 bytes);

typedef u32 __attribute__((aligned(1), may_alias)) u32_anywhere;
typedef u64 __attribute__((aligned(1), may_alias)) u64_anywhere;
typedef uint8_t __attribute__((may_alias)) byte;

INLINE u32 load8(u32 at) { return *(byte *)at; }
INLINE u32 load32(u32 at) { return *(u32_anywhere *)at; }
INLINE u64 load64(u32 at) { return *(u64_anywhere *)at; }
INLINE void store8(u32 at, u32 value) { *(byte *)at = (byte)value; }
INLINE void store32(u32 at, u32 value) { *(u32_anywhere *)at = value; }
INLINE void store64(u32 at, u64 value) { *(u64_anywhere *)at = value; }

INLINE u32 ones(u64 x) { return (u32)__builtin_popcountll(x); }
/* WebAssembly counts 64 zeros in a zero. */
INLINE u32 trailing_zeros(u64 x) { return x == 0 ? 64 : (u32)__builtin_ctzll(x); }
INLINE u32 leading_zeros(u64 x) { return x == 0 ? 64 : (u32)__builtin_clzll(x); }

INLINE u32 memory_pages(void) { return __builtin_wasm_memory_size(0); }
INLINE u32 grow_memory(u32 pages) { return __builtin_wasm_memory_grow(0, pages); }

#define REFUSED UINT32_MAX
#define PAGE_SHIFT 16
#define MOST_PAGES 65536

#endif
