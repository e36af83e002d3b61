"""From a grid file to cells, and what is refused."""

import pytest

from tta.foundation.errors import UserError
from tta.sweeps.grid import distinct, read_grid


@pytest.fixture
def cells(tmp_path):
    def read(text: str):
        file = tmp_path / "grid.yaml"
        file.write_text(text)
        return read_grid(file)

    return read


def test_axes_are_multiplied(cells):
    found = cells("num_samples: 9\ngrid: {method: [tent, bn], seed: [1, 2, 3], set.lr: [0.1]}")
    assert len(found) == 6
    assert found[0].name == "method=tent seed=1 set.lr=0.1"
    config = found[-1].config
    assert (config.method, config.seed, config.num_samples) == ("bn", 3, 9)
    assert config.set == {"lr": 0.1}


def test_grids_are_joined_and_equal_cells_are_one(cells):
    found = cells("grid: [{method: [tent], seed: [1, 2]}, {method: [tent, bn], seed: [1]}]")
    assert [cell.name for cell in found] == [
        "method=tent seed=1",
        "method=tent seed=2",
        "method=bn seed=1",
    ]


def test_shared_parameters_lie_below_those_of_the_axes(cells):
    (cell,) = cells("set: {lr: 1, steps: 2}\ngrid: {set.lr: [3]}")
    assert cell.config.set == {"lr": 3, "steps": 2}


def test_lists_are_values_of_axes_of_lists(cells):
    found = cells("grid: {domains: [[fog, snow], [frost]]}")
    assert [cell.config.domains for cell in found] == [("fog", "snow"), ("frost",)]
    assert found[0].name == "domains=fog,snow"


def test_one_value_is_a_list_of_one(cells):
    found = cells("grid: {method: foa, seed: [1, 2], set.lr: 0.1, contiguous_batches: false}")
    assert [(cell.config.method, cell.config.seed) for cell in found] == [("foa", 1), ("foa", 2)]
    assert found[0].config.set == {"lr": 0.1}
    assert cells("grid: {method: foa}") == cells("grid: {method: [foa]}")


def test_of_cells_that_differ_in_their_seed_one_is_checked(cells):
    found = distinct(cells("grid: {method: [tent, bn], seed: [1, 2, 3], set.lr: [0.1, 0.2]}"))
    assert [cell.name for cell in found] == [
        f"method={method} seed=1 set.lr={lr}" for method in ("tent", "bn") for lr in (0.1, 0.2)
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1", "needs 'grid'"),
        ("grid: {}\nseed: 1", None),
        ("grid: [1]", "needs 'grid'"),
        ("grid: {1: [2]}", "has 1 where a name is expected"),
        ("grid: [{seed: [1], 2: [3]}]", "has 2 where a name is expected"),
        ("set: [1]\ngrid: {seed: [1]}", "set must be a mapping"),
        ("grid: {seed: }", "grid.seed must be a list of values"),
        ("grid: {seed: []}", "grid.seed must be a list of values"),
        ("grid: {method: {foa: 1}}", "grid.method must be a list of values"),
        ("grid: {sede: [1]}", "unknown option 'sede'; did you mean 'seed'"),
        ("grid: {seed: [one]}", "seed must be a whole number"),
        ("grid: {seed: [-1]}", "--seed must be at least 0"),
        ("numsamples: 1\ngrid: {seed: [1]}", "did you mean 'num_samples'"),
    ],
)
def test_faults_of_the_file_are_named(cells, text, message):
    if message is None:
        assert len(cells(text)) == 1
        return
    with pytest.raises(UserError, match=message):
        cells(text)
