"""The folders of runs: how files get there, and how they are found, checked and read again."""
