"""Batch norm: whose statistics a layer normalises with, and how they follow the stream."""
