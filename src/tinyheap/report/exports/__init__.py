"""A recording in formats that other tools open."""
