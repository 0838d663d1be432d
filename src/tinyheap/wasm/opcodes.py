"""Every instruction of WebAssembly that is read: its name, opcode and immediates, as one table.

A row names consecutive opcodes that take the same immediates: prefix byte (0 for none), first opcode, kinds
of immediates, names.  A name that begins with a dot belongs to the family of the one before it (`i32.eqz .eq`
is `i32.eqz i32.eq`); a lone `-` leaves an opcode unassigned.

Covered: the core specification 2.0, tail calls, both kinds of exceptions, typed function references, threads,
multiple memories, SIMD with the relaxed instructions.  Not covered: the garbage collection proposal (structs,
arrays).  Sources: the opcode tables of WebAssembly Core Specification, 7 Appendix, and of the proposals
named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tinyheap.wasm.immediates import IMMEDIATES, Immediate
from tinyheap.wasm.leb128 import encode_unsigned


class _Row(NamedTuple):
    prefix: int
    first: int
    immediates: str
    names: str


_COMPARE = ".eq .ne .lt_s .lt_u .gt_s .gt_u .le_s .le_u .ge_s .ge_u"
_COMPARE_FLOAT = ".eq .ne .lt .gt .le .ge"
_INTEGER = ".clz .ctz .popcnt .add .sub .mul .div_s .div_u .rem_s .rem_u .and .or .xor .shl .shr_s .shr_u .rotl .rotr"
_FLOAT = ".abs .neg .ceil .floor .trunc .nearest .sqrt .add .sub .mul .div .min .max .copysign"
_VECTOR_FLOAT = ".abs .neg - .sqrt .add .sub .mul .div .min .max .pmin .pmax"
_ATOMIC = " ".join(
    f"i32.atomic.rmw.{verb} i64.atomic.rmw.{verb} i32.atomic.rmw8.{verb}_u i32.atomic.rmw16.{verb}_u"
    f" i64.atomic.rmw8.{verb}_u i64.atomic.rmw16.{verb}_u i64.atomic.rmw32.{verb}_u"
    for verb in ("add", "sub", "and", "or", "xor", "xchg", "cmpxchg")
)

_ROWS = (
    # Control
    _Row(0, 0x00, "", "unreachable nop"),
    _Row(0, 0x02, "block", "block loop if"),
    _Row(0, 0x05, "", "else"),
    _Row(0, 0x06, "block", "try"),
    _Row(0, 0x07, "tag", "catch throw"),
    _Row(0, 0x09, "label", "rethrow"),
    _Row(0, 0x0A, "", "throw_ref end"),
    _Row(0, 0x0C, "label", "br br_if"),
    _Row(0, 0x0E, "labels label", "br_table"),
    _Row(0, 0x0F, "", "return"),
    _Row(0, 0x10, "function", "call"),
    _Row(0, 0x11, "type table", "call_indirect"),
    _Row(0, 0x12, "function", "return_call"),
    _Row(0, 0x13, "type table", "return_call_indirect"),
    _Row(0, 0x14, "type", "call_ref return_call_ref"),
    _Row(0, 0x18, "label", "delegate"),
    _Row(0, 0x19, "", "catch_all"),
    _Row(0, 0x1F, "block catches", "try_table"),
    # Variables, tables, references
    _Row(0, 0x1A, "", "drop select"),
    _Row(0, 0x1C, "types", "select_typed"),
    _Row(0, 0x20, "local", "local.get .set .tee"),
    _Row(0, 0x23, "global", "global.get .set"),
    _Row(0, 0x25, "table", "table.get .set"),
    _Row(0, 0xD0, "heap", "ref.null"),
    _Row(0, 0xD1, "", "ref.is_null"),
    _Row(0, 0xD2, "function", "ref.func"),
    _Row(0, 0xD4, "", "ref.as_non_null"),
    _Row(0, 0xD5, "label", "br_on_null br_on_non_null"),
    # Memory
    _Row(0, 0x28, "memarg", "i32.load i64.load f32.load f64.load"),
    _Row(0, 0x2C, "memarg", "i32.load8_s .load8_u .load16_s .load16_u"),
    _Row(0, 0x30, "memarg", "i64.load8_s .load8_u .load16_s .load16_u .load32_s .load32_u"),
    _Row(0, 0x36, "memarg", "i32.store i64.store f32.store f64.store"),
    _Row(0, 0x3A, "memarg", "i32.store8 .store16 i64.store8 .store16 .store32"),
    _Row(0, 0x3F, "memory", "memory.size .grow"),
    # Constants and arithmetic
    _Row(0, 0x41, "i32", "i32.const"),
    _Row(0, 0x42, "i64", "i64.const"),
    _Row(0, 0x43, "f32", "f32.const"),
    _Row(0, 0x44, "f64", "f64.const"),
    _Row(0, 0x45, "", f"i32.eqz {_COMPARE} i64.eqz {_COMPARE}"),
    _Row(0, 0x5B, "", "f32.eq .ne .lt .gt .le .ge f64.eq .ne .lt .gt .le .ge"),
    _Row(0, 0x67, "", f"i32{_INTEGER} i64{_INTEGER}"),
    _Row(0, 0x8B, "", f"f32{_FLOAT} f64{_FLOAT}"),
    _Row(0, 0xA7, "", "i32.wrap_i64 .trunc_f32_s .trunc_f32_u .trunc_f64_s .trunc_f64_u"),
    _Row(0, 0xAC, "", "i64.extend_i32_s .extend_i32_u .trunc_f32_s .trunc_f32_u .trunc_f64_s .trunc_f64_u"),
    _Row(0, 0xB2, "", "f32.convert_i32_s .convert_i32_u .convert_i64_s .convert_i64_u .demote_f64"),
    _Row(0, 0xB7, "", "f64.convert_i32_s .convert_i32_u .convert_i64_s .convert_i64_u .promote_f32"),
    _Row(0, 0xBC, "", "i32.reinterpret_f32 i64.reinterpret_f64 f32.reinterpret_i32 f64.reinterpret_i64"),
    _Row(0, 0xC0, "", "i32.extend8_s .extend16_s i64.extend8_s .extend16_s .extend32_s"),
    # Saturating conversion, bulk memory
    _Row(0xFC, 0x00, "", "i32.trunc_sat_f32_s .trunc_sat_f32_u .trunc_sat_f64_s .trunc_sat_f64_u"),
    _Row(0xFC, 0x04, "", "i64.trunc_sat_f32_s .trunc_sat_f32_u .trunc_sat_f64_s .trunc_sat_f64_u"),
    _Row(0xFC, 0x08, "data memory", "memory.init"),
    _Row(0xFC, 0x09, "data", "data.drop"),
    _Row(0xFC, 0x0A, "memory memory", "memory.copy"),
    _Row(0xFC, 0x0B, "memory", "memory.fill"),
    _Row(0xFC, 0x0C, "element table", "table.init"),
    _Row(0xFC, 0x0D, "element", "elem.drop"),
    _Row(0xFC, 0x0E, "table table", "table.copy"),
    _Row(0xFC, 0x0F, "table", "table.grow .size .fill"),
    # SIMD
    _Row(
        0xFD,
        0x00,
        "memarg",
        "v128.load .load8x8_s .load8x8_u .load16x4_s .load16x4_u .load32x2_s .load32x2_u",
    ),
    _Row(0xFD, 0x07, "memarg", "v128.load8_splat .load16_splat .load32_splat .load64_splat .store"),
    _Row(0xFD, 0x0C, "v128", "v128.const"),
    _Row(0xFD, 0x0D, "lanes", "i8x16.shuffle"),
    _Row(0xFD, 0x0E, "", "i8x16.swizzle .splat i16x8.splat i32x4.splat i64x2.splat f32x4.splat f64x2.splat"),
    _Row(0xFD, 0x15, "lane", "i8x16.extract_lane_s .extract_lane_u .replace_lane"),
    _Row(0xFD, 0x18, "lane", "i16x8.extract_lane_s .extract_lane_u .replace_lane"),
    _Row(0xFD, 0x1B, "lane", "i32x4.extract_lane .replace_lane i64x2.extract_lane .replace_lane"),
    _Row(0xFD, 0x1F, "lane", "f32x4.extract_lane .replace_lane f64x2.extract_lane .replace_lane"),
    _Row(0xFD, 0x23, "", f"i8x16{_COMPARE} i16x8{_COMPARE} i32x4{_COMPARE}"),
    _Row(0xFD, 0x41, "", f"f32x4{_COMPARE_FLOAT} f64x2{_COMPARE_FLOAT}"),
    _Row(0xFD, 0x4D, "", "v128.not .and .andnot .or .xor .bitselect .any_true"),
    _Row(0xFD, 0x54, "memarg lane", "v128.load8_lane .load16_lane .load32_lane .load64_lane"),
    _Row(0xFD, 0x58, "memarg lane", "v128.store8_lane .store16_lane .store32_lane .store64_lane"),
    _Row(0xFD, 0x5C, "memarg", "v128.load32_zero .load64_zero"),
    _Row(0xFD, 0x5E, "", "f32x4.demote_f64x2_zero f64x2.promote_low_f32x4"),
    _Row(0xFD, 0x60, "", "i8x16.abs .neg .popcnt .all_true .bitmask .narrow_i16x8_s .narrow_i16x8_u"),
    _Row(0xFD, 0x67, "", "f32x4.ceil .floor .trunc .nearest"),
    _Row(0xFD, 0x6B, "", "i8x16.shl .shr_s .shr_u .add .add_sat_s .add_sat_u .sub .sub_sat_s .sub_sat_u"),
    _Row(0xFD, 0x74, "", "f64x2.ceil .floor i8x16.min_s .min_u .max_s .max_u f64x2.trunc i8x16.avgr_u"),
    _Row(0xFD, 0x7C, "", "i16x8.extadd_pairwise_i8x16_s .extadd_pairwise_i8x16_u"),
    _Row(0xFD, 0x7E, "", "i32x4.extadd_pairwise_i16x8_s .extadd_pairwise_i16x8_u"),
    _Row(0xFD, 0x80, "", "i16x8.abs .neg .q15mulr_sat_s .all_true .bitmask .narrow_i32x4_s .narrow_i32x4_u"),
    _Row(
        0xFD,
        0x87,
        "",
        "i16x8.extend_low_i8x16_s .extend_high_i8x16_s .extend_low_i8x16_u .extend_high_i8x16_u",
    ),
    _Row(0xFD, 0x8B, "", "i16x8.shl .shr_s .shr_u .add .add_sat_s .add_sat_u .sub .sub_sat_s .sub_sat_u"),
    _Row(0xFD, 0x94, "", "f64x2.nearest i16x8.mul .min_s .min_u .max_s .max_u - .avgr_u"),
    _Row(
        0xFD,
        0x9C,
        "",
        "i16x8.extmul_low_i8x16_s .extmul_high_i8x16_s .extmul_low_i8x16_u .extmul_high_i8x16_u",
    ),
    _Row(0xFD, 0xA0, "", "i32x4.abs .neg - .all_true .bitmask"),
    _Row(
        0xFD,
        0xA7,
        "",
        "i32x4.extend_low_i16x8_s .extend_high_i16x8_s .extend_low_i16x8_u .extend_high_i16x8_u",
    ),
    _Row(
        0xFD,
        0xAB,
        "",
        "i32x4.shl .shr_s .shr_u .add - - .sub - - - .mul .min_s .min_u .max_s .max_u .dot_i16x8_s",
    ),
    _Row(
        0xFD,
        0xBC,
        "",
        "i32x4.extmul_low_i16x8_s .extmul_high_i16x8_s .extmul_low_i16x8_u .extmul_high_i16x8_u",
    ),
    _Row(0xFD, 0xC0, "", "i64x2.abs .neg - .all_true .bitmask"),
    _Row(
        0xFD,
        0xC7,
        "",
        "i64x2.extend_low_i32x4_s .extend_high_i32x4_s .extend_low_i32x4_u .extend_high_i32x4_u",
    ),
    _Row(0xFD, 0xCB, "", "i64x2.shl .shr_s .shr_u .add - - .sub - - - .mul .eq .ne .lt_s .gt_s .le_s .ge_s"),
    _Row(
        0xFD,
        0xDC,
        "",
        "i64x2.extmul_low_i32x4_s .extmul_high_i32x4_s .extmul_low_i32x4_u .extmul_high_i32x4_u",
    ),
    _Row(0xFD, 0xE0, "", f"f32x4{_VECTOR_FLOAT} f64x2{_VECTOR_FLOAT}"),
    _Row(0xFD, 0xF8, "", "i32x4.trunc_sat_f32x4_s .trunc_sat_f32x4_u f32x4.convert_i32x4_s .convert_i32x4_u"),
    _Row(0xFD, 0xFC, "", "i32x4.trunc_sat_f64x2_s_zero .trunc_sat_f64x2_u_zero"),
    _Row(0xFD, 0xFE, "", "f64x2.convert_low_i32x4_s .convert_low_i32x4_u"),
    _Row(0xFD, 0x100, "", "i8x16.relaxed_swizzle i32x4.relaxed_trunc_f32x4_s .relaxed_trunc_f32x4_u"),
    _Row(0xFD, 0x103, "", "i32x4.relaxed_trunc_f64x2_s_zero .relaxed_trunc_f64x2_u_zero"),
    _Row(0xFD, 0x105, "", "f32x4.relaxed_madd .relaxed_nmadd f64x2.relaxed_madd .relaxed_nmadd"),
    _Row(0xFD, 0x109, "", "i8x16.relaxed_laneselect i16x8.relaxed_laneselect"),
    _Row(0xFD, 0x10B, "", "i32x4.relaxed_laneselect i64x2.relaxed_laneselect"),
    _Row(0xFD, 0x10D, "", "f32x4.relaxed_min .relaxed_max f64x2.relaxed_min .relaxed_max"),
    _Row(
        0xFD,
        0x111,
        "",
        "i16x8.relaxed_q15mulr_s .relaxed_dot_i8x16_i7x16_s i32x4.relaxed_dot_i8x16_i7x16_add_s",
    ),
    # Threads
    _Row(0xFE, 0x00, "memarg", "memory.atomic.notify memory.atomic.wait32 memory.atomic.wait64"),
    _Row(0xFE, 0x03, "fence", "atomic.fence"),
    _Row(0xFE, 0x10, "memarg", "i32.atomic.load i64.atomic.load i32.atomic.load8_u i32.atomic.load16_u"),
    _Row(0xFE, 0x14, "memarg", "i64.atomic.load8_u i64.atomic.load16_u i64.atomic.load32_u"),
    _Row(0xFE, 0x17, "memarg", "i32.atomic.store i64.atomic.store i32.atomic.store8 i32.atomic.store16"),
    _Row(0xFE, 0x1B, "memarg", "i64.atomic.store8 i64.atomic.store16 i64.atomic.store32"),
    _Row(0xFE, 0x1E, "memarg", _ATOMIC),
)


@dataclass(frozen=True, slots=True)
class Opcode:
    """One instruction's name, prefix byte (0 for none), opcode and kinds of immediates."""

    name: str
    prefix: int
    code: int
    immediates: tuple[Immediate, ...]

    @property
    def encoding(self) -> bytes:
        """The opcode's bytes, in the shortest spelling."""
        return bytes([self.prefix]) + encode_unsigned(self.code) if self.prefix else bytes([self.code])


def _opcodes(row: _Row) -> list[Opcode]:
    immediates = tuple(IMMEDIATES[kind] for kind in row.immediates.split())
    opcodes, family = [], ""
    for offset, spelling in enumerate(row.names.split()):
        if spelling != "-":
            name = family + spelling if spelling.startswith(".") else spelling
            family = name.partition(".")[0]
            opcodes.append(Opcode(name, row.prefix, row.first + offset, immediates))
    return opcodes


OPCODES: tuple[Opcode, ...] = tuple(opcode for row in _ROWS for opcode in _opcodes(row))
BY_NAME: dict[str, Opcode] = {opcode.name: opcode for opcode in OPCODES}
BY_CODE: dict[tuple[int, int], Opcode] = {(opcode.prefix, opcode.code): opcode for opcode in OPCODES}
PREFIXES: frozenset[int] = frozenset(opcode.prefix for opcode in OPCODES if opcode.prefix)
