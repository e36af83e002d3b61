"""ViDA's uncertainty, scales and steps against their definition."""

import copy

import pytest
import torch

from tests.backbones.test_adapters import with_adapters
from tests.fakes import make_backbone, make_images
from tests.methods.selective import IMAGES
from tta.backbones.adapters import MARK, adapted_layers
from tta.foundation.errors import UserError
from tta.methods import METHODS
from tta.methods.requirements import check_needs
from tta.methods.vida import disagreement

VIDA = METHODS["vida"]
SGD = {"optimizer": "sgd", "lr": 0.1, "adapter_lr": 0.5, "momentum": 0.0, "nesterov": False}


def made(**params):
    method = VIDA(with_adapters(), VIDA.Params(**{**SGD, "views": 3, **params}), seed=1)
    method.start()
    return method


def test_uncertainty_is_a_tenth_of_the_variance_over_views():
    logits = torch.tensor([[[1.0, 0], [0, 1]], [[2, 0], [1, 1]], [[0, 1], [0, 2]]])
    torch.testing.assert_close(disagreement(logits), torch.tensor(0.05))


@pytest.mark.parametrize(
    ("uncertainty", "compat", "scales"),
    [
        (0.06, False, [0.94, 1.06]),
        (0.04, False, [1.04, 0.96]),
        (0.06, True, [0.94, 1.0]),
        (0.04, True, [1.04, 1.0]),
        (torch.nan, False, [1.0, 1.0]),
    ],
)
def test_uncertain_batches_weigh_the_high_rank_more(uncertainty, compat, scales):
    method = made(compat=compat)
    method._allot(torch.tensor(uncertainty))
    for layer in (*adapted_layers(method.backbone), *adapted_layers(method.teacher)):
        torch.testing.assert_close(layer.scales, torch.tensor(scales))


@pytest.mark.parametrize("symmetric", [False, True])
def test_two_steps_written_out(symmetric):
    method = made(symmetric=symmetric, adapter_decay=0.8)
    student, generator = copy.deepcopy(method.backbone), torch.Generator()
    teacher = copy.deepcopy(student)
    generator.set_state(method.generator.get_state())
    for images in (IMAGES, IMAGES[:3].flip(3)):
        with torch.no_grad():
            views = [teacher(method.augment(images, generator)) for _ in range(3)]
        u = 0.1 * torch.stack(views).var(0).mean()
        sign = 1 if u >= 0.05 else -1
        for layer in (*adapted_layers(student), *adapted_layers(teacher)):
            layer.scales = torch.stack([1 - sign * u, 1 + sign * u])
        target = teacher(images).detach()
        logits = student(images)
        loss = -(target.softmax(1) * logits.log_softmax(1)).sum(1)
        if symmetric:
            loss = 0.5 * loss - 0.5 * (logits.softmax(1) * target.log_softmax(1)).sum(1)
        named = dict(student.named_parameters())
        gradients = torch.autograd.grad(loss.mean(), list(named.values()))
        with torch.no_grad():
            for (name, own), gradient, average in zip(
                named.items(), gradients, teacher.parameters(), strict=True
            ):
                adapter = MARK in name
                own -= (0.5 if adapter else 0.1) * gradient
                average.lerp_(own, 0.2 if adapter else 0.001)
        torch.testing.assert_close(method.step(images), target, atol=1e-5, rtol=1e-4)
    for found, wanted in ((method.backbone, student), (method.teacher, teacher)):
        pairs = zip(found.parameters(), wanted.parameters(), strict=True)
        assert all(torch.allclose(*pair, atol=1e-5, rtol=1e-4) for pair in pairs)


def test_restoration_takes_all_back_at_once():
    method = made(restore_rate=1.0)
    before = [parameter.detach().clone() for parameter in method.parameters]
    method.step(IMAGES)
    assert all(map(torch.equal, method.parameters, before))
    moved = zip(method.teacher_parameters, before, strict=True)
    assert not all(torch.equal(*pair) for pair in moved)


def test_a_reset_takes_the_scales_back():
    method = made()
    method.step(IMAGES)
    assert not torch.equal(method.scales, torch.ones(2))
    method.reset()
    for layer in (*adapted_layers(method.backbone), *adapted_layers(method.teacher)):
        assert torch.equal(layer.scales, torch.ones(2))


def test_a_network_without_adapters_is_refused_unless_they_are_inserted():
    backbone = make_backbone("layer_norm")
    with pytest.raises(UserError, match="adapters.*train_source --adapters.*insert_adapters=true"):
        check_needs(VIDA, VIDA.Params(), backbone, has_source=False)
    check_needs(VIDA, VIDA.Params(), with_adapters(), has_source=False)
    params = VIDA.Params(insert_adapters=True, low_rank=2, high_rank=6)
    check_needs(VIDA, params, backbone, has_source=False)
    images = make_images(2)
    before = backbone(images)
    method = VIDA(backbone, params, seed=1)
    assert torch.equal(method.predict(images), before)
    assert adapted_layers(method.backbone)[0].vida_down2.out_features == 6
