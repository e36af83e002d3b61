"""Robust weight signatures at test time: which is added, and what is refused."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch.testing import assert_close

import tta
from tests.fakes import make_backbone, make_images
from tests.weight_files import vectors_for, write_vectors
from tta.foundation.errors import UserError
from tta.methods.requirements import check_needs
from tta.methods.rws import RobustWeightSignatures
from tta.ops.losses import entropy
from tta.ops.norm.batch_norm import AdaptiveBatchNorm, replace_batch_norm
from tta.ops.norm.input_moments import moments_apart
from tta.source.weight_vector_files import read_vectors, save_vectors
from tta.source.weight_vectors import WeightVectors


def make(kind="batch_norm", **params):
    given = {"signatures": vectors_for(kind), **params}
    return RobustWeightSignatures(make_backbone(kind), RobustWeightSignatures.Params(**given))


def patched(kind, shares, target_weight=1.0):
    """Return a network to which shares of the signatures are added."""
    backbone = make_backbone(kind)
    found = read_vectors(vectors_for(kind)).vectors
    for key, parameter in backbone.model.named_parameters():
        for name, share in shares.items():
            parameter.data += share * found[name][key]
    replace_batch_norm(backbone, lambda layer: AdaptiveBatchNorm(layer, target_weight))
    return backbone


@torch.no_grad()
@pytest.mark.parametrize("kind", ["batch_norm", "layer_norm"])
def test_the_surest_of_the_patched_models_answers(kind):
    method = make(kind)
    for seed in range(3):
        images = make_images(6, seed)
        outputs = [patched(kind, shares)(images) for shares in ({}, {"fog": 1}, {"snow": 1})]
        best = min(range(3), key=lambda number: entropy(outputs[number]).mean())
        assert_close(method.step(images), outputs[best], rtol=1e-4, atol=1e-4)
        assert method.chosen == best
        assert_close(method.predict(images), outputs[best], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_named_signature_is_added_throughout():
    images = make_images(6)
    method = make(signature="fog")
    assert_close(method.step(images), patched("batch_norm", {"fog": 1})(images))
    method = make(signature="fog+snow", scale=0.5, target_weight=0.1)
    expected = patched("batch_norm", {"fog": 0.25, "snow": 0.25}, 0.1)(images)
    assert_close(method.step(images), expected, rtol=1e-4, atol=1e-4)
    method.reset()
    assert_close(method.predict(images), expected, rtol=1e-4, atol=1e-4)


def test_the_nearest_statistics_choose():
    method = make(choice="statistics")
    shown = [make_images(8, seed) for seed in range(3)]  # what the file's moments are of
    for number, images in enumerate(shown):
        method.step(images)
        assert method.chosen == number
        share = [{}, {"fog": 1}, {"snow": 1}][number]
        with torch.no_grad():
            assert_close(method.predict(images), patched("batch_norm", share)(images))


def test_distances_between_moments():
    found = torch.tensor([[0.0, 1.0], [1.0, 4.0]])
    known = torch.stack([found, torch.tensor([[2.0, 1.0], [1.0, 9.0]])])
    # channel 1: 2^2 / 2; channel 2: (3 - 2)^2 / 1
    assert_close(moments_apart(found, known, torch.tensor([2.0, 1.0])), torch.tensor([0.0, 1.5]))


def test_a_reset_brings_the_source_back():
    method = make()
    method.step(make_images(6))
    method.reset()
    assert method.chosen == 0
    for parameter, source in zip(method.parameters, method.source_values, strict=True):
        assert torch.equal(parameter, source)


def test_outputs_that_are_no_numbers_are_not_chosen(tmp_path):
    backbone = make_backbone("layer_norm")
    vector = {key: torch.zeros_like(value) for key, value in backbone.model.named_parameters()}
    wild = {key: torch.full_like(value, 1e38) for key, value in vector.items()}
    save_vectors(tmp_path / "v", WeightVectors({"wild": wild, "none": vector}))
    method = make("layer_norm", signatures=str(tmp_path / "v"))
    assert method.step(make_images(4)).isfinite().all()
    assert method.chosen != 1


def test_without_a_file_it_is_refused_before_the_stream():
    with pytest.raises(UserError, match="'rws' moves.*pass --set signatures=FILE, a file"):
        check_needs(
            RobustWeightSignatures,
            RobustWeightSignatures.Params(),
            make_backbone("batch_norm"),
            has_source=True,
        )
    with pytest.raises(UserError, match="signatures=FILE"):
        tta.adapt(make_backbone("batch_norm").model, "rws")


def test_files_that_do_not_fit_and_unknown_names_are_refused():
    with pytest.raises(UserError, match="does not fit backbone"):
        make("layer_norm", signatures=vectors_for("batch_norm"))
    with pytest.raises(UserError, match="has none of 'fig'.*fog"):
        make(signature="fig")
    with pytest.raises(UserError, match="does not exist"):
        make(signatures="nowhere")


def test_statistics_of_another_model_are_refused(tmp_path):
    other = make_backbone("batch_norm")
    with torch.no_grad():
        next(other.model.parameters()).add_(1.0)
    other.update_digest()
    path = write_vectors(other, tmp_path / "v.safetensors")
    make(signatures=path)
    with pytest.raises(UserError, match="holds no statistics.*choice=entropy"):
        make(signatures=path, choice="statistics")


def test_a_network_without_batch_norm_has_no_statistics():
    with pytest.raises(UserError, match="holds no statistics.*choice=entropy"):
        make("layer_norm", choice="statistics")


def rewritten(file, change):
    """Write the stand-in's file with other moments, and return its path."""
    found = read_vectors(vectors_for("batch_norm"))
    moments = {name: dict(one) for name, one in found.moments.items()}
    change(moments)
    save_vectors(file, WeightVectors(found.vectors, moments, found.source_sha256))
    return str(file)


