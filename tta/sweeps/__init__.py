"""Grids of runs: their cells, and where cells are executed."""
