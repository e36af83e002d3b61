"""What is typed: one module per command parses its options, does the work, and prints."""
