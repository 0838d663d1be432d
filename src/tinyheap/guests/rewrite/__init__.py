"""Changing a module before it runs: its collector's functions become imports, and what records it is put in."""
