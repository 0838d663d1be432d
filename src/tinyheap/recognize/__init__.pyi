from tinyheap.recognize.facts import (
    BestFitHeap as BestFitHeap,
    BlockHeap as BlockHeap,
    Confidence as Confidence,
    Evidence as Evidence,
    FinalizerTable as FinalizerTable,
    FixedRequest as FixedRequest,
    Guest as Guest,
    HeaderPlace as HeaderPlace,
    LeakingHeap as LeakingHeap,
)
from tinyheap.recognize.identify import block_heap as block_heap, identify_file as identify_file
