import torch

from tests.corruptions.pictures import pictures
from tta.corruptions import corrupt
from tta.corruptions.canny import canny
from tta.corruptions.spatter import edge_distance, equalise


def square():
    image = torch.zeros(1, 32, 32)
    image[:, 10:20, 10:20] = 200
    return image


def test_canny_draws_a_closed_thin_outline():
    edges = canny(square(), 50, 150)[0]
    assert 30 <= int(edges.sum()) <= 48
    assert not edges[12:18, 12:18].any() and not edges[:8].any()


def test_weak_edges_need_a_strong_neighbour():
    faint = square() / 200 * 25  # gradient magnitude 100, between the thresholds
    assert not canny(faint, 50, 150).any()
    assert canny(faint, 50, 90).any()


def test_distance_counts_chamfer_steps():
    edges = torch.zeros(1, 64, 64, dtype=torch.bool)
    edges[0, 5, 5] = True
    distance = edge_distance(edges)[0]
    steps = {(5, 9): 4.0, (8, 8): 4.2, (7, 6): 2.1969, (6, 9): 4.1969}
    for (row, column), cost in steps.items():
        assert abs(float(distance[row, column]) - cost) < 1e-4


def test_equalise_spreads_levels_over_the_range():
    levels = torch.tensor([[[10.0, 10.0], [20.0, 30.0]]])
    assert equalise(levels).flatten().tolist() == [0, 0, 128, 255]
    constant = torch.full((1, 2, 2), 7.0)
    assert torch.equal(equalise(constant), constant)


def test_water_brightens_and_mud_tints():
    dark = pictures(16) // 2
    water = corrupt(dark, "spatter", 3, range(16)).int() - dark.int()
    assert water.min() >= 0 and water.max() > 50
    mud = corrupt(torch.full_like(dark, 255), "spatter", 5, range(16))
    covered = mud[:, 2] < 60
    assert covered.any()
    assert (mud[:, 0][covered] > mud[:, 2][covered]).all()
