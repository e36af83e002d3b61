"""T3A against the support set kept as a list."""

import pytest
import torch

from tests.fakes import NUM_CLASSES, make_backbone, make_images
from tests.methods.selective import make
from tta.methods.t3a import T3a

BATCHES = [make_images(count, seed) for seed, count in enumerate((6, 1, 9, 3, 4))]


class NaiveSupports:
    """(feature, label, entropy) triples, filtered by sorting each class."""

    def __init__(self, backbone, size):
        self.backbone, self.size, self.triples = backbone, size, []
        self.add(backbone.classifier.weight)

    def add(self, features):
        for feature, p in zip(features, self.backbone.head(features).softmax(1), strict=True):
            self.triples.append((feature, int(p.argmax()), torch.special.entr(p).sum().item()))

    def step(self, images):
        features = self.backbone.features(images)
        self.add(features)
        kept = []
        for name in range(NUM_CLASSES):
            mine = sorted((t for t in self.triples if t[1] == name), key=lambda t: t[2])
            kept += mine[: self.size]
        self.triples = kept
        prototypes = torch.zeros(NUM_CLASSES, features.shape[1])
        for feature, name, _ in kept:
            prototypes[name] += feature / feature.norm()
        norms = prototypes.norm(dim=1, keepdim=True).clamp_min(1e-12)
        return features @ (prototypes / norms).T


@pytest.mark.parametrize("size", [1, 3, None])
@pytest.mark.parametrize("kind", ["batch_norm", "layer_norm"])
@torch.no_grad()
def test_equals_a_list_of_supports(kind, size):
    t3a = make("t3a", kind, support_size=size)
    naive = NaiveSupports(t3a.backbone, size)
    for images in BATCHES:
        torch.testing.assert_close(t3a.step(images), naive.step(images))


@pytest.mark.parametrize("size", [3, None])
@torch.no_grad()
def test_a_small_batch_touches_the_rows_of_its_classes_alone(size):
    t3a = make("t3a", support_size=size)
    for images in BATCHES:
        bank, supports, prototypes = t3a.supports, t3a.supports.clone(), t3a.prototypes.clone()
        absent = torch.ones(NUM_CLASSES, dtype=torch.bool)
        absent[t3a.backbone(images).argmax(1)] = False
        t3a.step(images)
        assert t3a.supports is bank
        assert torch.equal(t3a.supports[absent], supports[absent])
        assert torch.equal(t3a.prototypes[absent], prototypes[absent])
        expected = torch.nn.functional.normalize(t3a.supports.sum(1), dim=1)
        torch.testing.assert_close(t3a.prototypes, expected)


@torch.no_grad()
def test_reset_and_state_hold_the_prototypes():
    t3a, other = (make("t3a", support_size=3) for _ in range(2))
    first = t3a.step(BATCHES[3])
    other.load_state_dict(t3a.state_dict())
    assert torch.equal(other.step(BATCHES[4]), t3a.step(BATCHES[4]))
    t3a.reset()
    assert torch.equal(t3a.step(BATCHES[3]), first)


def test_starts_as_the_classifier_without_bias_and_norm():
    t3a = make("t3a")
    backbone = t3a.backbone
    with torch.no_grad():
        backbone.classifier.weight.copy_(10 * torch.eye(NUM_CLASSES, backbone.feature_dim))
        t3a.configure()
        logits = backbone.features(BATCHES[0])[:, :NUM_CLASSES]
    torch.testing.assert_close(t3a.predict(BATCHES[0]), logits)


def test_rows_follow_the_class_subset():
    backbone = make_backbone("batch_norm")
    backbone.class_subset, backbone.num_classes = torch.tensor([3, 1]), 2
    t3a = T3a(backbone)
    t3a.start()
    assert t3a.supports.shape[0] == 2
    assert torch.equal(backbone.class_rows, backbone.classifier.weight[[3, 1]])
    assert t3a.step(BATCHES[0]).shape == (6, 2)
