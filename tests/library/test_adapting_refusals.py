"""Networks, calls and images that tta.adapt refuses, in words."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

import tta
from tests.fakes import make_images
from tests.library.adapting import SIZE, normalise
from tests.own_nets import NUM_CLASSES, Changed, OwnNet, made
from tests.test_conformance import assert_equal_states
from tta.foundation.errors import UserError


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
