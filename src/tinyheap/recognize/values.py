"""Values in code that is read but not run: what a local, a stack slot or an address must be, as far as known.

    i32.const 130864; i32.load; local.get 0; i32.const 2; i32.shr_u; i32.add
    Operation(i32.add, Loaded(Constant(130864)), Operation(i32.shr_u, Parameter(0), Constant(2)))

A *merge* is where ways through the code meet and a local may be one of several values: at the top of a loop and
behind a block.  Numbers are kept modulo 2^32 or 2^64.  `linear` sees through additions, subtractions and
multiplications by constants, so that however a compiler spelled an address, equal sums are equal.

Invariant: a value's `size` is bounded by `SIZE_LIMIT`; what would grow beyond it becomes an unknown, so that no
code, however hostile, makes a value that is costly to compare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

SIZE_LIMIT = 64
"""Parts of a value at most.  The longest that is looked for, the rounded size behind a counter, has a dozen."""

_WORD = 1 << 32


@dataclass(frozen=True, slots=True)
class Constant:
    """A number, modulo 2^32 (or 2^64 where 64-bit)."""

    number: int


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the function that is read."""

    index: int


@dataclass(frozen=True, slots=True)
class GlobalAtEntry:
    """What a global held when the function was entered."""

    index: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """What lies at an address in linear memory."""

    address: Value
    width_bytes: int
    size: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class Operation:
    """The result of an instruction, by its name and operands."""

    name: str
    operands: tuple[Value, ...]
    size: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class CallResult:
    """What a call returned; `offset` in the file tells calls apart."""

    offset: int
    function: int | None


@dataclass(eq=False, slots=True)
class Merge:
    """One of several values, of which some may be found only later (around a loop)."""

    inputs: list[Value] = field(default_factory=list)
    condition: Value | None = None
    """What chose between the two values of a `select`."""


@dataclass(eq=False, slots=True)
class UnknownValue:
    """Anything: equal to itself alone."""


Value = Constant | Parameter | GlobalAtEntry | Loaded | Operation | CallResult | Merge | UnknownValue

Sum = tuple[frozenset[tuple[Value, int]], int]
"""A linear form: the terms as (value, factor), and the constant, modulo 2^32."""


def size_of(value: Value) -> int:
    """How many parts a value has."""
    return value.size if isinstance(value, Loaded | Operation) else 1


def loaded(address: Value, width_bytes: int) -> Value:
    """What lies at `address`."""
    size = size_of(address) + 1
    return Loaded(address, width_bytes, size) if size <= SIZE_LIMIT else UnknownValue()


def operation(name: str, *operands: Value) -> Value:
    """The result of an instruction: a constant where its operands are, else an `Operation`."""
    numbers = [operand.number for operand in operands if isinstance(operand, Constant)]
    if len(numbers) == len(operands) and name in _FOLDED:
        return Constant(_FOLDED[name](*numbers))
    if name == "i32.and" and Constant(0) in operands:
        return Constant(0)
    size = sum(map(size_of, operands)) + 1
    return Operation(name, operands, size) if size <= SIZE_LIMIT else UnknownValue()


def linear(value: Value) -> Sum:
    """The value as a sum of multiples of values and a constant, modulo 2^32."""
    terms: dict[Value, int] = {}
    constant = 0
    work = [(value, 1)]
    while work:
        part, factor = work.pop()
        match part:
            case Constant(number):
                constant += factor * number
            case Operation("i32.add", (left, right)):
                work += (left, factor), (right, factor)
            case Operation("i32.sub", (left, right)):
                work += (left, factor), (right, -factor)
            case Operation("i32.shl", (left, Constant(places))):
                work.append((left, factor << (places & 31)))
            case Operation("i32.mul", (left, Constant(number)) | (Constant(number), left)):
                work.append((left, factor * number % _WORD))
            case _:
                terms[part] = terms.get(part, 0) + factor
    return frozenset((term, factor % _WORD) for term, factor in terms.items() if factor % _WORD), constant % _WORD


def minus(left: Sum, right: Sum) -> Sum:
    """The difference of two sums."""
    terms = dict(left[0])
    for term, factor in right[0]:
        terms[term] = (terms.get(term, 0) - factor) % _WORD
    return frozenset((term, factor) for term, factor in terms.items() if factor), (left[1] - right[1]) % _WORD


def sources(value: Value) -> Iterator[Value]:
    """The values that `value` may be: itself, or all that meet in a merge (nested ones included)."""
    seen: set[Merge] = set()
    work = [value]
    while work:
        part = work.pop()
        if not isinstance(part, Merge):
            yield part
        elif part not in seen:
            seen.add(part)
            work += part.inputs


def substituted(value: Value, replace: Callable[[Value], Value | None]) -> Value:
    """The value with each part that `replace` gives something for replaced by that."""
    replacement = replace(value)
    if replacement is not None:
        return replacement
    match value:
        case Loaded(address, width_bytes):
            return loaded(substituted(address, replace), width_bytes)
        case Operation(name, operands):
            return operation(name, *(substituted(operand, replace) for operand in operands))
    return value


def parts(value: Value) -> Iterator[Value]:
    """A value and everything that it is made of, not looking into merges."""
    yield value
    if isinstance(value, Loaded):
        yield from parts(value.address)
    elif isinstance(value, Operation):
        for operand in value.operands:
            yield from parts(operand)


def _signed(number: int) -> int:
    return number - _WORD if number >> 31 else number


_FOLDED: dict[str, Callable[..., int]] = {
    "i32.add": lambda a, b: (a + b) % _WORD,
    "i32.sub": lambda a, b: (a - b) % _WORD,
    "i32.mul": lambda a, b: a * b % _WORD,
    "i32.and": lambda a, b: a & b,
    "i32.or": lambda a, b: a | b,
    "i32.xor": lambda a, b: a ^ b,
    "i32.shl": lambda a, b: (a << (b & 31)) % _WORD,
    "i32.shr_u": lambda a, b: a >> (b & 31),
    "i32.eqz": lambda a: int(a == 0),
    "i32.eq": lambda a, b: int(a == b),
    "i32.ne": lambda a, b: int(a != b),
    "i32.lt_u": lambda a, b: int(a < b),
    "i32.gt_u": lambda a, b: int(a > b),
    "i32.le_u": lambda a, b: int(a <= b),
    "i32.ge_u": lambda a, b: int(a >= b),
    "i32.lt_s": lambda a, b: int(_signed(a) < _signed(b)),
    "i32.gt_s": lambda a, b: int(_signed(a) > _signed(b)),
    "i32.le_s": lambda a, b: int(_signed(a) <= _signed(b)),
    "i32.ge_s": lambda a, b: int(_signed(a) >= _signed(b)),
    "i64.extend_i32_u": lambda a: a,
    "i32.wrap_i64": lambda a: a % _WORD,
}
"""Instructions that are carried out on constants: what decides branches and makes up addresses."""
