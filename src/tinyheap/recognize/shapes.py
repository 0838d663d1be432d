"""Shapes of code that several searches look for: what is tested for 0, added to a counter, made from a word."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tinyheap.recognize.interpret import Call, Conditions, Load, Reading, Store
from tinyheap.recognize.values import Constant, Loaded, Merge, Operation, Value, linear, minus, parts, sources


def constant_addresses(events: Iterable[Load | Store], width_bytes: int | None = None) -> frozenset[int]:
    """The addresses of loads or stores (of one width, if given) that are constants."""
    return frozenset(
        event.address.number
        for event in events
        if isinstance(event.address, Constant) and width_bytes in (None, event.width_bytes)
    )


def callees(reading: Reading) -> list[int]:
    """The functions that a function calls directly, each once, in the order of its code."""
    return list(dict.fromkeys(call.function for call in reading.calls if call.function is not None))


def distance(upper: Value, lower: Value) -> int | None:
    """How many bytes lie between two addresses, where that is a constant."""
    terms, constant = minus(linear(upper), linear(lower))
    return None if terms else constant


def block_shift(pointer: Value) -> int | None:
    """The constant that is added to a block's number times 16."""
    match pointer:
        case Operation("i32.add", (Operation("i32.shl", _), Constant(number))):
            return number
        case Operation("i32.add", (Constant(number), Operation("i32.shl", _))):
            return number
        case Operation("i32.add", (Operation("i32.shl", _), _) | (_, Operation("i32.shl", _))):
            return 0
    return None


def requires_zero(conditions: Conditions, value: Value) -> bool:
    """Whether conditions say that a value is 0."""
    return (value, False) in conditions or (Operation("i32.eqz", (value,)), True) in conditions


def tested_word(value: Value) -> int | None:
    """The address of the word that a condition tests for being 0."""
    while isinstance(value, Operation) and value.name == "i32.eqz":
        value = value.operands[0]
    if isinstance(value, Operation) and value.name in ("i32.eq", "i32.ne") and Constant(0) in value.operands:
        value = next(operand for operand in value.operands if operand != Constant(0))
    return value.address.number if isinstance(value, Loaded) and isinstance(value.address, Constant) else None


def zero_word(condition: tuple[Value, bool]) -> int | None:
    """The address of a word that must be 0 for a condition to hold, or None."""
    value, holds = condition
    while isinstance(value, Operation) and value.name == "i32.eqz":
        value, holds = value.operands[0], not holds
    if isinstance(value, Operation) and value.name in ("i32.eq", "i32.ne") and value.operands[1] == Constant(0):
        holds = not holds if value.name == "i32.eq" else holds
        value = value.operands[0]
    if holds or not isinstance(value, Loaded) or value.width_bytes != 4:
        return None
    return value.address.number if isinstance(value.address, Constant) else None


def added_to(value: Value, counter: Value) -> Value | None:
    """What is added to a counter, if `value` is the counter and something more."""
    match value:
        case Operation("i64.add", (left, right)) if left == counter or right == counter:
            return right if left == counter else left
        case Operation("i64.add", (Merge() as merge, Constant(1))) if counter in set(sources(merge)):
            return Constant(1)
        case Operation("i64.sub", (left, Constant(number))) if left == counter and number == (1 << 64) - 1:
            return Constant(1)
        case Merge(inputs) if any(part == counter for part in inputs):
            one = {_added_to_merge(part, value) for part in inputs}
            return Constant(1) if True in one else None
    return None


def _added_to_merge(value: Value, merge: Merge) -> bool:
    """Whether a loop adds 1 to what it keeps of a counter."""
    return any(
        source in (Operation("i64.add", (merge, Constant(1))), Operation("i64.add", (Constant(1), merge)))
        for source in sources(value)
        if not isinstance(source, Merge)
    )


def is_made_from(address: Value, variable: int) -> bool:
    """Whether an address is made from a word of linear memory."""
    target = Loaded(Constant(variable), 4)
    return any(part == target for term, _ in linear(address)[0] for source in sources(term) for part in parts(source))


def tests_word(conditions: Conditions, variable: int, width_bytes: int) -> bool:
    """Whether conditions look at a word of linear memory."""
    target = Loaded(Constant(variable), width_bytes)
    return any(target in (part for part in parts(value)) for value, _ in conditions)


def values_of(event: object) -> Iterator[Value]:
    """The values that an event uses; not the constant address that a load is from."""
    match event:
        case Store(address=address, value=value):
            yield from (address, value)
        case Load(address=address):
            if not isinstance(address, Constant):
                yield address
        case Call(arguments=arguments):
            yield from arguments
    for value, _ in getattr(event, "conditions", ()):
        yield value
    result = getattr(event, "value", None)
    if result is not None and not isinstance(event, Store):
        yield result


def deep_parts(value: Value) -> Iterator[Value]:
    """A value and everything that it is made of, what meets in merges included."""
    seen: set[Value] = set()
    work = [value]
    while work:
        for part in parts(work.pop()):
            if isinstance(part, Merge):
                if part not in seen:
                    seen.add(part)
                    work += part.inputs
            else:
                yield part
