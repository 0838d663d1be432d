from tinyheap.profile.calls import (
    CallSpan as CallSpan,
    CallTrend as CallTrend,
    ExportCalls as ExportCalls,
    GrowingSite as GrowingSite,
    HostCalls as HostCalls,
    Lent as Lent,
    LentObject as LentObject,
    host_calls as host_calls,
)
from tinyheap.profile.comparing import (
    Comparison as Comparison,
    MetricDifference as MetricDifference,
    UsageDifference as UsageDifference,
    compare as compare,
)
from tinyheap.profile.flame import (
    FlameGraph as FlameGraph,
    FlameNode as FlameNode,
    Measure as Measure,
    flame_graph as flame_graph,
    folded as folded,
)
from tinyheap.profile.histograms import (
    Bucket as Bucket,
    Histogram as Histogram,
    LayoutUsage as LayoutUsage,
    by_layout as by_layout,
    lifetime_histogram as lifetime_histogram,
    size_histogram as size_histogram,
    survival_histogram as survival_histogram,
)
from tinyheap.profile.leaks import (
    LeakSuspect as LeakSuspect,
    LeakSuspects as LeakSuspects,
    leak_suspects as leak_suspects,
)
from tinyheap.profile.lines import LineUsage as LineUsage, by_line as by_line
from tinyheap.profile.memory import (
    AllocatorCalls as AllocatorCalls,
    LinearMemory as LinearMemory,
    MemoryGrowth as MemoryGrowth,
    linear_memory as linear_memory,
)
from tinyheap.profile.moments import (
    HeapMoment as HeapMoment,
    ObjectAt as ObjectAt,
    heap_at as heap_at,
    object_at as object_at,
    stack_of as stack_of,
)
from tinyheap.profile.owners import Owner as Owner, Owners as Owners, owners_of as owners_of
from tinyheap.profile.pausing import Pauses as Pauses, Utilization as Utilization, pauses as pauses
from tinyheap.profile.result import Unknown as Unknown
from tinyheap.profile.sites import (
    FunctionUsage as FunctionUsage,
    SiteUsage as SiteUsage,
    Usage as Usage,
    UsageTable as UsageTable,
    by_function as by_function,
    by_site as by_site,
)
from tinyheap.profile.stacks import NO_STACK as NO_STACK, StackFrame as StackFrame
from tinyheap.profile.summary import (
    Peak as Peak,
    Totals as Totals,
    fragmentation as fragmentation,
    peak as peak,
    totals as totals,
)
from tinyheap.profile.trends import Kept as Kept, Sizes as Sizes, Trend as Trend
from tinyheap.profile.timeline import (
    CollectionMark as CollectionMark,
    GrowthMark as GrowthMark,
    TimeLine as TimeLine,
    TimePoint as TimePoint,
    time_line as time_line,
)
