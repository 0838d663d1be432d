"""Malformed modules, each wrong in one way, with the error that it must raise.

They are spelled as sections in hexadecimal; `module` puts the header in front and the lengths in.
"""

from __future__ import annotations

from tinyheap.wasm.leb128 import encode_unsigned
from tinyheap.wasm.sections import HEADER


def module(*parts: tuple[int, str] | str) -> bytes:
    """A module of sections (identifier, payload in hexadecimal) and raw bytes (hexadecimal alone)."""
    data = HEADER
    for part in parts:
        if isinstance(part, str):
            data += bytes.fromhex(part)
        else:
            payload = bytes.fromhex(part[1])
            data += bytes([part[0]]) + encode_unsigned(len(payload)) + payload
    return data


TYPE = (1, "01 60 00 00")
FUNCTION = (3, "01 00")
BODY = (10, "01 02 00 0b")

MALFORMED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", r"module, byte 0x0: begins with nothing"),
    "text": (b"(module)", r"byte 0x0: begins with 28 6d 6f"),
    "other version": (b"\0asm\x02\0\0\0", r"byte 0x0: begins with 00 61 73 6d 02"),
    "component": (b"\0asm\x0d\0\x01\0", r"a WebAssembly component"),
    "half a header": (HEADER[:5], r"byte 0x0"),
    "unknown section": (module("0e 00"), r"byte 0x8: unknown section 0x0e"),
    "section without length": (module("01"), r"byte 0x9: ends here"),
    "section past the end": (module("01 05 00"), r"byte 0xa: 5 bytes are announced and 1 are left"),
    "section of 4 GiB": (module("01 ff ff ff ff 0f"), r"4294967295 bytes are announced and 0 are left"),
    "length of six bytes": (module("01 80 80 80 80 80 00"), r"an integer of 32 bits that does not end"),
    "length beyond 32 bits": (module("01 ff ff ff ff 1f"), r"byte 0x9: an integer that does not fit 32 bits"),
    "section twice": (module(TYPE, TYPE), r"byte 0xe: the type section is repeated or out of order"),
    "sections out of order": (module(FUNCTION, TYPE), r"the type section is repeated or out of order"),
    "section with bytes left": (module((1, "00 00")), r"type section, byte 0xb: 1 bytes are left over"),
    "2^32 types": (module((1, "ff ff ff ff 0f")), r"type section, byte 0xa: 4294967295 entries are announced"),
    "2^28 parameters": (module((1, "01 60 ff ff ff 7f 7f")), r"268435455 entries are announced and 1 bytes"),
    "struct type": (module((1, "01 5f 00")), r"type section, byte 0xb: a type of form 0x5f"),
    "group of types": (module((1, "01 4e 00")), r"a type of form 0x4e: only functions"),
    "reference to a struct": (module((1, "01 60 01 6d 00")), r"byte 0xd: 0x6d where a value type"),
    "unknown value type": (module((1, "01 60 01 77 00")), r"byte 0xd: 0x77 where a value type"),
    "custom section without name": (module((0, "")), r"custom section, byte 0xa: ends here"),
    "custom name past the end": (module((0, "09 61")), r"9 bytes are announced and 1 are left"),
    "custom name not UTF-8": (module((0, "02 c3 28")), r"custom section, byte 0xa: a name that is not UTF-8"),
    "import of unknown kind": (module((2, "01 00 00 07")), r"import section, byte 0xd: 0x07 where the kind"),
    "import of no type": (module((2, "01 00 00 00 00")), r"import section, byte 0xa: type 0 does not exist"),
    "64-bit memory": (module((5, "01 04 01")), r"memory section, byte 0xb: .*memory64"),
    "64-bit table": (module((4, "01 70 04 01")), r"table section, byte 0xc: .*memory64"),
    "unknown limits": (module((5, "01 08 01")), r"byte 0xb: limits with unknown flags 0x08"),
    "mutability 2": (module((6, "01 7f 02 41 00 0b")), r"global section, byte 0xc: 0x02 where a global's"),
    "global without end": (module((6, "01 7f 00 41 00")), r"byte 0xd: a constant expression that does not end"),
    "global with half a number": (module((6, "01 7f 00 41 80")), r"global section, byte 0xf: ends here"),
    "tag attribute": (module(TYPE, (13, "01 01 00")), r"tag section, byte 0x11: a tag with attribute 0x01"),
    "tag of no type": (module((13, "01 00 05")), r"tag section, byte 0xa: type 5 does not exist: the module has 0"),
    "function of no type": (module(TYPE, (3, "01 01"), BODY), r"function section, .*type 1 does not exist"),
    "function without body": (module(TYPE, FUNCTION), r"code section, .*0 bodies for 1 declared functions"),
    "body without function": (module(TYPE, BODY), r"code section, .*1 bodies for 0 declared"),
    "body past the end": (module(TYPE, FUNCTION, (10, "01 09 00 0b")), r"code section, byte 0x16: 9 bytes"),
    "body without end": (module(TYPE, FUNCTION, (10, "01 02 00 01")), r"does not close with `end`"),
    "empty body": (module(TYPE, FUNCTION, (10, "01 00")), r"code section, byte 0x16: ends here"),
    "2^32 locals": (
        module(TYPE, FUNCTION, (10, "01 0e 02 ff ff ff ff 0f 7f ff ff ff ff 0f 7e 0b")),
        r"code section, byte 0x16: a function with more than 2\^32 - 1 locals",
    ),
    "2^32 groups of locals": (module(TYPE, FUNCTION, (10, "01 06 ff ff ff ff 0f 0b")), r"4294967295 entries"),
    "export of nothing": (module((7, "01 01 61 00 00")), r"export section, byte 0xa: function 0 does not exist"),
    "export of unknown kind": (module((7, "01 01 61 05 00")), r"0x05 where the kind"),
    "start of nothing": (module((8, "03")), r"start section, byte 0xa: function 3 does not exist: the module has 0"),
    "start with more": (module(TYPE, FUNCTION, (8, "00 00"), BODY), r"start section, .*1 bytes are left over"),
    "elements of nothing": (module((9, "01 01 00 01 07")), r"element section, byte 0xa: function 7 does not exist"),
    "elements with flags 8": (module((9, "01 08 00")), r"byte 0xb: an element segment with unknown flags 0x8"),
    "elements of kind 1": (module((9, "01 01 01 00")), r"byte 0xc: elements of kind 0x01"),
    "data with flags 3": (module((11, "01 03 00")), r"byte 0xb: a data segment with unknown flags 0x3"),
    "data past the end": (module((11, "01 01 7f 00")), r"data section, byte 0xd: 127 bytes are announced"),
    "data miscounted": (module((12, "02"), (11, "01 01 00")), r"announces 2 segments and 1 are there"),
}
"""Modules that do not parse, by what is wrong: bytes, and a pattern for the message."""

