"""What watches a run while it streams: records, collapse, memory, progress and trackers."""
