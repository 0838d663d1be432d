"""A recording as one HTML page, which asks no network for anything."""
