"""Names of source files as people expect them, without the folders of the machine that compiled them.

    /usr/local/go/src/regexp/regexp.go                        $GOROOT/src/regexp/regexp.go
    /usr/local/lib/tinygo/src/runtime/gc_blocks.go            $TINYGOROOT/src/runtime/gc_blocks.go
    /home/ann/go/pkg/mod/github.com/x/y@v1.2.3/z.go           github.com/x/y@v1.2.3/z.go
    /home/ann/shop/cart/main.go, /home/ann/shop/store.go      cart/main.go, store.go

A path is Go's own where its folder below ``src`` is one of Go's standard library.  TinyGo brings some of these packages
itself (``runtime`` always), and links them and Go's into one folder, ``goroot-HASH``: there the package tells whose it is.
Modules of others are named as the Go command does with ``-trimpath``.  All other files are the program's own; they are
named from the deepest folder that has all of them.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from typing import Final

GOROOT: Final = "$GOROOT"
TINYGOROOT: Final = "$TINYGOROOT"

_GO_PACKAGES: Final = re.compile(
    r"archive|bufio|bytes|cmp|compress|container|context|crypto|database|debug|embed|encoding|errors|expvar|flag|fmt|go|hash"
    r"|html|image|index|internal|io|iter|log|maps|math|mime|net|os|path|plugin|reflect|regexp|runtime|slices|sort|strconv"
    r"|strings|structs|sync|syscall|testing|text|time|unicode|unique|unsafe|vendor|weak|device|examples|machine|tinygo"
)
"""The folders at the top of Go's standard library, and those that TinyGo adds."""
_TINYGO_OWN: Final = re.compile(
    r"(?:device|examples|machine|net|os|reflect|runtime|sync|syscall|testing|tinygo|unique|crypto/(?:rand|tls)"
    r"|internal/(?:abi|binary|bytealg|cm|futex|fuzz|gclayout|itoa|reflectlite|task|wasi))(?:/|$)"
)
"""The folders of the standard library that TinyGo brings itself."""
MOST_ROOTS: Final = 8
"""Folders of TinyGo's, at most."""
_ONLY_TINYGOS: Final = re.compile(
    r"(?P<root>.+)/(?:src/(?:runtime|internal/task)|lib/(?:bdwgc|compiler-rt|musl|picolibc|wasi-cli|wasi-libc))/"
)
"""Files of TinyGo's folder that Go's does not have, or that TinyGo brings itself always."""
_LINKED: Final = re.compile(r"/goroot-[0-9a-f]{16,}$")
_MODULE_CACHE: Final = "/pkg/mod/"
_SOURCES: Final = "/src/"
_TOO_HIGH: Final = re.compile(r"(?:[A-Za-z]:)?(?:/(?:home|Users|root|tmp|build|src|work)?|/(?:home|Users)/[^/]*)?")
"""Folders that are not a project's: those of users, and their parents."""


class ShortNames:
    """The short names of the files of one module.

    Args:
        files: All that are to be named, as the compiler knew them.
    """

    def __init__(self, files: Iterable[str]) -> None:
        paths = {file: _normal(file) for file in files}
        self._tinygo_roots = _tinygo_roots(paths.values())
        self._names = {file: self._shared_name(path) for file, path in paths.items()}
        own = [path for file, path in paths.items() if not self._names[file]]
        folder = _common_folder(own)
        self._names |= {file: _below(folder, path) for file, path in paths.items() if not self._names[file]}

    def __getitem__(self, file: str) -> str:
        """The short name of a file; of one that was not among them, the last two parts of its path."""
        name = self._names.get(file)
        return (self._shared_name(_normal(file)) or _below("", _normal(file))) if name is None else name

    def _shared_name(self, path: str) -> str:
        """The name of a file that is not the program's own; empty for one that is."""
        for tinygo_root in self._tinygo_roots:
            if path.startswith(f"{tinygo_root}/"):
                return TINYGOROOT + path.removeprefix(tinygo_root)
        if _MODULE_CACHE in path:
            return path.rpartition(_MODULE_CACHE)[2]
        root, found, rest = _standard(path)
        if found:
            is_tinygo = _LINKED.search(root) is not None and _TINYGO_OWN.match(posixpath.dirname(rest)) is not None
            return f"{TINYGOROOT if is_tinygo else GOROOT}{_SOURCES}{rest}"
        return ""


def _normal(file: str) -> str:
    """A path with slashes and without steps back."""
    return posixpath.normpath(file.replace("\\", "/"))


def _standard(path: str) -> tuple[str, bool, str]:
    """What stands before ``/src/``, whether a package of the standard library follows, and the rest of the path."""
    root, found, rest = path.rpartition(_SOURCES)
    while found:
        top, slash, _ = rest.partition("/")
        if slash and _GO_PACKAGES.fullmatch(top):
            return root, True, rest
        root, found, more = root.rpartition(_SOURCES)
        rest = f"{more}{_SOURCES}{rest}"
    return "", False, path


def _tinygo_roots(paths: Iterable[str]) -> list[str]:
    """TinyGo's folders, the deepest first: where packages are that only it has, or its C libraries, which may be elsewhere."""
    matches = filter(None, map(_ONLY_TINYGOS.match, paths))
    roots = {match["root"] for match in matches if not _LINKED.search(match["root"])}
    return sorted(roots, key=lambda root: (-len(root), root))[:MOST_ROOTS]


def _common_folder(paths: Iterable[str]) -> str:
    """The deepest folder that has all of them; empty where that is not a project's."""
    folders = {posixpath.dirname(path) for path in paths if path.startswith("/") or path[1:2] == ":"}
    try:
        common = posixpath.commonpath(folders) if folders else ""
    except ValueError:  # on several drives
        common = ""
    return "" if _TOO_HIGH.fullmatch(common) else common


def _below(folder: str, path: str) -> str:
    """A path from a folder on; where there is none, or it is elsewhere, its last two parts."""
    if folder and path.startswith(f"{folder}/"):
        return path[len(folder) + 1 :]
    if not path.startswith(("/", "..")) and path[1:2] != ":":
        return path
    return "/".join(path.split("/")[-2:]).lstrip("/")
