"""tta.adapt around networks that this package has never seen."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import io
import threading
from functools import partial

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

import tta
from tests.fakes import make_images
from tests.own_nets import (
    NUM_CLASSES,
    CalledTwice,
    Changed,
    ConvolutionHead,
    Normalised,
    OwnNet,
    Squares,
    made,
)
from tests.test_conformance import PARAMS, assert_equal_states
from tta.config import RunConfig
from tta.experiment import build
from tta.foundation.errors import UserError
from tta.methods import METHODS
from tta.methods.tent import Tent

SIZE = (3, 32, 32)
BATCHES = [make_images(count, seed) for seed, count in enumerate((6, 6))]
IMAGES, LABELS = make_images(12, 9), torch.arange(12) % NUM_CLASSES
SOURCE = [(IMAGES[:6], LABELS[:6]), (IMAGES[6:], LABELS[6:])]


def normalised_around(kind):
    return Normalised(kind())


def small_vit():
    return torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=NUM_CLASSES)


OWN = {
    "own": (OwnNet, ()),
    "normalises inside": (normalised_around, (OwnNet,)),
    "two equal layers": (Squares, ()),
    "a layer called twice": (CalledTwice, ()),
    "a convolution": (ConvolutionHead, ()),
}


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("wrapped", [False, True], ids=["", "DataParallel"])
def test_source_is_the_network_itself_to_the_bit(name, wrapped):
    network = made(OWN[name][0], *OWN[name][1])
    given = nn.DataParallel(network) if wrapped else network
    adapted = tta.adapt(given, "source", input_size=SIZE)
    for images in BATCHES:
        with torch.no_grad():
            assert torch.equal(adapted(images), network(images))
            assert torch.equal(adapted.predict(images), network(images))


def test_the_last_layer_is_found_where_another_has_its_shape():
    assert "'second'" in tta.adapt(made(Squares), "source", input_size=SIZE).understood["head"]


@pytest.mark.parametrize("size", [(3, 32, 32), (32, 32), [3, 32, 32]])
def test_mean_and_std_of_an_own_network(size):
    network = made(OwnNet)
    adapted = tta.adapt(network, "source", mean=(0.4, 0.5, 0.6), std=0.2, input_size=size)
    mean = torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1)
    std = torch.tensor(0.2)
    with torch.no_grad():
        assert torch.equal(adapted(BATCHES[0]), network((BATCHES[0] - mean) / std))
    assert adapted.understood["normalisation"] == "mean 0.4, 0.5, 0.6, std 0.2: as given"


def of_torchvision(name, **options):
    return partial(torchvision.models.get_model, name, num_classes=NUM_CLASSES, **options)


def normalise(images):
    return torchvision.transforms.functional.normalize(
        images, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )


@pytest.mark.parametrize(
    "build_one",
    [of_torchvision("resnet18"), of_torchvision("mobilenet_v3_small"), small_vit],
    ids=["resnet18", "mobilenet_v3_small", "vit"],
)
def test_networks_of_torchvision_tell_their_normalisation(build_one):
    network = made(build_one)
    adapted = tta.adapt(network, "source")
    images = make_images(2)
    with torch.no_grad():
        assert torch.equal(adapted(images), network(normalise(images)))
    assert "ImageNet" in adapted.understood["normalisation"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    "alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 "
    "maxvit_t mnasnet0_5 mobilenet_v2 mobilenet_v3_large regnet_x_400mf regnet_y_400mf resnet50 "
    "resnext50_32x4d shufflenet_v2_x0_5 swin_t swin_v2_t vgg11 vgg11_bn vit_b_16 "
    "wide_resnet50_2".split(),
)
def test_every_family_of_torchvision_is_itself_and_adapts(name):
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    network = made(of_torchvision(name, **options))
    adapted = tta.adapt(network, "source")
    images = torch.rand(2, *adapted.method.backbone.input_size)
    with torch.no_grad():
        assert torch.equal(adapted(images), network(normalise(images)))
    if name not in ("alexnet", "vgg11"):  # no normalisation layers
        assert tta.adapt(network, "tent")(images).isfinite().all()


@pytest.mark.parametrize("name", ["squeezenet1_1"])
def test_what_follows_the_last_layer_is_named(name):
    with pytest.raises(UserError, match=r"does not end in a linear layer.*classifier\.1.*split="):
        tta.adapt(made(of_torchvision(name)), "source")


def test_tent_is_the_plain_loop():
    network = made(OwnNet)
    adapted = tta.adapt(network, "tent", input_size=SIZE, lr=0.01, optimizer="sgd", nesterov=False)
    plain = copy.deepcopy(network)
    norms = [part for part in plain.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:  # statistics of the batch, and none that are kept
        norm.train()
        norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
    parameters = [parameter for norm in norms for parameter in norm.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9)
    for images in BATCHES * 2:
        logits = plain(images)
        entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()
        optimizer.zero_grad()
        entropy.backward()
        optimizer.step()
        torch.testing.assert_close(adapted(images), logits.detach(), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(adapted.predict(images), network(images))


def test_tent_is_the_commands():
    config = RunConfig("tent", domains=["fog"], num_samples=100, memory_format="contiguous")
    experiment = build(config)
    model = copy.deepcopy(experiment.backbone.model)
    adapted = tta.adapt(model, "tent")
    assert adapted.method.params == experiment.params
    experiment.method.start()
    for batch in experiment.stream.batches(0):
        assert torch.equal(adapted(batch.images), experiment.method.step(batch.images))


def test_a_network_of_timm_is_taken_as_the_commands_take_it():
    network = timm.create_model("test_resnet.r160_in1k", num_classes=NUM_CLASSES).eval()
    adapted = tta.adapt(network, "source")
    assert adapted.method.backbone.name == "test_resnet.r160_in1k"
    assert adapted.method.backbone.input_size == (3, 160, 160)
    with torch.no_grad():
        assert torch.equal(adapted(BATCHES[0]), network((BATCHES[0] - 0.5) / 0.5))
    split = tta.adapt(network, "source", split="fc")
    assert torch.equal(split(BATCHES[0]), adapted(BATCHES[0]))


def test_a_network_of_timm_made_for_another_size():
    network = timm.create_model("test_vit", img_size=64, num_classes=NUM_CLASSES)
    assert tta.adapt(network, "tent").method.backbone.input_size == (3, 64, 64)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_methods_around_an_own_network(name):
    params = PARAMS.get(name, {})
    network = made(OwnNet)
    make = partial(
        tta.adapt, network, name, input_size=SIZE, source=SOURCE, cloud=network, batch_size=6
    )
    if name in ("drm", "foa", "rem"):
        with pytest.raises(UserError, match="a head for each|vision transformer of|one of timm's"):
            make(**params)
        return
    adapted = make(**params)
    before = adapted.state_dict()
    first = [adapted(images) for images in BATCHES]
    assert all(o.shape == (6, NUM_CLASSES) and o.isfinite().all() for o in first)
    file = io.BytesIO()
    torch.save(adapted.state_dict(), file)
    adapted.reset()
    assert_equal_states(before, adapted.state_dict())
    assert all(map(torch.equal, [adapted(images) for images in BATCHES], first))
    file.seek(0)
    other = make(**params)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(BATCHES[0]), adapted(BATCHES[0]))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda out: (out, out), "returns a tuple.*logits alone"),
        (lambda out: {"logits": out}, "returns a dict.*logits alone"),
        (lambda out: out.softmax(1), "does not end in a linear layer.*softmax.*split="),
        (lambda out: out.relu(), "does not end in a linear layer"),
        (lambda out: out.relu_(), "does not end in a linear layer"),
        (lambda out: out * 2, "does not end in a linear layer"),
        (lambda out: out[:, :3], "does not end in a linear layer"),
        (lambda out: out.flip(1), "does not end in a linear layer"),
    ],
)
@pytest.mark.parametrize("split", [None, "out"])
def test_an_output_that_is_not_the_last_layers_is_refused(change, reason, split):
    network = made(Changed, change)
    reason = reason if split is None or "returns" in reason else "is not that of layer split='out'"
    with pytest.raises(UserError, match=f"model 'Changed'.*{reason}"):
        tta.adapt(network, "tent", input_size=SIZE, split=split)


def test_what_leaves_the_output_as_it_is_may_follow():
    network = made(Changed, lambda out: out[:, :, None].squeeze(2).clone())
    assert tta.adapt(network, "tent", input_size=SIZE)(BATCHES[0]).shape == (6, NUM_CLASSES)


class Tokens(OwnNet):
    """The last layer sees a vector for each of several places."""

    def forward(self, images):
        return self.out(self.body(images)[:, None]).squeeze(1)


class Bilinear(OwnNet):
    """A head that is no linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Bilinear(16, 16, NUM_CLASSES)

    def forward(self, images):
        body = self.body(images)
        return self.out(body, body)


