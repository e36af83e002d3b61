"""What is trained, told by type and, for one toolbox, by name."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from tests.fakes import make_backbone, make_images, make_source
from tta.methods import METHODS
from tta.ops.parameters import all_parameters, weights_and_biases

SMALL = {"rmt": {"warm_up_samples": 0}, "cotta": {"views": 2}, "memo": {"views": 2}}
WHOLE = ("adacontrast", "cotta", "gtta", "memo", "rmt")


def names(model, parameters):
    """Return the names of parameters in a model."""
    chosen = {id(parameter) for parameter in parameters}
    return [name for name, parameter in model.named_parameters() if id(parameter) in chosen]


def test_weights_and_biases_leave_out_what_has_another_name():
    model = make_backbone("layer_norm").model
    left_out = set(names(model, all_parameters(model))) - set(
        names(model, weights_and_biases(model))
    )
    assert left_out == {"cls_token", "pos_embed"}
    scaled = nn.ModuleDict({"head": weight_norm(nn.Linear(3, 2)), "norm": nn.LayerNorm(3)})
    scaled.register_parameter("gamma", nn.Parameter(torch.ones(3)))
    assert names(scaled, weights_and_biases(scaled)) == ["head.bias", "norm.weight", "norm.bias"]


def test_a_network_of_weights_and_biases_alone_keeps_its_order():
    model = make_backbone("batch_norm").model
    assert all(map(torch.equal, all_parameters(model), weights_and_biases(model)))
    assert len(all_parameters(model)) == len(weights_and_biases(model))


@pytest.mark.parametrize("name", WHOLE)
def test_a_class_token_is_trained_unless_weights_and_biases_are_asked_for(name):
    moved = {}
    for trained in ("all", "weights_and_biases"):
        params = METHODS[name].Params(
            optimizer="sgd", lr=0.1, trained=trained, **SMALL.get(name, {})
        )
        method = METHODS[name](make_backbone("layer_norm"), params, seed=1)
        method.start(make_source())
        network = method.backbone.model
        before = {key: value.detach().clone() for key, value in network.named_parameters()}
        steps = []
        method.optimizer.register_step_post_hook(
            lambda *_, network=network, before=before, steps=steps: steps.append(
                {key for key, p in network.named_parameters() if not torch.equal(p, before[key])}
            )
        )
        method.step(make_images(6))
        moved[trained] = set().union(*steps)
    assert {"cls_token", "pos_embed"} <= moved["all"]
    assert moved["all"] - moved["weights_and_biases"] == {"cls_token", "pos_embed"}
