"""Small stand-ins: a data set of random images and backbones of each kind of norm layer."""

from tta.testing.stand_ins import (
    BACKBONES,
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
    "NUM_CLASSES",
    "SIZE",
    "RandomImages",
    "attach_domain_heads",
    "make_backbone",
    "make_images",
    "make_source",
]
