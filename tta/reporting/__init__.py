"""What a run leaves behind: metrics, records and tables."""
