"""Networks that segment: an encoder with a decoder of its own, torchvision's, and packages'."""
