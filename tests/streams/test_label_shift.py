"""Labels that shift: the authors' worked example with the draws that they have."""

import numpy as np
import pytest

from tests.fakes import RandomImages
from tta.foundation.errors import UserError
from tta.streams import ScenarioOptions, plan_stream
from tta.streams.label_shift import sample_of, shifting_labels

LABELS = np.repeat(np.arange(4), 5)
DATA = RandomImages(size=50)


@pytest.mark.parametrize(
    ("ratio", "labels", "rows"),
    [
        (
            1,
            "0 1 0 0 2 1 3 2 3 2 3 3 3 3 1 1 1 2 3 0",
            "1 7 4 0 12 7 17 14 15 10 15 18 18 17 8 9 6 14 19 2",
        ),
        (
            3,
            "0 0 0 0 2 1 3 1 3 2 2 2 3 3 2 2 2 3 3 0",
            "1 4 0 2 14 7 15 8 15 11 12 14 18 18 10 14 12 17 19 2",
        ),
        (
            1000,
            "0 0 0 0 0 1 1 1 1 1 2 2 2 2 2 3 3 3 3 3",
            "1 4 0 2 2 7 8 9 6 7 14 10 14 12 10 15 18 18 17 19",
        ),
    ],
)
def test_labels_and_images_of_the_worked_example(ratio, labels, rows):
    rng = np.random.RandomState(2022)
    drawn = shifting_labels(np.arange(4), ratio, 20, rng)
    assert drawn.tolist() == [int(label) for label in labels.split()]
    assert sample_of(LABELS, drawn, rng).tolist() == [int(row) for row in rows.split()]


def test_classes_have_their_turns_in_the_order_given():
    drawn = shifting_labels(np.array([2, 0, 1]), 1e12, 10, np.random.default_rng(0))
    assert drawn.tolist() == [2, 2, 2, 0, 0, 0, 1, 1, 1]


def test_too_few_draws_are_refused():
    with pytest.raises(UserError, match="--draws 3 is less than one for each of 5 classes"):
        plan_stream("label_shift", DATA, ScenarioOptions(draws=3))


def test_a_stream_draws_twice_as_many_images_as_there_are_unless_told():
    made = plan_stream("label_shift", DATA, ScenarioOptions())
    assert np.bincount(made.domain).tolist() == [100, 100, 100]
    assert np.flatnonzero(made.reset_before).tolist() == [0, 100, 200]
    changes = [
        np.count_nonzero(np.diff(made.index[made.domain == number] % 5)) for number in (0, 1)
    ]
    assert changes == [4, 4]  # at a ratio of 500,000 a class is alone in its turn
    few = plan_stream("label_shift", DATA, ScenarioOptions(draws=11, imbalance_ratio=1.0))
    assert np.bincount(few.domain).tolist() == [10, 10, 10]
