from tinyheap.lab.conditions import Condition as Condition
from tinyheap.lab.devices import (
    DEVICES as DEVICES,
    Device as Device,
    DeviceFit as DeviceFit,
    device_named as device_named,
    fit_device as fit_device,
    fit_trace_device as fit_trace_device,
)
from tinyheap.lab.edges import Edge as Edge, Stretch as Stretch
from tinyheap.lab.effects import Effect as Effect
from tinyheap.lab.fitting import Fit as Fit, Fits as Fits, Limit as Limit, fit as fit, fit_trace as fit_trace
from tinyheap.lab.grids import Grid as Grid, Sample as Sample, grid as grid
from tinyheap.lab.outcome import Outcome as Outcome, OutcomeDifference as OutcomeDifference
from tinyheap.lab.running import Subject as Subject
from tinyheap.lab.starts import Start as Start, better_starts as better_starts, start_of as start_of
from tinyheap.lab.sweeping import Sweep as Sweep, read_sweep as read_sweep, sweep as sweep
