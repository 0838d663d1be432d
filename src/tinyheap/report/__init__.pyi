from tinyheap.report.exports.formats import (
    FORMATS as FORMATS,
    HEAP_FORMATS as HEAP_FORMATS,
    export as export,
    export_heap as export_heap,
)
from tinyheap.report.exports.report_json import comparison_json as comparison_json, report_json as report_json
from tinyheap.report.html.heap_page import write_heap_page as write_heap_page
from tinyheap.report.html.page import write_page as write_page
from tinyheap.report.terminal.results import renderable_of as renderable_of
