"""Backbones that segment: features and head are the network's own, whatever it is."""

import json
import sys
import types

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from tta.backbones import create_backbone, wrap_model
from tta.backbones.dense.names import check_dense_name
from tta.backbones.dense.wrappers import wrapped
from tta.backbones.domain_heads import DomainHeads
from tta.foundation.errors import UserError
from tta.ops.maps import enlarged

OWN = ("lraspp:resnet18", "deeplabv3:test_resnet")


def make(name="lraspp:test_resnet", **options):
    return create_backbone(name, pretrained=False, num_classes=5, **options)


def images(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("size", [(64, 64), (45, 75)])
def test_head_of_features_is_the_network(name, size):
    backbone = make(name)
    shown = images(1, 3, *size)
    features = backbone.features(shown)
    logits = backbone.head(features)
    assert backbone.dense and features.dim() == logits.dim() == 4
    assert features.shape[1] == backbone.feature_dim and logits.shape[1] == 5
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in backbone.normalisation)
    assert torch.equal(logits, backbone.model((shown - mean) / std))
    assert torch.equal(logits, backbone(shown))


@pytest.mark.parametrize(
    "name", ["lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large", "fcn_resnet50"]
)
def test_torchvisions_networks_keep_their_logits(name):
    network = torchvision.models.get_model(
        name, weights=None, weights_backbone=None, num_classes=4, aux_loss=None
    ).eval()
    with torch.no_grad():  # biases of other than zero, so that both of LRASPP's count
        for parameter in network.classifier.parameters():
            parameter.add_(0.01)
    shown = images(1, 3, 64, 96) * 2 - 1
    expected = network(shown)["out"]
    taken = wrapped(network)
    assert torch.allclose(taken(shown), expected, rtol=1e-4, atol=1e-5)
    logits = taken.get_classifier()(taken.forward_features(shown))
    assert torch.allclose(enlarged(logits, (64, 96)), expected, rtol=1e-4, atol=1e-5)


def test_torchvisions_checkpoint_tells_its_classes(tmp_path):
    network = torchvision.models.get_model(
        "lraspp_mobilenet_v3_large", weights=None, weights_backbone=None, num_classes=4
    ).eval()
    torch.save(network.state_dict(), tmp_path / "lraspp.pth")
    backbone = create_backbone(
        "torchvision:lraspp_mobilenet_v3_large", weights=tmp_path / "lraspp.pth"
    )
    shown = images(2, 3, 64, 64)
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in backbone.normalisation)
    expected = network((shown - mean) / std)["out"]
    assert backbone.num_classes == 4
    assert torch.allclose(enlarged(backbone(shown), (64, 64)), expected, rtol=1e-4, atol=1e-5)


def test_checkpoint_of_an_own_decoder_is_read_whole_or_refused(tmp_path):
    made = make()
    path = tmp_path / "net.safetensors"
    save_file(made.model.state_dict(), path)
    again = create_backbone("lraspp:test_resnet", weights=path)
    assert again.num_classes == 5 and again.weights_sha256 == made.weights_sha256
    with pytest.raises(UserError, match="pass --num-classes 5"):
        create_backbone("lraspp:test_resnet", weights=path, num_classes=6)
    state = made.model.state_dict()
    save_file({k: v for k, v in state.items() if "decoder.scale" not in k}, path)
    with pytest.raises(UserError, match="missing: decoder.scale"):
        create_backbone("lraspp:test_resnet", weights=path)


def test_clone_is_independent_and_classes_can_be_chosen():
    backbone = make(class_subset=(4, 0))
    copy, shown = backbone.clone(), images(1, 3, 64, 64)
    assert torch.equal(copy(shown), make()(shown)[:, [4, 0]])
    with torch.no_grad():
        copy.classifier.weight.add_(1)
    assert not torch.equal(copy(shown), backbone(shown))
    backbone.passes.take()
    copy(images(3, 3, 64, 64))
    assert backbone.passes.take() == (3, 0)  # those of clones are counted with it


def test_one_image_in_training_mode_where_nothing_is_pooled_into_batch_norm():
    backbone = make()
    backbone.train()
    assert backbone(images(1, 3, 64, 64)).isfinite().all()


def test_heads_of_domains_are_refused():
    with pytest.raises(UserError, match="segments"):
        make().attach(DomainHeads(2, 4, 5))


