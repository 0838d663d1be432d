from tinyheap.report.exporting import FORMS as FORMS, export as export
from tinyheap.report.html import write_page as write_page
from tinyheap.report.profile_json import comparison_json as comparison_json, report_json as report_json
from tinyheap.report.profiles import renderable_of as renderable_of
