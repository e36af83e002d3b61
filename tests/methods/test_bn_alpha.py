import pytest
import torch

from tests.fakes import make_backbone, make_images
from tta.foundation.errors import UserError
from tta.methods.bn import BatchNormOne
from tta.methods.bn_alpha import AlphaBatchNorm, spread
from tta.methods.params import build_params
from tta.methods.source import Source

IMAGES = make_images(6)


def outputs(method, **params):
    made = method(make_backbone("fused_batch_norm"), method.Params(**params))
    made.start()
    return made.step(IMAGES)


def test_the_ends_are_the_source_and_bn_one_exactly():
    assert torch.equal(outputs(AlphaBatchNorm, target_weight=0.0), outputs(Source))
    assert torch.equal(outputs(AlphaBatchNorm, target_weight=1.0), outputs(BatchNormOne))


def test_prior_is_the_sample_size_rule():
    expected = outputs(AlphaBatchNorm, target_weight=6 / (6 + 18))
    assert torch.equal(outputs(AlphaBatchNorm, prior=18.0), expected)


def test_layer_weights():
    layers = len(AlphaBatchNorm(make_backbone("fused_batch_norm")).layers)
    expected = outputs(AlphaBatchNorm, target_weight=0.25)
    assert torch.equal(outputs(AlphaBatchNorm, layer_weights=(0.25,) * layers), expected)
    assert torch.equal(outputs(AlphaBatchNorm, layer_weights=(0.25, 0.25)), expected)
    assert not torch.equal(outputs(AlphaBatchNorm, layer_weights=(0.0, 0.5)), expected)
    assert spread((0.0, 1.0), 5) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert spread((0.2, 1.0), 1) == [0.2]
    with pytest.raises(UserError, match="holds 3 weights"):
        spread((0.1, 0.2, 0.3), 5)


def test_one_weight_for_all_layers_and_one_for_each_are_refused_together():
    with pytest.raises(UserError, match="set one of them"):
        outputs(AlphaBatchNorm, prior=16.0, layer_weights=(0.1, 0.2))


def test_lists_are_read_and_checked():
    params = build_params(AlphaBatchNorm.Params, {"layer_weights": [0, "5e-1"]}, "bn_alpha")
    assert params.layer_weights == (0.0, 0.5)
    with pytest.raises(UserError, match="between 0.0 and 1.0"):
        build_params(AlphaBatchNorm.Params, {"layer_weights": [2.0, 0.5]}, "bn_alpha")
    with pytest.raises(UserError, match="must be a list"):
        build_params(AlphaBatchNorm.Params, {"layer_weights": 0.5}, "bn_alpha")


def test_distance_of_means_widens_the_variance():
    plain = outputs(AlphaBatchNorm, target_weight=0.5)
    assert not torch.equal(outputs(AlphaBatchNorm, target_weight=0.5, between_means=True), plain)


def test_nearly_flat_in_batch_size_where_bn_one_is_not():
    """The property that the published tables show: single images are no worse than batches."""
    shift = {"target_weight": 0.1}
    together, source = outputs(AlphaBatchNorm, **shift), outputs(Source)
    method = AlphaBatchNorm(make_backbone("fused_batch_norm"), AlphaBatchNorm.Params(**shift))
    alone = torch.cat([method.step(image[None]) for image in IMAGES])
    bn = BatchNormOne(make_backbone("fused_batch_norm"))
    bn_alone = torch.cat([bn.step(image[None]) for image in IMAGES])
    assert (alone - together).norm() < 0.5 * (bn_alone - bn.step(IMAGES)).norm()
    assert torch.isfinite(source).all()
