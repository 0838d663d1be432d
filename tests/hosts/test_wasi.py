"""Small WASI commands: arguments, streams and folders reach them; their output and exit codes come out."""

from __future__ import annotations

import gc
import io
import struct
import subprocess
import sys
import tempfile
import time
import weakref
from pathlib import Path

import pytest
import wasmtime

from hosts.programs import WASI, command, module_bytes, run, say
from tinyheap import errors, hosts

ARGUMENTS = command(
    "(drop (call $args_sizes_get (i32.const 16) (i32.const 20)))"
    "(drop (call $args_get (i32.const 1024) (i32.const 2048)))" + say(2048, "(i32.load (i32.const 20))"),
    ["args_sizes_get", "args_get"],
)
ENVIRONMENT = command(
    "(drop (call $environ_sizes_get (i32.const 16) (i32.const 20)))"
    "(drop (call $environ_get (i32.const 1024) (i32.const 2048)))" + say(2048, "(i32.load (i32.const 20))"),
    ["environ_sizes_get", "environ_get"],
)
ECHO = command(
    """
    (loop $more
      (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 7))
      (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (if (i32.eqz (i32.load (i32.const 8))) (then (return)))
      (i32.store (i32.const 4) (i32.load (i32.const 8)))
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))
      (br $more))""",
    ["fd_read"],
)
COMPLAIN = command(say(100, "(i32.const 3)", stream=2), head='(data (i32.const 100) "no\\n")')
NOISE = command(
    """
    (drop (call $random_get (i32.const 1024) (i32.const 64)))
    (drop (call $clock_time_get (i32.const 0) (i64.const 1) (i32.const 1104)))
    (drop (call $clock_time_get (i32.const 1) (i64.const 1) (i32.const 1112)))""",
    ["random_get", "clock_time_get"],
)
SPIN = command("(loop $for_ever (br $for_ever))")


def exit_with(code: int) -> bytes:
    return command(f"(call $proc_exit (i32.const {code}))")


def sleep(duration_ns: int, flags: int = 0) -> bytes:
    head = (
        f'(data (i32.const 256) "\\07") (data (i32.const 272) "\\01")'
        f'(data (i32.const 280) "{escaped(struct.pack("<QQH", duration_ns, 0, flags))}")'
    )
    body = "(call $proc_exit (call $poll_oneoff (i32.const 256) (i32.const 512) (i32.const 1) (i32.const 600)))"
    return command(body, ["poll_oneoff"], head)


def escaped(data: bytes) -> str:
    return "".join(f"\\{byte:02x}" for byte in data)


def test_arguments_and_environment_reach_the_program() -> None:
    assert run(ARGUMENTS, arguments=("app", "-n", "Grüße"))[1] == "app\0-n\0Grüße\0".encode()
    assert run(ENVIRONMENT, environment={"A": "1", "B": "zwei"})[1] == b"A=1\0B=zwei\0"
    assert run(ENVIRONMENT)[1] == b"", "nothing of this process's environment leaks"


def test_standard_input_comes_from_bytes_or_a_file(tmp_path: Path) -> None:
    text = bytes(range(256)) * 40
    (tmp_path / "input").write_bytes(text)
    assert run(ECHO, stdin=text)[1] == text
    assert run(ECHO, stdin=tmp_path / "input")[1] == text
    assert run(ECHO)[1] == b""


def test_standard_input_and_output_of_this_process_are_inherited_on_request() -> None:
    text = b"through \0 and \xff through\n"
    source = (
        "import sys; from tinyheap import hosts;"
        "hosts.load(open(sys.argv[1], 'rb').read(), hosts.Grants(stdin=hosts.INHERIT)).run()"
    )
    with tempfile.NamedTemporaryFile() as file:
        file.write(ECHO)
        file.flush()
        done = subprocess.run([sys.executable, "-c", source, file.name], input=text, capture_output=True, check=True)
    assert done.stdout == text


def test_output_of_a_process_whose_streams_are_text_only_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    # As in a notebook; a letter whose bytes are written one by one arrives whole.
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    pieces = say(100, "(i32.const 1)") + say(101, "(i32.const 2)") + say(104, "(i32.const 3)", stream=2)
    program = command(pieces, head='(data (i32.const 100) "\\c3\\bc\\n \\ffno")')
    assert hosts.load(program, hosts.Grants()).run() == 0
    assert (out.getvalue(), err.getvalue()) == ("ü\n", "\N{REPLACEMENT CHARACTER}no")


