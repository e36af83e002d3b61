"""Domains that come back, their order, and the error of every visit."""

import numpy as np
import pytest

from tests.fakes import RandomImages
from tests.reporting.fake_runs import write_run
from tta.config import RunConfig
from tta.experiment.assembly import build
from tta.experiment.execution import run
from tta.foundation.errors import UserError
from tta.foundation.stream_options import PETTA
from tta.reporting.comparing.comparison import compare
from tta.reporting.comparing.comparison_tables import error_table
from tta.reporting.comparing.paired import _discordances
from tta.reporting.page.columns import COLUMNS
from tta.reporting.pictures.visits import draw_visits, errors_of
from tta.reporting.records.finding import find_runs
from tta.reporting.records.soundness import OPTIONAL
from tta.reporting.run_report import _in_short, run_report, visit_table
from tta.streams import ScenarioOptions, chosen_domains, plan_stream
from tta.streams.label_order import slot_order
from tta.tasks.visits import errors_by_visit

DATA = RandomImages(size=50)


def plan(name="recurring", **options):
    return plan_stream(name, DATA, ScenarioOptions(**options))


def test_every_domain_is_visited_in_turn_again_and_again():
    made = plan(visits=4)
    assert made.domain.tolist() == np.tile(np.repeat([0, 1, 2], 50), 4).tolist()
    assert made.visit.tolist() == np.repeat(np.arange(12), 50).tolist()
    assert np.array_equal(made.segment, made.visit)
    assert not made.reset_before.any()


def test_each_visit_shows_the_same_images_in_an_order_of_its_own():
    made = plan(visits=4, num_samples=20)
    orders = made.index.reshape(12, 20)
    assert (np.sort(orders) == np.sort(orders[0])).all()
    assert len(np.unique(orders, axis=0)) == 12


def test_the_first_visits_are_those_of_the_continual_stream():
    assert np.array_equal(plan(visits=2).index[:150], plan("continual").index)


def test_labels_are_correlated_where_there_is_a_concentration():
    def changes(made):
        return np.count_nonzero(np.diff(made.index % 5))

    assert changes(plan(visits=3, dirichlet=0.1)) < changes(plan(visits=3)) / 2


class Shares:
    """Gives rows of a table for Dirichlet draws, and every order from last to first."""

    def __init__(self, rows):
        self.rows = iter(rows)

    def dirichlet(self, concentrations):
        row = next(self.rows)
        assert concentrations.tolist() == [0.1] * len(row)
        return np.array(row)

    def permutation(self, values):
        return np.asarray(values)[::-1]


def test_slots_are_cut_as_the_draws_say():
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2])
    shares = Shares([[0.5, 0.5, 0.0], [0.0, 0.3, 0.7], [1.0, 0.0, 0.0]])
    # Of class 0 (images 0 3 6 9) two and two, of class 1 (1 4 7 10) one in the second slot and
    # three in the third, of class 2 (2 5 8 11) all in the first; classes from last to first.
    expected = [2, 5, 8, 11, 0, 3, 1, 6, 9, 4, 7, 10]
    assert slot_order(labels, 0.1, shares).tolist() == expected


def test_a_stream_has_at_most_100_slots():
    class Counting(Shares):
        def dirichlet(self, concentrations):
            assert len(concentrations) == 100
            return np.full(100, 0.01)

    order = slot_order(np.arange(300) % 150, 0.1, Counting([]))
    assert np.array_equal(np.sort(order), np.arange(300))


def domains(order, names=PETTA[::-1], chosen=None):
    data = RandomImages(domains=names)
    return chosen_domains(data, ScenarioOptions(order=order, domains=chosen))


def test_domains_come_in_the_order_that_is_asked_for():
    assert domains("canonical") == PETTA[::-1]
    assert domains("petta") == PETTA
    assert domains("petta", chosen=("fog", "snow")) == ("snow", "fog")
    shuffled = {domains(f"random:{seed}") for seed in range(10)}
    assert len(shuffled) == 10
    assert all(set(order) == set(PETTA) for order in shuffled)
    assert domains("random:3") == domains("random:3")


def test_the_order_of_domains_has_a_seed_of_its_own():
    made = [plan("continual", order="random:2", seed=seed) for seed in (1, 2)]
    assert made[0].domains == made[1].domains != DATA.domains
    assert made[0].digest != made[1].digest


@pytest.mark.parametrize("order", ["randm", "random:x", "random:-1", "random:1.5", "reversed", ""])
def test_an_unknown_order_is_refused(order):
    with pytest.raises(UserError, match="--order"):
        RunConfig(order=order)


def test_orders_have_no_place_for_other_domains_or_for_what_is_stored():
    with pytest.raises(UserError, match="no place for a, b, c"):
        plan("continual", order="petta")
    with pytest.raises(UserError, match="--order cannot be chosen with --scenario recorded"):
        plan("recorded", order="random:1")


def test_an_order_by_seed_has_the_same_options_for_every_seed():
    common = {"dataset": "digits-c", "num_samples": 4, "domains": ("fog", "snow", "frost")}
    made = [build(RunConfig(**common, order="random", seed=seed)) for seed in (1, 2)]
    assert made[0].plan.domains != made[1].plan.domains
    assert made[1].plan.domains == chosen_domains(
        made[1].dataset, ScenarioOptions(domains=common["domains"], order="random:2")
    )
    first, second = (dict(one.resolved(), seed=0) for one in made)
    assert first == second
    assert first["order"] == "random" and first["domains"] == list(common["domains"])
    again = build(RunConfig.from_mapping(made[1].resolved(), "here"))
    assert again.fingerprint() == made[1].fingerprint()


