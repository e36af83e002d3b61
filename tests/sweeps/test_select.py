"""What is chosen in a grid, by whom, and what is said of it."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from tests.reporting.fake_runs import write_run
from tta.commands.sweep import main
from tta.config import RunConfig
from tta.foundation.errors import UserError
from tta.reporting.records.runs import Run, Samples
from tta.sweeps.tuning.choice import choose, spearman
from tta.sweeps.tuning.grouping import group_runs
from tta.sweeps.tuning.rules import RULES, labels_rule, parse_rules, with_needs
from tta.sweeps.tuning.tables import render


def run_of(accuracy: float, **facts) -> Run:
    domains = [{"samples": 30, "entropy": 0.5}, {"samples": 10, "entropy": 0.1}]
    summary = {"mean_accuracy": accuracy, "seed": 1, "samples": 40, "domains": domains}
    return Run(Path(), summary | facts, {})


def cell(accuracy: float | None, lr: float, seed: int = 1, dataset: str = "digits-c", **facts):
    config = RunConfig(method="tent", dataset=dataset, set={"lr": lr, "momentum": 0.9}, seed=seed)
    return config, None if accuracy is None else run_of(accuracy, seed=seed, **facts)


def snd(value: float | None) -> dict:
    return {"evidence": {"snd": value}}


def test_a_choice_its_gap_and_its_correlation():
    runs = [
        cell(0.5, 0.1, **snd(3.0)),
        cell(0.9, 0.01, **snd(1.0)),
        cell(0.7, 0.001, **snd(2.0)),
        cell(0.6, 0.0001, **snd(0.0)),
    ]
    (group,) = group_runs(runs)
    chosen = choose(group, RULES["snd"], [group])
    assert chosen.setting.values == {"lr": 0.1}
    assert chosen.gap == pytest.approx(0.4)
    # Ranks of accuracy 1 4 3 2, of score 4 2 3 1: 1 - 6 (9 + 4 + 0 + 1) / (4 * 15).
    assert chosen.correlation == pytest.approx(1 - 6 * 14 / 60)
    oracle = choose(group, RULES["oracle"], [group])
    assert (oracle.setting.values, oracle.gap) == ({"lr": 0.01}, 0.0)
    assert oracle.correlation == pytest.approx(1.0)


def test_ties_go_to_the_earliest_and_no_number_is_never_chosen():
    runs = [cell(0.5, 0.1, **snd(None)), cell(0.6, 0.01, **snd(2)), cell(0.9, 0.001, **snd(2))]
    (group,) = group_runs(runs)
    assert choose(group, RULES["snd"], [group]).setting.values == {"lr": 0.01}
    (group,) = group_runs([cell(0.5, 0.1, **snd(None)), cell(0.6, 0.01)])
    nothing = choose(group, RULES["snd"], [group])
    assert nothing.setting is None
    assert "nothing: no score" in render([group], [RULES["snd"]], "markdown", "error", None)


def test_seeds_are_averaged_and_settings_with_a_missing_run_left_out():
    runs = [cell(0.8, 0.1, 1), cell(0.2, 0.1, 2), cell(0.6, 0.01, 1), cell(0.6, 0.01, 2)]
    runs += [cell(0.9, 0.001, 1), cell(None, 0.001, 2)]
    (group,) = group_runs(runs)
    assert [setting.values["lr"] for setting in group.settings] == [0.1, 0.01]
    assert choose(group, RULES["oracle"], [group]).setting.accuracy == pytest.approx(0.6)
    text = render([group], [RULES["oracle"]], "markdown", "error", None)
    assert "left out, as a run is missing or has no accuracy: lr=0.001" in text
    assert "seeds 1, 2; 2 settings" in text


def test_a_group_without_a_whole_setting_chooses_nothing_in_every_form():
    failed = [cell(None, 0.1, dataset="random"), cell(None, 0.01, dataset="random")]
    groups = group_runs([cell(0.5, 0.1), cell(0.9, 0.01), *failed])
    rules = [RULES["entropy"], RULES["transfer"], RULES["oracle"]]
    text = render(groups, rules, "markdown", "error", None)
    assert "tent on random, continual; seed 1; 0 settings" in text
    assert "left out, as a run is missing or has no accuracy: lr=0.01" in text
    whole, empty = json.loads(render(groups, rules, "json", "error", None))["groups"]
    assert [len(whole["choices"]), empty["choices"]] == [3, []]
    assert empty["left_out"] == [{"lr": 0.1}, {"lr": 0.01}]
    header, *rows = render(groups, rules, "csv", "error", None).splitlines()
    assert [row.split(",")[1] for row in rows] == ["digits-c"] * 3
    assert render(group_runs(failed), rules, "csv", "error", None) == header


def test_a_run_without_an_accuracy_is_left_out():
    (group,) = group_runs([cell(0.5, 0.1), cell(math.nan, 0.01), cell(None, 0.001)])
    assert [setting.values for setting in group.settings] == [{"lr": 0.1}]
    assert group.left_out == ({"lr": 0.01}, {"lr": 0.001})
    (entry,) = json.loads(render([group], [RULES["oracle"]], "json", "error", None))["groups"]
    assert [choice["chosen"] for choice in entry["choices"]] == [{"lr": 0.1}]
    undefined = run_of(0.5)
    undefined.summary["mean_accuracy"] = None
    (group,) = group_runs([(cell(0.5, 0.1)[0], undefined), cell(0.9, 0.01)])
    assert group.left_out == ({"lr": 0.1},)


def test_settings_without_a_score_have_no_part_in_the_correlation():
    runs = [cell(0.9, 0.1), cell(0.2, 0.01, **snd(1)), cell(0.3, 0.001, **snd(2))]
    (group,) = group_runs(runs)
    assert choose(group, RULES["snd"], [group]).correlation == pytest.approx(1)
    (group,) = group_runs([*runs[:2], cell(0.3, 0.001, **snd(None))])
    chosen = choose(group, RULES["snd"], [group])
    assert chosen.setting.values == {"lr": 0.01}
    assert chosen.gap == pytest.approx(0.7)
    assert math.isnan(chosen.correlation)


def test_transfer_takes_data_sets_that_have_every_setting():
    here = [cell(0.5, 0.1), cell(0.9, 0.01)]
    whole = [cell(0.8, 0.1, dataset="random"), cell(0.7, 0.01, dataset="random")]
    part = [cell(0.1, 0.1, dataset="digits"), cell(None, 0.01, dataset="digits")]
    groups = group_runs([*here, *whole, *part])
    assert choose(groups[0], RULES["transfer"], groups).setting.values == {"lr": 0.1}
    groups = group_runs([*here, *part])
    assert choose(groups[0], RULES["transfer"], groups).setting is None


def test_transfer_matches_whole_settings():
    """Where the value that differs is the same, others may not be."""
    here = [cell(0.5, 0.1), cell(0.9, 0.01)]
    other = [
        (dataclasses.replace(config, set={**config.set, "momentum": 0.5}), run)
        for config, run in (cell(0.8, 0.1, dataset="random"), cell(0.3, 0.01, dataset="random"))
    ]
    groups = group_runs([*here, *other])
    assert choose(groups[0], RULES["transfer"], groups).setting is None


def resolved(config: RunConfig, run: Run, **options) -> tuple[RunConfig, Run]:
    params = {"lr": 0.1, "momentum": 0.9} | config.set
    plain = dataclasses.replace(config, set=params, scenario="class_grouped", severity=5)
    return dataclasses.replace(config, **options), Run(run.path, run.summary, plain.to_mapping())


def test_equal_runs_are_one_setting_of_one_group_however_they_were_typed():
    config, run = cell(0.5, 0.1)
    bare = dataclasses.replace(config, set={})
    runs = [
        resolved(bare, run, scenario="class_grouped"),
        resolved(config, run, scenario="class_grouped+continual", severity=5),
        resolved(*cell(0.7, 0.01), scenario="continual+class_grouped"),
        (dataclasses.replace(bare, set={"lr": 0.3}, scenario="class_grouped"), None),
    ]
    (group,) = group_runs(runs)
    assert group.facts == {"method": "tent", "dataset": "digits-c", "scenario": "class_grouped"}
    assert [setting.values for setting in group.settings] == [{"lr": 0.1}, {"lr": 0.01}]
    assert group.left_out == ({"lr": 0.3},)


def test_transfer_goes_by_the_other_data_sets():
    runs = [cell(0.5, 0.1), cell(0.9, 0.01)]
    runs += [cell(0.8, 0.1, dataset="random"), cell(0.3, 0.01, dataset="random")]
    groups = group_runs(runs)
    assert choose(groups[0], RULES["transfer"], groups).setting.values == {"lr": 0.1}
    assert choose(groups[1], RULES["transfer"], groups).setting.values == {"lr": 0.01}


@pytest.mark.parametrize(
    ("name", "facts", "score"),
    [
        ("entropy", {}, -(30 * 0.5 + 10 * 0.1) / 40),
        ("source", {"probe": {"dataset": "digits", "after": [0.7, 0.9], "mean": 0.8}}, 0.8),
        ("source", {"probe": None}, math.nan),
        ("consistency", {"evidence": {"consistency": 0.25}}, 0.25),
        ("infomax", {"evidence": {"snd": 1.0}}, math.nan),
        ("infomax", {}, math.nan),
    ],
)
def test_scores_of_a_record(name, facts, score):
    assert RULES[name].score(run_of(0.5, **facts)) == pytest.approx(score, nan_ok=True)


def test_an_entropy_that_is_not_finite_is_no_score():
    domains = [{"samples": 3, "entropy": None}, {"samples": 1, "entropy": 0.1}]
    assert math.isnan(RULES["entropy"].score(run_of(0.5, domains=domains)))


def test_labels_are_those_of_the_same_images_in_every_run(tmp_path):
    paths = [write_run(tmp_path / str(skill), skill=skill, seed=3) for skill in (0.2, 3.0)]
    runs = [Run.load(path) for path in paths]
    drawn = np.random.default_rng(3).permutation(320)[:50]
    for run in runs:
        expected = run.samples().correct[drawn].mean()
        assert labels_rule(50).score(run) == pytest.approx(expected)
    whole = [run.samples().correct.mean() for run in runs]
    assert [labels_rule(10**6).score(run) for run in runs] == pytest.approx(whole)
    assert labels_rule(50).score(runs[0]) != pytest.approx(whole[0], abs=1e-6)


def test_labels_that_are_all_there_are_say_so():
    runs = [cell(0.5, 0.1), cell(0.9, 0.01)]
    groups = group_runs([(config, _with_samples(run)) for config, run in runs])
    text = render(groups, [labels_rule(40)], "markdown", "error", None)
    assert "labels:40 saw all labels: the stream has 40 images" in text
    assert "saw all" not in render(groups, [labels_rule(39)], "markdown", "error", None)


def test_labels_are_spent_on_known_images():
    known = np.arange(40) % 4 == 0
    correct = known & (np.arange(40) < 20)  # 5 of 10

    class Opened(Run):
        def samples(self):
            return Samples(correct, np.ones(40), np.zeros(40), known, np.ones(40))

    run = Opened(Path(), run_of(0.5, known_images=10).summary, {})
    drawn = np.random.default_rng(1).permutation(10)[:4]
    assert labels_rule(4).score(run) == correct[known][drawn].mean()
    assert labels_rule(10).score(run) == labels_rule(99).score(run) == 0.5
    groups = group_runs([(cell(0.5, 0.1)[0], run)])
    text = render(groups, [labels_rule(10)], "markdown", "error", None)
    assert "labels:10 saw all labels: the stream has 10 known images" in text


def _with_samples(run: Run) -> Run:
    class Known(Run):
        def samples(self):
            correct = np.arange(40) < 40 * run.summary["mean_accuracy"]
            return Samples(correct, np.ones(40), np.zeros(40))

    return Known(run.path, run.summary, run.config)


def test_what_saw_all_labels_says_so_in_every_form():
    groups = group_runs([cell(0.5, 0.1, **snd(1)), cell(0.9, 0.01, **snd(0))])
    rules = [RULES["snd"], RULES["oracle"]]
    lines = render(groups, rules, "markdown", "accuracy", 80).splitlines()
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line.startswith("| oracle (all labels)")]
    assert [line for line in lines if line.startswith("oracle: chosen with every label")]
    (entry,) = json.loads(render(groups, rules, "json", "error", None))["groups"]
    assert [(row["rule"], row["oracle"]) for row in entry["choices"]] == [
        ("snd", False),
        ("oracle", True),
    ]
    assert entry["choices"][0]["chosen"] == {"lr": 0.1}
    assert entry["choices"][0]["gap"] == pytest.approx(0.4)
    assert entry["choices"][0]["oracle_accuracy"] == 0.9
    header, *rows = render(groups, rules, "csv", "error", None).splitlines()
    column = header.split(",").index("oracle")
    assert [row.split(",")[column] for row in rows] == ["False", "True"]


def test_a_collapsed_choice_is_called_so():
    groups = group_runs([cell(0.5, 0.1, collapsed_at_batch=3, **snd(1)), cell(0.9, 0.01, **snd(0))])
    rules = [RULES["snd"], RULES["oracle"]]
    text = render(groups, rules, "markdown", "error", None)
    assert "| lr=0.1 (collapsed) |" in text
    (entry,) = json.loads(render(groups, rules, "json", "error", None))["groups"]
    assert [row["collapsed"] for row in entry["choices"]] == [True, False]


def test_figures_that_tie_share_a_rank():
    assert spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(4.5 / math.sqrt(4.5 * 5))
    assert math.isnan(spearman([1, 1], [1, 2]))
    assert spearman([-math.inf, 0, 1], [3, 2, 1]) == pytest.approx(-1)


def test_names_of_rules():
    assert [rule.name for rule in parse_rules("snd, labels:7,snd", 1)] == ["snd", "labels:7"]
    everything = "source entropy consistency snd infomax transfer labels:100 oracle".split()
    assert [rule.name for rule in parse_rules("all", 2)] == everything
    everything.remove("transfer")
    assert [rule.name for rule in parse_rules("all", 1)] == everything
    for text, message in [
        ("sdn", "did you mean 'snd'"),
        ("labels", "has no rule 'labels'"),
        ("labels:0", "whole numbers N above 0, not 'labels:0'"),
        ("labels:x", "not 'labels:x'"),
        ("transfer", "two or more into the grid"),
        ("snd,", "has no rule ''"),
    ]:
        with pytest.raises(UserError, match=message):
            parse_rules(text, 1)


def test_runs_record_what_rules_need_beside_what_they_record():
    rules = parse_rules("snd,consistency,source,entropy,oracle,labels:5", 1)
    config = with_needs(RunConfig(evidence=("infomax",)), rules)
    assert config.evidence == ("infomax", "snd", "consistency")
    assert config.probe == "source"
    with pytest.raises(UserError, match="--select source goes by --probe source, and the grid"):
        with_needs(RunConfig(probe="digits"), rules)
    plain = RunConfig()
    assert with_needs(plain, parse_rules("entropy,labels:5,oracle", 1)) == plain


def test_an_unknown_rule_is_refused_before_anything_is_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("grid.yaml").write_text("grid: {method: [tent], set.lr: [0.1, 0.01]}")
    assert main(["grid.yaml", "--select", "entrpy"]) == 2
    assert "did you mean 'entropy'" in capsys.readouterr().err
    assert not Path("results").exists()


def test_a_grid_is_run_and_chosen_in(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    grid = (
        "{domains: [contrast, fog], num_samples: 60, probe_samples: 60, batch_size: 20, "
        "method: tent, output: runs, "
        "grid: {set.lr: [0.0001, 0.001, 0.3]}}"
    )
    Path("grid.yaml").write_text(grid)
    command = ["grid.yaml", "--workers", "1", "--format", "json"]
    assert main([*command, "--select", "all,labels:120"]) == 0
    captured = capsys.readouterr()
    assert "3 cells: 3 run" in captured.err
    (group,) = json.loads(captured.out)["groups"]
    assert group["settings"] == [{"lr": 0.0001}, {"lr": 0.001}, {"lr": 0.3}]
    choices = {choice["rule"]: choice for choice in group["choices"]}
    assert len(choices) == 8
    assert all(choice["chosen"] for choice in choices.values())
    assert choices["labels:120"]["chosen"] == choices["oracle"]["chosen"]
    assert choices["oracle"]["gap"] == 0
    assert choices["entropy"]["chosen"] == {"lr": 0.3}  # it collapses, which looks certain
    assert choices["entropy"]["gap"] > 0.1
    # Rules that need nothing more go by the same runs; so does evidence that is already there.
    assert main([*command, "--select", "source,snd,consistency,infomax"]) == 0
    assert "3 cells: 0 run, 3 finished before" in capsys.readouterr().err
