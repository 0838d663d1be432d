"""Rehearsing with a module's own allocator; see `rehearsal`."""
