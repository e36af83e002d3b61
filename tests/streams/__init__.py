"""Orders of streams, protocols and the loop."""
