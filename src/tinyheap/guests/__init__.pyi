from tinyheap.guests.cache import Cache as Cache
from tinyheap.guests.guest_heap import GuestHeap as GuestHeap
from tinyheap.guests.policy import Policy as Policy
from tinyheap.guests.program import COLLECTORS as COLLECTORS, Program as Program
from tinyheap.guests.record.recorder import Recorder as Recorder
