"""The named settings of UniTTA, and streams that follow them."""

import numpy as np
import pytest

from tests.fakes import RandomImages
from tta.config import RunConfig
from tta.experiment.assembly import build
from tta.foundation.errors import UserError
from tta.foundation.stream_options import MARKOV, plain_markov
from tta.streams import ScenarioOptions, plan_stream
from tta.streams.unitta import attributes, doubts

DATA = RandomImages(size=50)
NUMBERS = ("class_stay", "class_ratio", "domain_stay", "domain_ratio")


def plan(data=DATA, **options):
    return plan_stream("markov", data, ScenarioOptions(**options))


@pytest.mark.parametrize(
    ("name", "class_numbers", "domain_numbers"),
    [
        ("nu1u", (0.95, 10), (1.0, 5)),
        ("i1i1", (0.1, 1), (0.067, 1)),
        ("n1nu", (0.95, 1), (0.85, 5)),
        ("iu11", (0.1, 10), (1.0, 1)),
    ],
)
def test_settings_have_the_published_numbers(name, class_numbers, domain_numbers):
    domains, classes = attributes(ScenarioOptions(markov=name), 15, 10)
    assert (classes.states, classes.stay, classes.ratio) == (10, *class_numbers)
    assert (domains.states, domains.stay, domains.ratio) == (15, *domain_numbers)


def test_there_are_24_settings():
    assert len(set(MARKOV)) == 24
    assert all(RunConfig(markov=name).markov == name for name in MARKOV)
    with pytest.raises(UserError, match="--markov takes four letters"):
        RunConfig(markov="un1u")


def test_uncorrelated_states_are_even_for_any_number_of_them():
    domains, _ = attributes(ScenarioOptions(markov="n1i1"), 3, 5)
    np.testing.assert_allclose(domains.row(0), 1 / 3)
    assert domains.consistent


def test_numbers_go_over_those_of_the_setting():
    options = ScenarioOptions(markov="nunu", class_stay=0.5, domain_ratio=2.0)
    domains, classes = attributes(options, 15, 10)
    assert (classes.stay, classes.ratio) == (0.5, 10)
    assert (domains.stay, domains.ratio) == (0.85, 2)


def plain(name, *numbers):
    numbers = dict(zip(NUMBERS, (*numbers, *[None] * 4), strict=False))
    found = plain_markov(name, numbers, {"class_stay": 0.1, "domain_stay": 0.25})
    return found["markov"], *(found[number] for number in NUMBERS)


def test_what_means_the_same_is_written_the_same():
    assert plain("nu1u") == ("nu1u", None, None, None, None)
    assert plain("nunu", 0.95, 10.0, 1.0, 5.0) == ("nu1u", None, None, None, None)
    assert plain("nunu", 0.1, None, 0.25) == ("iuiu", None, None, None, None)
    assert plain("i1i1", 0.5, None, 0.3) == ("n1n1", 0.5, None, 0.3, None)


@pytest.mark.parametrize("name", MARKOV)
def test_every_setting_gives_a_stream(name):
    made = plan(markov=name)
    assert np.array_equal(made.visit, made.domain)
    assert not made.reset_before.any() and not made.segment.any()
    assert made.index.min() >= 0 and made.index.max() < 50
    if name[2] == "1":
        assert (np.diff(made.domain) >= 0).all()


def test_shares_and_stretches_are_those_of_the_setting():
    data = RandomImages(size=1000, domains=tuple("abcdefghij"))
    made = plan(data, markov="nunu", most_per_state=1000)
    stays = np.mean(made.domain[1:] == made.domain[:-1])
    domain, classes = attributes(ScenarioOptions(markov="nunu"), 10, 5)
    assert domain.consistent and classes.consistent
    expected = (domain.shares / domain.shares.sum()) @ domain.stays
    assert stays == pytest.approx(expected, abs=0.04)
    shares = np.bincount(made.index % 5) / len(made)
    np.testing.assert_allclose(shares, classes.shares / classes.shares.sum(), atol=0.1)


def test_a_walk_of_less_than_a_batch_per_domain_is_doubted():
    made = plan(markov="n1n1", most_per_state=2, seed=3)
    met = len(set(made.domain.tolist()))
    (said,) = doubts(made, 1 + len(made) // 3)
    assert f"{len(made)} images of {met} of 3 domains" in said
    assert "--most-per-state" in said
    assert doubts(made, len(made) // 3) == ()


def test_a_run_says_that_its_walk_is_short():
    options = {"domains": ("fog", "snow", "frost"), "num_samples": 20}
    (said,) = build(RunConfig(**options, scenario="markov")).warnings
    assert said.startswith("the Markov stream is short")
    long = build(RunConfig(**options, scenario="markov", most_per_state=60))
    assert len(long.plan) >= 3 * 64
    assert long.warnings == ()


def test_images_of_a_state_are_all_shown_before_one_comes_again():
    made = plan(markov="i1i1", most_per_state=20)
    for state in range(15):
        rows = (made.domain == state // 5) & (made.index % 5 == state % 5)
        shown = np.bincount(made.index[rows], minlength=50)[state % 5 :: 5]
        assert shown.max() - shown.min() <= 1
    assert max(np.bincount(5 * made.domain + made.index % 5)) == 20


def test_one_domain_and_classes_that_it_lacks():
    made = plan(domains=("b",), markov="nu1u", num_samples=2)
    labels = set((made.index % 5).tolist())
    assert len(labels) <= 2 and set(made.domain.tolist()) == {0}

    class Uneven(RandomImages):
        def labels(self, domain, severity):
            return np.full(self.size, 1) if domain == "a" else super().labels(domain, severity)

    made = plan(Uneven(size=50), markov="i1i1")
    assert set(made.domain.tolist()) == {0, 1, 2}
    assert (Uneven(size=50).labels("a", 5)[made.index[made.domain == 0]] == 1).all()


def test_a_stream_with_as_many_classes_as_imagenet_is_laid_out_in_seconds():
    class Many(RandomImages):
        def labels(self, domain, severity):
            return np.arange(self.size) % 200

    made = plan(Many(size=1000), markov="iuiu")
    assert len(made) > 600
