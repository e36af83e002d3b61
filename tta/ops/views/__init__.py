"""Changed images: the augmentations that methods see test images through."""
