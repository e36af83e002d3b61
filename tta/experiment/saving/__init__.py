"""A run that can be killed at any moment: its saved state, and what is said of unfinished runs."""
