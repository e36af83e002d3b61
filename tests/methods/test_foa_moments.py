import torch

from tta.methods.foa_moments import moments_of_batches


def test_equals_the_moments_of_all_rows_together():
    rows = torch.randn(50, 7, generator=torch.Generator().manual_seed(0)) + 1000
    mean, std = moments_of_batches(rows.split([1, 20, 20, 9]))
    torch.testing.assert_close(mean, rows.mean(0))
    torch.testing.assert_close(std, rows.std(0))


def test_a_single_row_has_no_spread():
    mean, std = moments_of_batches([torch.ones(1, 3)])
    assert torch.equal(mean, torch.ones(3))
    assert torch.equal(std, torch.zeros(3))
