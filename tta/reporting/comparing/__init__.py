"""Runs side by side: rows over seeds, paired tests, and tables in every format."""
