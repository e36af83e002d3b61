"""Online test-time adaptation: corrupted image streams through any timm backbone."""

__version__ = "0.1.0"
