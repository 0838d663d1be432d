from tinyheap.recordings.batch import DEATH as DEATH, EVENT as EVENT, STACK as STACK, Batch as Batch
from tinyheap.recordings.last import Last as Last
from tinyheap.recordings.observed import LastPart as LastPart, Lives as Lives, Observed as Observed
from tinyheap.recordings.recording import Recording as Recording, RunInfo as RunInfo
from tinyheap.recordings.row_types import (
    CollectionRow as CollectionRow,
    FrameRow as FrameRow,
    GrowthRow as GrowthRow,
    RunRow as RunRow,
)
from tinyheap.recordings.rows import Rows as Rows
from tinyheap.recordings.schema import EventKind as EventKind
from tinyheap.recordings.writer import RecordingWriter as RecordingWriter
