"""The image corruptions of Hendrycks and Dietterich (ICLR 2019): batched, seeded per image."""

from tta.corruptions.engine import corrupt
from tta.corruptions.frost_textures import frost_source
from tta.corruptions.severity import CORRUPTIONS, EXTRA_CORRUPTIONS

__all__ = ["CORRUPTIONS", "EXTRA_CORRUPTIONS", "corrupt", "frost_source"]
