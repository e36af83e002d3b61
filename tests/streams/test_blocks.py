"""Blocks of domains: the authors' worked example, and what a stream of them keeps."""

import numpy as np
import pytest

from tests.fakes import RandomImages
from tta.streams import ScenarioOptions, plan_stream
from tta.streams.blocks import cut_blocks, random_block

SIZES = (6, 4, 5)
DATA = RandomImages(size=50)


@pytest.mark.parametrize(
    ("draws", "blocks"),
    [
        (
            [(1, 1), (0, 4), (2, 2), (2, 1), (1, 1)],
            [(1, 0, 2), (0, 0, 6), (2, 0, 4), (2, 4, 5), (1, 2, 4)],
        ),
        ([(0, 4), (2, 1), (1, 3), (2, 2)], [(0, 0, 6), (2, 0, 2), (1, 0, 4), (2, 2, 5)]),
    ],
)
def test_blocks_of_the_worked_example(draws, blocks):
    given = iter(draws)
    assert cut_blocks(SIZES, 2, lambda batches: next(given)) == blocks
    assert next(given, None) is None


def test_a_domain_may_have_one_batch_more_than_fits():
    offered = []

    def draw(batches):
        offered.append(dict(batches))
        return max(batches), 1

    cut_blocks(SIZES, 2, draw)
    assert offered[0] == {0: 4, 1: 3, 2: 3}
    assert offered[1] == {0: 4, 1: 3, 2: 2}
    assert offered[3] == {0: 4, 1: 3}


def test_draws_are_even_over_domains_and_numbers_of_batches():
    draw = random_block(np.random.default_rng(0))
    drawn = [draw({0: 2, 5: 1}) for _ in range(3000)]
    shares = {pair: drawn.count(pair) / 3000 for pair in ((0, 1), (0, 2), (5, 1))}
    assert sum(shares.values()) == 1
    assert shares[0, 1] == pytest.approx(0.25, abs=0.04)
    assert shares[5, 1] == pytest.approx(0.5, abs=0.04)


def test_each_round_shows_every_sample_once_in_blocks_of_whole_batches():
    made = plan_stream("domain_blocks", DATA, ScenarioOptions(visits=3, batch_size=8))
    assert made.segment.tolist() == np.repeat([0, 1, 2], 150).tolist()
    assert np.array_equal(made.visit, 3 * made.segment + made.domain)
    for visit in range(9):
        assert sorted(made.index[made.visit == visit]) == list(range(50))
    edges = np.flatnonzero(np.diff(made.domain, prepend=-1) | (np.diff(made.segment, prepend=-1)))
    lengths = np.diff([*edges, 450])
    assert all(length % 8 in (0, 2) for length in lengths)  # 2 are left of 50
    assert len(lengths) > 9


def test_batches_end_at_blocks_where_the_method_is_reset():
    options = ScenarioOptions(visits=2, batch_size=8)
    made = plan_stream("domain_blocks+reset_each_shift", DATA, options)
    resets = np.flatnonzero(made.reset_before).tolist()
    assert set(resets) <= {*np.flatnonzero(np.diff(made.segment, prepend=-1))}
    assert np.array_equal(made.index, plan_stream("domain_blocks", DATA, options).index)


def test_nothing_is_reset_where_a_domain_follows_itself():
    options = ScenarioOptions(visits=4, batch_size=8, seed=2)
    made = plan_stream("domain_blocks+reset_each_shift", DATA, options)
    shifts = np.flatnonzero(np.diff(made.domain, prepend=-1))
    assert np.flatnonzero(made.reset_before).tolist() == shifts.tolist()
    rounds = np.diff(made.visit // 3, prepend=0) != 0
    ends = np.flatnonzero(np.diff(made.segment, prepend=-1))
    assert ends.tolist() == np.flatnonzero(rounds | made.reset_before).tolist()
    assert (rounds & ~made.reset_before).any()  # a round begins with the domain that the last ended
