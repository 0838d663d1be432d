"""A recording that is damaged is refused with one error; whatever its bytes are, nothing crashes.

Damaged files are opened, and read to their ends, in a process of their own, so that a crash is seen as one.
"""

from __future__ import annotations

import random
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import needs
from recordings_made import Shape, make_recording, make_run
from tinyheap.recordings.store import RecordingStore

FILES = 20 if needs.IN_CI else 6
"""Of each kind of damage."""
READ = """
import sys
from tinyheap.errors import RecordingError
from tinyheap.recordings import schema
from tinyheap.recordings.recording import Recording
for path in sys.stdin.read().splitlines():
    try:
        with Recording.open(path) as recording:
            for each in (*schema.TABLES, *schema.VIEWS):
                recording.frame(each.name).fetch()
    except RecordingError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
    else:
        print("ok", flush=True)
"""


def read_all(paths: list[Path]) -> list[str]:
    """What becomes of each file that is opened and read to its end."""
    names = "\n".join(map(str, paths))
    ended = subprocess.run([sys.executable, "-c", READ], check=False, input=names, capture_output=True, text=True)
    lines = ended.stdout.splitlines()
    assert ended.returncode == 0, f"{paths[len(lines)]}: exit code {ended.returncode}: {ended.stderr}"
    return lines


def cut(data: bytearray, dice: random.Random) -> None:
    del data[dice.randrange(len(data)) :]


def flip(data: bytearray, dice: random.Random) -> None:
    data[dice.choice([at for at, byte in enumerate(data) if byte])] ^= 1 << dice.randrange(8)


def flip_in_header(data: bytearray, dice: random.Random) -> None:
    data[dice.randrange(12 * 1024)] = dice.randrange(256)


def overwrite(data: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(data))
    noise = dice.randbytes(min(4096, len(data) - at))
    data[at : at + len(noise)] = noise


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A recording that was finished."""
    return make_recording(tmp_path_factory.mktemp("made") / "made.tinyheap").read_bytes()


@pytest.fixture(scope="module")
def open_still(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A recording whose writer is not at its end: the file, and what is beside it."""
    path = tmp_path_factory.mktemp("made") / "made.tinyheap"
    made = make_run(Shape(batch_events=300))
    store = RecordingStore(path, made.run, made.frames, overwrite=False)
    for batch in made.batches:
        store.put([batch])
    content = path.read_bytes(), path.with_name(f"{path.name}.wal").read_bytes()
    store.close()
    return content


@pytest.mark.parametrize("damage", [cut, flip, flip_in_header, overwrite])
@pytest.mark.share(2)
def test_a_damaged_file(tmp_path: Path, closed: bytes, damage: Callable[[bytearray, random.Random], None]) -> None:
    paths = []
    for seed in range(FILES):
        data = bytearray(closed)
        damage(data, random.Random(seed))
        paths.append(tmp_path / f"{seed}.tinyheap")
        paths[-1].write_bytes(data)
    for path, said in zip(paths, read_all(paths), strict=True):
        # Some bytes are never read.
        assert said == "ok" or str(path) in said
        assert said == "ok" or said.startswith(("RecordingCorruptError: ", "NotARecordingError: ", "RecordingVersionE"))


def test_a_damaged_byte_does_not_go_unseen(tmp_path: Path, closed: bytes) -> None:
    paths: list[Path] = []
    for name, value in ((b"(*main.Cache).Add", b"(*main.Cache).Sub"), (b"main.load", b"main.lose")):
        assert name in closed
        paths.append(tmp_path / f"{len(paths)}.tinyheap")
        paths[-1].write_bytes(closed.replace(name, value))
    for said in read_all(paths):
        assert said.startswith("RecordingCorruptError: ")
        assert "computed checksum" in said


@pytest.mark.parametrize("damage", [flip, overwrite])
def test_a_damaged_log(
    tmp_path: Path, open_still: tuple[bytes, bytes], damage: Callable[[bytearray, random.Random], None]
) -> None:
    paths = []
    for seed in range(FILES):
        log = bytearray(open_still[1])
        damage(log, random.Random(seed))
        paths.append(tmp_path / f"{seed}.tinyheap")
        paths[-1].write_bytes(open_still[0])
        paths[-1].with_name(f"{seed}.tinyheap.wal").write_bytes(log)
    for said in read_all(paths):
        # What is wrong with the last entry can look like an entry that was never finished.
        assert said == "ok" or said.startswith("RecordingCorruptError: ")


def test_a_log_that_ends_anywhere_is_read_up_to_there(tmp_path: Path, open_still: tuple[bytes, bytes]) -> None:
    data, log = open_still
    paths = []
    for seed in range(FILES):
        paths.append(tmp_path / f"{seed}.tinyheap")
        paths[-1].write_bytes(data)
        paths[-1].with_name(f"{seed}.tinyheap.wal").write_bytes(log[: random.Random(seed).randrange(len(log))])
    assert read_all(paths) == ["ok"] * FILES


@pytest.mark.slow
def test_damage_that_its_checksums_do_not_show(tmp_path: Path, closed: bytes) -> None:
    """Checksums do not protect against intent: the content is damaged, and the checksums are made to match."""
    files = [bytearray(closed) for _ in range(FILES)]
    for seed, data in enumerate(files):
        for _ in range(1 + seed % 3):
            flip(data, random.Random(seed))
    paths = [tmp_path / f"{seed}.tinyheap" for seed in range(FILES)]
    wrong = list(range(FILES))
    for _ in range(6):
        for seed in wrong:
            paths[seed].write_bytes(files[seed])
        said = dict(zip(wrong, read_all([paths[seed] for seed in wrong]), strict=True))
        wrong = [seed for seed in wrong if mend(files[seed], said[seed])]
    assert len(wrong) < FILES / 2


def mend(data: bytearray, said: str) -> bool:
    """Put in the checksum that DuckDB has computed, if it was one that was wrong."""
    found = re.search(r"computed checksum (\d+) does not match stored checksum \d+ in block at location (\d+)", said)
    if found is not None:
        struct.pack_into("<Q", data, int(found[2]), int(found[1]))
    return found is not None
