"""ReservoirTTA: its clusters, styles and copies, written out."""

import math

import pytest
import torch
from torch import nn

from tests.fakes import make_backbone, make_images, make_source
from tta.methods import METHODS
from tta.methods.params import build_params
from tta.methods.reservoir_clusters import StyleClusters, clustering_loss, distance_quantile
from tta.methods.reservoir_copies import averaged
from tta.methods.reservoir_styles import Styles, model_styles, styles_of_vgg

IMAGES = make_images(6, seed=3)
DARK = make_images(6, seed=4) * 0.02
FEW = {"source_styles": 4, "copies": 3, "styles_kept": 6}


def make(inner="tent", seed=7, **params):
    kind = METHODS["reservoir"]
    backbone = make_backbone("batch_norm")
    values = build_params(kind.Params, {"inner": inner, **FEW, **params}, "reservoir")
    made = kind(backbone, values, seed=seed)
    made.usual_batch = 6
    made.start(make_source())
    return made


def test_the_clustering_loss():
    styles = torch.tensor([[0.0, 0.0], [0.2, 0.0], [4.0, 0.0], [4.2, 0.0]])
    centroids = torch.tensor([[0.0, 0.0], [4.0, 0.0]])
    shares = (-torch.cdist(styles, centroids)).softmax(1)
    assert shares[-1].tolist() == pytest.approx([0.017986, 0.982014], abs=1e-6)
    undecided = -(shares * shares.log()).sum(1).mean()
    assert undecided.item() == pytest.approx(0.098248, abs=1e-6)
    assert clustering_loss(styles, centroids).item() == pytest.approx(0.098248 - 0.693138, abs=2e-6)


def test_the_threshold_is_a_quantile_of_distances():
    styles = torch.tensor([[0.0], [1.0], [3.0], [3.0]])
    assert distance_quantile(styles, 1.0) == 3 and distance_quantile(styles, 0.0) == 1
    assert distance_quantile(styles, 0.5) == 2.0  # of 1, 2, 2, 3, 3: no distance is 0
    assert distance_quantile(styles[:1].repeat(3, 1), 0.9) == 0


def test_a_far_style_brings_a_cluster_and_a_near_one_or_a_short_batch_none():
    clusters = StyleClusters(torch.zeros(2), most=2, kept=3)
    draws = torch.Generator().manual_seed(0)
    one, far = torch.tensor([0.5, 0.0]), torch.tensor([5.0, 0.0])
    limit = torch.tensor(1.0)
    assert clusters.assign(one, limit, True, draws) == (pytest.approx([1.0]), False)
    assert not clusters.assign(far, limit, False, draws).is_new
    shares, is_new = clusters.assign(far, limit, True, draws)
    assert is_new and shares.tolist() == pytest.approx(
        [math.exp(-5) / (1 + math.exp(-5)), 1], abs=0.01
    )
    assert not clusters.assign(-far, limit, True, draws).is_new  # there are two already


def test_past_styles_are_a_reservoir_of_so_many_for_each_cluster():
    clusters = StyleClusters(torch.zeros(1), most=1, kept=3)
    draws = torch.Generator().manual_seed(0)
    for number in range(40):
        clusters.assign(torch.tensor([number / 10]), torch.tensor(99.0), True, draws)
        assert len(clusters.past) == min(number + 1, 3)
    assert clusters.seen <= 31 and clusters.past.max() > 2


def test_styles_are_log_variances_of_maps_and_tokens():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    zero, one = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    styles = Styles(net, [net[0], net[2]], zero, one)
    first = net[0](IMAGES)
    second = net[2](first.relu())
    expected = [maps.transpose(0, 1).flatten(1).var(1).log() for maps in (first, second)]
    torch.testing.assert_close(styles(IMAGES), torch.cat(expected).detach())
    seen = []
    net[2].register_forward_hook(lambda *_: seen.append(1))
    Styles(net, [net[0]], zero, one)(IMAGES)
    assert not seen  # what lies behind is not computed
    assert model_styles(make_backbone("layer_norm"))(IMAGES).dim() == 1
    vgg = styles_of_vgg(_vgg())
    assert vgg(IMAGES).shape == (64 + 128 + 128,)


