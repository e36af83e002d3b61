import pytest
import torch

from tests.corruptions.pictures import pictures
from tta.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, corrupt
from tta.corruptions.interpolation import severity_constants
from tta.corruptions.severity import TABLES
from tta.foundation.errors import UserError


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_whole_severities_are_the_table_s_and_others_lie_between(name, table):
    assert severity_constants(name, 3.0, table) == TABLES[table][name][2]
    low, middle, high = (severity_constants(name, s, table) for s in (2, 2.5, 3))
    pairs = zip(low, middle, high, strict=True) if isinstance(low, tuple) else [(low, middle, high)]
    for below, between, above in pairs:
        assert min(below, above) <= between <= max(below, above)


@pytest.mark.parametrize("side", [32, 96])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_fade_in(name, side):
    images = pictures(4, side)
    faint, mild, strong = (
        (corrupt(images, name, severity, range(4)).float() - images.float()).abs().mean()
        for severity in (0.1, 1, 5)
    )
    assert faint < min(mild, 10)
    assert faint < 0.5 * strong


def test_published_constants_between_whole_severities():
    assert severity_constants("gaussian_noise", 0.5, "imagenet") == pytest.approx(0.04)
    assert severity_constants("shot_noise", 0.25, "imagenet") == pytest.approx(240)
    assert severity_constants("jpeg_compression", 0.75, "imagenet") == 40
    assert severity_constants("glass_blur", 0.25, "imagenet") == (pytest.approx(0.175), 1, 0)
    assert severity_constants("frost", 0.5, "imagenet") == (1.0, 0.2, 1)


@pytest.mark.parametrize("severity", [0, -1, 5.25, 6])
def test_severities_end_at_5(severity):
    with pytest.raises(UserError, match="is not one of 1, 2, 3, 4, 5"):
        corrupt(pictures(1), "fog", severity, [0])


@pytest.mark.parametrize("name", EXTRA_CORRUPTIONS)
def test_the_other_corruptions_have_whole_severities_only(name):
    with pytest.raises(UserError, match="is not one of"):
        corrupt(pictures(1), name, 2.5, [0])


def test_draws_differ_between_severities():
    images = torch.full((1, 3, 32, 32), 128, dtype=torch.uint8)
    first, second = (corrupt(images, "gaussian_noise", s, [0]).int() - 128 for s in (4, 4.25))
    assert abs(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]) < 0.1
