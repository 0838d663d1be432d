# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, freethreading_compatible=True
"""What roots reach: shortest paths, and dominators with what they retain.

An object *dominates* another if every path from the roots to that one leads through it; it *retains* all that it dominates,
itself included: what would be garbage if nothing referred to it any more.

Dominators are found by the semi-NCA algorithm (Georgiadis: Linear-Time Algorithms for Dominators and Related Problems,
2005), which is Lengauer's and Tarjan's with a simpler last step::

    depth-first search     numbers the objects that are reached; each has a lower number than those below it
    semidominators         from the highest number down: the least vertex from which a path leads here whose inner vertices
                           all have higher numbers; by predecessors and compressed paths
    dominators             from the lowest number up: the first dominator of the parent that is no higher than that

All of it loops and never recurs, so that a list of a million objects is as good as any graph.  The memory that it takes is a
few words for each object and each reference.
"""

import cython

if not cython.compiled:
    raise ImportError("tinyheap.inspect._reach is not compiled")

from cython.cimports.libc.stdlib import calloc
from cython.cimports.libc.stdlib import free as c_free


@cython.cfunc
def graph_of(graph: GraphPointer, starts: u32[::1], targets: u32[::1], roots: u32[::1]) -> cython.int:
    """Put a graph together of its arrays, once it is known that no reference leads out of it.

    Raises:
        ValueError: one does, or the arrays are too short.
    """
    graph.objects = starts.shape[0] - 1
    graph.references = targets.shape[0]
    graph.root_count = roots.shape[0]
    graph.starts = cython.address(starts[0]) if starts.shape[0] else cython.NULL
    graph.targets = cython.address(targets[0]) if targets.shape[0] else cython.NULL
    graph.roots = cython.address(roots[0]) if roots.shape[0] else cython.NULL
    if starts.shape[0] == 0 or not fits(graph):
        raise ValueError("the references or roots lead out of the graph")
    return 0


def fits(graph: GraphPointer) -> cython.bint:
    """Whether rows follow each other, and all references and roots lead to objects of the graph."""
    index: u64
    if graph.starts[graph.objects] != graph.references or graph.references + graph.root_count >= NONE:
        return False
    for index in range(graph.objects):
        if graph.starts[index] > graph.starts[index + 1]:
            return False
    for index in range(graph.references):
        if graph.targets[index] >= graph.objects:
            return False
    for index in range(graph.root_count):
        if graph.roots[index] >= graph.objects and graph.roots[index] != NONE:
            return False
    return True


def shortest(starts: u32[::1], targets: u32[::1], roots: u32[::1], distance: u32[::1], step: u32[::1]) -> int:
    """Find the shortest path to each object; returns how many are reached.

    Args:
        starts, targets: the references of the objects, in rows.
        roots: what each root refers to; 2**32 - 1 for nothing.
        distance: is written: how many references lie between a root and the object; 2**32 - 1 for garbage.
        step: is written: the reference that leads to it or, for the root of that number, the number of references and that.
    """
    graph: Graph
    queue: Words
    reached: u64
    graph_of(cython.address(graph), starts, targets, roots)
    if distance.shape[0] != cython.cast(cython.Py_ssize_t, graph.objects) or distance.shape[0] != step.shape[0]:
        raise ValueError("the arrays are not as long as there are objects")
    if graph.objects == 0:
        return 0
    queue = cython.cast(Words, calloc(graph.objects, 4))
    if queue == cython.NULL:
        raise MemoryError
    with cython.nogil:
        reached = walk_breadth(cython.address(graph), cython.address(distance[0]), cython.address(step[0]), queue)
    c_free(queue)
    return reached


def walk_breadth(graph: GraphPointer, distance: Words, step: Words, queue: Words) -> u64:
    """Breadth first, from the roots in their order."""
    index: u64
    reference: u64
    holder: u32
    target: u32
    count: u64 = 0
    for index in range(graph.objects):
        distance[index] = NONE
        step[index] = NONE
    for index in range(graph.root_count):
        target = graph.roots[index]
        if target != NONE and step[target] == NONE:
            distance[target] = 0
            step[target] = cython.cast(u32, graph.references + index)
            queue[count] = target
            count += 1
    index = 0
    while index < count:
        holder = queue[index]
        index += 1
        for reference in range(graph.starts[holder], graph.starts[holder + 1]):
            target = graph.targets[reference]
            if step[target] == NONE:
                distance[target] = distance[holder] + 1
                step[target] = cython.cast(u32, reference)
                queue[count] = target
                count += 1
    return count


