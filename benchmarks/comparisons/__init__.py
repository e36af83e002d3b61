"""What is compared in the tables of results/: data, rows, protocols, and how a table looks."""
