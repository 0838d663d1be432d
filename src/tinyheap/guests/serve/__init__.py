"""Serving a running program's heap by an engine on the program's own memory, and checking what the program does to it."""
