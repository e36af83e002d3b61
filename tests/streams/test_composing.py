"""Scenarios from parts: visits, an order of the labels, resets."""

import numpy as np
import pytest

from tests.fakes import RandomImages
from tta.config import RunConfig
from tta.experiment.preflight import preflight
from tta.foundation.errors import UserError
from tta.streams import SCENARIOS, ScenarioOptions, find_scenario, plan_stream, sizes
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
        visits = again.domain if visits == "domain_blocks" else again.visit
        starts = np.flatnonzero(np.diff(visits, prepend=-1))
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


@pytest.mark.parametrize("name", ["continual+slots", "mixed_domains+slots"])
def test_slots_without_a_concentration_are_refused(name):
    with pytest.raises(UserError, match="needs --dirichlet above 0"):
        preflight(RunConfig(scenario=name))
    preflight(RunConfig(scenario=name, dirichlet=0.1))
    preflight(RunConfig(scenario="recurring+slots"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scenario": "recurring", "visits": 6667}, "100,005 visits to domains or tasks"),
        ({"scenario": "few_classes_per_batch", "tasks": 6667}, "use fewer --tasks"),
        ({"scenario": "label_shift", "draws": 20_000_000}, "300,000,000 images"),
    ],
)
def test_streams_that_no_run_ends_are_refused_before_it(options, message):
    with pytest.raises(UserError, match=message):
        preflight(RunConfig(**options))
    preflight(RunConfig(**options, domains=("fog",)))


def test_streams_of_too_many_images_are_refused_before_they_are_drawn(monkeypatch):
    class Large(RandomImages):
        def labels(self, domain, severity):
            return np.broadcast_to(0, 10**8)

    with pytest.raises(UserError, match="300,000,000 images"):
        plan_stream("continual", Large(), ScenarioOptions())
    with pytest.raises(UserError, match="use a smaller --most-per-state"):
        plan("markov", markov="i1i1", most_per_state=10**8)
    monkeypatch.setattr(sizes, "MOST_SAMPLES", 4500)
    plan("few_classes_per_batch", tasks=30, batch_size=10**6)  # of 50 images at most
    with pytest.raises(UserError, match="4,650 images"):
        plan("few_classes_per_batch", tasks=31)


def test_the_parts_are_told_apart():
    assert len(set(PARTS)) == len(PARTS) == len(VISITS) + len(LABELS) + 1
