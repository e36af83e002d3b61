"""Streams are pure, hashed and told apart."""

import numpy as np
import pytest

from tests.fakes import RandomImages
from tta.foundation.errors import UserError
from tta.streams import SCENARIOS, ScenarioOptions, plan_stream
from tta.streams.label_order import dirichlet_order, zipf_sample
from tta.streams.stream import Stream, batch_edges

DATA = RandomImages(size=50)
COPIES = {"domain_blocks": 20, "recurring": 20, "translations": 5}
"""How often some scenarios show each sample of a domain."""
PINNED = {
    "class_grouped": ("40346b27113d8fe1", "40346b27113d8fe1"),
    "class_imbalanced": ("1568ef99685c134d", "1568ef99685c134d"),
    "continual": ("7e0168c77d71833b", "7e0168c77d71833b"),
    "correlated": ("49504bec83f9656f", "4b9c378dd5787e78"),
    "gradual": ("07f6cccfec13dd05", "07f6cccfec13dd05"),
    "gradual_correlated": ("2376c256833a61a7", "0820fb0970141c39"),
    "mixed_domains": ("f43a01e458366c20", "f43a01e458366c20"),
    "mixed_domains_correlated": ("1d03d97d725f3424", "89c1cf61ce246031"),
    "recorded": ("cfdb9c32508898ba", "cfdb9c32508898ba"),
    "reset_each_shift": ("9b0a9a17a6731c33", "9b0a9a17a6731c33"),
    "reset_each_shift_correlated": ("a6a0f4817e4920ac", "b45a8387a3701edc"),
}
"""Digests with seed 1, labels sorted and in Dirichlet chunks at 0.5, where they are ordered."""
DRAWN = {"class_imbalanced", "few_classes_per_batch", "label_shift", "markov"}


def plan(name, **options):
    return plan_stream(name, DATA, ScenarioOptions(**options))


@pytest.mark.parametrize("name", sorted(set(SCENARIOS) - DRAWN))
def test_every_scenario_shows_every_sample_once_a_visit(name):
    made = plan(name)
    rows = np.stack([made.domain, made.severity, made.index, made.visit], 1)
    if made.shift is not None:  # once in each place
        rows = np.concatenate([rows, made.shift], 1)
    assert len(np.unique(rows, axis=0)) == len(made)
    assert len(made) == 3 * 50 * (9 if "gradual" in name else COPIES.get(name, 1))


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_plans_are_pure(name):
    assert plan(name, seed=3).digest == plan(name, seed=3).digest
    if name != "recorded":
        assert plan(name, seed=3).digest != plan(name, seed=4).digest


def test_digests_differ_between_scenarios():
    digests = {name: plan(name).digest for name in SCENARIOS}
    # The fake's recorded order is the only one that could coincide, and it is not shuffled.
    assert len(set(digests.values())) == len(digests)


def test_digests_are_pinned():
    """A change here changes every published figure: raise the version and say so."""
    for name, pinned in PINNED.items():
        found = [plan(name, seed=1, dirichlet=number).digest[:16] for number in (0.0, 0.5)]
        assert found == list(pinned), name
    blocks = plan("domain_blocks", visits=2, batch_size=8)
    assert blocks.digest[:16] == "2365c3c79dfb5ac2"


def test_domains_of_one_size_are_visited_in_different_orders():
    made = plan("continual")
    orders = [made.index[made.domain == number] for number in range(3)]
    assert not np.array_equal(orders[0], orders[1])


def test_num_samples_shows_the_same_images_for_every_seed_and_domain():
    shown = [
        set(made.index[made.domain == number])
        for made in (
            plan("continual", num_samples=9, seed=1),
            plan("gradual", num_samples=9, seed=2),
        )
        for number in range(3)
    ]
    assert all(part == shown[0] and len(part) == 9 for part in shown)


def test_gradual_severities_go_up_and_down():
    made = plan("gradual")
    severities = [int(made.severity[made.visit == visit][0]) for visit in range(27)]
    assert severities == [1, 2, 3, 4, 5, 4, 3, 2, 1] * 3


def test_correlated_sorts_labels_within_each_domain():
    made = plan("correlated")
    for number in range(3):
        labels = DATA.labels("a", 5)[made.index[made.domain == number]]
        assert (np.diff(labels) >= 0).all()


