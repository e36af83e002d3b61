"""Agreement with the official generator on its recorded CIFAR-10-C images, severity 5."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tta.corruptions import CORRUPTIONS, corrupt

ASSETS = os.environ.get("TTA_TEST_ASSETS")
needs_assets = pytest.mark.skipif(
    not ASSETS, reason="TTA_TEST_ASSETS names no folder with the recorded CIFAR-10-C images"
)
DETERMINISTIC = (
    "defocus_blur",
    "zoom_blur",
    "brightness",
    "contrast",
    "pixelate",
    "jpeg_compression",
)
DETERMINISTIC_COUNT = 200


@pytest.fixture(scope="module")
def recorded():
    """Map a corruption to (clean, corrupted, ids) of its first images."""
    root = Path(ASSETS)
    with np.load(root / "reference/cifar10c-visible.npz") as stream:
        images, domains, index = stream["images"], stream["domains"], stream["index"]
    with np.load(root / "data/cifar10/test5k.npz") as originals:
        clean, official = originals["images"], originals["index"]
    rows = {}
    for number, name in enumerate(CORRUPTIONS):
        chosen = np.flatnonzero(domains == number)
        ids = index[chosen]
        rows[name] = (clean[np.searchsorted(official, ids)], images[chosen], ids)
    return rows


def ours(name, clean, ids):
    images = torch.from_numpy(clean).permute(0, 3, 1, 2)
    textures = Path(ASSETS) / "data/frost"
    result = corrupt(images, name, 5, torch.from_numpy(ids), frost_textures=textures)
    return result.permute(0, 2, 3, 1).numpy().astype(float)


@needs_assets
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_deterministic_corruptions_agree_within_a_level(name, recorded):
    clean, expected, ids = (part[:DETERMINISTIC_COUNT] for part in recorded[name])
    difference = np.abs(ours(name, clean, ids) - expected)
    assert difference.mean() < 0.1
    assert difference.max() <= 1


@needs_assets
@pytest.mark.parametrize("name", [n for n in CORRUPTIONS if n not in DETERMINISTIC])
def test_random_corruptions_agree_in_mean_and_spread(name, recorded):
    """Within 3 % of the residual's size; all 1,000 images, to keep the draws' own scatter below."""
    clean, expected, ids = recorded[name]
    wanted, got = expected - clean.astype(float), ours(name, clean, ids) - clean
    size = np.sqrt((wanted**2).mean())
    assert got.std() == pytest.approx(wanted.std(), rel=0.03)
    assert got.mean() == pytest.approx(wanted.mean(), abs=0.03 * size)
