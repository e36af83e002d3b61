"""One self-contained page of recorded runs."""