def dominate(
    starts: u32[::1],
    targets: u32[::1],
    roots: u32[::1],
    blocks: u32[::1],
    dominator: u32[::1],
    retained_objects: u32[::1],
    retained_blocks: u64[::1],
) -> int:
    """Find each object's immediate dominator and what it retains; returns how many are reached.

    Args:
        starts, targets, roots: as `shortest` takes them.
        blocks: of each object.
        dominator: is written: an object; 2**32 - 2 where only the roots together dominate it; 2**32 - 1 for garbage.
        retained_objects, retained_blocks: are written; 0 for garbage.
    """
    graph: Graph
    search: Search
    memory: Words
    size: u64
    vertex: u64
    objects: u64
    above: u32
    object_: u32
    graph_of(cython.address(graph), starts, targets, roots)
    objects = graph.objects
    lengths = {blocks.shape[0], dominator.shape[0], retained_objects.shape[0], retained_blocks.shape[0]}
    if lengths != {objects}:
        raise ValueError("the arrays are not as long as there are objects")
    # The vertices' arrays have a place for the roots, the predecessors' starts two.
    size = 8 * (objects + 2) + graph.references + graph.root_count
    memory = cython.cast(Words, calloc(size, 4))
    if memory == cython.NULL:
        raise MemoryError
    search.number = memory
    search.vertex = search.number + objects + 1
    search.parent = search.vertex + objects + 1
    search.up = search.parent + objects + 1
    search.low = search.up + objects + 1
    search.semi = search.low + objects + 1
    search.stack = search.semi + objects + 1
    search.starts = search.stack + objects + 1
    search.before = search.starts + objects + 2
    with cython.nogil:
        search.count = walk_depth(cython.address(graph), cython.address(search))
        list_predecessors(cython.address(graph), cython.address(search))
        find_semidominators(cython.address(search))
        find_dominators(cython.address(search))
        for vertex in range(objects):
            dominator[vertex] = NONE
            retained_objects[vertex] = 0
            retained_blocks[vertex] = 0
        vertex = search.count
        while vertex > 0:
            object_ = search.vertex[vertex]
            above = search.parent[vertex]
            retained_objects[object_] += 1
            retained_blocks[object_] += blocks[object_]
            dominator[object_] = ROOTS
            if above != 0:
                above = search.vertex[above]
                dominator[object_] = above
                retained_objects[above] += retained_objects[object_]
                retained_blocks[above] += retained_blocks[object_]
            vertex -= 1
    c_free(memory)
    return search.count


def walk_depth(graph: GraphPointer, search: SearchPointer) -> u64:
    """Number what is reached, depth first; returns how many that are."""
    index: u64
    count: u64 = 0
    target: u32
    for index in range(graph.root_count):
        target = graph.roots[index]
        if target != NONE and search.number[target] == 0:
            count = descend(graph, search, target, count)
    return count


def descend(graph: GraphPointer, search: SearchPointer, root: u32, count: u64) -> u64:
    """Number what is reached from one object; `up` has the next reference of each vertex on the way meanwhile."""
    vertex: u32 = cython.cast(u32, count + 1)
    target: u32
    next_reference: u32
    count += 1
    search.number[root] = vertex
    search.vertex[vertex] = root
    search.up[vertex] = graph.starts[root]
    search.parent[vertex] = 0
    while vertex != 0:
        next_reference = search.up[vertex]
        if next_reference == graph.starts[search.vertex[vertex] + 1]:
            vertex = search.parent[vertex]
            continue
        search.up[vertex] = next_reference + 1
        target = graph.targets[next_reference]
        if search.number[target] == 0:
            count += 1
            search.number[target] = cython.cast(u32, count)
            search.vertex[count] = target
            search.up[count] = graph.starts[target]
            search.parent[count] = vertex
            vertex = cython.cast(u32, count)
    return count


def list_predecessors(graph: GraphPointer, search: SearchPointer) -> cython.void:
    """Sort the references by the vertices that they lead to: row v is ``before[starts[v - 1]:starts[v]]``."""
    vertex: u64
    reference: u64
    index: u64
    holder: u32
    target: u32
    starts: Words = search.starts
    for index in range(graph.root_count):
        if graph.roots[index] != NONE:
            starts[search.number[graph.roots[index]] + 1] += 1
    for vertex in range(1, search.count + 1):
        holder = search.vertex[vertex]
        for reference in range(graph.starts[holder], graph.starts[holder + 1]):
            starts[search.number[graph.targets[reference]] + 1] += 1
    for vertex in range(1, search.count + 1):
        starts[vertex + 1] += starts[vertex]
    # Where a row begins moves on with what is dealt out, until it is where the row ends, and the next one begins.
    for index in range(graph.root_count):
        if graph.roots[index] != NONE:
            target = search.number[graph.roots[index]]
            search.before[starts[target]] = 0
            starts[target] += 1
    for vertex in range(1, search.count + 1):
        holder = search.vertex[vertex]
        for reference in range(graph.starts[holder], graph.starts[holder + 1]):
            target = search.number[graph.targets[reference]]
            search.before[starts[target]] = cython.cast(u32, vertex)
            starts[target] += 1


