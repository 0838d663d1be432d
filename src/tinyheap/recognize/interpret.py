"""Reading a function's code without running it: what it loads, stores, calls and returns, and under which conditions.

    walker = Walker(module)
    walker.read(17).calls          each with its arguments as `symbols` describes them

One pass from top to bottom carries what each local and stack slot holds.  Where several ways meet, a local that
differs becomes a merge; at the top of a loop, every local that the loop sets does.  A condition that is known
decides: only the way that can be taken is read.  This is what makes code instrumented for stack switching
(Binaryen's asyncify) read like the code before: its state global is taken to be 0, neither unwinding nor
rewinding, and all of the instrumentation falls away.

A call to a short function that only computes its result is read as that result, so that it makes no difference
whether a compiler inlined it.  Of what calls do to the globals nothing is known, but for the stack pointer: a
callee leaves it as it was.

Bounds: `STEP_LIMIT` a function, and values have a bounded size; code beyond that, or with instructions that no
collector uses (vectors, exceptions), is not read and said to be so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from tinyheap.errors import MalformedModuleError
from tinyheap.recognize.values import (
    CallResult,
    Constant,
    GlobalAtEntry,
    Merge,
    Operation,
    Parameter,
    UnknownValue,
    Value,
    linear,
    loaded,
    operation,
    parts,
    substituted,
)
from tinyheap.wasm import Instruction, Module

STEP_LIMIT = 400_000
"""Instructions, and locals looked at where ways meet, for one function: a hundred times a collector's."""

NESTING_LIMIT = 300
"""Blocks within blocks; compilers stay below a hundred."""

_SHORT_BYTES = 64
"""Bodies up to this length are read at their calls; a getter has ten bytes, a block's state forty."""

_MEMORY_ROUTINE_BYTES = 4096
"""Bodies up to this length are asked whether they return their first parameter, as memset does."""

_ROUTINE_PARAMETERS = (("i32", "i32"), ("i32", "i32", "i32"))
"""What memset takes; if it is only ever asked for zeros, that parameter may have been optimized away."""

_UNARY_VERBS = (
    "eqz clz ctz popcnt abs neg ceil floor trunc nearest sqrt wrap_i64 extend8_s extend16_s extend32_s"
    " extend_i32_s extend_i32_u trunc_f32_s trunc_f32_u trunc_f64_s trunc_f64_u trunc_sat_f32_s trunc_sat_f32_u"
    " trunc_sat_f64_s trunc_sat_f64_u convert_i32_s convert_i32_u convert_i64_s convert_i64_u demote_f64"
    " promote_f32 reinterpret_f32 reinterpret_f64 reinterpret_i32 reinterpret_i64"
)
_UNARY = frozenset(_UNARY_VERBS.split())
"""What takes one operand, of all that is arithmetic."""

_WIDTHS = {"8": 1, "16": 2, "32": 4}

Conditions = tuple[tuple[Value, bool], ...]
"""What holds wherever an event happens: values, and whether they are true (not zero)."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a function does: where in the file, within how many loops, under which conditions."""

    offset: int
    loop_depth: int
    conditions: Conditions


@dataclass(frozen=True, slots=True)
class Load(Event):
    """A load; its result may be unused."""

    address: Value
    width_bytes: int


@dataclass(frozen=True, slots=True)
class Store(Event):
    """A store of `value`, of which `width_bytes` are written."""

    address: Value
    value: Value
    width_bytes: int


@dataclass(frozen=True, slots=True)
class Call(Event):
    """A call; `function` is None where the callee is not known."""

    function: int | None
    arguments: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Return(Event):
    """The end of the function, with its result if it has just one."""

    value: Value | None


@dataclass(frozen=True, slots=True)
class Test(Event):
    """A condition that decides which way is taken."""

    value: Value


@dataclass(frozen=True, slots=True)
class Fill(Event):
    """`length` bytes from `address` set to one value: memory.fill."""

    address: Value
    value: Value
    length: Value


@dataclass(frozen=True, slots=True)
class Grow(Event):
    """memory.grow."""

    pages: Value


@dataclass(frozen=True, slots=True)
class SetGlobal(Event):
    """A store to a global of the module (not of linear memory)."""

    index: int
    value: Value


