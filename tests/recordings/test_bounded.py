"""A long recording takes no more memory than a short one, also where the writer is slow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tinyheap.recordings.batch import EVENT

SUPPORT = Path(__file__).resolve().parents[1] / "support"
MIB = 1 << 20
BATCH = 1 << 17
WRITE = """
import json, pathlib, re, sys
import numpy as np
import recordings_made
from tinyheap.recordings.batch import DEATH, EVENT, Batch
from tinyheap.recordings.writer import RecordingWriter
size, counts = int(sys.argv[2]), [int(count) for count in sys.argv[3:]]
rng, peaks, batch = np.random.default_rng(0), [], 0
with RecordingWriter.create(sys.argv[1], recordings_made.make_run().run) as writer:
    for count in counts:
        while batch < count:
            events, deaths = np.zeros(size, EVENT), np.zeros(size * 9 // 10, DEATH)
            events["object_id"] = np.arange(batch * size + 1, (batch + 1) * size + 1)
            events["time_ns"] = 700 * events["object_id"] + rng.integers(0, 700, size)
            events["address"], events["size_bytes"] = rng.integers(0, 1 << 26, size), rng.integers(1, 500, size)
            deaths["object_id"] = rng.permutation(events["object_id"])[: len(deaths)]
            batch += 1
            writer.append(Batch(int(events["time_ns"][-1]), events, deaths))
        # What getrusage says may be the peak of the process that started this one.
        status = pathlib.Path("/proc/self/status").read_text()
        peaks.append(int(re.search(r"VmHWM:\\s*(\\d+) kB", status)[1]) * 1024)
    writer.finish("finished", time_ns=int(events["time_ns"][-1]))
print(json.dumps(peaks))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process its own peak")
def test_memory_is_bounded_however_many_events_there_are(tmp_path: Path) -> None:
    path = tmp_path / "long.tinyheap"
    command: list[str | Path] = [sys.executable, "-c", WRITE, path, str(BATCH), "32", "128"]
    ended = subprocess.run(command, cwd=SUPPORT, check=True, capture_output=True, text=True)
    early_bytes, late_bytes = json.loads(ended.stdout)
    assert 96 * BATCH * EVENT.itemsize > 2 * 200 * MIB, "what came between the two would be seen"
    # A writer that falls behind on a busy machine has its queue full, and the engine its buffers.
    assert late_bytes - early_bytes < 200 * MIB
    assert late_bytes < 600 * MIB