def find_semidominators(search: SearchPointer) -> cython.void:
    """From the highest vertex down."""
    vertex: u32
    index: u64
    found: u32
    semi: u32
    for vertex in range(cython.cast(u32, search.count + 1)):
        search.up[vertex] = search.parent[vertex]
        search.low[vertex] = vertex
    vertex = cython.cast(u32, search.count)
    while vertex > 0:
        semi = search.parent[vertex]
        for index in range(search.starts[vertex - 1], search.starts[vertex]):
            found = least(search, search.before[index], vertex + 1)
            if found < semi:
                semi = found
        search.semi[vertex] = semi
        search.low[vertex] = semi
        vertex -= 1


def least(search: SearchPointer, vertex: u32, linked: u32) -> u32:
    """The least semidominator on the way from a vertex up to the last one from ``linked`` on; its own number below those."""
    depth: u64 = 0
    above: u32
    if vertex < linked or search.up[vertex] < linked:
        return search.low[vertex]
    while search.up[vertex] >= linked:
        search.stack[depth] = vertex
        depth += 1
        vertex = search.up[vertex]
    above = vertex
    while depth > 0:
        depth -= 1
        vertex = search.stack[depth]
        search.up[vertex] = search.up[above]
        if search.low[above] < search.low[vertex]:
            search.low[vertex] = search.low[above]
        above = vertex
    return search.low[vertex]


def find_dominators(search: SearchPointer) -> cython.void:
    """From the lowest vertex up; parents become dominators."""
    vertex: u64
    above: u32
    for vertex in range(1, search.count + 1):
        above = search.parent[vertex]
        while above > search.semi[vertex]:
            above = search.parent[above]
        search.parent[vertex] = above


def outermost(starts: u32[::1], below: u32[::1], groups: u32[::1], flags: u8[::1]) -> None:
    """Find which objects no other of their group dominates.

    Args:
        starts: of each object where in ``below`` those begin that it dominates directly, which end where the next one's
            begin; at last where those begin and end that only the roots dominate.
        below: the objects, each once at most.
        groups: of each object, less than there are objects.
        flags: is written: 1 for such an object, 0 for others and for garbage.
    """
    objects: u64 = groups.shape[0]
    index: u64
    scratch: Words
    if starts.shape[0] != groups.shape[0] + 2 or flags.shape[0] != groups.shape[0] or below.shape[0] != groups.shape[0]:
        raise ValueError("the arrays are not as long as there are objects")
    for index in range(objects + 2):
        if starts[index] > objects or (index != objects + 1 and starts[index] > starts[index + 1]):
            raise ValueError("the rows do not follow each other")
    flags[:] = 0
    for index in range(objects):
        # What has one place only in the tree is met once only.
        if below[index] >= objects or groups[index] >= objects or flags[below[index]]:
            raise ValueError("an object or a group is out of range, or there twice")
        flags[below[index]] = 1
    flags[:] = 0
    if objects == 0:
        return
    scratch = cython.cast(Words, calloc(3 * objects + 1, 4))
    if scratch == cython.NULL:
        raise MemoryError
    with cython.nogil:
        walk_tree(
            cython.address(starts[0]),
            cython.address(below[0]),
            cython.address(groups[0]),
            cython.address(flags[0]),
            scratch,
            objects,
        )
    c_free(scratch)


def walk_tree(
    starts: Words, below: Words, groups: Words, flags: cython.pointer(u8), scratch: Words, objects: u64
) -> cython.void:
    """Down the dominator tree and up again; on the way, how many objects of each group there are."""
    on_way: Words = scratch
    stack: Words = scratch + objects
    following: Words = scratch + 2 * objects
    depth: u64 = 0
    each: u32 = cython.cast(u32, objects)
    index: u64
    for index in range(objects + 1):
        following[index] = starts[index]
    while True:
        if following[each] < starts[each + 1]:
            index = following[each]
            following[each] += 1
            stack[depth] = each
            depth += 1
            each = below[index]
            flags[each] = on_way[groups[each]] == 0
            on_way[groups[each]] += 1
        elif depth == 0:
            return
        else:
            on_way[groups[each]] -= 1
            depth -= 1
            each = stack[depth]


