"""Trials of the package in environments of their own."""
