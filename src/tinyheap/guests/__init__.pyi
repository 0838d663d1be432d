from tinyheap.guests.cache import Cache as Cache
from tinyheap.guests.facts import (
    BlockHeap as BlockHeap,
    Confidence as Confidence,
    Evidence as Evidence,
    Guest as Guest,
    LeakingHeap as LeakingHeap,
)
from tinyheap.guests.guest_heap import GuestHeap as GuestHeap
from tinyheap.guests.identify import block_heap as block_heap
from tinyheap.guests.policy import Policy as Policy
from tinyheap.guests.program import COLLECTORS as COLLECTORS, Program as Program
from tinyheap.guests.recorder import Recorder as Recorder
