"""Pictures for papers, drawn with matplotlib."""
