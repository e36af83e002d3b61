"""Orders of streams."""