@pytest.mark.parametrize(
    ("kind", "options", "reason"),
    [
        (Tokens, {}, r"'out' is given \[2, 1, 16\].*flatten"),
        (Bilinear, {}, "does not end in a linear layer.*split="),
        (OwnNet, {"input_size": None}, "does not say which images it takes; pass input_size"),
        (OwnNet, {"input_size": (1, 32, 32)}, "fails on images of 1x32x32.*pass the input_size"),
        (OwnNet, {"input_size": 32}, "input_size=32 must be"),
        (OwnNet, {"input_size": (3, 32, 0)}, "input_size=.* must be"),
        (OwnNet, {"split": "fc"}, "split='fc' is not there.*did you mean|known: out"),
        (OwnNet, {"split": "norm"}, "split='norm' is a BatchNorm2d.*a Linear"),
        (OwnNet, {"mean": 0.5}, "mean and std belong together"),
        (OwnNet, {"mean": 127, "std": 60}, "pixels from 0 to 255"),
        (OwnNet, {"num_classes": 7}, "has 5 outputs, and num_classes=7"),
        (OwnNet, {"lr": -1.0}, "lr"),
        (OwnNet, {"learning_rate": 0.1}, "has no parameter 'learning_rate'"),
        (OwnNet, {"preset": "digits-d"}, "unknown preset.*digits-c"),
        (OwnNet, {"device": "cuda:77"}, "'cuda:77' is not available"),
        (OwnNet, {"device": "gpu"}, "'gpu' is not available"),
        (OwnNet, {"precision": "fp8"}, "unknown precision 'fp8'"),
        (lambda: OwnNet().double(), {}, "float64.*float32 is expected: pass model.float"),
        (lambda: OwnNet().to("meta"), {}, "weights on meta; move it"),
        (lambda: nn.Sequential(nn.LazyLinear(5)), {}, "lazy layers"),
        (nn.Flatten, {}, "no parameters"),
        (lambda: Changed(threading.Lock()), {}, "cannot be taken.*copy.deepcopy copies"),
    ],
)
def test_what_cannot_be_taken_is_refused_in_words(kind, options, reason):
    with pytest.raises(UserError, match=reason):
        tta.adapt(kind().eval(), "tent", **{"input_size": SIZE, **options})


