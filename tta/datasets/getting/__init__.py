"""Getting published data sets: what ``data_scripts/get.py`` is made of."""
