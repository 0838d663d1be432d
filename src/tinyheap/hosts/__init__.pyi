from tinyheap.hosts.functions import Caller as Caller, Imports as Imports
from tinyheap.hosts.grants import INHERIT as INHERIT, Folder as Folder, Grants as Grants, Output as Output
from tinyheap.hosts.memory import GuestMemory as GuestMemory
from tinyheap.hosts.session import (
    HostSession as HostSession,
    compile_module as compile_module,
    load as load,
    new_engine as new_engine,
    offer as offer,
)
