"""NEO's mean, in its three forms, and what reaches the classifier."""

from __future__ import annotations

import pytest
import torch

from tests.fakes import make_backbone, make_images, make_source
from tests.methods.selective import make
from tta.foundation.errors import UserError
from tta.methods.neo import Neo
from tta.methods.requirements import check_needs

Z = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
LATER = torch.tensor([[2.0, 2.0]])
BATCHES = [make_images(count, seed) for seed, count in enumerate((6, 1, 4))]


class Twofold:
    """Stands for a network of two features that shows what its classifier is given."""

    def features(self, images):
        return images

    def head(self, features):
        return features


def worked(**params):
    """Return a method that takes features for images and centred features for outputs."""
    method = make("neo", **params)
    method.backbone = Twofold()
    method.mean, method.reference = torch.zeros(2), torch.zeros(2)
    return method


def test_the_worked_example_of_the_mean():
    neo = worked()
    assert neo.step(Z).tolist() == [[-1, 1], [1, -1]]
    assert neo.mean.tolist() == [2, 1]
    centred = neo.step(LATER)
    torch.testing.assert_close(neo.mean, torch.tensor([2, 1.333333]), atol=1e-6, rtol=0)
    torch.testing.assert_close(centred, torch.tensor([[0, 0.666667]]), atol=1e-6, rtol=0)


def test_the_worked_example_of_the_moving_average():
    neo = worked(continual=True)
    for features, expected in ((Z, (0.2, 0.1)), (LATER, (0.38, 0.29))):
        neo.step(features)
        torch.testing.assert_close(neo.mean, torch.tensor(expected), atol=1e-6, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["batch_norm", "layer_norm"])
def test_outputs_are_of_features_less_the_mean_of_all_so_far(kind):
    neo, backbone = make("neo", kind), make("neo", kind).backbone
    for number, images in enumerate(BATCHES, 1):
        features = [backbone.features(batch) for batch in BATCHES[:number]]
        expected = backbone.head(features[-1] - torch.cat(features).mean(0))
        outputs = neo.step(images)
        torch.testing.assert_close(outputs, expected, atol=1e-5, rtol=1e-4)
        assert torch.equal(outputs, neo.predict(images))


@torch.no_grad()
@pytest.mark.parametrize("continual", [False, True])
def test_the_mean_may_be_put_at_the_sources(continual):
    neo = make("neo", reference="source_mean", continual=continual)
    backbone = neo.backbone
    features = torch.cat([backbone.features(images) for images, _ in make_source().one_pass()])
    torch.testing.assert_close(neo.reference, features.mean(0), atol=1e-5, rtol=1e-4)
    images = BATCHES[0]
    torch.testing.assert_close(neo.predict(images), backbone(images))
    before = neo.mean.clone()
    outputs, batch = neo.step(images), backbone.features(images)
    mean = before.lerp(batch.mean(0), 0.1 if continual else 1.0)
    expected = backbone.head(batch - mean + neo.reference)
    torch.testing.assert_close(outputs, expected, atol=1e-5, rtol=1e-4)


def test_the_origin_needs_no_source_and_the_sources_mean_does():
    backbone = make_backbone("layer_norm")
    check_needs(Neo, Neo.Params(), backbone, has_source=False)
    with pytest.raises(UserError, match="needs source images; pass --source"):
        check_needs(Neo, Neo.Params(reference="source_mean"), backbone, has_source=False)


def test_a_lone_first_image_gets_the_classifiers_bias():
    neo = make("neo")
    torch.testing.assert_close(neo.step(make_images(1))[0], neo.backbone.classifier.bias)


@pytest.mark.parametrize("continual", [False, True])
def test_images_without_finite_features_leave_the_mean_alone(continual):
    spoiled, clean = (make("neo", continual=continual) for _ in range(2))
    images = torch.cat([BATCHES[0], BATCHES[0][:1] * torch.nan])
    outputs = spoiled.step(images)[:-1]
    torch.testing.assert_close(outputs, clean.step(BATCHES[0]))
    for method in (spoiled, clean):
        before = method.state_dict()
        method.step(BATCHES[1] * torch.nan)
        assert all(torch.equal(before[name], method.state_dict()[name]) for name in method.state)


def test_nothing_of_the_network_changes():
    neo = make("neo", "batch_norm")
    before = {name: value.clone() for name, value in neo.backbone.state_dict().items()}
    for images in BATCHES:
        neo.step(images)
    for name, value in neo.backbone.state_dict().items():
        assert torch.equal(value, before[name]), name