@pytest.mark.parametrize(
    ("model", "method", "reason"),
    [
        ("resnet50", "tent", "an nn.Module is expected as the model, but got a str 'resnet50'"),
        (None, "tent", "an nn.Module is expected as the model, but got a NoneType"),
        (made(OwnNet), "tint", "unknown method 'tint'.*'tent'"),
        (made(OwnNet), OwnNet, "method OwnNet is no subclass"),
        (made(OwnNet), made(OwnNet), "method OwnNet is no subclass"),
        (made(OwnNet), "nowhere.py:Mine", "method file 'nowhere.py' does not exist"),
        (made(OwnNet), "rmt", "method 'rmt' needs source images; pass source="),
        (made(OwnNet), "cema", "method 'cema' needs a second, larger model.*pass cloud="),
    ],
)
def test_a_call_that_lacks_something_is_refused_in_words(model, method, reason):
    with pytest.raises(UserError, match=reason):
        tta.adapt(model, method, input_size=SIZE)


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        ((make_images(2) * 255).byte(), r"are torch.uint8; pass images.float\(\) / 255"),
        (make_images(2).double(), r"are torch.float64; pass images.float\(\)"),
        (make_images(2).half(), r"are torch.float16; pass images.float\(\)"),
        (make_images(2) * 255, "go from .* to 25.*; pass images / 255"),
        (normalise(make_images(2)), "leave the normalisation out"),
        (make_images(2) * 1.1, r"images.clamp\(0, 1\)"),
        (make_images(2) * torch.nan, "not finite"),
        (make_images(2)[:, :1], r"must be \[B, 3, H, W\], but are \[2, 1, 32, 32\]"),
        (make_images(2)[0], r"are \[3, 32, 32\]; pass images\[None\]"),
        (make_images(2)[:0], r"are \[0, 3, 32, 32\]"),
        (make_images(2).numpy(), "got a ndarray; torchvision's ToTensor"),
        (make_images(2).to("meta"), r"on meta and the model is on cpu; pass images.to\('cpu'\)"),
    ],
)
def test_what_are_no_images_in_0_to_1_is_refused(images, reason):
    adapted = tta.adapt(made(OwnNet), "tent", input_size=SIZE)
    before = adapted.state_dict()
    for call in (adapted, adapted.predict):
        with pytest.raises(UserError, match=reason):
            call(images)
    assert_equal_states(before, adapted.state_dict())


