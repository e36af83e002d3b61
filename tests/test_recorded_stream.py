"""Agreement with the authors' code on the recorded real CIFAR-10-C stream.

Their arrays are NHWC, so their activations were channels-last; in that layout outputs agree to
the bit. In NCHW the figures agree, and outputs to the rounding of batch statistics.
"""

import numpy as np
import pytest

from tests.recorded import reference, run_recorded

ALPHA = [
    ("bn_alpha_0.1", {"target_weight": 0.1, "compat": True}),
    ("bn_alpha_0.5", {"target_weight": 0.5, "compat": True}),
]


@pytest.mark.parametrize(
    ("figure", "method", "params"),
    [("source", "source", {}), ("bn", "bn", {})] + [(name, "bn_alpha", p) for name, p in ALPHA],
)
def test_forward_only_methods_reproduce_the_outputs(figure, method, params):
    expected, logits = reference(figure)
    figures, outputs = run_recorded(method, set=params)
    assert abs(100 * figures["mean_error"] - expected["mean"]) < 0.1
    errors = [100 * domain["error"] for domain in figures["domains"]]
    np.testing.assert_allclose(errors, expected["error"], atol=0.11)
    assert np.abs(outputs - logits).max() < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "params", "bound"),
    [
        ("source", {}, 1e-5),
        ("lame", {"affinity": "rbf"}, 1e-4),
        ("lame", {"affinity": "knn"}, 1e-2),  # a neighbour is one or none
        ("t3a", {}, 1e-5),
    ],
)
def test_a_folded_network_predicts_what_the_model_as_it_is_does(method, params, bound):
    (folded, outputs), (plain, expected) = (
        run_recorded(method, set=params, fold=fold) for fold in (True, False)
    )
    errors = [[row["error"] for row in figures["domains"]] for figures in (folded, plain)]
    assert errors[0] == errors[1]
    assert (outputs.argmax(1) == expected.argmax(1)).all()
    assert 0 < np.abs(outputs - expected).max() < bound * np.abs(expected).max()


def test_tent():
    expected, logits = reference("tent")
    figures, outputs = run_recorded("tent")
    assert abs(100 * figures["mean_error"] - expected["mean"]) < 0.1
    assert np.abs(outputs - logits)[:400].max() < 1e-3
    assert (outputs.argmax(1) == logits.argmax(1)).mean() > 0.995


@pytest.mark.parametrize(
    ("figure", "method", "params"),
    [
        ("lame_rbf5", "lame", {"affinity": "rbf", "k": 5}),
        ("lame_knn5", "lame", {"affinity": "knn", "k": 5}),
        ("lame_knn1", "lame", {"affinity": "knn", "k": 1}),
        ("bn_ema", "bn_ema", {}),
    ],
)
def test_lame_and_bn_ema(figure, method, params):
    expected, outputs_there = reference(figure)
    figures, outputs = run_recorded(method, set=params)
    assert abs(100 * figures["mean_error"] - expected["mean"]) < 0.1
    if outputs_there.size:
        agreement = (outputs.argmax(1) == outputs_there.argmax(1)).mean()
        assert agreement > 0.995


@pytest.mark.slow
def test_tent_in_nchw_layout():
    expected, logits = reference("tent")
    figures, outputs = run_recorded("tent", memory_format="contiguous")
    assert abs(100 * figures["mean_error"] - expected["mean"]) < 0.1
    assert (outputs.argmax(1) == logits.argmax(1)).mean() > 0.995


@pytest.mark.slow
@pytest.mark.parametrize(
    ("figure", "params"),
    [
        ("rmt", {"warm_up_samples": 10_000}),
        ("rmt_sourcefree", {"warm_up_samples": 0, "lambda_source": 0.0}),
    ],
)
def test_rmt_over_three_seeds(figure, params):
    runs = [run_recorded("rmt", set=params, seed=seed)[0] for seed in (1, 2, 3)]
    mean = 100 * np.mean([figures["mean_error"] for figures in runs])
    assert abs(mean - reference(figure)[0]["mean"]) < 1.0


@pytest.mark.slow
def test_santa_over_three_seeds():
    runs = [run_recorded("santa", seed=seed)[0] for seed in (1, 2, 3)]
    mean = 100 * np.mean([figures["mean_error"] for figures in runs])
    assert abs(mean - reference("santa")[0]["mean"]) < 1.0


@pytest.mark.slow
def test_rmt_in_bf16_stays_within_half_a_point_of_fp32():
    options = {"set": {"warm_up_samples": 2000}}
    errors = {
        name: [
            run_recorded("rmt", precision=name, seed=seed, **options)[0]["mean_error"]
            for seed in (1, 2, 3)
        ]
        for name in ("fp32", "bf16")
    }
    assert abs(100 * (np.mean(errors["bf16"]) - np.mean(errors["fp32"]))) < 0.5, errors


@pytest.mark.slow
@pytest.mark.parametrize("method", ["eta", "sar", "rpl"])
def test_selective_methods_follow_the_authors_code(method):
    expected, logits = reference(method)
    figures, outputs = run_recorded(method)
    assert abs(100 * figures["mean_error"] - expected["mean"]) < 0.2
    assert np.abs(outputs - logits)[:400].max() < 1e-3
    assert (outputs.argmax(1) == logits.argmax(1)).mean() > 0.99


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "params"),
    [("eata", {"compat": True}), ("rdumb", {}), ("deyo", {}), ("roid", {}), ("cmf", {})],
)
def test_methods_that_draw_at_random_agree_in_the_mean(method, params):
    figures, _ = run_recorded(method, set=params)
    assert abs(100 * figures["mean_error"] - reference(method)[0]["mean"]) < 1.0


@pytest.mark.slow
@pytest.mark.parametrize("method", ["rotta", "cotta"])
def test_mean_teachers_over_three_seeds(method):
    runs = [run_recorded(method, seed=seed)[0] for seed in (1, 2, 3)]
    mean = 100 * np.mean([figures["mean_error"] for figures in runs])
    assert abs(mean - reference(method)[0]["mean"]) < 1.0
