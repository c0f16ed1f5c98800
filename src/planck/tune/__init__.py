"""Measuring, searching, and the timing cache."""
