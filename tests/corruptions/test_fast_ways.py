"""Faster ways that stand in for plain ones: equal to them, number by number."""

import numpy as np
import pytest
import torch

from tests.corruptions.pictures import pictures
from tta.corruptions import jpeg
from tta.corruptions.digital import as_jpeg
from tta.corruptions.filters import _bands, gaussian_matrix, resample
from tta.corruptions.random import _mix_, _mix_int, _signed


@pytest.mark.parametrize("side", [97, 224])
@pytest.mark.parametrize("mode", ["nearest", "reflect"])
def test_a_narrow_filter_sums_what_the_whole_matrix_does(side, mode):
    matrix = gaussian_matrix(side, 1.3, mode)
    assert _bands(matrix) and not _bands(gaussian_matrix(side, side / 2, mode))
    generator = torch.Generator().manual_seed(side)
    for levels in (
        torch.randint(0, 256, (2, 3, side, side), generator=generator, dtype=torch.uint8),
        torch.randint(0, 1 << 16, (2, side, side), generator=generator, dtype=torch.int32),
    ):
        whole = matrix @ levels.double() @ matrix.T
        assert torch.equal(resample(levels, matrix), whole)
        assert torch.equal(resample(levels, matrix, torch.floor), whole.floor())


def test_numbers_are_mixed_alike_one_by_one_and_together():
    numbers = [0, 1, -1, 1234567, 1 << 62, -(1 << 63)]
    together = _mix_(torch.tensor(numbers))
    assert together.tolist() == [_mix_int(number) for number in numbers]
    assert _signed((1 << 64) - 1) == -1


@pytest.mark.parametrize("quality", [7, 40, 85, 95])
def test_both_readers_of_jpeg_agree_or_pillow_reads(quality, monkeypatch):
    images = pictures(3)
    made = as_jpeg(images, quality)
    monkeypatch.setattr("tta.corruptions.digital.fastest_decoder", lambda: jpeg.by_pillow)
    assert torch.equal(as_jpeg(images, quality), made)


@pytest.mark.parametrize("fault", [OSError("no codec"), None])
def test_pillow_reads_where_the_other_reader_fails_or_differs(fault, monkeypatch):
    def other(file):
        if fault:
            raise fault
        return np.zeros((3, 37, 45), np.uint8)

    monkeypatch.setattr(jpeg, "by_torchvision", other)
    assert jpeg.fastest_decoder.__wrapped__() is jpeg.by_pillow
