"""Which imports the hosts offer; known without wasmtime, so that modules can be examined where none can run.

The functions of WASI preview 1 are wasmtime's; a test holds this table against it.  Those of the bridge are its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tinyheap.hosts.gojs.bridge import MODULES as BRIDGE_MODULES
from tinyheap.hosts.gojs.bridge import is_served
from tinyheap.hosts.imports import Signature

if TYPE_CHECKING:
    from collections.abc import Iterator

WASI_MODULE: Final = "wasi_snapshot_preview1"
_WASI: Final = """
    args_get ii; args_sizes_get ii; clock_res_get ii; clock_time_get iIi; environ_get ii; environ_sizes_get ii;
    fd_advise iIIi; fd_allocate iII; fd_close i; fd_datasync i; fd_fdstat_get ii; fd_fdstat_set_flags ii;
    fd_fdstat_set_rights iII; fd_filestat_get ii; fd_filestat_set_size iI; fd_filestat_set_times iIIi; fd_pread iiiIi;
    fd_prestat_dir_name iii; fd_prestat_get ii; fd_pwrite iiiIi; fd_read iiii; fd_readdir iiiIi; fd_renumber ii;
    fd_seek iIii; fd_sync i; fd_tell ii; fd_write iiii; path_create_directory iii; path_filestat_get iiiii;
    path_filestat_set_times iiiiIIi; path_link iiiiiii; path_open iiiiiIIii; path_readlink iiiiii;
    path_remove_directory iii; path_rename iiiiii; path_symlink iiiii; path_unlink_file iii; poll_oneoff iiii;
    proc_exit i; proc_raise i; random_get ii; sched_yield; sock_accept iii; sock_recv iiiiii; sock_send iiiii;
    sock_shutdown ii
"""
"""Names, and their parameters: i for i32, I for i64."""
HOW_TO_OFFER: Final = (
    'Offer such functions from Python (Program.open(..., imports={"env": {"log": function}})), or to a command by a Python '
    "file (--host FILE.py); or replace them by stubs that return zero (--stub-imports)."
)
"""What to do about an import that no host offers."""
_KINDS: Final = {"i": "i32", "I": "i64"}


def _wasi() -> Iterator[tuple[str, Signature]]:
    for entry in _WASI.split(";"):
        name, _, letters = entry.strip().partition(" ")
        results = () if name == "proc_exit" else ("i32",)
        yield name, Signature(tuple(_KINDS[letter] for letter in letters), results)


WASI_FUNCTIONS: Final = dict(_wasi())
"""The functions of WASI preview 1, and their types."""


def is_offered(module: str, name: str, signature: Signature) -> bool:
    """Whether a function that a program imports is offered, as the type that the program gives it."""
    if module == WASI_MODULE:
        return WASI_FUNCTIONS.get(name) == signature
    return module in BRIDGE_MODULES and is_served(name, signature)
