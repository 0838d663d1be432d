"""Small modules that hold each thing a module can hold, in the text form; and components."""

from __future__ import annotations

from tinyheap.wasm.component import COMPONENT_HEADER
from tinyheap.wasm.leb128 import encode_unsigned

EVERYTHING = """
(module $all
  (type $unary (func (param i32) (result i32)))
  (type $pair (func (result i32 i64)))
  (import "host" "log" (func $log (type $unary)))
  (import "host" "table" (table $imported 1 4 externref))
  (import "host" "memory" (memory $outer 1 2))
  (import "host" "base" (global $base i32))
  (import "host" "oops" (tag $oops (param i32)))
  (table $functions 8 funcref)
  (table $filled 2 2 (ref null func) (ref.func $twice))
  (memory $inner 1)
  (memory $third 1 3)
  (tag $own (param i32 i64))
  (global $counter (mut i32) (i32.const 0))
  (global $sum i32 (i32.add (global.get $base) (i32.const 8)))
  (global $reference funcref (ref.func $twice))
  (export "twice" (func $twice))
  (export "memory" (memory $inner))
  (export "counter" (global $counter))
  (export "oops" (tag $own))
  (export "functions" (table $functions))
  (start $begin)
  (elem $first (table $functions) (i32.const 0) func $log $twice)
  (elem $second (table $functions) (offset (global.get $base)) funcref (ref.func $begin) (ref.null func))
  (elem $passive func $twice)
  (elem $spelled externref (ref.null extern))
  (elem declare func $pair)
  (data $a (memory $outer) (i32.const 16) "outer")
  (data $b (memory $inner) (global.get $base) "inner")
  (data $c "passive")
  (func $begin
    (memory.init $inner $c (i32.const 0) (i32.const 0) (i32.const 7))
    (data.drop $c)
    (drop (call $log (global.get $counter))))
  (func $twice (type $unary)
    (local $i i64) (local $j i64) (local $v v128)
    (local.set $v (v128.const i64x2 1 2))
    (if (result i32) (local.get 0)
      (then (i32.load $third offset=8 (i32.const 0)))
      (else (call_indirect $functions (type $unary) (local.get 0) (i32.const 1)))))
  (func $pair (type $pair)
    (block $done
      (br_table $done $done $done (i32.const 1)))
    (return_call $pair))
  (func $catching (result i32)
    (block $handler (result i32)
      (try_table (catch $oops $handler) (throw $oops (i32.const 5)))
      (i32.const 0)))
)
"""

LEGACY_EXCEPTIONS = """
(module
  (tag $oops (param i32))
  (func $thrower (throw $oops (i32.const 42)))
  (func (export "catch") (result i32)
    try (result i32)
      call $thrower
      i32.const 0
    catch $oops
    end)
  (func (export "delegate") (result i32)
    try $outer (result i32)
      try
        call $thrower
      delegate $outer
      i32.const 0
    catch $oops
    catch_all
      i32.const 7
    end)
  (func (export "rethrow") (result i32)
    try (result i32)
      try (result i32)
        call $thrower
        i32.const 0
      catch_all
        rethrow 0
      end
    catch $oops
    end)
)
"""


def component(*sections: tuple[int, bytes]) -> bytes:
    """A component of these sections, each its kind and its payload."""
    return COMPONENT_HEADER + b"".join(
        bytes([kind]) + encode_unsigned(len(payload)) + payload for kind, payload in sections
    )
