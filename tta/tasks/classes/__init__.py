"""Which output of a model is which class: names of outputs, and names of data matched to them."""
