"""aTLAS: the loss by hand, coefficients and their gradients, what is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import tta
from tests.fakes import make_backbone, make_images
from tests.weight_files import vectors_for
from tta.foundation.errors import UserError
from tta.methods.atlas import Atlas
from tta.methods.atlas_composition import composed, composed_gradient, drawn_groups
from tta.methods.atlas_loss import confident, pseudo_targets, unsupervised_fixmatch
from tta.methods.requirements import check_needs
from tta.ops.losses import entropy
from tta.ops.norm.batch_norm import replace_batch_norm
from tta.source.weight_vector_files import read_vectors

WEAK = torch.tensor([[4.0, 0, 0], [1, 0.5, 0], [0, 3, 0]])
STRONG = torch.tensor([[3.0, 0.5, 0], [0.2, 1, 0], [0.5, 2, 0]])


def make(kind="batch_norm", **params):
    given = {"vectors": vectors_for(kind), "threshold": 0.0, **params}
    return Atlas(make_backbone(kind), Atlas.Params(**given), seed=3)


@pytest.mark.parametrize(
    ("kind", "expected"), [("soft", 0.342940), ("sharpened", 0.220353), ("hard", 0.215114)]
)
def test_the_loss_is_that_of_sure_images(kind, expected):
    likely = WEAK.softmax(1).amax(1)
    assert_close(likely, torch.tensor([0.964663, 0.506480, 0.909443]), rtol=0, atol=1e-6)
    chosen = confident(WEAK, kind, 0.85)
    assert chosen.tolist() == [True, False, True]
    loss = unsupervised_fixmatch(STRONG, pseudo_targets(WEAK, kind), chosen)
    assert_close(loss, torch.tensor(expected), rtol=0, atol=1e-6)


def test_no_sure_image_is_no_loss_and_no_step():
    strong = STRONG.clone().requires_grad_()
    chosen = torch.zeros(3, dtype=torch.bool)
    loss = unsupervised_fixmatch(strong, pseudo_targets(WEAK, "soft"), chosen)
    assert loss == 0
    method = make(threshold=1.0)
    before = method.state_dict()
    method.step(make_images(6))
    assert torch.equal(method.coefficients, torch.zeros_like(method.coefficients))
    assert not method.optimizer.state
    assert before["optimizer"]["state"] == method.state_dict()["optimizer"]["state"]


def test_the_first_batch_is_the_source_models():
    images, backbone = make_images(6), make_backbone("batch_norm")
    replace_batch_norm(backbone)
    assert_close(make().step(images), backbone(images).detach())


@pytest.mark.parametrize("kind", ["batch_norm", "layer_norm"])
def test_coefficients_get_the_gradient_of_the_composed_network(kind):
    """As by differentiating through theta_0 + sum of coefficients times vectors."""
    images, method = make_images(6), make(kind, loss="entropy", optimizer="sgd", clip=1e9)
    vectors = read_vectors(vectors_for(kind)).vectors
    backbone = make_backbone(kind)
    replace_batch_norm(backbone)
    head = set(backbone.classifier.parameters())
    named = {k: v for k, v in backbone.model.named_parameters() if v not in head}
    coefficients = torch.full((2, len(named)), 0.3, requires_grad=True)
    moved = {
        f"model.{key}": value
        + sum(coefficients[i, t] * vectors[name][key] for i, name in enumerate(vectors))
        for t, (key, value) in enumerate(named.items())
    }
    logits = torch.func.functional_call(backbone, moved, (images,))
    entropy(logits).mean().backward()
    with torch.no_grad():
        method.coefficients.fill_(0.3)
    method._move()
    found = []
    method.optimizer.step = lambda: found.append(method.coefficients.grad.clone())
    assert_close(method.step(images), logits.detach(), rtol=1e-4, atol=1e-4)
    largest = float(coefficients.grad.abs().max())
    assert_close(found[0], coefficients.grad, rtol=1e-3, atol=1e-4 * largest)


def test_weights_are_where_the_coefficients_say_and_the_classifier_stays():
    method, source = make(lr=0.1), make_backbone("batch_norm")
    head = [value.clone() for value in method.backbone.classifier.parameters()]
    for seed in range(2):
        method.step(make_images(6, seed))
    assert method.coefficients.abs().max() > 0.1
    vectors = read_vectors(vectors_for("batch_norm")).vectors
    own, start = (dict(b.model.named_parameters()) for b in (method.backbone, source))
    for column, parameter in enumerate(method.parameters):
        (key,) = [name for name, value in own.items() if value is parameter]
        moves = (method.coefficients[i, column] * vectors[n][key] for i, n in enumerate(vectors))
        assert_close(parameter, start[key] + sum(moves), rtol=1e-4, atol=1e-5)
        assert parameter.grad is None
    assert all(map(torch.equal, head, method.backbone.classifier.parameters()))


def test_gradients_are_clipped():
    method = make(loss="entropy", optimizer="sgd", clip=1e-3)
    found = []
    method.optimizer.step = lambda: found.append(float(method.coefficients.grad.norm()))
    method.step(make_images(6))
    assert found[0] <= 1e-3 * 1.001


def test_task_vectors_may_come_from_checkpoints(tmp_path):
    expert = make_backbone("batch_norm").model
    with torch.no_grad():
        for parameter in expert.parameters():
            parameter.mul_(1.1)
    torch.save(expert.state_dict(), tmp_path / "expert.pt")
    files = (str(tmp_path / "expert.pt"),)
    method = make(vectors=None, checkpoints=files, lr=0.05)
    assert len(method.digests["checkpoints"]) == 64
    outputs = [method.step(make_images(6, seed)) for seed in range(2)]
    assert all(found.isfinite().all() for found in outputs)
    assert method.coefficients.shape[0] == 1
    with pytest.raises(UserError, match="exclude each other"):
        make(checkpoints=files)
    with pytest.raises(UserError, match="does not fit backbone"):
        make("layer_norm", vectors=None, checkpoints=files)


def test_checkpoints_of_a_users_own_network_have_its_names(tmp_path):
    network = OwnNet().eval()
    expert = copy.deepcopy(network)
    with torch.no_grad():
        expert.convolution.weight.mul_(1.1)
    torch.save({"state_dict": expert.state_dict()}, tmp_path / "expert.pt")
    given = {"checkpoints": (str(tmp_path / "expert.pt"),), "loss": "entropy"}
    adapted = tta.adapt(network, "atlas", input_size=(3, 32, 32), **given)
    assert adapted(make_images(6)).isfinite().all()


class OwnNet(nn.Module):
    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(0)
            self.convolution, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
            self.last = nn.Linear(8, 5)

    def forward(self, images):
        return self.last(self.norm(self.convolution(images)).relu().mean((2, 3)))


def test_checkpoints_of_another_start_are_refused(tmp_path):
    other = make_backbone("batch_norm").model
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draws))
    torch.save(other.state_dict(), tmp_path / "other.pt")
    with pytest.raises(UserError, match="was not trained from this source model"):
        make(vectors=None, checkpoints=(str(tmp_path / "other.pt"),))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loss", ["ufm", "entropy"])
def test_steps_in_half_precision_stay_near(dtype, loss):
    outputs = []
    for precision in (torch.float32, dtype):
        backbone = make_backbone("batch_norm")
        backbone.precision = precision
        given = {"vectors": vectors_for("batch_norm"), "threshold": 0.0, "loss": loss}
        method = Atlas(backbone, Atlas.Params(**given), seed=3)
        method.start()
        outputs.append([method.step(make_images(6, seed)) for seed in range(3)])
    for full, half in zip(*outputs, strict=True):
        assert (full - half).abs().max() < 0.1 * full.abs().max()


def test_without_vectors_it_is_refused_before_the_stream():
    words = "'atlas' moves.*pass --set vectors=FILE, a file"
    with pytest.raises(UserError, match=words):
        check_needs(Atlas, Atlas.Params(), make_backbone("batch_norm"), has_source=True)
    with pytest.raises(UserError, match=words):
        tta.adapt(make_backbone("batch_norm").model, "atlas")


CHANGES = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.5, -1.0, 2.0, 0.0]])
GROUPS = torch.tensor([0, 1, 1, 0], dtype=torch.uint8)


def test_values_of_a_group_move_by_its_coefficients():
    shares = torch.tensor([[2.0, 10.0], [1.0, -1.0]])
    expected = [2 * 1 + 0.5, 10 * 2 + 1, 10 * 3 - 2, 2 * 4 + 0]
    assert composed(shares, CHANGES, GROUPS).tolist() == expected
    gradient = torch.tensor([1.0, 10.0, 100.0, 1000.0])
    found = composed_gradient(gradient, CHANGES, GROUPS, 2)
    assert found.tolist() == [[1 + 4000, 20 + 300], [0.5, -10 + 200]]
    assert found.sum(1).tolist() == composed_gradient(gradient, CHANGES).tolist()
    equal = shares[:, :1].expand(2, 2)
    assert_close(composed(equal, CHANGES, GROUPS), composed(shares[:, 0], CHANGES))


def test_a_gradient_of_groups_is_that_of_their_composition():
    draws = torch.Generator().manual_seed(0)
    changes, upstream = torch.randn(3, 50, generator=draws), torch.randn(50, generator=draws)
    groups = drawn_groups(50, 4, draws)
    assert groups.unique().tolist() == [0, 1, 2, 3]
    shares = torch.randn(3, 4, generator=draws, requires_grad=True)
    composed(shares, changes, groups).backward(upstream)
    assert_close(composed_gradient(upstream, changes, groups, 4), shares.grad)


@pytest.mark.parametrize("kind", ["batch_norm", "layer_norm"])
def test_partitions_have_coefficients_of_their_own(kind):
    method = make(kind, partitions=3, lr=0.05)
    first = method.step(make_images(6))
    assert_close(first, make(kind).step(make_images(6)))  # all coefficients begin at 0
    assert method.coefficients.shape == (2, len(method.parameters), 3)
    assert method.coefficients.std(2).max() > 0
    vectors = read_vectors(vectors_for(kind)).vectors
    own, start = (dict(b.model.named_parameters()) for b in (method.backbone, make_backbone(kind)))
    names = {id(value): name for name, value in own.items()}
    for column, weight in enumerate(method.parameters):
        key, groups = names[id(weight)], method.groups[column].long().view_as(weight)
        moves = (
            method.coefficients[i, column][groups] * vectors[n][key] for i, n in enumerate(vectors)
        )
        assert_close(weight, start[key] + sum(moves), rtol=1e-4, atol=1e-5)


def test_partitions_follow_from_the_seed_and_go_with_the_state(tmp_path):
    method = make(partitions=5, lr=0.05)
    start = method.state_dict()
    first = [method.step(make_images(6, seed)) for seed in range(2)]
    middle = method.state_dict()
    third = method.step(make_images(6, 2))
    torch.save(middle, tmp_path / "state")
    given = Atlas.Params(vectors=vectors_for("batch_norm"), threshold=0.0, partitions=5, lr=0.05)
    other = Atlas(make_backbone("batch_norm"), given, seed=9)
    assert not all(map(torch.equal, other.groups, method.groups))
    other.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert torch.equal(other.step(make_images(6, 2)), third)
    method.reset()
    assert all(map(torch.equal, method.groups, start["groups"]))
    again = [method.step(make_images(6, seed)) for seed in range(2)]
    assert all(map(torch.equal, first, again))
    assert all(map(torch.equal, make(partitions=5).groups, start["groups"]))