UNSUPPORTED = frozenset(
    {"component", "64-bit memory", "64-bit table", "struct type", "group of types", "reference to a struct"}
)
"""Those of them that are right, but beyond what is read."""

WRONG_CODE: dict[str, tuple[bytes, str]] = {
    "unknown instruction": (module(TYPE, FUNCTION, (10, "01 03 00 27 0b")), r"code, byte 0x17: unknown instruction 27"),
    "end inside a number": (module(TYPE, FUNCTION, (10, "01 05 00 41 80 80 0b")), r"code, byte 0x1a: ends here"),
    "labels past the end": (
        module(TYPE, FUNCTION, (10, "01 09 00 0e ff ff ff ff 0f 00 0b")),
        r"code, byte 0x18: 4294967295 entries are announced and 1 bytes are left",
    ),
}
"""Modules that parse, with code that cannot be walked."""

NAMES: dict[str, tuple[bytes, str]] = {
    "subsection past the end": (module((0, "04 6e 61 6d 65 01 10 00")), r"custom section 'name', byte 0x11: 16"),
    "2^28 names": (module((0, "04 6e 61 6d 65 01 04 ff ff ff 7f")), r"268435455 entries are announced"),
    "name not UTF-8": (module((0, "04 6e 61 6d 65 01 04 01 00 01 ff")), r"a name that is not UTF-8"),
    "bytes left over": (module((0, "04 6e 61 6d 65 01 03 00 00 00")), r"2 bytes are left over"),
}
"""Modules that parse, with a name section that does not."""
