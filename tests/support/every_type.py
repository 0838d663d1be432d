"""A value of every type that DuckDB has, with its text and its JSON."""

from __future__ import annotations

from typing import Any, NamedTuple


class Value(NamedTuple):
    """An expression of SQL, and how it is shown."""

    type: str
    """As ``duckdb_types()`` names it."""
    expression: str
    text: str
    json: Any


MOMENT = "TIMESTAMPTZ '2026-01-02 03:04:05.123456+00'"
MOMENT_TEXT = "2026-01-02 03:04:05.123456+00"
"""In the time zone UTC."""
LARGE = 2**128 - 1

VALUES = (
    Value("BOOLEAN", "true", "true", True),
    Value("TINYINT", "'-128'::TINYINT", "-128", -128),
    Value("SMALLINT", "32767::SMALLINT", "32767", 32767),
    Value("INTEGER", "-7", "-7", -7),
    Value("BIGINT", "9223372036854775807", "9223372036854775807", 2**63 - 1),
    Value("HUGEINT", f"'{-(2**127)}'::HUGEINT", f"{-(2**127)}", -(2**127)),
    Value("UTINYINT", "255::UTINYINT", "255", 255),
    Value("USMALLINT", "65535::USMALLINT", "65535", 65535),
    Value("UINTEGER", "4294967295::UINTEGER", "4294967295", 2**32 - 1),
    Value("UBIGINT", "18446744073709551615::UBIGINT", "18446744073709551615", 2**64 - 1),
    Value("UHUGEINT", f"'{LARGE}'::UHUGEINT", f"{LARGE}", LARGE),
    Value("BIGNUM", f"'{LARGE}{LARGE}'::BIGNUM", f"{LARGE}{LARGE}", int(f"{LARGE}{LARGE}")),
    Value("DECIMAL", "-1.50::DECIMAL(38, 2)", "-1.50", -1.5),
    Value("FLOAT", "0.5::FLOAT", "0.5", 0.5),
    Value("DOUBLE", "1e300::DOUBLE", "1e+300", 1e300),
    Value("DOUBLE", "'NaN'::DOUBLE", "nan", None),
    Value("DOUBLE", "'-Infinity'::DOUBLE", "-inf", None),
    Value("VARCHAR", "'NaN, \"Infinity\" \\ é'", 'NaN, "Infinity" \\ é', 'NaN, "Infinity" \\ é'),
    Value("VARCHAR", "''", "", ""),
    Value("BLOB", "'\\x00\\xFFa'::BLOB", "00ff61", "00ff61"),
    Value("BIT", "'0101'::BIT", "0101", "0101"),
    Value("ENUM", "'b'::ENUM('a', 'b')", "b", "b"),
    Value("UUID", "UUID '00112233-4455-6677-8899-aabbccddeeff'", *(2 * ["00112233-4455-6677-8899-aabbccddeeff"])),
    Value("DATE", "DATE '2026-01-02'", "2026-01-02", "2026-01-02"),
    Value("DATE", "'infinity'::DATE", "infinity", "infinity"),
    Value("DATE", "DATE '5877642-06-25 (BC)'", "5877642-06-25 (BC)", "5877642-06-25 (BC)"),
    Value("TIME", "TIME '24:00:00'", "24:00:00", "24:00:00"),
    Value("TIME_NS", "'01:02:03.123456789'::TIME_NS", "01:02:03.123456789", "01:02:03.123456789"),
    Value("TIME WITH TIME ZONE", "'01:02:03+05:30'::TIMETZ", "01:02:03+05:30", "01:02:03+05:30"),
    Value("TIMESTAMP", "TIMESTAMP '2026-01-02 03:04:05.5'", "2026-01-02 03:04:05.5", "2026-01-02 03:04:05.5"),
    Value("TIMESTAMP", "TIMESTAMP '290309-12-22 (BC) 00:00:00'", *(2 * ["290309-12-22 (BC) 00:00:00"])),
    Value("TIMESTAMP_S", "'2026-01-02 03:04:05'::TIMESTAMP_S", "2026-01-02 03:04:05", "2026-01-02 03:04:05"),
    Value("TIMESTAMP_MS", "'2026-01-02 03:04:05.5'::TIMESTAMP_MS", *(2 * ["2026-01-02 03:04:05.5"])),
    Value("TIMESTAMP_NS", "'2026-01-02 03:04:05.123456789'::TIMESTAMP_NS", *(2 * ["2026-01-02 03:04:05.123456789"])),
    Value("TIMESTAMP WITH TIME ZONE", MOMENT, MOMENT_TEXT, MOMENT_TEXT),
    Value("TIMESTAMP WITH TIME ZONE", "'infinity'::TIMESTAMPTZ", "infinity", "infinity"),
    Value("TIMESTAMPTZ_NS", "'2026-01-02 03:04:05.123456789+00'::TIMESTAMPTZ_NS",
          *(2 * ["2026-01-02 03:04:05.123456789+00"])),
    Value("INTERVAL", "INTERVAL '1 month 2 days 3 seconds'", *(2 * ["1 month 2 days 00:00:03"])),
    Value("LIST", f"[{MOMENT}, NULL]", f"['{MOMENT_TEXT}', NULL]", [MOMENT_TEXT, None]),
    Value("ARRAY", "['NaN'::DOUBLE, 1]::DOUBLE[2]", "[nan, 1.0]", [None, 1]),
    Value("STRUCT", f"{{'a': {{'b': {MOMENT}}}}}", f"{{'a': {{'b': '{MOMENT_TEXT}'}}}}", {"a": {"b": MOMENT_TEXT}}),
    Value("TUPLE", "row(1, 'x')", "(1, x)", [1, "x"]),
    Value("MAP", f"map {{[1]: {MOMENT}}}", f"{{[1]='{MOMENT_TEXT}'}}", {"[1]": MOMENT_TEXT}),
    Value("UNION", f"union_value(at := {MOMENT})", MOMENT_TEXT, {"at": MOMENT_TEXT}),
    Value("VARIANT", f"{MOMENT}::VARIANT", MOMENT_TEXT, MOMENT_TEXT),
    Value("GEOMETRY", "'POINT(1 2)'::GEOMETRY", "POINT (1 2)", "POINT (1 2)"),
    Value("TYPE", "get_type(1)", "INTEGER", "INTEGER"),
    Value("JSON", """'{"a": [1]}'::JSON""", '{"a": [1]}', {"a": [1]}),
    Value("NULL", "NULL", "", None),
)  # fmt: skip