def test_resets_stand_where_a_domain_starts_and_nowhere_else():
    assert np.flatnonzero(plan("reset_each_shift").reset_before).tolist() == [0, 50, 100]
    assert not plan("continual").reset_before.any()


def test_mixed_domains_mix_within_batches_and_report_by_domain():
    made = plan("mixed_domains")
    assert len(set(made.domain[:20])) == 3
    assert np.array_equal(made.visit, made.domain)


def test_batches_end_with_their_domain_unless_contiguous():
    made = plan("continual")
    apart = batch_edges(made, 20, contiguous=False)
    assert np.diff(apart).tolist() == [20, 20, 10] * 3
    together = batch_edges(made, 20, contiguous=True)
    assert np.diff(together).tolist() == [20] * 7 + [10]
    resets = batch_edges(plan("reset_each_shift"), 20, contiguous=True)
    assert resets.tolist() == apart.tolist()


@pytest.mark.parametrize("contiguous", [False, True])
@pytest.mark.parametrize("size", [1, 7, 20, 500])
@pytest.mark.parametrize("scenario", ["continual", "mixed_domains", "reset_each_shift"])
def test_edges_of_batches_are_those_of_a_walk_along_the_stream(scenario, size, contiguous):
    made, edges = plan(scenario), [0]
    for row in range(1, len(made)):
        ends = made.reset_before[row] if contiguous else made.segment[row] != made.segment[row - 1]
        if ends or row - edges[-1] == size:
            edges.append(row)
    assert batch_edges(made, size, contiguous).tolist() == [*edges, len(made)]


def test_dirichlet_order_is_a_permutation_of_correlated_labels():
    labels = np.arange(2000) % 5
    order = dirichlet_order(labels, 0.1, np.random.default_rng(0))
    assert np.array_equal(np.sort(order), np.arange(2000))
    changes = np.count_nonzero(np.diff(labels[order]))
    assert changes < 100  # 1,600 in a shuffled stream


def test_grouped_classes_come_whole_and_in_random_order():
    made = plan("class_grouped")
    orders = []
    for number in range(3):
        labels = DATA.labels("a", 5)[made.index[made.domain == number]]
        changes = np.flatnonzero(np.diff(labels))
        assert len(changes) == 4
        orders.append(tuple(labels[[0, *(changes + 1)]]))
    assert len(set(orders)) > 1


def test_zipf_classes_are_imbalanced_but_not_one_alone():
    labels = np.arange(5000) % 50
    chosen = zipf_sample(labels, 2.0, np.random.default_rng(0))
    counts = np.sort(np.bincount(labels[chosen], minlength=50))
    assert counts.sum() == 5000
    assert counts[-1] > 10 * counts[:25].mean()
    assert counts[-5:].sum() < 0.92 * 5000


def test_dirichlet_order_says_when_it_is_impossible():
    with pytest.raises(UserError, match="larger --dirichlet"):
        labels = np.repeat([0, 1, 2], [390, 5, 5])
        dirichlet_order(labels, 1e-6, np.random.default_rng(0), max_draws=3)


def test_stream_yields_the_planned_images_and_no_labels():
    made = plan("mixed_domains")
    stream = Stream(DATA, made, 16)
    position = 0
    for batch in stream:
        assert batch.images.dtype.is_floating_point
        assert not any("label" in name for name in vars(batch))
        row = batch.start
        expected = DATA.images(DATA.domains[made.domain[row]], 5, made.index[row : row + 1])
        assert (batch.images[0] * 255).round().byte().equal(expected[0])
        assert batch.start == position
        position = batch.stop
    assert position == len(made)
    assert stream.labels().tolist() == [int(index) % 5 for index in made.index]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("continul", {}, "did you mean 'continual'"),
        ("continual", {"domains": ("a", "zz")}, "no domain 'zz'"),
        ("continual", {"domains": ("a", "a")}, "twice"),
        ("continual", {"severity": 9}, "no severity 9; it has: 1, 2, 3, 4, 5"),
        ("recorded", {"severity": 3}, "leave it out"),
    ],
)
def test_bad_options_are_refused_with_the_cure(name, options, message):
    with pytest.raises(UserError, match=message):
        plan(name, **options)


def test_gradual_needs_severities():
    natural = RandomImages()
    natural.severities, natural.default_severity = (0,), 0
    with pytest.raises(UserError, match="need severities 1 to 5"):
        plan_stream("gradual", natural, ScenarioOptions())
