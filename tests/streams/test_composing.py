"""Scenarios from parts: visits, an order of the labels, resets."""

import numpy as np
import pytest

from tests.fakes import RandomImages
from tta.config import RunConfig
from tta.experiment.preflight import preflight
from tta.foundation.errors import UserError
from tta.streams import SCENARIOS, ScenarioOptions, find_scenario, plan_stream
from tta.streams.composing import LABELS, PARTS, RESET, VISITS
from tta.streams.scenarios import COMPOSED

DATA = RandomImages(size=50)


def plan(name, **options):
    return plan_stream(name, DATA, ScenarioOptions(**{"visits": 2, **options}))


@pytest.mark.parametrize(("composition", "name"), COMPOSED.items(), ids=COMPOSED.values())
def test_named_scenarios_are_compositions(composition, name):
    parts = [composition.visits, composition.labels, RESET if composition.reset else None]
    parts = [part for part in parts if part]
    if len(parts) > 1:
        assert find_scenario("+".join(parts)) is find_scenario("+".join(parts[::-1]))
        assert find_scenario("+".join(parts)) is SCENARIOS[name]


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("visits", VISITS)
def test_all_parts_go_together(visits, labels):
    made = plan(f"{visits}+{labels}", dirichlet=0.5)
    assert len(made) % 150 == 0
    assert not made.reset_before.any()
    if VISITS[visits].mixes:
        with pytest.raises(UserError, match=f"{visits} has no shifts to reset at"):
            plan(f"{visits}+{labels}+{RESET}")
    else:
        again = plan(f"{visits}+{labels}+{RESET}", dirichlet=0.5)
        starts = np.flatnonzero(np.diff(again.segment, prepend=-1))
        assert np.flatnonzero(again.reset_before).tolist() == starts.tolist()
        assert np.array_equal(again.index, made.index)


def test_a_composition_shows_the_labels_of_its_part():
    grouped = plan("gradual+class_grouped")
    for visit in range(27):
        labels = grouped.index[grouped.visit == visit] % 5
        assert np.count_nonzero(np.diff(labels)) == 4
    assert grouped.domain.tolist() == plan("gradual").domain.tolist()


def test_a_name_has_no_part_that_goes_without_saying():
    for name in ("recurring+reset_each_shift", "reset_each_shift+slots+recurring"):
        found = find_scenario(name)
        assert found.name == "recurring+reset_each_shift"
        assert found.uses == {"severity", "visits", "dirichlet"}
    assert not find_scenario("continual+slots").keeps_order


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gradual+class_groupd", "unknown part 'class_groupd'; did you mean 'class_grouped'"),
        ("gradual+continual", "names gradual and continual; name one of continual, gradual"),
        ("correlated+class_grouped", "names correlated and class_grouped; name one of"),
        ("gradual+", "unknown part ''"),
    ],
)
def test_what_does_not_go_together_is_refused_before_the_run(name, message):
    with pytest.raises(UserError, match=message):
        preflight(RunConfig(scenario=name))


def test_the_parts_are_told_apart():
    assert len(set(PARTS)) == len(PARTS) == len(VISITS) + len(LABELS) + 1