@dataclass(frozen=True)
class Reading:
    """All that one function does, in the order of its code."""

    function: int
    events: tuple[Event, ...]
    unread: str | None = None
    """Why the code was not read to its end, or None."""

    def _of(self, kind: type) -> list:  # type: ignore[type-arg]
        return [event for event in self.events if isinstance(event, kind)]

    @cached_property
    def loads(self) -> list[Load]:
        """Its loads."""
        return self._of(Load)

    @cached_property
    def stores(self) -> list[Store]:
        """Its stores."""
        return self._of(Store)

    @cached_property
    def calls(self) -> list[Call]:
        """Its calls."""
        return self._of(Call)

    @cached_property
    def returns(self) -> list[Return]:
        """Its ends."""
        return self._of(Return)

    @cached_property
    def tests(self) -> list[Test]:
        """Its conditions."""
        return self._of(Test)

    @cached_property
    def fills(self) -> list[Fill]:
        """Its memory.fill instructions."""
        return self._of(Fill)

    @cached_property
    def grows(self) -> list[Grow]:
        """Its memory.grow instructions."""
        return self._of(Grow)

    @cached_property
    def global_sets(self) -> list[SetGlobal]:
        """Its stores to globals."""
        return self._of(SetGlobal)


class Walker:
    """Reads functions of one module, each once; `assumed` says what globals are taken to hold, always."""

    def __init__(self, module: Module, assumed: Mapping[int, int] | None = None) -> None:
        self.module = module
        self.assumed = {index: Constant(number) for index, number in (assumed or {}).items()}
        self._readings: dict[int, Reading] = {}
        self._results: dict[int, Value | None] = {}

    def read(self, function: int) -> Reading:
        """What a function does."""
        if function not in self._readings:
            self._readings[function] = _Walk(self, function).reading()
        return self._readings[function]

    def result(self, function: int, arguments: tuple[Value, ...], globals_: Mapping[int, Value]) -> Value | None:
        """What a call returns, if the callee only computes it (or returns its first argument); else None."""
        if function not in self._results:
            self._results[function] = None
            self._results[function] = self._template(function)
        template = self._results[function]

        def replace(part: Value) -> Value | None:
            if isinstance(part, Parameter):
                return arguments[part.index]
            return globals_.get(part.index) if isinstance(part, GlobalAtEntry) else None

        return None if template is None else substituted(template, replace)

    def _template(self, function: int) -> Value | None:
        """The result of a function in terms of its parameters, where it is that simple."""
        body, signature = self.module.functions[function].body, self.module.function_type(function)
        if body is None or len(signature.results) != 1:
            return None
        length = body.end - body.code_start
        routine = signature.parameters in _ROUTINE_PARAMETERS and length <= _MEMORY_ROUTINE_BYTES
        if length > _SHORT_BYTES and not routine:
            return None
        reading = self.read(function)
        results = {event.value for event in reading.returns}
        if reading.unread or len(results) != 1:
            return None
        (result,) = results
        if result is None or (result != Parameter(0) and not _is_pure(reading, result)):
            return None
        return result


def _is_pure(reading: Reading, result: Value) -> bool:
    return all(isinstance(event, Load | Return | Test) for event in reading.events) and not any(
        isinstance(part, Merge | UnknownValue | CallResult) for part in parts(result)
    )


class _UnreadableError(Exception):
    """Code beyond what is read; caught within this module."""


@dataclass(slots=True)
class _State:
    """What is known at one place in the code."""

    locals: dict[int, Value]
    globals: dict[int, Value]
    stack: list[Value]
    conditions: Conditions

    def fork(self, stack: list[Value], *more: tuple[Value, bool]) -> _State:
        forked = _State(dict(self.locals), dict(self.globals), stack, self.conditions)
        for condition, holds in more:
            forked.assume(condition, holds)
        return forked

    def assume(self, condition: Value, holds: bool) -> None:
        """From here on, `condition` is true or not."""
        if not isinstance(condition, Constant):
            self.conditions = (*self.conditions, (condition, holds))


