from tinyheap.recognize.facts import (
    BlockHeap as BlockHeap,
    Confidence as Confidence,
    Evidence as Evidence,
    Guest as Guest,
    LeakingHeap as LeakingHeap,
)
from tinyheap.recognize.identify import block_heap as block_heap
