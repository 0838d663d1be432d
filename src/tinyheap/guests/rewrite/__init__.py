"""Changing a module before it runs: its collector's functions become imports, and code that records it is injected."""
