"""Analyses of a heap at one moment."""
