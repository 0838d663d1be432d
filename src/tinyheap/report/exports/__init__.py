"""A recording in forms that other tools open."""
