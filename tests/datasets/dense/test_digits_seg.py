"""Digits on a canvas: every scan once, labels where the ink is, the shipped model as it says."""

import numpy as np
import pytest
import torch

from tta.backbones import create_backbone
from tta.datasets import open_dataset
from tta.datasets.dense.digits_seg import BACKGROUND, canvases
from tta.datasets.digits import digit_scans, split_rows
from tta.source.segmentation import pixel_counts
from tta.tasks.confusion import mean_iou


@pytest.fixture(scope="module")
def data():
    return open_dataset("digits-seg")


def test_sizes_and_classes(data):
    assert data.task == "segmentation" and data.num_classes == 11
    assert data.labels("fog", 5).tolist() == [0] * 224
    rows = np.array([5, 0])
    assert data.images("fog", 5, rows).shape == (2, 3, 64, 64)
    labels = data.label_maps("fog", 5, rows)
    assert labels.shape == (2, 64, 64) and labels.dtype == torch.uint8
    assert set(labels.unique().tolist()) <= set(range(11))
    corner = labels[:, 0, 0].tolist()  # most of a picture is none of the digits
    assert data.class_names[labels.flatten().mode().values] == "background"
    assert data.class_names[:10] == tuple("0123456789") and BACKGROUND in corner
    assert len(data.palette) == len(set(data.palette)) == 11


def test_each_quarter_shows_one_digit_and_every_class_is_there():
    rows = split_rows(source=False)
    _, labels = canvases(rows, 3)
    quarters = labels.unfold(1, 32, 32).unfold(2, 32, 32).flatten(3).reshape(-1, 1024)
    seen = [set(quarter.unique().tolist()) - {BACKGROUND} for quarter in quarters]
    assert all(len(classes) == 1 for classes in seen)
    shown = np.bincount([classes.pop() for classes in seen], minlength=10)
    expected = np.bincount(digit_scans()[1][rows], minlength=10)
    assert np.abs(shown - expected).sum() == len(rows) % 4


def test_the_same_seed_gives_the_same_pictures_and_splits_share_no_scan():
    first, again = (canvases(split_rows(source=True), 3) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert not set(split_rows(source=True)) & set(split_rows(source=False))


def test_the_shipped_model_knows_clean_pictures(data):
    backbone = create_backbone("digits_segnet", weights=data.benchmark.weights)
    images, labels = (part[:48] for part in data.clean_pictures)
    clean = mean_iou(pixel_counts(backbone, images, labels, data.ignore_label))
    noisy = data.images("contrast", 5, np.arange(48))
    assert clean > 0.75
    assert mean_iou(pixel_counts(backbone, noisy, labels, data.ignore_label)) < clean - 0.1
