from tinyheap.guests.attached.attachment import Attachment as Attachment, attach as attach
from tinyheap.guests.cache import Cache as Cache
from tinyheap.guests.ending import Ending as Ending, EndKind as EndKind, ending_of as ending_of
from tinyheap.guests.guest_heap import GuestHeap as GuestHeap
from tinyheap.guests.policy import Policy as Policy
from tinyheap.guests.program import COLLECTORS as COLLECTORS, Program as Program
from tinyheap.guests.record.recorder import Recorder as Recorder