@pytest.mark.parametrize("name", ["source", "snow"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one, layer: one.pop(layer), "are in one and not in the other"),
        (lambda one, layer: one.update(more=one[layer].clone()), "are in one and not in the other"),
        (lambda one, layer: one.update({layer: one[layer][:1]}), r"are \[1, \d+\], not \[2, "),
        (lambda one, layer: one.update({layer: one[layer][:, 1:]}), r"are \[2, \d+\], not \[2, "),
        (lambda one, layer: one.update({layer: one[layer] * torch.nan}), "are no numbers"),
    ],
)
def test_statistics_that_do_not_fit_the_network_are_refused(tmp_path, name, change, words):
    def damage(moments):
        change(moments[name], sorted(moments[name])[-1])

    file = rewritten(tmp_path / "v", damage)
    with pytest.raises(UserError, match=f"of {name!r} those of layer .*{words}.*choice=entropy"):
        make(signatures=file, choice="statistics")
    make(signatures=file)


def test_statistics_of_one_corruption_too_few_are_refused(tmp_path):
    file = rewritten(tmp_path / "v", lambda moments: moments.pop("snow"))
    with pytest.raises(UserError, match="holds no statistics.*choice=entropy"):
        make(signatures=file, choice="statistics")


def test_a_file_is_known_by_what_it_holds(tmp_path):
    one = make().digests
    backbone = make_backbone("batch_norm")
    copy = shutil.copy(vectors_for("batch_norm"), tmp_path / "copy.safetensors")
    assert make(signatures=str(copy)).digests == one
    assert make(signatures=write_vectors(backbone, tmp_path / "less", bits=8)).digests != one


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_steps_in_half_precision_stay_near(dtype):
    outputs = []
    for precision in (torch.float32, dtype):
        method = make(signature="fog")
        method.backbone.precision = precision
        outputs.append(method.step(make_images(6)))
    full, half = outputs
    assert half.dtype == torch.float32
    assert (full - half).abs().max() < 0.1 * full.abs().max()