def test_the_callers_model_stays_as_it_is():
    network = made(OwnNet).train()
    before = copy.deepcopy(network.state_dict())
    adapted = tta.adapt(network, "tent", input_size=SIZE, lr=0.1)
    for images in BATCHES:
        adapted(images)
    assert_equal_states(dict(before), dict(network.state_dict()))
    assert network.training
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())


@pytest.mark.parametrize(
    "context",
    [torch.no_grad, torch.inference_mode, partial(torch.autocast, "cpu", torch.bfloat16)],
    ids=["no_grad", "inference_mode", "autocast"],
)
def test_the_callers_context_changes_nothing(context):
    plain = tta.adapt(made(OwnNet), "tent", input_size=SIZE)
    expected = [plain(images) for images in BATCHES]
    with context():
        adapted = tta.adapt(made(OwnNet), "tent", input_size=SIZE)
        for images, outputs in zip(BATCHES, expected, strict=True):
            assert torch.equal(adapted(images * 1.0 if images.is_leaf else images), outputs)


class OfSource(IterableDataset):
    def __iter__(self):
        return iter(zip(IMAGES, LABELS, strict=True))


def forms_of_source():
    whole = TensorDataset(IMAGES, LABELS)
    return {
        "batches": SOURCE,
        "tensors": (IMAGES, LABELS),
        "generator": iter(SOURCE),
        "dataset": whole,
        "subset": Subset(whole, range(12)),
        "loader": DataLoader(whole, batch_size=5),
        "samples": OfSource(),
    }


@pytest.mark.parametrize("form", sorted(forms_of_source()))
def test_source_images_may_come_in_any_form(form):
    make = partial(tta.adapt, made(OwnNet), "rmt", input_size=SIZE, warm_up_samples=12)
    expected = make(source=SOURCE)(BATCHES[0])
    assert torch.equal(make(source=forms_of_source()[form])(BATCHES[0]), expected)


