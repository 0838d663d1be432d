# cython: language_level=3, cdivision=True
# Types of `_reach.py`: a graph of objects in rows, what it takes to work on it, and the arrays that are written.

from libc.stdint cimport uint8_t, uint32_t

from tinyheap.heap._words cimport u64

ctypedef uint8_t u8
ctypedef uint32_t u32
ctypedef u32* Words

cdef extern from * nogil:
    """
    #define TH_NONE 0xFFFFFFFFU
    #define TH_ROOTS 0xFFFFFFFEU
    """
    const u32 NONE "TH_NONE"        # no object, or no step
    const u32 ROOTS "TH_ROOTS"      # all roots together, as if they were one object

# References of object i are `targets[starts[i]]` up to `targets[starts[i + 1]]`.
cdef struct Graph:
    Words starts
    Words targets
    Words roots             # objects; `NONE` for a root that refers to none
    u64 objects
    u64 references
    u64 root_count

ctypedef Graph* GraphPointer

# Vertices, numbered as a depth-first search from the roots meets them; the roots together are 0.
cdef struct Search:
    Words number            # by object: its vertex; 0 = not reached
    Words vertex            # by vertex: its object
    Words parent            # by vertex: who led to it; then, step by step, its dominator
    Words up                # by vertex: an ancestor, ever further up as paths are compressed
    Words low               # by vertex: the least semidominator on the path up to there
    Words semi              # by vertex: its semidominator
    Words stack
    Words starts            # by vertex: where its predecessors end
    Words before            # predecessors
    u64 count               # of vertices that are objects

ctypedef Search* SearchPointer

# Paths that share no object.  A node is an object, times two, and 1 if it is entered, 0 if it is left.
cdef struct Network:
    Words starts            # by object: where its holders begin
    Words holders
    u8* flags
    Words before            # by object: the one before it on its path, `ROOTS` for the first one; `NONE` if on no path
    Words after             # by object: the one after it, but for the last one
    Words came              # by node: the next one on the way to the end; itself at the end, `NONE` if not met
    Words queue
    u32 found
    u32 source
    u64 objects

ctypedef Network* NetworkPointer

cdef enum:
    REACHED = 1
    FIRST = 2
    LAST = 4

cdef bint fits(GraphPointer graph) noexcept nogil
cdef u64 walk_breadth(GraphPointer graph, Words distance, Words step, Words queue) noexcept nogil
cdef u64 walk_depth(GraphPointer graph, SearchPointer search) noexcept nogil
cdef u64 descend(GraphPointer graph, SearchPointer search, u32 root, u64 count) noexcept nogil
cdef void list_predecessors(GraphPointer graph, SearchPointer search) noexcept nogil
cdef void find_semidominators(SearchPointer search) noexcept nogil
cdef u32 least(SearchPointer search, u32 vertex, u32 linked) noexcept nogil
cdef void find_dominators(SearchPointer search) noexcept nogil
cdef void walk_tree(Words starts, Words below, Words groups, u8* flags, Words scratch, u64 objects) noexcept nogil
cdef bint augment(NetworkPointer network) noexcept nogil
cdef u64 visit(NetworkPointer network, u64 count, u32 node, u32 following) noexcept nogil
cdef u64 visit_holders(NetworkPointer network, u64 count, u32 each) noexcept nogil
cdef void take_path(NetworkPointer network, u32 node) noexcept nogil
