"""Equal meaning gives equal runs, whether it was typed, read from YAML or left at its default."""

import pytest
import yaml

from tta.config import RunConfig
from tta.datasets.digits import CorruptedDigits
from tta.experiment.assembly import build
from tta.experiment.resolving import scenario_options, stream_choices
from tta.streams import find_scenario, plan_stream

BASE = {"method": "tent", "domains": ("pixelate",), "num_samples": 8}


def fingerprint(**options):
    return build(RunConfig(**BASE | options)).fingerprint()


@pytest.fixture(scope="module")
def plain():
    return fingerprint()


@pytest.mark.parametrize(
    "options",
    [
        {"dirichlet": 0},
        {"dirichlet": 0.5},  # without effect: labels are not ordered
        {"zipf": 3},
        {"visits": 3, "draws": 7, "tasks": 5, "classes_per_batch": (2, 2), "translate_by": 3},
        {"translate_edges": "wrap"},
        {"markov": "i1i1", "class_stay": 0.5, "imbalance_ratio": 2},
        {"order": "petta"},  # of one domain
        {"order": "random"},
        {"severity": 5},
        {"backbone": "test_resnet"},
        {"backbone": "test_resnet.r160_in1k"},
        {"weights": CorruptedDigits.benchmark.weights},
        {"backbone": "test_resnet", "weights": CorruptedDigits.benchmark.weights},
        {"num_classes": 10},
        {"source": "digits"},
        {"batch_size": 64},
        {"memory_format": "channels_last"},
        {"device": "cpu"},
        {"deterministic": True},  # without effect: on a CPU every run is
        {"cloud_backbone": "test_vit"},
        {"preset": "defaults"},
        {"set": {"lr": 0.001}},
        {"set": {"lr": "1e-3"}},
        {"domains": ["pixelate"]},
    ],
    ids=str,
)
def test_what_is_typed_for_a_default_is_the_default(plain, options):
    assert fingerprint(**options) == plain


@pytest.mark.parametrize(
    "options",
    [
        {"severity": 4},
        {"num_samples": 7},
        {"seed": 2},
        {"batch_size": 4},
        {"precision": "bf16"},
        {"memory_format": "contiguous"},
        {"set": {"lr": 0.002}},
        {"domains": ("pixelate", "fog")},
        {"contiguous_batches": True},
        {"backbone": "digits_vit"},
    ],
    ids=str,
)
def test_what_decides_figures_tells_runs_apart(plain, options):
    assert fingerprint(**options) != plain


@pytest.mark.parametrize("number", [897, 898, 10_000])
def test_as_many_images_as_there_are_is_all_of_them(number):
    options = {"domains": ("pixelate",)}
    whole = build(RunConfig(**options))
    assert build(RunConfig(**options, num_samples=number)).fingerprint() == whole.fingerprint()
    assert whole.resolved()["num_samples"] is None


def test_labels_in_an_order_are_another_stream():
    sorted_labels = fingerprint(scenario="correlated")
    assert fingerprint(scenario="correlated", dirichlet=0) == sorted_labels
    assert fingerprint(scenario="correlated", dirichlet=0.5) != sorted_labels


def test_a_setting_and_its_numbers_are_the_same_stream():
    named = fingerprint(scenario="markov", markov="nu1u")
    assert fingerprint(scenario="markov", domain_stay=1.0) == named
    assert fingerprint(scenario="markov", markov="nu1u", class_stay=0.9) != named


@pytest.mark.parametrize(
    ("scenario", "given", "plain"),
    [
        ("markov", {"most_per_state": 6}, {}),  # 60 images of ten classes
        ("markov", {"class_stay": 0.1}, {"markov": "iunu"}),
        ("markov", {"domain_stay": 0.5}, {"markov": "nuiu"}),
        ("label_shift", {"draws": 120}, {}),
        ("mixed_domains+label_shift", {"draws": 240}, {}),
    ],
)
def test_numbers_that_follow_from_the_data_are_the_default(scenario, given, plain):
    data = CorruptedDigits()

    def choices(**options):
        common = {"domains": ("pixelate", "fog"), "num_samples": 60, "scenario": scenario}
        config = RunConfig(**common, **options)
        plan = plan_stream(scenario, data, scenario_options(config))
        return plan.digest, stream_choices(config, data, plan, find_scenario(scenario).uses)

    assert choices(**given) == choices(**plain)
    other = {name: 2 * value if value > 1 else value / 2 for name, value in given.items()}
    assert choices(**other)[1] != choices(**plain)[1]


def test_parts_of_a_scenario_are_the_scenario():
    whole = fingerprint(scenario="gradual_correlated")
    assert fingerprint(scenario="correlated+gradual") == whole
    found = build(RunConfig(**BASE, scenario="class_grouped+continual")).resolved()
    assert found["scenario"] == "class_grouped"


def test_options_of_the_cloud_count_where_there_is_one():
    free = fingerprint(method="cema")
    assert fingerprint(method="cema", set={"upload_budget": 1}) == free
    assert (
        fingerprint(method="cema", cloud_backbone=CorruptedDigits.benchmark.cloud_backbone) == free
    )
    assert fingerprint(method="cema", set={"upload_budget": 0.5}) != free


def test_the_resolved_configuration_is_a_fixed_point(tmp_path):
    """config.yaml runs again as it is, to a configuration that is resolved the same."""
    options = {"method": "cema", "dirichlet": 0.5, "num_samples": 8, "domains": ("fog",)}
    resolved = build(RunConfig(**options)).resolved()
    text = yaml.safe_dump(resolved)
    again = build(RunConfig.from_mapping(yaml.safe_load(text), "here"))
    assert again.resolved() == resolved
    assert again.fingerprint() == build(RunConfig(**options)).fingerprint()
    assert resolved["backbone"] == CorruptedDigits.benchmark.backbone
    assert resolved["dirichlet"] == 0.0


def test_numbers_are_of_the_type_that_is_declared():
    config = RunConfig(dirichlet=0, zipf=2, domains=["fog"], crop=1)
    assert [type(value) for value in (config.dirichlet, config.zipf)] == [float, float]
    assert type(config.crop) is float
    assert config.domains == ("fog",)
    assert config == RunConfig(dirichlet=0.0, zipf=2.0, domains=("fog",), crop=1.0)


def test_one_table_for_runs_that_were_typed_differently(tmp_path, monkeypatch, capsys):
    from tta.commands import compare, run

    monkeypatch.chdir(tmp_path)
    common = ["--domains", "pixelate,fog", "--num-samples", "8"]
    ways = {
        "source": [],
        "bn": ["--severity", "5", "--dirichlet", "0", "--backbone", "test_resnet"],
        "tent": ["--weights", str(CorruptedDigits.benchmark.weights), "--dirichlet", "0.5"],
    }
    for method, options in ways.items():
        assert run.main(["--method", method, *common, *options]) == 0
    assert compare.main(["results/runs"]) == 0
    shown = capsys.readouterr().out
    assert all(f"| {method} " in shown for method in ways)
