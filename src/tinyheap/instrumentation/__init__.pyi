from tinyheap.instrumentation.importing import Import as Import, import_log as import_log
from tinyheap.instrumentation.log import Log as Log, Record as Record, read_log as read_log, take_log as take_log
from tinyheap.instrumentation.operation import (
    Instrumentation as Instrumentation,
    instrument as instrument,
    script as script,
)
