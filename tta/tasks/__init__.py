"""What labels and outputs mean: which output is which class, and the metrics that count."""
