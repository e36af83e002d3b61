"""Measurements of speed and memory: what is compared, on what, and how."""
