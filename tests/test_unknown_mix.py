"""Where unknown images come in a stream, whatever its scenario."""

import numpy as np
import pytest

from tests.fakes import RandomImages
from tta.foundation.errors import UserError
from tta.streams import ScenarioOptions, plan_stream
from tta.streams.stream import batch_edges
from tta.streams.unknown_mix import UnknownMix, layout, with_unknown

SCENARIOS = (
    "class_imbalanced",
    "continual",
    "correlated",
    "gradual",
    "mixed_domains",
    "recorded",
    "reset_each_shift",
)
KNOWN = 24
POOL = 10


def shown(order, known=6):
    return " ".join(str(row) if row < known else "abcdefgh"[row - known] for row in order)


def mixed(name, order="shuffled", ratio=1.0, seed=1):
    options = ScenarioOptions(seed=seed)
    plan = plan_stream(name, RandomImages(KNOWN), options)
    mix = UnknownMix(ratio, order, 8, seed)
    return plan, with_unknown(plan, lambda domain, severity: (KNOWN, POOL), mix)


def table(plan):
    columns = (plan.visit, plan.domain, plan.severity, plan.index)
    return np.stack(columns, 1).tolist()


@pytest.mark.parametrize(
    ("order", "expected", "segments"),
    [
        ("paired", "0 1 a b 2 3 c 4 5", [0, 0, 0, 0, 1, 1, 1, 2, 2]),
        ("burst", "0 1 2 a b c 3 4 5", [0] * 9),
    ],
)
def test_index_table(order, expected, segments):
    rows, blocks = layout(6, 3, UnknownMix(0.5, order, 4, 1), np.random.default_rng(0))
    assert shown(rows) == expected
    assert blocks.tolist() == segments


def test_shuffled_is_a_seeded_permutation_that_keeps_the_order_of_known_images():
    mix = UnknownMix(0.5, "shuffled", 4, 1)
    rows, blocks = layout(60, 30, mix, np.random.default_rng(1))
    again, _ = layout(60, 30, mix, np.random.default_rng(1))
    assert rows.tolist() == again.tolist()
    assert sorted(rows) == list(range(90)) and not blocks.any()
    places = np.random.default_rng(1).permutation(90) < 60
    assert (places == (rows < 60)).all()
    assert rows[places].tolist() == list(range(60))
    assert (np.diff(rows[~places]) < 0).any()


@pytest.mark.parametrize("order", ["shuffled", "paired", "burst"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_known_images_come_as_the_scenario_has_them(name, order):
    plan, both = mixed(name, order, ratio=0.75)
    known = both.index < KNOWN
    rows = np.array(table(both))
    assert rows[known].tolist() == table(plan)
    assert both.index.max() < KNOWN + POOL
    visits = plan.visit if name != "mixed_domains" else plan.domain
    for visit in np.unique(visits):
        assert (~known & (both.visit == visit)).sum() == round(0.75 * (visits == visit).sum())
    assert both.reset_before.sum() == plan.reset_before.sum()
    first = np.flatnonzero(both.reset_before)
    assert (np.diff(both.visit)[first[first > 0] - 1] != 0).all()


def test_paired_batches_are_half_known_and_half_unknown():
    _, both = mixed("continual", "paired")
    edges = batch_edges(both, 8, contiguous=False)
    halves = [
        (both.index[a:b] < KNOWN).tolist() for a, b in zip(edges[:-1], edges[1:], strict=True)
    ]
    assert halves == [[True] * 4 + [False] * 4] * 18


def test_no_unknown_image_comes_again_before_all_were_shown():
    _, both = mixed("continual")
    shown = np.bincount(both.index[(both.index >= KNOWN) & (both.visit == 1)] - KNOWN)
    assert sorted(shown) == [2] * 6 + [3] * 4  # 24 of a pool of 10


def test_the_digest_tells_mixes_apart():
    digests = [mixed("continual", order)[1].digest for order in ("shuffled", "paired", "burst")]
    digests += [mixed("continual", ratio=0.5)[1].digest, mixed("continual", seed=2)[1].digest]
    assert len({*digests, mixed("continual")[0].digest}) == 6
    assert mixed("continual")[1].digest == digests[0]


def test_halves_of_an_odd_batch_are_refused():
    with pytest.raises(UserError, match="5 is odd; pass an even --batch-size"):
        UnknownMix(1.0, "paired", 5, 1)


def test_a_ratio_that_comes_to_no_unknown_image_is_refused():
    with pytest.raises(UserError, match="0.02 comes to no unknown image in any of 3 parts"):
        mixed("continual", ratio=0.02)  # 0.48 of 24
    assert len(mixed("continual", ratio=0.021)[1]) == 3 * 25


@pytest.mark.parametrize(
    ("order", "ratio", "batch_size", "known"),
    [
        ("shuffled", 1.0, 9, 4),
        ("shuffled", 0.1, 64, 58),
        ("shuffled", 0.01, 8, 8),  # 8 images have no unknown one
        ("burst", 3.0, 4, 1),
        ("paired", 0.5, 8, 4),
        ("paired", 2.0, 8, 2),
    ],
)
def test_known_images_of_a_batch_that_is_a_task(order, ratio, batch_size, known):
    assert UnknownMix(ratio, order, batch_size, 1).known_in_a_batch() == known


def test_a_batch_without_room_for_a_task_is_refused():
    with pytest.raises(UserError, match="one of 8 has no room .* --unknown-ratio 10"):
        UnknownMix(10.0, "shuffled", 8, 1).known_in_a_batch()
