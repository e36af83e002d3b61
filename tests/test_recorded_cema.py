"""CEMA against its authors' code on the recorded real CIFAR-10-C stream, batches of 64."""

import json

import pytest

from tests.assets import asset
from tests.recorded import run_recorded

pytestmark = pytest.mark.filterwarnings("ignore:cema with statistics=renorm")

RELEASED = {"low_margin": None, "warm_up_samples": None, "redundancy_margin": 0.05}
EXACT = {
    "released": {**RELEASED, "statistics": "renorm"},
    "released_tbr_off": {**RELEASED, "statistics": "batch"},
}
# One image that flips at a threshold changes a cloud batch, and all that follows.
CHAOTIC = {
    "paper_crit12_noredundancy": {
        "statistics": "renorm",
        "low_margin": 0.02,
        "warm_up_samples": 640,
        "threshold_coefficient": 0.6,
    },
    "no_exclusion": {
        "statistics": "renorm",
        "exclude_unreliable": False,
        "low_margin": None,
        "warm_up_samples": None,
    },
}


def run_cema(**options) -> dict:
    cloud = asset("weights", "akamaster_resnet56_cifar10.safetensors")
    figures, _ = run_recorded(
        "cema",
        batch_size=64,
        contiguous_batches=True,
        cloud_backbone="cifar_resnet56",
        cloud_weights=str(cloud),
        **options,
    )
    return figures


def reference(name: str) -> dict:
    entries = json.loads(asset("reference", "cema.json").read_text())
    return next(entry for entry in entries if entry["name"] == name)


@pytest.mark.parametrize("name", EXACT)
def test_the_first_domains_of_the_released_configuration(name):
    """Its uploads end after the first batch, so three domains show all that happens."""
    expected = reference(name)
    figures = run_cema(set=EXACT[name], domains=tuple(expected["domains"][:4]))
    errors = [100 * domain["error"] for domain in figures["domains"]]
    assert errors[:3] == pytest.approx(expected["error"][:3], abs=0.1001)
    assert [domain["uploads"] for domain in figures["domains"]] == expected["uploads"][:4]
    assert figures["counters"]["foundation_steps"] == expected["cloud_updates"]
    assert figures["counters"]["edge_steps"] == expected["edge_steps"]


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
def test_the_released_configuration(name):
    expected, figures = reference(name), run_cema(set=EXACT[name])
    assert 100 * figures["mean_error"] == pytest.approx(expected["mean"], abs=0.1)
    assert figures["counters"]["uploads"] == expected["uploads_total"]


@pytest.mark.slow
@pytest.mark.parametrize("name", CHAOTIC)
def test_configurations_that_upload_much(name):
    expected, figures = reference(name), run_cema(set=CHAOTIC[name])
    assert 100 * figures["mean_error"] == pytest.approx(expected["mean"], abs=1.5)
    assert figures["counters"]["uploads"] == pytest.approx(expected["uploads_total"], rel=0.05)


@pytest.mark.slow
def test_the_cifar_preset_beats_batch_statistics_at_few_uploads():
    plain, _ = run_recorded("bn", batch_size=64, contiguous_batches=True)
    figures = run_cema(preset="cifar10-c")
    assert figures["mean_error"] < min(plain["mean_error"], 0.2822)
    assert figures["upload_fraction"] <= 0.4