@dataclass(slots=True)
class _Label:
    """A block, loop, if or function that is open."""

    kind: str
    arity: int
    """Values that a branch to its end brings along."""
    height: int
    """Values on the stack below it."""
    arrivals: list[_State] = field(default_factory=list)
    """The states of the ways to its end."""
    merges: tuple[dict[int, Merge], dict[int, Merge]] = field(default_factory=lambda: ({}, {}))
    """Of a loop: the locals and globals that it sets."""
    otherwise: _State | None = None
    """Of an if: the state in which its else begins."""


class _Walk:
    """One pass over one function's code."""

    def __init__(self, walker: Walker, function: int) -> None:
        self._walker, self._module, self._function = walker, walker.module, function
        signature = self._module.function_type(function)
        self._parameter_count, self._arity = len(signature.parameters), len(signature.results)
        self._events: list[Event] = []
        self._budget = STEP_LIMIT
        self._state: _State | None = _State({}, {}, [], ())
        self._labels = [_Label("block", self._arity, 0)]
        self._loop_depth = 0
        self._dead_depth = 0
        """How many blocks are open that began in code never reached."""
        self._offset = 0

    def reading(self) -> Reading:
        unread = None
        try:
            self._walk()
        except _UnreadableError as error:
            unread = str(error)
        except MalformedModuleError as error:
            unread = str(error)
        return Reading(self._function, tuple(self._events), unread)

    def _walk(self) -> None:
        body = self._module.functions[self._function].body
        if body is None:
            raise _UnreadableError("imported")
        if body.end - body.code_start > STEP_LIMIT:
            raise _UnreadableError("too long")
        code = list(body.instructions())
        assigned = _assigned_in_loops([instruction for _, instruction in code])
        for position, (offset, instruction) in enumerate(code):
            self._spend(1)
            self._offset = offset
            if not self._labels:
                raise _UnreadableError("code behind its end")
            if self._state is None:
                self._skip(instruction)
            else:
                self._step(self._state, instruction, assigned.get(position))

    def _spend(self, steps: int) -> None:
        self._budget -= steps
        if self._budget < 0:
            raise _UnreadableError("more steps than are taken for one function")

    # Control

    def _skip(self, instruction: Instruction) -> None:
        """Takes an instruction in code that is never reached."""
        match instruction.name:
            case "block" | "loop" | "if" | "try" | "try_table":
                self._dead_depth += 1
            case "end" if self._dead_depth:
                self._dead_depth -= 1
            case "end":
                self._end()
            case "else" if not self._dead_depth:
                self._else()

    def _step(self, state: _State, instruction: Instruction, assigned: tuple[set[int], set[int]] | None) -> None:
        name = instruction.name
        match name:
            case "block" | "loop" | "if":
                self._begin(state, instruction, assigned or (set(), set()))
            case "else":
                self._else()
            case "end":
                self._end()
            case "br":
                self._branch(state, instruction.immediates[0])
                self._state = None
            case "br_if":
                self._branch_if(state, instruction.immediates[0])
            case "br_table":
                self._branch_table(state, *instruction.immediates)
            case "return":
                self._branch(state, len(self._labels) - 1)
                self._state = None
            case "unreachable":
                self._state = None
            case "call" | "return_call":
                self._call(state, instruction.immediates[0])
            case "call_indirect" | "return_call_indirect":
                self._pop(state)
                self._call_type(state, None, instruction.immediates[0])
            case _:
                self._plain(state, name, instruction)
        if name.startswith("return_call"):
            self._branch(state, len(self._labels) - 1)
            self._state = None

    def _begin(self, state: _State, instruction: Instruction, assigned: tuple[set[int], set[int]]) -> None:
        if len(self._labels) > NESTING_LIMIT:
            raise _UnreadableError("blocks nested deeper than is read")
        kind = instruction.name
        condition = self._pop(state) if kind == "if" else None
        parameters, results = self._block_type(instruction.immediates[0])
        label = _Label(kind, results, len(state.stack) - parameters)
        self._labels.append(label)
        if kind == "loop":
            label.arity = parameters
            self._open_loop(state, label, assigned)
        elif condition is not None:
            self._open_if(state, label, condition)

    def _open_loop(self, state: _State, label: _Label, assigned: tuple[set[int], set[int]]) -> None:
        self._loop_depth += 1
        locals_, globals_ = assigned
        self._spend(len(locals_) + len(globals_))
        for index in locals_:
            label.merges[0][index] = state.locals[index] = Merge([self._local(state, index)])
        for index in globals_:
            label.merges[1][index] = state.globals[index] = Merge([self._global(state, index)])

    def _open_if(self, state: _State, label: _Label, condition: Value) -> None:
        if not isinstance(condition, Constant) or not condition.number:
            label.otherwise = state.fork(list(state.stack), (condition, False))
        if isinstance(condition, Constant) and not condition.number:
            self._state = None
        else:
            self._events.append(Test(self._offset, self._loop_depth, state.conditions, condition))
            state.assume(condition, True)

    def _else(self) -> None:
        label = self._labels[-1]
        if self._state is not None:
            self._arrive(self._state, label)
        self._state, label.otherwise = label.otherwise, None

    def _end(self) -> None:
        label = self._labels.pop()
        if self._state is not None:
            self._arrive(self._state, label, fall=True)
        if label.otherwise is not None:
            self._arrive(label.otherwise, label)
        self._loop_depth -= label.kind == "loop"
        if not self._labels:
            self._return(label)
            return
        self._state = self._meet(label)

    def _return(self, label: _Label) -> None:
        for arrival in label.arrivals:
            value = arrival.stack[-1] if self._arity == 1 and arrival.stack else None
            self._events.append(Return(self._offset, 0, arrival.conditions, value))

    def _branch(self, state: _State, depth: int, *more: tuple[Value, bool]) -> None:
        if depth >= len(self._labels):
            raise _UnreadableError(f"a branch out of {depth} blocks where {len(self._labels)} are open")
        label = self._labels[-1 - depth]
        self._spend(len(state.locals))
        if label.kind == "loop":
            self._around(state, label)
        else:
            self._arrive(state, label, *more)

    def _around(self, state: _State, label: _Label) -> None:
        for index, merge in label.merges[0].items():
            _add_input(merge, self._local(state, index))
        for index, merge in label.merges[1].items():
            _add_input(merge, self._global(state, index))

    def _arrive(self, state: _State, label: _Label, *more: tuple[Value, bool], fall: bool = False) -> None:
        arity = len(state.stack) - label.height if fall and label.kind == "loop" else label.arity
        results = state.stack[max(len(state.stack) - arity, 0) :] if arity > 0 else []
        label.arrivals.append(state.fork([*state.stack[: label.height], *results], *more))
        if len(label.arrivals) > NESTING_LIMIT and self._labels:
            raise _UnreadableError("more ways to one place than are read")

    def _branch_if(self, state: _State, depth: int) -> None:
        condition = self._pop(state)
        if isinstance(condition, Constant):
            if condition.number:
                self._branch(state, depth)
                self._state = None
            return
        self._events.append(Test(self._offset, self._loop_depth, state.conditions, condition))
        self._branch(state, depth, (condition, True))
        state.assume(condition, False)

    def _branch_table(self, state: _State, depths: tuple[int, ...] | list[int], default: int) -> None:
        selector = self._pop(state)
        if isinstance(selector, Constant):
            self._branch(state, depths[selector.number] if selector.number < len(depths) else default)
        else:
            for depth in sorted({*depths, default}):
                self._branch(state, depth)
        self._state = None

    def _meet(self, label: _Label) -> _State | None:
        """The one state behind a block that all ways to its end make."""
        arrivals = label.arrivals
        if len(arrivals) < 2:
            return arrivals[0] if arrivals else None
        indices = set().union(*(arrival.locals for arrival in arrivals))
        global_indices = set().union(*(arrival.globals for arrival in arrivals))
        height = min(len(arrival.stack) for arrival in arrivals)
        self._spend((len(indices) + len(global_indices) + height) * len(arrivals))
        return _State(
            {index: _merged([self._local(arrival, index) for arrival in arrivals]) for index in indices},
            {index: _merged([self._global(arrival, index) for arrival in arrivals]) for index in global_indices},
            [_merged([arrival.stack[slot] for arrival in arrivals]) for slot in range(height)],
            _common([arrival.conditions for arrival in arrivals]),
        )

    def _block_type(self, block_type: str | int | None) -> tuple[int, int]:
        if isinstance(block_type, int):
            if block_type >= len(self._module.types):
                raise _UnreadableError("a block of a type that is not there")
            signature = self._module.types[block_type]
            return len(signature.parameters), len(signature.results)
        return 0, int(block_type is not None)

    # What is not control

    def _pop(self, state: _State) -> Value:
        return state.stack.pop() if state.stack else UnknownValue()

    def _local(self, state: _State, index: int) -> Value:
        known = state.locals.get(index)
        if known is None:
            return Parameter(index) if index < self._parameter_count else Constant(0)
        return known

    def _global(self, state: _State, index: int) -> Value:
        known = self._walker.assumed.get(index) or state.globals.get(index)
        return GlobalAtEntry(index) if known is None else known

    def _plain(self, state: _State, name: str, instruction: Instruction) -> None:
        handler = _HANDLERS.get(name)
        if handler is not None:
            handler(self, state, instruction)
            return
        family, _, verb = name.partition(".")
        if family not in ("i32", "i64", "f32", "f64") or "atomic" in verb:
            raise _UnreadableError(f"{name}, which no collector uses")
        if verb == "const":
            number = instruction.immediates[0]
            state.stack.append(Constant(number % (1 << int(family[1:]))) if family[0] == "i" else UnknownValue())
        elif verb.startswith("load"):
            self._load(state, family, verb, instruction)
        elif verb.startswith("store"):
            self._store(state, family, verb, instruction)
        elif verb in _UNARY:
            state.stack.append(operation(name, self._pop(state)))
        else:
            right, left = self._pop(state), self._pop(state)
            state.stack.append(operation(name, left, right))

    def _address(self, base: Value, instruction: Instruction) -> Value:
        offset_bytes: int = instruction.immediates[0].offset_bytes
        return operation("i32.add", base, Constant(offset_bytes)) if offset_bytes else base

    def _load(self, state: _State, family: str, verb: str, instruction: Instruction) -> None:
        address = _canonical(self._address(self._pop(state), instruction))
        width_bytes = _WIDTHS.get(verb.removeprefix("load").partition("_")[0], int(family[1:]) // 8)
        self._events.append(Load(self._offset, self._loop_depth, state.conditions, address, width_bytes))
        state.stack.append(loaded(address, width_bytes))

    def _store(self, state: _State, family: str, verb: str, instruction: Instruction) -> None:
        value = self._pop(state)
        address = _canonical(self._address(self._pop(state), instruction))
        width_bytes = _WIDTHS.get(verb.removeprefix("store"), int(family[1:]) // 8)
        self._events.append(Store(self._offset, self._loop_depth, state.conditions, address, value, width_bytes))

    def _call(self, state: _State, function: int) -> None:
        if function >= len(self._module.functions):
            raise _UnreadableError(f"a call of function {function}, which is not there")
        self._call_type(state, function, self._module.functions[function].type_index)

    def _call_type(self, state: _State, function: int | None, type_index: int) -> None:
        if type_index >= len(self._module.types):
            raise _UnreadableError("a call of a type that is not there")
        signature = self._module.types[type_index]
        self._spend(len(signature.parameters) + len(signature.results))
        arguments = tuple(self._pop(state) for _ in signature.parameters)[::-1]
        self._events.append(Call(self._offset, self._loop_depth, state.conditions, function, arguments))
        computed = None if function is None else self._walker.result(function, arguments, state.globals)
        if len(signature.results) == 1:
            state.stack.append(computed or CallResult(self._offset, function))
        else:
            state.stack += [UnknownValue() for _ in signature.results]

    def local_get(self, state: _State, instruction: Instruction) -> None:
        state.stack.append(self._local(state, instruction.immediates[0]))

    def local_set(self, state: _State, instruction: Instruction) -> None:
        state.locals[instruction.immediates[0]] = self._pop(state)

    def local_tee(self, state: _State, instruction: Instruction) -> None:
        value = self._pop(state)
        state.locals[instruction.immediates[0]] = value
        state.stack.append(value)

    def global_get(self, state: _State, instruction: Instruction) -> None:
        state.stack.append(self._global(state, instruction.immediates[0]))

    def global_set(self, state: _State, instruction: Instruction) -> None:
        index, value = instruction.immediates[0], self._pop(state)
        state.globals[index] = value
        self._events.append(SetGlobal(self._offset, self._loop_depth, state.conditions, index, value))

    def select(self, state: _State, _: Instruction) -> None:
        condition, second, first = self._pop(state), self._pop(state), self._pop(state)
        if isinstance(condition, Constant):
            state.stack.append(first if condition.number else second)
        else:
            state.stack.append(first if first == second else Merge([first, second], condition))

    def drop(self, state: _State, _: Instruction) -> None:
        self._pop(state)

    def nothing(self, state: _State, _: Instruction) -> None:
        pass

    def memory_size(self, state: _State, _: Instruction) -> None:
        state.stack.append(Operation("memory.size", ()))

    def memory_grow(self, state: _State, _: Instruction) -> None:
        pages = self._pop(state)
        self._events.append(Grow(self._offset, self._loop_depth, state.conditions, pages))
        state.stack.append(Operation("memory.grow", (pages,)))

    def memory_fill(self, state: _State, _: Instruction) -> None:
        length, value, address = self._pop(state), self._pop(state), self._pop(state)
        self._events.append(Fill(self._offset, self._loop_depth, state.conditions, address, value, length))

    def three_operands(self, state: _State, _: Instruction) -> None:
        for _operand in range(3):
            self._pop(state)

    def reference(self, state: _State, _: Instruction) -> None:
        state.stack.append(UnknownValue())


_HANDLERS: dict[str, Callable[[_Walk, _State, Instruction], None]] = {
    "local.get": _Walk.local_get,
    "local.set": _Walk.local_set,
    "local.tee": _Walk.local_tee,
    "global.get": _Walk.global_get,
    "global.set": _Walk.global_set,
    "select": _Walk.select,
    "select_typed": _Walk.select,
    "drop": _Walk.drop,
    "nop": _Walk.nothing,
    "data.drop": _Walk.nothing,
    "memory.size": _Walk.memory_size,
    "memory.grow": _Walk.memory_grow,
    "memory.fill": _Walk.memory_fill,
    "memory.copy": _Walk.three_operands,
    "memory.init": _Walk.three_operands,
    "ref.func": _Walk.reference,
    "ref.null": _Walk.reference,
}


def _canonical(address: Value) -> Value:
    """The address with all that is constant in it gathered, so that equal sums are equal values."""
    terms, constant = linear(address)
    if not terms:
        return Constant(constant)
    if isinstance(address, Operation) and len(terms) == 1:
        ((term, factor),) = terms
        if factor == 1:
            return operation("i32.add", term, Constant(constant)) if constant else term
    return address


def _merged(values: list[Value]) -> Value:
    first = values[0]
    return first if all(value == first for value in values[1:]) else Merge(list(values))


def _add_input(merge: Merge, value: Value) -> None:
    if value is not merge and value not in merge.inputs:
        merge.inputs.append(value)


def _common(conditions: list[Conditions]) -> Conditions:
    """What holds on all ways: as far as the conditions are the same from the start."""
    length = 0
    for alike in zip(*conditions, strict=False):
        if any(one != alike[0] for one in alike[1:]):
            break
        length += 1
    return conditions[0][:length]


def _assigned_in_loops(code: list[Instruction]) -> dict[int, tuple[set[int], set[int]]]:
    """The locals and the globals that each loop sets, by the loop's position in the code."""
    assigned: dict[int, tuple[set[int], set[int]]] = {}
    open_blocks: list[tuple[int, tuple[set[int], set[int]]] | None] = []
    open_loops: list[tuple[set[int], set[int]]] = []
    for position, instruction in enumerate(code):
        match instruction.name:
            case "loop":
                sets: tuple[set[int], set[int]] = (set(), set())
                open_loops.append(sets)
                open_blocks.append((position, sets))
            case "block" | "if" | "try" | "try_table":
                open_blocks.append(None)
            case "end" if open_blocks:
                closed = open_blocks.pop()
                if closed is not None:
                    open_loops.pop()
                    assigned[closed[0]] = closed[1]
                    if open_loops:
                        open_loops[-1][0].update(closed[1][0])
                        open_loops[-1][1].update(closed[1][1])
            case "local.set" | "local.tee" if open_loops:
                open_loops[-1][0].add(instruction.immediates[0])
            case "global.set" if open_loops:
                open_loops[-1][1].add(instruction.immediates[0])
        if len(open_blocks) > NESTING_LIMIT:
            raise _UnreadableError("blocks nested deeper than is read")
    return assigned