def test_an_order_is_the_same_run_as_its_domains_one_by_one():
    common = {"dataset": "digits-c", "num_samples": 4}
    ordered = build(RunConfig(**common, order="petta"))
    assert ordered.resolved()["domains"] == list(PETTA)
    assert ordered.resolved()["order"] == "canonical"
    named = build(RunConfig(**common, domains=PETTA))
    assert named.fingerprint() == ordered.fingerprint()


def visit(domain, error, severity=5):
    return {"domain": domain, "severity": severity, "error": error}


def test_errors_by_visit_are_means_over_domains():
    rows = [visit("a", 0.5), visit("b", 0.25), visit("b", 0.5), visit("a", 0.75), visit("a", 0.125)]
    assert errors_by_visit(rows) == [0.375, 0.625, 0.125]
    assert errors_by_visit(rows[:2]) == []


def test_a_visit_without_figures_keeps_its_number():
    rows = [visit("a", 0.5), visit("b", 0.25), visit("a", None), visit("b", None), visit("a", 0.75)]
    found = errors_by_visit(rows)
    assert found == [0.375, None, 0.75]
    assert OPTIONAL["visits"](found) and not OPTIONAL["visits"]([0.5, "x"])
    table = visit_table({"visits": found})
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.split("\n")[4:]]
    assert rows[1] == ["2", "–", "–"]
    assert "56.25" in table.splitlines()[-1]  # mean of 37.5 and 75
    line = _in_short({"visits": found}, "error")
    assert line == " (visit 1 37.50 %, visit 3 75.00 %)"
    assert _in_short({"visits": found[:2]}, "error") == ""


def test_visits_without_figures_in_tables_and_pictures(tmp_path):
    for seed, visits in ((1, [0.5, None, 0.75, None]), (2, [None, None, 0.25, None])):
        write_run(tmp_path / str(seed), seed=seed, visits=visits)
    (compared,) = compare(find_runs([tmp_path])[0])
    (figures,) = compared.figures.to_dict("records")
    assert figures["first_visit"] == 0.5
    assert np.isnan(figures["last_visit"])
    assert errors_of(compared.rows[0]).tolist() == pytest.approx(
        [0.5, np.nan, 0.5, np.nan], nan_ok=True
    )
    (axes,) = draw_visits(compared.rows, "error", 3.5).axes
    assert axes.lines[0].get_xdata().tolist() == [1, 2, 3, 4]
    error_table(compared, "error")


def test_a_domain_whose_severity_changes_does_not_come_back():
    up_and_down = [visit("a", 0.5, severity) for severity in (1, 2, 1)] + [visit("b", 0.25, 1)]
    assert errors_by_visit(up_and_down) == []
    assert errors_by_visit([*up_and_down, *up_and_down]) == [0.375, 0.375]


def test_rows_of_a_comparison_are_over_orders_and_tell_the_visits(tmp_path):
    common = {"domains": ("fog", "snow"), "num_samples": 12, "output": str(tmp_path)}
    options = {**common, "scenario": "recurring", "visits": 2, "order": "random"}
    summaries = {
        (method, seed): run(RunConfig(**options, method=method, seed=seed))
        for method in ("source", "bn")
        for seed in (1, 3)
    }
    orders = {tuple(row["domain"] for row in one["domains"]) for one in summaries.values()}
    assert len(orders) == 2
    (compared,) = compare(find_runs([tmp_path])[0])
    bn = next(row for row in compared.rows if row.summary["method"] == "bn")
    assert len(bn.runs) == 2
    last = np.mean([summaries["bn", seed]["visits"][-1] for seed in (1, 3)])
    assert compared.figures.loc["bn", "last_visit"] == pytest.approx(last)
    cells = error_table(compared, "error").cells.loc["bn"]
    assert cells["last visit"] == f"{100 * last:.2f}"
    assert COLUMNS["last_visit"].cell(compared, bn)["error"] == f"{100 * last:.2f}"
    errors = np.mean([summaries["bn", seed]["visits"] for seed in (1, 3)], axis=0)
    assert errors_of(bn).tolist() == pytest.approx(errors.tolist())
    (axes,) = draw_visits(compared.rows, "error", 3.5).axes
    line = axes.lines[compared.rows.index(bn)]
    assert line.get_xdata().tolist() == [1, 2]
    assert line.get_ydata().tolist() == pytest.approx((100 * errors).tolist())
    for seed, count in zip((1, 3), _discordances(*compared.rows, "fog"), strict=True):
        right = [
            sum(row["correct"] for row in summaries[one, seed]["domains"] if row["domain"] == "fog")
            for one in (compared.rows[0].summary["method"], compared.rows[1].summary["method"])
        ]
        assert count.only_first - count.only_second == right[0] - right[1]


def test_a_run_tells_the_error_of_every_visit(tmp_path):
    options = {"domains": ("fog", "snow"), "num_samples": 8, "output": str(tmp_path)}
    summary = run(RunConfig(**options, scenario="recurring", visits=3))
    errors = [row["error"] for row in summary["domains"]]
    assert summary["visits"] == pytest.approx(np.reshape(errors, (3, 2)).mean(1).tolist())
    lines = run_report(summary, "error").splitlines()
    assert "| **mean over visits** |" in "\n".join(lines)
    first, last = (100 * summary["visits"][row] for row in (0, -1))
    assert any(f"(visit 1 {first:.2f} %, visit 3 {last:.2f} %)" in line for line in lines)
    assert "visits" not in run(RunConfig(**options))
