"""Pure tensor functions that methods are made of."""
