"""Adapters in the attention of vision transformers, fresh and from checkpoints."""

import pytest
import torch

from tests.fakes import RandomImages, make_backbone, make_images
from tta.backbones import create_backbone
from tta.backbones.adapters import MARK, adapted_layers, insert_adapters
from tta.foundation.errors import UserError
from tta.source.models import save_source_model
from tta.source.recipe import Recipe
from tta.source.training import train

IMAGES = make_images(3)
OPTIONS = {"num_classes": 5, "model_kwargs": {"img_size": 32}}


def with_adapters(seed=0):
    """Return a transformer whose adapters do something."""
    backbone = make_backbone("layer_norm")
    assert insert_adapters(backbone.model, 1, 8, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            if MARK in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 8)
    return backbone


def test_fresh_adapters_change_nothing_and_follow_from_their_seed():
    backbones = [make_backbone("layer_norm") for _ in range(3)]
    before, state = backbones[0](IMAGES), torch.get_rng_state()
    for backbone, seed in zip(backbones, (1, 1, 2), strict=True):
        assert insert_adapters(backbone.model, seed=seed)
        assert torch.equal(backbone(IMAGES), before)
    assert torch.equal(torch.get_rng_state(), state)
    first, second, third = (adapted_layers(b)[0].vida_down2.weight for b in backbones)
    assert torch.equal(first, second) and not torch.equal(first, third)
    assert len(adapted_layers(backbones[0])) == 2 * len(backbones[0].model.blocks)
    assert first.std().item() == pytest.approx(1 / 128**2, rel=0.05)


def test_both_branches_are_weighted_by_their_scale():
    layer = adapted_layers(with_adapters())[0]
    x = torch.randn(2, 3, layer.linear_vida.in_features)
    layer.scales.copy_(torch.tensor([0.5, 2.0]))
    low = x @ layer.vida_down.weight.T @ layer.vida_up.weight.T
    high = x @ layer.vida_down2.weight.T @ layer.vida_up2.weight.T
    expected = layer.linear_vida(x) + 0.5 * low + 2 * high
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)


def test_a_network_without_such_attention_takes_none():
    backbone = make_backbone("batch_norm")
    assert not insert_adapters(backbone.model)
    with pytest.raises(UserError, match="vision transformer of timm.*leave --adapters out"):
        train(backbone, RandomImages(8, ("a",)), Recipe(drm=False, steps=1, adapters=True))


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"model": {f"module.{k}": v for k, v in s.items()}}]
)
def test_a_checkpoint_with_adapters_is_read_as_it_is(tmp_path, wrap):
    backbone, file = with_adapters(), tmp_path / "vida.pt"
    torch.save(wrap(backbone.model.state_dict()), file)
    found = create_backbone("test_vit", weights=file, **OPTIONS)
    assert adapted_layers(found)[0].vida_down2.out_features == 8
    assert found.understood["weights"].endswith("with adapters of ranks 1 and 8")
    assert torch.equal(found(IMAGES), backbone(IMAGES))


def test_a_source_model_is_trained_with_adapters_and_recognised(tmp_path):
    backbone, file = make_backbone("layer_norm"), tmp_path / "model.safetensors"
    recipe = Recipe(drm=False, steps=2, batch_size=4, adapters=True)
    train(backbone, RandomImages(8, ("a",)), recipe)
    assert all(layer.vida_up.weight.any() for layer in adapted_layers(backbone))
    save_source_model(backbone, file, ("a",), recipe)
    found = create_backbone("test_vit", weights=file, **OPTIONS)
    torch.testing.assert_close(found(IMAGES), backbone(IMAGES))