def _vgg():
    convolutions = [
        nn.Conv2d(3, 64, 3, 1, 1),
        nn.Conv2d(64, 64, 3, 1, 1),
        nn.Conv2d(64, 128, 3, 1, 1),
    ]
    convolutions.append(nn.Conv2d(128, 128, 3, 1, 1))
    relu = [nn.ReLU(inplace=True) for _ in range(3)]
    a, b, c, d = convolutions
    return nn.Sequential(a, relu[0], b, relu[1], nn.MaxPool2d(2), c, relu[2], d, nn.ReLU(True))


def test_with_one_copy_it_is_the_method_inside():
    reservoir, tent = make(copies=1), METHODS["tent"](make_backbone("batch_norm"), seed=7)
    for images in (IMAGES, DARK, IMAGES[:3]):
        torch.testing.assert_close(reservoir.step(images), tent.step(images))


def test_another_style_is_adapted_to_apart_and_predicted_by_shares():
    reservoir, tent = make(quantile=0.0), METHODS["tent"](make_backbone("batch_norm"), seed=7)
    reservoir.threshold.copy_(0.7 * (reservoir.style_of(DARK) - reservoir.centre).norm())
    first = reservoir.step(IMAGES)
    torch.testing.assert_close(first, tent.step(IMAGES))
    learned = [p.detach().clone() for p in reservoir.inner.parameters]
    reservoir.step(DARK)
    assert len(reservoir.copies) == 2
    stored = reservoir.copies[0]["parameters"]
    assert all(torch.equal(*pair) for pair in zip(stored, learned, strict=True))
    assert any(
        not torch.equal(*pair)
        for pair in zip(stored, reservoir.copies[1]["parameters"], strict=True)
    )
    shares = torch.tensor([0.25, 0.75])
    mean = averaged(reservoir.inner, reservoir.copies, shares, 1)
    for row, value in enumerate(mean["parameters"]):
        expected = sum(
            s * c["parameters"][row] for s, c in zip(shares, reservoir.copies, strict=True)
        )
        torch.testing.assert_close(value, expected)
    assert mean["optimizer"] is reservoir.copies[1]["optimizer"]


def test_a_new_copy_is_that_of_the_stored_ones_which_is_most_informative():
    reservoir = make(ensemble=False, copies=1)
    reservoir.step(IMAGES)
    certain = reservoir.copies[0]
    other = {**certain, "parameters": [torch.zeros_like(p) for p in certain["parameters"]]}
    reservoir.copies.append(other)  # whose predictions are all alike: of no information
    assert reservoir._most_informative(DARK) is certain


def test_copies_have_all_state_but_for_the_place_in_the_source_stream():
    for inner in ("rotta", "palm", "poem", "rdumb", "tea"):
        made = make(inner, **({"inner.source_samples": 4} if inner == "poem" else {}))
        assert set(made.copies[0]) == set(METHODS[inner].state)
    rmt = make("rmt", **{"inner.warm_up_samples": 0})
    assert set(rmt.copies[0]) == {"student_parameters", "teacher_parameters", "optimizer"}
    assert make("lame").copies == [{}]


def test_memories_may_be_common_to_all_copies():
    rotta = make("rotta", memories="common")
    assert list(rotta.copies[0]) and not {"bank", "seen"} & set(rotta.copies[0])
    assert set(make("palm", memories="common").copies[0]) == {"parameters", "optimizer"}


@pytest.mark.parametrize("memories", ["own", "common"])
def test_a_memory_of_its_own_has_images_of_one_style(memories):
    made = make("rotta", memories=memories, quantile=0.0, **{"inner.memory_size": 32})
    made.threshold.copy_(0.7 * (made.style_of(DARK) - made.centre).norm())
    for images in (IMAGES, DARK, IMAGES, DARK):
        made.step(images)
    assert len(made.copies) == 2
    bank = made.inner.bank  # as the copy of dark images has left it
    kept = bank.images[bank.occupied_slots()]
    assert bool((kept.amax((1, 2, 3)) > 0.1).any()) == (memories == "common")


def test_the_rates_of_a_copy_are_those_of_its_own_batches():
    made = make("palm", quantile=0.0, **{"inner.margin": 2.0, "inner.largest_score": 1e6})
    made.threshold.copy_(0.7 * (made.style_of(DARK) - made.centre).norm())
    made.step(IMAGES)
    alone = made.copies[0]["rates"]
    made.step(DARK)
    assert len(made.copies) == 2
    assert str(made.copies[0]["rates"]) == str(alone) != str(made.copies[1]["rates"])
