"""What throughput is compared with does the same work: images change as much, on average."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.corruptions.pictures import pictures
from tta.corruptions import CORRUPTIONS, corrupt
from tta.corruptions.frost_textures import OFFICIAL_FILES

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "per_image.py"
per_image = runpy.run_path(str(SCRIPT))["per_image"]


@pytest.fixture(scope="module")
def frost(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frost")
    rng = np.random.default_rng(0)
    for name in OFFICIAL_FILES:
        Image.fromarray(rng.integers(0, 256, (400, 500, 3), np.uint8)).save(folder / name)
    return folder


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_one_image_at_a_time_is_like_a_batch(name, frost):
    clean = pictures(6)
    files = [frost / file for file in OFFICIAL_FILES]
    one = per_image(name, 3, 32, files, np.random.default_rng(0))
    single = np.stack([one(image) for image in clean.permute(0, 2, 3, 1).numpy()])
    batch = corrupt(clean, name, 3, range(6), frost_textures=frost).permute(0, 2, 3, 1)
    assert single.dtype == np.uint8 and single.shape == batch.shape
    original = clean.permute(0, 2, 3, 1).float()
    for one_way in (torch.Tensor.mean, lambda images: (images - original).abs().mean()):
        there, here = (one_way(torch.as_tensor(made).float()).item() for made in (single, batch))
        assert there == pytest.approx(here, rel=0.35, abs=1.5)