@pytest.mark.slow
def test_a_process_ends_quietly_behind_its_program(tmp_path: Path) -> None:
    # The program's end, its output and the interpreter's end are on three threads; so more than once.
    (tmp_path / "program").write_bytes(command(say(100, "(i32.const 3)"), head='(data (i32.const 100) "yes")'))
    source = (
        "import sys; from tinyheap import hosts; session = hosts.load(open(sys.argv[1], 'rb').read()); session.run()"
    )
    for _ in range(8):
        done = subprocess.run(
            [sys.executable, "-c", source, tmp_path / "program"], capture_output=True, timeout=60, check=True
        )
        assert (done.stdout, done.stderr) == (b"yes", b"")


def test_the_streams_are_kept_apart() -> None:
    assert run(COMPLAIN)[:3] == (0, b"", b"no\n")


@pytest.mark.parametrize("code", [0, 1, 2, 125, 126, 200, 255])
def test_every_exit_code_comes_out(code: int) -> None:
    assert run(exit_with(code))[0] == code


def test_a_program_that_only_returns_exits_with_zero() -> None:
    assert run(command(""))[0] == 0


def test_a_trap_names_its_kind_and_place_and_a_panic_exits_with_two() -> None:
    wasm = module_bytes('(func $inner unreachable) (func $outer (export "_start") call $inner)')
    with pytest.raises(errors.GuestTrapError, match=r"unreachable.*inner < outer") as caught:
        run(wasm)
    assert (caught.value.exit_code, caught.value.frames) == (2, ("inner", "outer"))
    wasm = module_bytes('(memory 1) (func (export "_start") (drop (i32.load (i32.const 65536))))')
    with pytest.raises(errors.GuestTrapError, match="memory out of bounds") as caught:
        run(wasm)
    assert caught.value.exit_code == 134


def open_file(name: str, creates: bool) -> bytes:
    """Opens a file under the first granted folder, and exits with the error number."""
    flags, rights = (1, 64) if creates else (0, 2)
    imports = (
        f'(import "{WASI}" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))'
        f'(import "{WASI}" "proc_exit" (func $proc_exit (param i32)))'
    )
    return module_bytes(
        f"""{imports} (memory (export "memory") 1) (data (i32.const 256) "{name}")
        (func (export "_start") (call $proc_exit (call $open (i32.const 3) (i32.const 0) (i32.const 256)
          (i32.const {len(name)}) (i32.const {flags}) (i64.const {rights}) (i64.const 0) (i32.const 0)
          (i32.const 8))))"""
    )


def test_files_are_reached_only_in_granted_folders_and_written_only_where_granted(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "file").write_text("text")
    (tmp_path / "secret").write_text("text")
    reading = (hosts.Folder(tmp_path / "inside", "/data"),)
    writing = (hosts.Folder(tmp_path / "inside", "/data", writable=True),)
    bad_descriptor = 8
    assert run(open_file("file", creates=False))[0] == bad_descriptor
    assert run(open_file("file", creates=False), folders=reading)[0] == 0
    assert run(open_file("../secret", creates=False), folders=reading)[0] != 0
    assert run(open_file("new", creates=True), folders=reading)[0] != 0
    assert not (tmp_path / "inside" / "new").exists()
    assert run(open_file("new", creates=True), folders=writing)[0] == 0
    assert (tmp_path / "inside" / "new").exists()


def test_a_seed_makes_two_runs_equal_in_every_byte() -> None:
    def memory(seed: int | None) -> bytes:
        session = run(NOISE, seed=seed)[3]
        return session.memory.read(0, len(session.memory))

    assert memory(7) == memory(7)
    assert memory(7) != memory(8)
    assert memory(None) != memory(None)


def test_a_seeded_clock_starts_at_its_moment_and_moves() -> None:
    memory = run(NOISE, seed=1)[3].memory
    wall_ns, monotonic_ns = memory.read_u64(1104), memory.read_u64(1112)
    assert wall_ns == 10**18 + 1000
    assert monotonic_ns == 2000


def test_seeded_sleep_takes_no_time_and_moves_the_clock() -> None:
    day_ns = 86_400 * 10**9
    code, _, _, session = run(sleep(day_ns), seed=1, timeout_s=20)
    assert code == 0
    assert session.world.monotonic_ns() > day_ns
    assert struct.unpack("<QHB", session.memory.read(512, 11)) == (7, 0, 0)
    assert session.memory.read_u32(600) == 1


