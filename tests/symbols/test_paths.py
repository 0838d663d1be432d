"""Files are named as people expect, without the folders of the machine that compiled them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyheap.symbols.paths import ShortNames

LINKED = "/home/ann/.cache/tinygo/goroot-62343a0b3a142f81df4a62dc62a87b63a6d390daff1878b1ee6ac9221e536976"


def named(*files: str) -> list[str]:
    short = ShortNames(files)
    return [short[file] for file in files]


def test_libraries_are_marked() -> None:
    assert named("/usr/local/go/src/regexp/regexp.go", "/usr/local/lib/tinygo/src/runtime/gc_blocks.go") == [
        "$GOROOT/src/regexp/regexp.go",
        "$TINYGOROOT/src/runtime/gc_blocks.go",
    ]


def test_all_of_tinygos_folder_is_its_own() -> None:
    names = named(
        "/opt/tinygo/src/runtime/slice.go", "/opt/tinygo/lib/wasi-libc/malloc.c", "/opt/tinygo/src/sync/pool.go"
    )
    assert names == [
        "$TINYGOROOT/src/runtime/slice.go",
        "$TINYGOROOT/lib/wasi-libc/malloc.c",
        "$TINYGOROOT/src/sync/pool.go",
    ]


def test_a_c_library_tells_tinygos_folder() -> None:
    files = (
        "/opt/tinygo/lib/wasi-libc/libc.c",
        "/opt/tinygo/src/internal/task/task.S",
        f"{LINKED}/src/runtime/slice.go",
    )
    assert named(*files, "/opt/shop/main.go") == [
        "$TINYGOROOT/lib/wasi-libc/libc.c",
        "$TINYGOROOT/src/internal/task/task.S",
        "$TINYGOROOT/src/runtime/slice.go",
        "main.go",
    ]


def test_packages_in_the_folder_that_tinygo_links_tell_whose_they_are() -> None:
    files = ("runtime/slice.go", "regexp/syntax/parse.go", "internal/task/task_asyncify.go", "crypto/sha256/sha256.go")
    assert named(*(f"{LINKED}/src/{file}" for file in files)) == [
        "$TINYGOROOT/src/runtime/slice.go",
        "$GOROOT/src/regexp/syntax/parse.go",
        "$TINYGOROOT/src/internal/task/task_asyncify.go",
        "$GOROOT/src/crypto/sha256/sha256.go",
    ]


def test_modules_of_others_have_their_versions() -> None:
    assert named("/home/ann/go/pkg/mod/github.com/x/y@v1.2.3/z.go") == ["github.com/x/y@v1.2.3/z.go"]


def test_the_programs_own_files_are_named_from_where_all_of_them_are() -> None:
    assert named("/home/ann/shop/cart/main.go", "/home/ann/shop/store.go") == ["cart/main.go", "store.go"]
    assert named("/home/ann/shop/main.go") == ["main.go"]
    assert named(r"C:\Users\ann\shop\cart\main.go", r"C:\Users\ann\shop\store.go") == ["cart/main.go", "store.go"]


def test_files_of_several_projects_have_two_parts_of_their_paths() -> None:
    assert named("/home/ann/shop/main.go", "/srv/shared/log/log.go") == ["shop/main.go", "log/log.go"]
    assert named("/home/ann/main.go", "/home/bob/other.go") == ["ann/main.go", "bob/other.go"]


def test_relative_names_stay() -> None:
    assert named("main.go", "store/store.go") == ["main.go", "store/store.go"]


@pytest.mark.parametrize("file", ["", "/", "//", "..", "../../x.go", "\\", "/src/", "/src/runtime/x", "x" * 5000])
def test_strange_names_are_names(file: str) -> None:
    [name] = named(file)
    assert not name.startswith("/")


@given(st.lists(st.text(alphabet="/.\\:abcsrc", max_size=20), max_size=6))
def test_any_names_are_answered(files: list[str]) -> None:
    assert all(isinstance(name, str) for name in named(*files))
