"""A running program's heap in a terminal, while it runs."""