def test_real_sleep_takes_its_time() -> None:
    before_s = time.monotonic()
    assert run(sleep(30_000_000))[0] == 0
    assert time.monotonic() - before_s >= 0.03


def test_an_absolute_sleep_into_the_past_returns_at_once() -> None:
    assert run(sleep(1, flags=1), timeout_s=20)[0] == 0


@pytest.mark.parametrize("program", [SPIN, sleep(3600 * 10**9)], ids=["computing", "sleeping"])
def test_a_program_that_runs_too_long_is_stopped(program: bytes) -> None:
    with pytest.raises(errors.GuestTimeoutError, match=r"0\.2 seconds"):
        run(program, timeout_s=0.2)


def test_a_session_knows_how_long_its_program_ran() -> None:
    session = hosts.load(module_bytes('(func (export "f"))'))
    time.sleep(0.05)
    assert session.ran_ns == 0
    begun_ns = time.perf_counter_ns()
    session.call("f")
    time.sleep(0.05)
    session.call("f")
    took_ns = time.perf_counter_ns() - begun_ns
    time.sleep(0.05)
    assert 0.05e9 < session.ran_ns <= took_ns


def test_the_time_limit_covers_all_calls_of_a_session() -> None:
    wasm = module_bytes('(func (export "spin") (loop $l (br $l))) (func (export "quick"))')
    session = hosts.load(wasm, hosts.Grants(timeout_s=0.2))
    session.call("quick")
    with pytest.raises(errors.GuestTimeoutError):
        session.call("spin")
    with pytest.raises(errors.GuestPhaseError, match=r"ran longer than its 0\.2 seconds; open it again") as caught:
        session.call("quick")
    assert caught.value.phase == "ended"


def test_memory_grows_only_to_its_limit() -> None:
    wasm = module_bytes('(memory (export "memory") 1) (func (export "grow") (result i32) (memory.grow (i32.const 9)))')
    page_bytes = 65536
    assert hosts.load(wasm, hosts.Grants(memory_limit_bytes=9 * page_bytes)).call("grow") == -1
    session = hosts.load(wasm, hosts.Grants(memory_limit_bytes=10 * page_bytes))
    assert session.call("grow") == 1
    assert len(session.memory) == 10 * page_bytes
    with pytest.raises(
        errors.GuestError, match=r"limit of 1 bytes cannot be kept: .* 65536 bytes when it begins; give 65536"
    ):
        hosts.load(wasm, hosts.Grants(memory_limit_bytes=1))


def test_imports_that_nobody_offers_are_all_listed_with_their_types() -> None:
    wasm = module_bytes(
        '(import "env" "magic" (func (param i32 f64) (result i64)))'
        '(import "other" "table" (table 1 funcref))'
        f'(import "{WASI}" "fd_write" (func (param i32) (result i32)))'
        f'(import "{WASI}" "no_such" (func))'
        f'(import "{WASI}" "sched_yield" (func (result i32)))'
    )
    with pytest.raises(errors.HostError) as caught:
        hosts.load(wasm)
    assert str(caught.value).splitlines()[1:-1] == [
        "  env.magic: function (i32, f64) -> (i64)",
        "  other.table: table",
        f"  {WASI}.fd_write: function (i32) -> (i32)",
        f"  {WASI}.no_such: function () -> ()",
    ]


class Broken(io.BytesIO):
    def write(self, _data: object, /) -> int:
        raise BrokenPipeError("nobody reads")


def test_a_stream_that_cannot_be_written_is_a_host_error() -> None:
    session = hosts.load(COMPLAIN, hosts.Grants(stderr=Broken()))
    with pytest.raises(errors.HostError, match=r"standard error.*nobody reads"):
        session.run()


@pytest.mark.parametrize(
    ("grants", "message"),
    [
        ({"folders": (hosts.Folder(Path("/nowhere/at/all"), "/"),)}, "expected a folder that exists"),
        ({"stdin": Path("/nowhere/at/all")}, "is not a file"),
        ({"arguments": ("a\0b",)}, "zero character"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"memory_limit_bytes": -1}, "memory_limit_bytes"),
    ],
)
def test_grants_that_cannot_be_given_are_refused(grants: dict[str, object], message: str) -> None:
    with pytest.raises(errors.HostError, match=message):
        run(COMPLAIN, **grants)


