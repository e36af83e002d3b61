"""Small stand-ins: a data set of random images and backbones of each kind of norm layer."""

from tta.testing.stand_ins import (
    BACKBONES,
    IMAGE_TEXT,
    NUM_CLASSES,
    SIZE,
    RandomImages,
    attach_domain_heads,
    make_backbone,
    make_images,
    make_source,
)

__all__ = [
    "BACKBONES",
    "IMAGE_TEXT",
    "NUM_CLASSES",
    "SIZE",
    "RandomImages",
    "attach_domain_heads",
    "make_backbone",
    "make_images",
    "make_source",
]
