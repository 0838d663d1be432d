"""Results of analyses in a notebook."""