def test_calls_check_their_arguments_and_text_is_parsed_by_type() -> None:
    wasm = module_bytes(
        '(func (export "add") (param i32 f64) (result f64) (f64.add (f64.convert_i32_s (local.get 0)) (local.get 1)))'
    )
    session = hosts.load(wasm)
    assert session.call("add", *session.arguments_from_text("add", ["0x10", "0.5"])) == 16.5
    assert session.call("add", 0xFFFFFFFF, 0) == -1
    for wrong in [("1",), ("1.5", "1"), ("one", "1")]:
        with pytest.raises(errors.ArgumentError, match=r"add takes|add: invalid argument"):
            session.arguments_from_text("add", wrong)
    for arguments in [(1,), (1 << 32, 0), (0.5, 0)]:
        with pytest.raises(errors.GuestError, match="add takes"):
            session.call("add", *arguments)
    with pytest.raises(errors.GuestError, match=r"expected an exported one \(add"):
        session.call("subtract")


def test_an_exit_during_a_call_is_told_apart_from_a_result() -> None:
    wasm = module_bytes(
        f'(import "{WASI}" "proc_exit" (func $exit (param i32))) (memory (export "memory") 1)'
        '(func (export "leave") (result i32) (call $exit (i32.const 5)) (i32.const 1))'
        '(func (export "stay") (result i32) (i32.const 1))'
    )
    session = hosts.load(wasm)
    with pytest.raises(errors.GuestExitError) as caught:
        session.call("leave")
    assert caught.value.exit_code == 5
    with pytest.raises(
        errors.GuestPhaseError,
        match="call of 'stay': the instance is spent: the program ended with exit code 5; open it",
    ):
        session.call("stay")


@pytest.mark.parametrize("wasm", [b"", b"\0asm", b"\0asm\1\0\0\0\1\xff\xff\xff\xff\x0f", b"MZ" * 100])
def test_what_is_no_module_is_a_guest_error(wasm: bytes) -> None:
    with pytest.raises(errors.GuestError, match="not a WebAssembly module"):
        hosts.load(wasm)


def test_wild_pointers_are_answered_with_an_error_number() -> None:
    fault = 21
    for call in (
        "random_get (i32.const -4) (i32.const 16)",
        "random_get (i32.const 0) (i32.const -1)",
        "clock_res_get (i32.const 0) (i32.const 65535)",
        "poll_oneoff (i32.const 65530) (i32.const 0) (i32.const 1) (i32.const 0)",
        "poll_oneoff (i32.const 0) (i32.const 0) (i32.const -1) (i32.const 0)",
    ):
        wasm = command(f"(call $proc_exit (call ${call}))", [call.split()[0]])
        assert run(wasm, seed=1)[0] == fault


def test_a_session_that_is_dropped_frees_its_program() -> None:
    session = hosts.load(NOISE, hosts.Grants(seed=1))
    session.run()
    store = weakref.ref(session.store)
    del session
    gc.collect()
    assert store() is None


def test_what_the_linker_has_already_is_left_alone() -> None:
    wasm = module_bytes(
        '(import "tinyheap" "alloc" (func $alloc (param i32) (result i32)))'
        f'(import "{WASI}" "sched_yield" (func $yield (result i32)))'
        f'(import "{WASI}" "proc_exit" (func $exit (param i32)))'
        '(memory (export "memory") 1)'
        '(func (export "_start") (call $exit (i32.add (call $alloc (i32.const 7)) (call $yield))))'
    )
    engine = hosts.new_engine()
    module = hosts.compile_module(engine, wasm)
    store, linker = wasmtime.Store(engine), wasmtime.Linker(engine)
    i32 = wasmtime.ValType.i32()
    linker.define_func("tinyheap", "alloc", wasmtime.FuncType([i32], [i32]), lambda size: size + 1)
    linker.define_func(WASI, "sched_yield", wasmtime.FuncType([], [i32]), lambda: 100)
    session = hosts.offer(store, linker, module, hosts.Grants())
    session.attach(linker.instantiate(store, module))
    assert session.run() == 108


def test_deep_recursion_is_a_trap() -> None:
    wasm = module_bytes('(func $f (export "_start") (call $f) (call $f))')
    with pytest.raises(errors.GuestTrapError, match="stack overflow"):
        run(wasm)


def test_tables_and_memories_cannot_grow_without_end() -> None:
    wasm = module_bytes(
        '(table 1 funcref)(func (export "grow") (result i32) (table.grow (ref.null func) (i32.const 100000000)))'
    )
    assert hosts.load(wasm).call("grow") == -1
    with pytest.raises(errors.GuestError, match="cannot run"):
        hosts.load(module_bytes("(memory 1)" * 5))