def test_source_images_may_be_named():
    network = made(OwnNet, 16, 10)
    adapted = tta.adapt(network, "rmt", input_size=SIZE, source="digits", warm_up_samples=64)
    assert adapted(BATCHES[0]).shape == (6, 10)
    with pytest.raises(UserError, match="digits.*10 classes|labels up to 9"):
        tta.adapt(made(OwnNet), "rmt", input_size=SIZE, source="digits")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (5, "must be an iterable of .images, labels., a torch Dataset.*got a int"),
        ([], "the iterable is empty"),
        ([IMAGES], "gives a Tensor, and .images, labels. are expected"),
        ([(IMAGES, LABELS[:3])], "12 images has 3 labels"),
        ([(IMAGES, LABELS + 3)], "labels of source images go from 3 to 7.*5 outputs"),
        ([(IMAGES, LABELS.float())], "must be class numbers"),
        ([(IMAGES * 255, LABELS)], "pass images / 255"),
        ([(IMAGES[:, :1], LABELS)], r"must be \[B, 3, H, W\]"),
        ([(IMAGES, LABELS), (IMAGES[:, :, :8], LABELS)], "differ in size"),
        (TensorDataset(IMAGES * 255, LABELS), "pass images / 255"),
        (TensorDataset(IMAGES), "gives a tuple, and .images, labels. are expected"),
    ],
)
def test_source_images_that_are_none_are_refused(source, reason):
    with pytest.raises(UserError, match=reason):
        tta.adapt(made(OwnNet), "rmt", input_size=SIZE, source=source, warm_up_samples=12)


def test_a_method_may_be_a_class_or_in_a_file(tmp_path):
    class Mine(Tent):
        name = "mine"

    file = tmp_path / "mine.py"
    file.write_text("from tta.methods.tent import Tent\nclass Mine(Tent):\n    name = 'mine'\n")
    expected = tta.adapt(made(OwnNet), "tent", input_size=SIZE)(BATCHES[0])
    for method in (Mine, f"{file}:Mine"):
        assert torch.equal(tta.adapt(made(OwnNet), method, input_size=SIZE)(BATCHES[0]), expected)


def test_a_state_of_another_kind_is_refused_and_nothing_is_changed():
    adapted = tta.adapt(made(OwnNet), "tent", input_size=SIZE)
    adapted(BATCHES[0])
    before = adapted.state_dict()
    others = [
        tta.adapt(made(OwnNet), "shot_im", input_size=SIZE).state_dict(),
        tta.adapt(made(Squares), "tent", input_size=SIZE).state_dict(),
        {**before, "state": {**before["state"], "parameters": [torch.zeros(3)]}},
        {**before, "state": {}},
    ]
    for state in others:
        with pytest.raises(UserError, match="what the same call to tta.adapt returns"):
            adapted.load_state_dict(state)
        assert_equal_states(before, adapted.state_dict())


def test_images_may_be_grey():
    network = made(lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), *_pooled(4)))
    adapted = tta.adapt(network, "tent", mean=0.1, std=0.3, input_size=(1, 28, 28))
    images = torch.rand(4, 1, 28, 28)
    assert adapted(images).shape == (4, NUM_CLASSES)
    with pytest.raises(UserError, match=r"must be \[B, 1, H, W\]"):
        adapted(BATCHES[0])


def _pooled(width):
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, NUM_CLASSES)


def test_what_it_is_is_shown():
    text = repr(tta.adapt(made(OwnNet), "tent", input_size=SIZE, lr=0.5))
    assert text.startswith("Adapted(tent, Tent.Params(") and "lr=0.5" in text
    assert "head: layer 'out', a Linear of 16 features and 5 outputs" in text
    assert "normalisation: mean 0, std 1: none was given" in text


def test_no_hyper_parameter_has_the_name_of_an_argument():
    taken = inspect.signature(tta.adapt).parameters.keys() - {"params"}
    for name in METHODS:
        assert not taken & {field.name for field in dataclasses.fields(METHODS[name].Params)}


def test_predictions_become_surer_on_the_images_it_adapts_to():
    adapted = tta.adapt(made(OwnNet), "shot_im", input_size=SIZE, lr=0.05)
    first = adapted(BATCHES[0])
    for _ in range(20):
        adapted(BATCHES[0])
    certain = [F.softmax(o, 1).amax(1).mean() for o in (first, adapted.predict(BATCHES[0]))]
    assert certain[1] > certain[0]
