"""The checks find what is broken, name the cause, and pass what is not."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from tta.commands.check import main
from tta.methods import METHODS, Method, trainable
from tta.ops.parameters import norm_affine_parameters
from tta.testing import check_method
from tta.testing.stand_ins import BACKBONES

ROOT = Path(__file__).parents[1]


class Sound(Method):
    """Moves the affine parameters a little towards each batch."""

    name = "sound"
    state = ("parameters",)

    def configure(self):
        self.parameters = trainable(norm_affine_parameters(self.backbone))

    def step(self, images):
        logits = self.backbone(images)
        found = torch.autograd.grad(logits.square().mean(), self.parameters)
        with torch.no_grad():
            torch._foreach_add_(self.parameters, torch._foreach_sign(found), alpha=-1e-3)
        return logits.detach()


class Forgetful(Sound):
    state = ()


class Unseeded(Sound):
    def step(self, images):
        return super().step(images + 0.1 * torch.rand(images.shape))


class Graph(Sound):
    def step(self, images):
        super().step(images)
        return self.backbone(images)


class Summed(Sound):
    def step(self, images):
        return super().step(images).sum(0, keepdim=True)


class Overflowing(Sound):
    def step(self, images):
        logits = super().step(images).double().exp().float()
        return (logits / logits.sum(1, keepdim=True)).log()


class OfOneImage(Sound):
    def step(self, images):
        logits = super().step(images)
        return (logits - logits.mean(0)) / logits.std(0)


class Training(Sound):
    def step(self, images):
        self.backbone.train()
        return super().step(images)


class InPlace(Sound):
    def step(self, images):
        return super().step(images.clamp_(0.1, 0.9))


class MovingStatistics(Sound):
    def predict(self, images):
        with torch.no_grad():
            self.parameters[0].add_(1.0)
        return super().predict(images)


class Uncounted(Sound):
    counters = ("uploads",)


class Dreaming(Sound):
    predicts = "sometime"


class Raising(Sound):
    def step(self, images):
        return nn.Linear(3, 2)(images)


BROKEN = {
    Forgetful: "an attribute that step() changes is not in `state`",
    Unseeded: "without generator=self.generator",
    Graph: "outputs carry a graph",
    Summed: "outputs have shape (1, 5), not (6, 5)",
    Overflowing: "use log_softmax and logsumexp",
    OfOneImage: "outputs of 1 images are not finite",
    Training: "modules are in training mode",
    InPlace: "the batch is another one after step()",
    MovingStatistics: "predict() changed state['parameters'][0]",
    Uncounted: "count() gave None, not (1, 6)",
    Dreaming: "predicts is 'sometime'",
    Raising: "test_check.py, line ",
}


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_what_is_broken_is_found_in_words(kind, monkeypatch):
    one = {"batch_norm": BACKBONES["batch_norm"]}  # enough, and a quarter of the time
    monkeypatch.setattr("tta.testing.checking.BACKBONES", one)
    with pytest.raises(AssertionError, match=re.escape(BROKEN[kind])):
        check_method(kind)


def test_what_is_sound_passes():
    check_method(Sound)


def blocks(file: str) -> list[str]:
    """Return the Python blocks of a text that define a method."""
    found = re.findall(r"^```python\n(.*?)^```", (ROOT / file).read_text(), re.M | re.S)
    return [block for block in found if re.search(r"\((Method|PlugIn)\):", block)]


CASES = [(file, n) for file in ("README.md", "tta/methods/README.md") for n in range(5)]


@pytest.mark.parametrize(("file", "number"), [c for c in CASES if c[1] < len(blocks(c[0]))])
def test_methods_of_the_documentation(file, number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = blocks(file)[number]
    (tmp_path / "my_file.py").write_text(text)
    name = re.search(r"class (\w+)\((Method|PlugIn)\)", text).group(1)
    options = ["--set", "threshold=2"] if "threshold" in text else []
    assert main([f"my_file.py:{name}", *options]) == 0
    promises = 14 if "dense = " in text else 12
    assert capsys.readouterr().out.endswith(f"{promises} of {promises} promises kept\n")


def test_the_command_says_what_is_broken_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    source = Path(__file__).read_text().partition("class Unseeded")[0]
    source = source.partition("ROOT =")[0] + source.partition("\n\n\n")[2]
    (tmp_path / "mine.py").write_text(source)
    assert main(["mine.py:Forgetful"]) == 1
    text = capsys.readouterr().out
    assert "BROKEN  reset returns bit for bit\n" in text
    assert text.count("usual cause: an attribute that step() changes is not in `state`\n") == 1
    assert "promises kept" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tentt"], "unknown method 'tentt'"),
        (["nowhere.py:Mine"], "method file 'nowhere.py' does not exist"),
        (["tent", "--set", "rate=1"], "no parameter 'rate'"),
        ([], "method"),
    ],
)
def test_what_cannot_be_checked(arguments, words, capsys):
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


def test_a_registered_method_is_checked_by_name(capsys):
    assert "tent" in METHODS
    assert main(["bn"]) == 0
    assert (
        "(batch_norm, fused_batch_norm, segmenting, segmenting_pyramid)" in capsys.readouterr().out
    )
