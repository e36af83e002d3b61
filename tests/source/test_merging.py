"""Soups and Fisher merging: figures worked out from the papers, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from tests.fakes import NUM_CLASSES, make_backbone, make_images
from tta.backbones import create_backbone
from tta.foundation.errors import UserError
from tta.source.alike import COMPARED, check_alike, check_networks
from tta.source.fisher import fisher_diagonal
from tta.source.merging import average, fisher_merge, greedy_soup, shares_of
from tta.source.statistics import estimate_statistics


def state(*values):
    return {"weight": torch.tensor(values)}


def test_a_uniform_soup_is_the_mean_and_keeps_counters():
    one = {"weight": torch.tensor([1.0, 3.0]), "num_batches_tracked": torch.tensor(7)}
    other = {"weight": torch.tensor([3.0, 5.0]), "num_batches_tracked": torch.tensor(9)}
    soup = average([one, other])
    assert_close(soup["weight"], torch.tensor([2.0, 4.0]))
    assert soup["num_batches_tracked"] == 7
    assert_close(average([one, other], [3, 1])["weight"], torch.tensor([1.5, 3.5]))


def test_a_greedy_soup_takes_in_only_what_is_strictly_better():
    tried = []

    def evaluate(soup):
        tried.append(soup["weight"].item())
        return {1: 0.79, 2: 0.81}[len(tried)]

    soup = greedy_soup([state(1.0), state(10.0), state(4.0)], [0.80, 0.79, 0.78], evaluate)
    assert soup.members == (0, 2)
    assert tried == [5.5, 2.5]
    assert soup.accuracy == 0.81


def test_a_soup_that_is_as_good_as_the_best_is_rejected():
    soup = greedy_soup([state(1.0), state(2.0)], [0.78, 0.80], lambda _: 0.80)
    assert soup.members == (1,)
    assert soup.state["weight"] == 2.0


def test_fisher_merging_weighs_by_what_matters():
    states, fishers = (
        [state(1.0, 2.0, 0.0), state(3.0, 0.0, 1.0)],
        [
            state(0.1, 1.0, 0.0),
            state(0.3, 0.0, 0.0),
        ],
    )
    merged = fisher_merge(states, fishers, favour_first=False, normalise=False)
    assert_close(merged["weight"], torch.tensor([2.5, 1.999998, 0.5]))
    favoured = fisher_merge(states, fishers, normalise=False)
    assert_close(favoured["weight"], torch.tensor([2.5, 2.0, 0.0]))


def test_fisher_merging_is_the_mean_of_what_has_no_information():
    states = [
        state(1.0) | {"mean": torch.tensor([2.0])},
        state(3.0) | {"mean": torch.tensor([6.0])},
    ]
    merged = fisher_merge(states, [state(0.0), state(0.0)], [3, 1], floor=0.0)
    assert_close(merged, {"weight": torch.tensor([1.5]), "mean": torch.tensor([3.0])})


def test_norms_take_the_scale_of_a_fisher_information_away():
    states, fisher = [state(1.0, 2.0), state(3.0, 0.0)], state(0.3, 0.1)
    larger = {"weight": 100 * fisher["weight"]}
    merged = fisher_merge(states, [fisher, larger])
    assert_close(merged["weight"], torch.tensor([2.0, 1.0]))


def test_the_fisher_diagonal_of_a_classifier_is_that_of_its_formula():
    backbone = make_backbone("batch_norm")
    images = make_images(3)
    found = fisher_diagonal(backbone, [images[:2], images[2:]])
    with torch.no_grad():
        p = backbone(images).softmax(1)
    # d log p_y / d b_c = [y = c] - p_c, whose mean square is p_c (1 - p_c)
    bias = next(name for name, value in found.items() if value.shape == (NUM_CLASSES,))
    assert_close(found[bias], (p * (1 - p)).mean(0), rtol=1e-4, atol=1e-7)
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def other_network(seed):
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        model = create_backbone("test_resnet", num_classes=5, pretrained=False).model
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_()
    return model.state_dict()


def test_networks_of_other_names_shapes_or_starts_are_refused():
    one = other_network(1)
    near = {key: value + 0.1 * (value.dim() > 1) for key, value in one.items()}
    check_alike({"a": one, "b": near})
    with pytest.raises(UserError, match="mean cosine of -?0.0.*started from other weights"):
        check_alike({"a": one, "b": other_network(2)})
    check_alike({"a": one, "b": other_network(2)}, least=-1)
    shorter = dict(list(one.items())[1:])
    with pytest.raises(UserError, match="b cannot be merged with a: it lacks 1 tensors, "):
        check_alike({"a": one, "b": shorter})
    with pytest.raises(UserError, match="it has further 1 tensors"):
        check_alike({"a": shorter, "b": one})
    wider = {key: value.repeat(2) if value.dim() == 1 else value for key, value in one.items()}
    with pytest.raises(UserError, match="has shape"):
        check_alike({"a": one, "b": wider})
    with pytest.raises(UserError, match="b cannot be compared with a: .* choose networks of one"):
        check_alike({"a": one, "b": wider}, COMPARED)


def test_networks_that_compute_differently_are_refused():
    networks = {name: make_backbone("batch_norm") for name in "ab"}
    check_networks(networks)
    networks["b"].normalisation = ((0.1,) * 3, (0.2,) * 3)
    with pytest.raises(UserError, match="b cannot be merged with a: they normalise images by mean"):
        check_networks(networks)
    with pytest.raises(UserError, match="b cannot be compared with a"):
        check_networks(networks, COMPARED)


def test_statistics_are_those_of_all_images():
    backbone = make_backbone("batch_norm")
    images = make_images(10)
    seen = []
    first = next(m for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d))
    first.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    estimate_statistics(backbone, images.split([4, 4, 2]))
    moments = [(x.mean((0, 2, 3)), x.var((0, 2, 3)), len(x)) for x in seen]
    for found, index in ((first.running_mean, 0), (first.running_var, 1)):
        assert_close(found, sum(m[index] * m[2] for m in moments) / 10)
    assert not any(module.training for module in backbone.modules())
    assert first.momentum == 0.1


def test_statistics_of_no_two_images_are_refused_and_left_alone():
    backbone = make_backbone("batch_norm")
    first = next(m for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d))
    before, digest = first.running_mean.clone(), backbone.weights_sha256
    state = {key: value.clone() for key, value in backbone.model.state_dict().items()}
    for batches in ([], make_images(3).split(1)):
        with pytest.raises(UserError, match="cannot be estimated anew: no batch .* two or more"):
            estimate_statistics(backbone, batches)
    assert torch.equal(first.running_mean, before)
    assert all(torch.equal(value, state[key]) for key, value in backbone.model.state_dict().items())
    assert backbone.weights_sha256 == digest
    assert not any(module.training for module in backbone.modules())
    assert first.momentum == 0.1


def test_where_images_cannot_be_read_layers_follow_no_longer():
    backbone = make_backbone("batch_norm")

    def broken():
        yield make_images(4)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        estimate_statistics(backbone, broken())
    layers = [m for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert not any(layer.training for layer in layers)
    assert {layer.momentum for layer in layers} == {0.1}


@pytest.mark.parametrize(
    "shares", [[1.0, -0.5], [0.0, 0.0], [1.0], [1.0, 1.0, 1.0], [float("nan"), 1.0], [1e999, 1.0]]
)
def test_what_is_no_share_is_refused(shares):
    states = [state(1.0), state(3.0)]
    for merge in (average, lambda states, shares: fisher_merge(states, states, shares)):
        with pytest.raises(UserError, match="at least 0 for each of 2 networks, and not all 0"):
            merge(states, shares)


def test_shares_are_divided_by_their_sum():
    assert shares_of([3, 1], 2) == [0.75, 0.25]
    assert shares_of([0, 2], 2) == [0, 1]
    assert shares_of(None, 4) == [0.25] * 4


def test_a_network_without_statistics_is_left_alone():
    backbone = make_backbone("layer_norm")
    before = backbone.weights_sha256
    estimate_statistics(backbone, [make_images(4)])
    assert backbone.weights_sha256 == before