class Mine(nn.Module):
    """Logits at stride 2, enlarged as ``align_corners`` says, alone or in a mapping."""

    def __init__(self, align_corners=False, mapping=False, after=None):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU())
        self.last = nn.Conv2d(6, 4, 1)
        self.align_corners, self.mapping, self.after = align_corners, mapping, after

    def forward(self, shown):
        logits = self.last(self.body(shown))
        logits = enlarged(logits, tuple(shown.shape[-2:]), self.align_corners)
        logits = self.after(logits) if self.after else logits
        return {"out": logits} if self.mapping else logits


@pytest.mark.parametrize("mapping", [False, True])
@pytest.mark.parametrize("align_corners", [False, True])
def test_a_network_of_ones_own_is_split_by_trial(align_corners, mapping):
    network = Mine(align_corners, mapping).eval()
    backbone = wrap_model(network, input_size=(32, 48))
    shown = images(2, 3, 32, 48)
    assert backbone.dense and backbone.align_corners is align_corners
    assert backbone.features(shown).shape == (2, 6, 16, 24)
    expected = network(shown)["out"] if mapping else network(shown)
    assert torch.allclose(enlarged(backbone(shown), (32, 48), align_corners), expected, atol=1e-5)


def test_what_follows_the_last_convolution_is_refused():
    with pytest.raises(UserError, match="softmax"):
        wrap_model(Mine(after=nn.Softmax(1)).eval(), input_size=(32, 48))
    with pytest.raises(UserError, match="no convolution"):
        wrap_model(Mine().eval(), input_size=(32, 48), split="lost")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lrasp:resnet18", "did you mean 'lraspp'"),
        ("lraspp:resnet17", "did you mean 'resnet18'"),
        ("lraspp:vit_tiny_patch16_224", "strides"),
        ("torchvision:resnet18", "segments"),
        ("smp:unet", "smp:ARCHITECTURE:ENCODER"),
    ],
)
def test_wrong_names_say_what_was_expected(name, message):
    with pytest.raises(UserError, match=message):
        make(name)


def test_an_absent_package_is_named(monkeypatch):
    monkeypatch.setattr("tta.backbones.dense.names.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install ".\[smp\]"'):
        check_dense_name("smp:unet:resnet18")


@pytest.fixture
def package(monkeypatch):
    """A package of that name with one architecture, whose width is an option."""

    def create_model(architecture, encoder, encoder_weights, classes, width=8):
        network = nn.Sequential()
        network.encoder = nn.Conv2d(3, width, 3, 2, 1)
        network.segmentation_head = nn.Sequential(
            nn.Conv2d(width, classes, 3, padding=1),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        )
        return network

    made = types.ModuleType("segmentation_models_pytorch")
    made.create_model = create_model
    monkeypatch.setitem(sys.modules, made.__name__, made)
    monkeypatch.setattr("tta.backbones.dense.names.find_spec", lambda name: object())
    return made


def test_a_network_of_the_package_is_split_at_its_head(package):
    backbone = make("smp:unet:resnet18")
    shown = images(1, 3, 32, 48)
    assert backbone.align_corners and backbone(shown).shape == (1, 5, 16, 24)
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in backbone.normalisation)
    expected = backbone.model((shown - mean) / std)
    assert expected.shape == (1, 5, 32, 48)
    assert torch.allclose(enlarged(backbone(shown), (32, 48), True), expected, atol=1e-5)


def test_what_the_package_saves_beside_its_weights_is_read(package, tmp_path):
    network = package.create_model("unet", "resnet18", None, 7, width=12)
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    facts = {"_model_class": "Unet", "encoder_name": "resnet18", "classes": 7, "width": 12}
    (tmp_path / "config.json").write_text(json.dumps(facts))
    backbone = create_backbone("smp:unet:resnet18", weights=tmp_path / "model.safetensors")
    assert (backbone.num_classes, backbone.feature_dim) == (7, 12)
    (tmp_path / "config.json").write_text(json.dumps({**facts, "depth": 3}))
    with pytest.raises(UserError, match="refuses 'unet:resnet18'.*depth"):
        create_backbone("smp:unet:resnet18", weights=tmp_path / "model.safetensors")


def test_without_weights_an_own_decoder_is_refused():
    with pytest.raises(UserError, match="no published weights"):
        create_backbone("lraspp:resnet18")
