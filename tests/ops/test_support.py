import pytest
import torch

from tta.ops.support import least_per_class, ring_write


@pytest.mark.parametrize(("arriving", "seed"), [(0, 0), (1, 1), (7, 2), (40, 3)])
def test_equals_sorting_every_class(arriving, seed):
    generator = torch.Generator().manual_seed(seed)
    held = torch.rand(4, 3, generator=generator)
    held[1, 1:] = torch.inf
    values = torch.rand(arriving, generator=generator)
    labels = torch.randint(4, (arriving,), generator=generator)
    kept = least_per_class(held, values, labels)
    everything = torch.cat([held.flatten(), values])[kept]
    for row, name in zip(everything, range(4), strict=True):
        mine = torch.cat([held[name], values[labels == name]])
        assert torch.equal(row, mine.sort().values[:3])


def test_every_position_belongs_to_its_class():
    labels = torch.tensor([2, 0, 2, 2])
    kept = least_per_class(torch.full((3, 2), 0.5), torch.tensor([0.1, 0.9, 0.3, 0.2]), labels)
    assert kept.tolist() == [[0, 1], [2, 3], [6, 9]]


def test_of_equal_values_the_older_stays():
    kept = least_per_class(torch.zeros(1, 2), torch.zeros(3), torch.zeros(3, dtype=torch.long))
    assert kept.tolist() == [[0, 1]]


def test_ring_holds_the_latest_rows():
    store, written = torch.zeros(5, 1), []
    for count in (2, 2, 3, 5, 12, 1):
        rows = torch.arange(count).view(-1, 1) + 100.0 * count
        ring_write(store, rows, len(written))
        written += rows[:, 0].tolist()
    assert sorted(store[:, 0].tolist()) == sorted(written[-5:])
    assert store[(len(written) - 1) % 5] == written[-1]
