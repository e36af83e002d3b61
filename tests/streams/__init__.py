"""Orders, protocols and the loop."""
