"""Several corruptions on one image."""

import numpy as np
import pytest
import torch

from tests.corruptions.pictures import pictures
from tests.fakes import RandomImages
from tta.config import RunConfig
from tta.corruptions import corrupt
from tta.datasets.digits import CorruptedDigits
from tta.experiment.assembly import build
from tta.experiment.given import Given
from tta.experiment.preflight import preflight
from tta.foundation.errors import UserError

FOG_AND_JPEG = ("fog", "jpeg_compression")


def test_the_second_corruption_is_of_the_levels_that_the_first_leaves():
    images, ids = pictures(3), [4, 7, 5]
    fog = corrupt(images, "fog", 3, ids)
    both = corrupt(images, "fog+jpeg_compression", 3, ids)
    assert both.dtype == torch.uint8
    assert torch.equal(both, corrupt(fog, "jpeg_compression", 3, ids))
    assert not torch.equal(both, corrupt(images, "jpeg_compression+fog", 3, ids))
    unit = corrupt(images.float() / 255, "fog+jpeg_compression", 3, ids)
    assert torch.equal(unit, both.float() / 255)


def test_options_reach_every_corruption():
    images, ids = pictures(2), [0, 1]
    glass = corrupt(images, "glass_blur", 3, ids, glass_swap="fixed", seed=2, table="imagenet")
    both = corrupt(images, "glass_blur+fog", 3, ids, glass_swap="fixed", seed=2, table="imagenet")
    assert torch.equal(both, corrupt(glass, "fog", 3, ids, seed=2, table="imagenet"))


def test_a_run_has_them_as_its_only_domain():
    experiment = build(RunConfig(compose=FOG_AND_JPEG, num_samples=6, severity=2))
    assert experiment.plan.domains == ("fog+jpeg_compression",)
    resolved = experiment.resolved()
    assert resolved["compose"] == list(FOG_AND_JPEG)
    assert resolved["domains"] == ["fog+jpeg_compression"]
    assert build(RunConfig.from_mapping(resolved, "here")).resolved() == resolved
    digits = CorruptedDigits()
    index = experiment.plan.index
    fog = digits.images("fog", 2, index)
    expected = corrupt(fog, "jpeg_compression", 2, digits.rows[index])
    shown = experiment.stream.images(np.arange(6))
    assert torch.equal((255 * shown).round().to(torch.uint8), expected)


def test_other_domains_beside_them_are_refused():
    with pytest.raises(UserError, match="--compose makes the only domain; leave --domains out"):
        RunConfig(compose=FOG_AND_JPEG, domains=("fog",))


def test_other_compositions_are_other_runs():
    prints = {
        build(RunConfig(num_samples=4, **options)).fingerprint()
        for options in (
            {"compose": FOG_AND_JPEG},
            {"compose": FOG_AND_JPEG[::-1]},
            {"domains": FOG_AND_JPEG[:1]},
        )
    }
    assert len(prints) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "cifar10-c"}, "corrupted on the fly, which those of dataset 'cifar10-c' are"),
        ({"dataset": "digits-r"}, "choose digits-c, folder@gen:PATH or a name that ends in @gen"),
        ({"dataset": "ccc"}, "corrupted on the fly"),
        ({"compose": ("fog",)}, "takes two corruptions or more, each once, but got fog"),
        ({"compose": ("fog", "fog")}, "each once, but got fog,fog"),
        ({"compose": ("fog", "fogg")}, "unknown corruption 'fogg'; did you mean 'fog'"),
    ],
    ids=str,
)
def test_what_cannot_be_composed_is_refused_with_the_cure(options, message):
    with pytest.raises(UserError, match=message):
        preflight(RunConfig(**{"compose": FOG_AND_JPEG, **options}))


def test_data_of_ones_own_is_not_made_on_the_fly():
    with pytest.raises(UserError, match="which those of dataset 'random' are not"):
        preflight(RunConfig(compose=FOG_AND_JPEG), Given(dataset=RandomImages()))
