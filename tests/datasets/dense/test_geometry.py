"""Label maps lie where their images do: a drawn pattern, resized and corrupted."""

import numpy as np
import pytest
import torch
from PIL import Image

from tta.corruptions import CORRUPTIONS, corrupt
from tta.corruptions.oblong import corrupt_labels, corrupt_oblong
from tta.datasets import open_dataset
from tta.datasets.resizing import Resizing, fitted, fitted_labels


def pattern(height, width):
    """Return an image and its label map: a bright slanting bar on black, not symmetric."""
    rows, columns = np.mgrid[:height, :width]
    bar = np.abs(columns / width - 0.3 - 0.3 * rows / height) < 0.12
    bar |= (rows < height // 4) & (columns > 3 * width // 4)
    labels = torch.from_numpy(bar.astype(np.uint8))[None]
    return (labels[:, None] * 255).expand(-1, 3, -1, -1).contiguous(), labels


def apart(images, labels):
    """Return the share of pixels whose brightness tells another label."""
    return ((images[:, 0] > 127).byte() != labels).float().mean().item()


@pytest.mark.parametrize("how", ["squash", "shorter", "none"])
@pytest.mark.parametrize("size", [(30, 40), (33, 61), (60, 80)])
def test_resized_alike(how, size):
    images, labels = pattern(60, 80)
    resizing = Resizing(how, crop=1.0)
    small, maps = fitted(images, size, resizing), fitted_labels(labels, size, resizing)
    assert maps.shape == (1, *size) and maps.dtype == torch.uint8
    assert apart(small, maps) < 0.04


@pytest.mark.parametrize("shape", [(64, 64), (45, 75), (75, 44)])
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_elastic_transform_moves_labels_with_their_images(shape, severity):
    images, labels = (torch.cat([part] * 3) for part in pattern(*shape))
    ids = np.array([4, 7, 11])
    made = corrupt_oblong(images, "elastic_transform", severity, ids)
    moved = corrupt_labels(labels, "elastic_transform", severity, ids)
    assert apart(made, moved) < 0.02 < apart(made, labels)
    assert not torch.equal(moved[0], moved[1])
    alone = corrupt_labels(labels[:1], "elastic_transform", severity, ids[:1])
    assert torch.equal(alone, moved[:1])


@pytest.mark.parametrize("name", sorted(set(CORRUPTIONS) - {"elastic_transform"}))
def test_other_corruptions_leave_labels_as_they_are(name):
    _, labels = pattern(32, 48)
    assert corrupt_labels(labels, name, 5, [3]) is labels


def test_composed_corruptions_move_labels_once():
    _, labels = pattern(48, 64)
    alone = corrupt_labels(labels, "elastic_transform", 5, [3])
    assert torch.equal(corrupt_labels(labels, "fog+elastic_transform", 5, [3]), alone)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_oblong_images_keep_their_shape_and_squares_their_bytes(name):
    images, _ = pattern(32, 48)
    made = corrupt_oblong(images, name, 3, [5])
    assert made.shape == images.shape and made.dtype == torch.uint8
    square, _ = pattern(32, 32)
    assert torch.equal(corrupt_oblong(square, name, 3, [5]), corrupt(square, name, 3, [5]))


def test_files_and_their_label_maps_are_resized_alike(tmp_path):
    images, labels = pattern(60, 80)
    base = tmp_path / "mine"
    for kind in ("images", "labels"):
        (base / kind / "a").mkdir(parents=True)
    Image.fromarray(images[0].permute(1, 2, 0).numpy()).save(base / "images/a/x.png")
    Image.fromarray(labels[0].numpy()).save(base / "labels/a/x.png")
    data = open_dataset(f"folder-seg:{base}")
    for data.image_size in ((60, 80), (31, 77), (120, 90)):
        shown, maps = (call("a", 0, np.array([0])) for call in (data.shown, data.label_maps))
        assert shown.shape[-2:] == maps.shape[-2:] == data.image_size
        assert apart(shown, maps) < 0.04
