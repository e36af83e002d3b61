"""Rotated digits: domains, the split, and what is left out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tta.datasets import open_dataset
from tta.datasets.rotated_digits import ANGLES
from tta.datasets.subset import Subset, split_validation
from tta.foundation.errors import UserError


def test_the_held_out_domain_is_in_no_training_domain():
    for angle in ANGLES:
        target = open_dataset(f"digits-r:{angle}")
        source = open_dataset(target.benchmark.source)
        assert target.domains == (angle,)
        assert set(source.domains) == set(ANGLES) - {angle}
    assert open_dataset("digits-r").name == "digits-r:75"
    assert open_dataset("digits-r-source").domains == ANGLES


def test_no_scan_of_the_test_split_is_in_training_at_any_angle():
    source, target = open_dataset("digits-r-source"), open_dataset("digits-r:0")
    everything = np.arange(900)
    for angle in ANGLES:
        turned = {image.numpy().tobytes() for image in source.images(angle, 0, everything)}
        of_test_scans = open_dataset(f"digits-r:{angle}").images(angle, 0, np.arange(897))
        assert not turned & {image.numpy().tobytes() for image in of_test_scans}
    assert len(source.labels("0")) + len(target.labels("0")) == 1797


def test_images_are_turned_counter_clockwise():
    upright = open_dataset("digits-r:0").images("0", 0, np.arange(50)).float()
    for angle in ("15", "75"):
        turned = open_dataset(f"digits-r:{angle}").images(angle, 0, np.arange(50)).float()
        mass = turned.sum() / upright.sum()
        assert 0.95 < mass < 1.0  # no more than corners is lost
    quarter = torch.rot90(upright, 1, (2, 3))  # 90 degrees counter-clockwise
    assert (turned - quarter).abs().mean() < 0.8 * (turned - upright).abs().mean()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digits-r:20", "no domain '20' to hold out"),
        ("digits-r-source:seventy", "no domain 'seventy' to hold out"),
        ("digits-c:5", "takes no path"),
    ],
)
def test_other_domains_are_refused(name, message):
    with pytest.raises(UserError, match=message):
        open_dataset(name)


def test_the_validation_part_has_other_scans_than_the_training_part():
    source = open_dataset("digits-r-source:75")
    training, validation = split_validation(source, 0.2, seed=3)
    assert len(validation.labels("0", 0)) == 180
    scans = [
        {image.numpy().tobytes() for image in part.images("30", 0, np.arange(n))}
        for part, n in ((training, 720), (validation, 180))
    ]
    assert not scans[0] & scans[1]
    for part in (training, validation):  # the same scans in every domain
        assert all((part.labels(a, 0) == part.labels("0", 0)).all() for a in part.domains)
    assert training.digest() != validation.digest()


def test_a_subset_hands_its_image_size_on():
    source = open_dataset("digits-r-source")
    part = Subset(source, {"15": np.array([4, 2])})
    part.image_size = (64, 64)
    assert source.image_size == part.image_size == (64, 64)
    assert torch.equal(part.images("15", 0, np.array([1])), source.images("15", 0, np.array([2])))
