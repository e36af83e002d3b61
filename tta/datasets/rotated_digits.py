"""Rotated digits: a multi-domain benchmark with nothing to download.

The scans of ``tta.datasets.digits`` at the six angles of DomainBed's RotatedMNIST, one domain
left out of training and tested on. DomainBed deals its 70,000 images out over the angles; with
1,797 scans that would leave 300 to test on. Here every angle has all scans of a split instead,
and a scan of the test split is in no training domain at any angle.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from tta.datasets.base import NATURAL, Dataset, name_digest
from tta.datasets.benchmark import Benchmark, shipped
from tta.datasets.digits import NAMES, TEMPLATE, load_digits_rgb, split_rows
from tta.foundation.errors import UserError, did_you_mean

ANGLES = ("0", "15", "30", "45", "60", "75")
"""Domains: degrees, counter-clockwise."""
DEFAULT_HELD_OUT = "75"
WEIGHTS = shipped("rotated_digits_test_resnet.safetensors")


@lru_cache(maxsize=2 * len(ANGLES))
def _turned(angle: str, source_split: bool) -> Tensor:
    from torchvision.transforms.functional import InterpolationMode, rotate  # long to import

    images, _ = load_digits_rgb()
    grey = images[torch.from_numpy(split_rows(source_split)), :1]
    return rotate(grey, float(angle), InterpolationMode.BILINEAR)


class _RotatedDigits(Dataset):
    """One split of the scans at some angles."""

    argument = "held_out"
    num_classes = 10
    prompt_names = NAMES
    benchmark = Benchmark(
        "test_resnet.r160_in1k", templates=(TEMPLATE,), preset="digits-r", batch_size=32
    )

    def __init__(self, name: str, domains: tuple[str, ...], *, source_split: bool) -> None:
        self.name = name
        self.domains = domains
        self._source_split = source_split
        self._labels = load_digits_rgb()[1][split_rows(source_split)]

    def labels(self, domain: str, severity: int = NATURAL) -> np.ndarray:
        return self._labels

    def images(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        chosen = _turned(domain, self._source_split)[torch.from_numpy(indices)]
        return chosen.expand(-1, 3, -1, -1)

    def digest(self) -> str:
        return name_digest(self)


class RotatedSourceDigits(_RotatedDigits):
    """``digits-r-source``: the source scans (900) at every angle, or at all but ``:ANGLE``."""

    def __init__(self, held_out: str = "") -> None:
        kept = ANGLES
        if held_out:
            kept = tuple(angle for angle in ANGLES if angle != _checked(held_out))
        name = f"digits-r-source:{held_out}" if held_out else "digits-r-source"
        super().__init__(name, kept, source_split=True)


class RotatedDigits(_RotatedDigits):
    """``digits-r``: the test scans (897) at 75 degrees, or at ``:ANGLE``.

    Its source model, with a head for each of the five other angles, comes with the package for
    the default angle, and is trained at first use for another.
    """

    def __init__(self, held_out: str = "") -> None:
        held_out = _checked(held_out or DEFAULT_HELD_OUT)
        super().__init__(f"digits-r:{held_out}", (held_out,), source_split=False)
        is_shipped = held_out == DEFAULT_HELD_OUT and WEIGHTS.is_file()
        self.benchmark = self.benchmark.but(
            weights=str(WEIGHTS) if is_shipped else None,
            train_at_first_use=True,
            source=f"digits-r-source:{held_out}",
        )


def _checked(angle: str) -> str:
    if angle not in ANGLES:
        raise UserError(
            f"rotated digits have no domain {angle!r} to hold out; {did_you_mean(angle, ANGLES)}"
        )
    return angle
