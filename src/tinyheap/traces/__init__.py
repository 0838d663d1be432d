"""Recorded and made-up mutator programs, and running them again."""