def disjoint(
    starts: u32[::1], holders: u32[::1], flags: u8[::1], before: u32[::1], found: u32, source: u32, most: u64
) -> int:
    """Find paths to an object that share no other; returns how many.

    They are searched for from the end, each by the shortest way that may take back what those before it took (Ford and
    Fulkerson).  For that an object is two nodes, one that is entered and one that is left, so that it is on one path only.

    Args:
        starts, holders: who refers to each object, in rows.
        flags: of each object: 1, it is reached; 2, a path may begin there; 4 is added where one ends, but for ``found``.
        before: 2**32 - 1 everywhere; is written: of each object on a path the one before it, 2**32 - 2 for the first.
        found: where paths end; none begins there.
        source: an object that none leads through; 2**32 - 1 for none.
        most: so many paths at most.
    """
    network: Network
    scratch: Words
    index: u64
    count: u64 = 0
    objects: u64 = flags.shape[0]
    if starts.shape[0] != flags.shape[0] + 1 or before.shape[0] != flags.shape[0] or found >= objects:
        raise ValueError("the arrays do not fit each other")
    if objects >> 30 or starts[objects] != cython.cast(u64, holders.shape[0]):
        raise ValueError("the rows do not fit")
    for index in range(objects):
        if starts[index] > starts[index + 1] or before[index] != NONE:
            raise ValueError("the rows do not fit")
    for index in range(starts[objects]):
        if holders[index] >= objects:
            raise ValueError("a holder is out of range")
    scratch = cython.cast(Words, calloc(5 * objects, 4))
    if scratch == cython.NULL:
        raise MemoryError
    network.starts = cython.address(starts[0])
    network.holders = cython.address(holders[0]) if holders.shape[0] else cython.NULL
    network.flags = cython.address(flags[0])
    network.before = cython.address(before[0])
    network.after = scratch
    network.came = scratch + objects
    network.queue = scratch + 3 * objects
    network.found = found
    network.source = source
    network.objects = objects
    with cython.nogil:
        for index in range(objects):
            network.after[index] = NONE
        while count < most and augment(cython.address(network)):
            count += 1
    c_free(scratch)
    return count


def augment(network: NetworkPointer) -> cython.bint:
    """Find one path more, if there is one."""
    index: u64
    count: u64 = 0
    node: u32 = 2 * network.found + 1
    each: u32
    for index in range(2 * network.objects):
        network.came[index] = NONE
    count = visit(network, count, node, node)
    index = 0
    while index < count:
        node = network.queue[index]
        each = node >> 1
        index += 1
        if node & 1 == 0:
            if network.before[each] == NONE:
                count = visit(network, count, node + 1, node)
            elif network.after[each] != NONE:
                count = visit(network, count, 2 * network.after[each] + 1, node)
            continue
        if network.flags[each] & FIRST and network.before[each] != ROOTS:
            take_path(network, node)
            return True
        if network.before[each] != NONE:
            count = visit(network, count, node - 1, node)
        count = visit_holders(network, count, each)
    return False


def visit(network: NetworkPointer, count: u64, node: u32, following: u32) -> u64:
    """Put a node into the queue, unless it was there; returns how many were."""
    if network.came[node] == NONE:
        network.came[node] = following
        network.queue[count] = node
        return count + 1
    return count


def visit_holders(network: NetworkPointer, count: u64, each: u32) -> u64:
    """Visit the objects that refer to one, by words that no path takes."""
    index: u64
    holder: u32
    for index in range(network.starts[each], network.starts[each + 1]):
        holder = network.holders[index]
        if holder == network.found or holder == network.source or network.flags[holder] & REACHED == 0:
            continue
        if network.before[each] == holder or (each == network.found and network.flags[holder] & LAST != 0):
            continue
        count = visit(network, count, 2 * holder, 2 * each + 1)
    return count


def take_path(network: NetworkPointer, node: u32) -> cython.void:
    """Make the way from a first object to the end a path, after taking back what it goes against."""
    first: u32 = node
    following: u32
    while network.came[node] != node:
        following = network.came[node]
        if node >> 1 != following >> 1 and following & 1 == 0:
            network.after[following >> 1] = NONE
            network.before[node >> 1] = NONE
        node = following
    network.before[first >> 1] = ROOTS
    node = first
    while network.came[node] != node:
        following = network.came[node]
        if node >> 1 != following >> 1 and following & 1:
            if following >> 1 == network.found:
                network.flags[node >> 1] |= LAST
            else:
                network.before[following >> 1] = node >> 1
                network.after[node >> 1] = following >> 1
        node = following
