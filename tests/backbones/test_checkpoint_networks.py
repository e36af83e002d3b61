"""The network inside a checkpoint: wrapped, prefixed, averaged, with other things beside it."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from tta.backbones import create_backbone
from tta.foundation.errors import UserError

NAME, CLASSES = "test_resnet", 4
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def network(seed: int) -> nn.Module:
    """Return a network whose batch statistics and affine parameters are not those of the start."""
    torch.manual_seed(seed)
    model = timm.create_model(NAME, num_classes=CLASSES).eval()
    for name, value in model.state_dict().items():
        if value.dim() == 1:
            value.copy_(torch.rand_like(value) + (0.5 if "var" in name else 0.0))
    return model


@pytest.fixture(scope="module")
def raw():
    return network(1)


@pytest.fixture(scope="module")
def ema():
    return network(2)


@pytest.fixture
def load(tmp_path):
    def load(content, **options):
        torch.save(content, tmp_path / "w.pth")
        return create_backbone(NAME, weights=tmp_path / "w.pth", num_classes=CLASSES, **options)

    return load


def prefixed(prefix: str, model: nn.Module) -> dict:
    return {prefix + key: value for key, value in model.state_dict().items()}


@torch.no_grad()
def assert_is(backbone, model):
    mean, std = (value.view(1, 3, 1, 1) for value in (backbone.mean, backbone.std))
    assert torch.equal(backbone(IMAGES), model((IMAGES - mean) / std))


@pytest.mark.parametrize(
    "prefix",
    [
        *("module.", "_orig_mod.", "model.", "net.", "backbone.", "encoder.", "network."),
        *("module._orig_mod.", "_orig_mod.module.model.", "model.net.backbone.encoder."),
        *("timm_model.", "trunk.0.", "student."),
    ],
)
def test_any_nesting_of_prefixes_is_taken_off_and_said(load, raw, prefix):
    backbone = load({"state_dict": prefixed(prefix, raw)})
    assert_is(backbone, raw)
    said = f"w.pth: under 'state_dict'; prefix {prefix!r} taken off"
    assert backbone.understood["weights"] == said


WRAPS = {
    "timm": lambda raw, ema: {"arch": NAME, "state_dict": raw, "state_dict_ema": ema, "epoch": 3},
    "deit": lambda raw, ema: {"model": raw, "model_ema": ema, "optimizer": {"state": {}}},
    "yolo": lambda raw, ema: {"model": raw, "ema": {"module": ema}, "updates": 7},
    "lightning": lambda raw, ema: {
        "state_dict": {f"model.{key}": value for key, value in raw.items()},
        "callbacks": {"EMA": {"ema_state_dict": ema}},
        "hyper_parameters": {"lr": 0.1},
    },
    "one state dict": lambda raw, ema: {
        **{f"online_model.{key}": value for key, value in raw.items()},
        **{f"ema_model.{key}": value for key, value in ema.items()},
        "initted": torch.tensor(True),
        "step": torch.tensor(10),
    },
    "beside": lambda raw, ema: {**raw, **{f"ema.{key}": value for key, value in ema.items()}},
    "teacher": lambda raw, ema: {"student": raw, "teacher": ema},
    "swa": lambda raw, ema: {"model_state_dict": raw, "swa_model": ema},
}


@pytest.mark.parametrize("wrap", WRAPS)
def test_raw_and_averaged_weights_are_a_choice(load, raw, ema, wrap):
    content = WRAPS[wrap](raw.state_dict(), ema.state_dict())
    for kind, model, other in (("auto", raw, "ema"), ("raw", raw, "ema"), ("ema", ema, "raw")):
        backbone = load(content, weights_kind=kind)
        assert_is(backbone, model)
        words = {"raw": "raw weights, and", "ema": "averaged weights, and"}[other]
        assert words not in backbone.understood["weights"]
        assert f"--weights-kind {other}" in backbone.understood["weights"]


def test_a_kind_that_is_not_there_is_refused(load, raw, ema):
    with pytest.raises(UserError, match="holds no averaged weights .* leave --weights-kind out"):
        load({"state_dict": raw.state_dict()}, weights_kind="ema")
    with pytest.raises(UserError, match="only averaged ones under 'state_dict_ema'"):
        load({"state_dict_ema": ema.state_dict()}, weights_kind="raw")
    backbone = load({"state_dict_ema": ema.state_dict()})
    assert_is(backbone, ema)
    assert "under 'state_dict_ema'; averaged weights" in backbone.understood["weights"]


def test_averaged_models_of_torch(load, raw):
    state = AveragedModel(raw).state_dict()
    assert "n_averaged" in state
    backbone = load(state)
    assert_is(backbone, raw)
    assert "averaged weights; prefix 'module.' taken off" in backbone.understood["weights"]
    assert "left out: n_averaged" in backbone.understood["weights"]


def test_two_networks_of_one_kind_are_refused_unless_they_are_one(load, raw, ema):
    two = {"net_a": raw.state_dict(), "net_b": ema.state_dict()}
    with pytest.raises(UserError, match=r"2 networks .*\(under 'net_a', under 'net_b'\)"):
        load(two)
    assert_is(load({"model": raw.state_dict(), "best": raw.state_dict()}), raw)
    assert_is(load({**prefixed("model.", raw), **prefixed("net.", raw)}), raw)


def test_what_training_leaves_behind_is_left_out_and_said(load, raw):
    extras = {"criterion.weight": torch.ones(CLASSES), "loss.center": torch.ones(CLASSES, 3)}
    state = {**prefixed("model.", raw), **extras, "model.total_ops": torch.zeros(1)}
    state["model.layer1.total_params"] = torch.zeros(1)
    optimizer = torch.optim.AdamW(raw.parameters())
    content = {"state_dict": state, "optimizer": optimizer.state_dict(), "epoch": 9}
    backbone = load(content)
    assert_is(backbone, raw)
    for name in state.keys() - prefixed("model.", raw).keys():
        assert name in backbone.understood["weights"].partition("left out: ")[2]


def test_batch_counters_may_be_missing(load, raw):
    state = {k: v for k, v in raw.state_dict().items() if "num_batches_tracked" not in k}
    assert_is(load(state), raw)


@pytest.mark.parametrize("name", ["head", "fc.1", "classifier", "last_linear", "new.head.3"])
def test_the_classifier_may_have_another_name(load, raw, name):
    state = raw.state_dict()
    for part in ("weight", "bias"):
        state[f"{name}.{part}"] = state.pop(f"fc.{part}")
    backbone = load(state)
    assert_is(backbone, raw)
    assert f"classifier from {name!r}" in backbone.understood["weights"]


def test_a_classifier_beside_the_features(load, raw):
    body = {k: v for k, v in raw.state_dict().items() if not k.startswith("fc.")}
    state = {f"encoder.model.{key}": value for key, value in body.items()}
    state |= {"head.weight": raw.fc.weight[:, :, None, None], "head.bias": raw.fc.bias}
    backbone = load({"net": state})
    assert_is(backbone, raw)
    expected = "w.pth: under 'net'; prefix 'encoder.model.' taken off; classifier from 'head'"
    assert backbone.understood["weights"] == expected


def test_two_layers_that_could_be_the_classifier_are_refused(load, raw):
    state = raw.state_dict()
    weight, bias = state.pop("fc.weight"), state.pop("fc.bias")
    heads = {"a.weight": weight, "a.bias": bias, "b.weight": weight + 1, "b.bias": bias}
    with pytest.raises(UserError, match="missing: fc.weight, fc.bias; unexpected: a.weight"):
        load(state | heads)


def test_features_alone_are_named_so(load, raw):
    state = {k: v for k, v in raw.state_dict().items() if not k.startswith("fc.")}
    with pytest.raises(UserError, match="holds features without a classifier"):
        load({"teacher": {"backbone." + k: v for k, v in state.items()}})


def test_another_number_of_classes_names_the_option(tmp_path, raw):
    save_file(raw.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="pass --num-classes 4"):
        create_backbone(NAME, weights=tmp_path / "w.safetensors")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32_and_are_said(load, raw, dtype):
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in raw.state_dict().items()}
    backbone = load(state)
    for key, value in backbone.model.state_dict().items():
        assert torch.equal(value, state[key].to(value.dtype))
    kind = str(dtype).removeprefix("torch.")
    assert f"tensors from {kind} to float32" in backbone.understood["weights"]


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"model": {"module." + k: s[k] for k in s}}]
)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_a_tensor_that_is_not_finite_is_named(load, raw, value, wrap):
    state = raw.state_dict()
    bad = state["layer2.0.bn1.running_var"].double()
    bad[3] = value
    state["layer2.0.bn1.running_var"] = bad
    message = r"tensor 'layer2.0.bn1.running_var' has 1 of \d+ values that are NaN or infinite"
    with pytest.raises(UserError, match=message):
        load(wrap(state))


def quantised(value):
    return torch.quantize_per_tensor(value, 0.1, 0, torch.qint8)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.to(torch.int8), "is int8, as where weights are quantised"),
        (lambda v: v.to(torch.uint8), "is uint8"),
        (lambda v: v.to(torch.float8_e4m3fn), "is float8_e4m3fn"),
        (lambda v: v.to(torch.complex64), "is complex64"),
        (lambda v: v.to_sparse(), "is no plain tensor"),
        (quantised, "is no plain tensor"),
    ],
)
def test_tensors_of_other_kinds_are_refused(load, raw, change, message):
    state = raw.state_dict()
    state["fc.weight"] = change(state["fc.weight"])
    with pytest.raises(UserError, match=message):
        load(state)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("vit.embeddings.cls_token", "Hugging Face's transformers"),
        ("encoder.layers.encoder_layer_0.ln_1.weight", "torchvision's"),
        ("decoder_embed.weight", "to reconstruct images"),
        ("roi_heads.box.weight", "a detector's"),
        ("layer1.weight_zero_point", "quantised"),
        ("visual.proj", "for images and text"),
    ],
)
def test_names_of_other_code_are_recognised(load, key, words):
    with pytest.raises(UserError, match=words):
        load({key: torch.zeros(2), "x": torch.zeros(1)})


def test_lists_of_lists_and_self_reference_end(load, raw):
    content = {"state_dict": raw.state_dict()}
    content["again"] = content
    content["deep"] = {"a": {"b": {"c": {"d": {"e": {"f": {}}}}}}}
    assert_is(load(content), raw)
