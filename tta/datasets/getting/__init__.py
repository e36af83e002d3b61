"""Getting published data sets: what ``python -m tta.get`` is made of."""
