"""What every method promises, one function each, with its usual cause where it fails."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tta.methods import Method
from tta.testing.stand_ins import NUM_CLASSES, make_images

BATCHES = tuple(make_images(count, seed) for seed, count in enumerate((6, 1, 6, 2)))
"""Batches of a stream: full, of one image, short at the end."""


class BrokenPromiseError(Exception):
    """What was found in place of what is promised."""


@dataclass(frozen=True)
class Check:
    """A promise of every method.

    Attributes:
        name: of the promise.
        tried: what is done to see it.
        usual_cause: of its failure, and the cure.
        run: raises :class:`BrokenPromiseError`; called with what makes fresh, started methods.
    """

    name: str
    tried: str
    usual_cause: str
    run: Callable[[Callable[[], Method]], None]


CHECKS: list[Check] = []


def check(name: str, tried: str, usual_cause: str) -> Callable[[Any], Any]:
    """Put a function into :data:`CHECKS`."""

    def register(run: Callable[[Callable[[], Method]], None]) -> Any:
        CHECKS.append(Check(name, tried, usual_cause, run))
        return run

    return register


def expect(holds: bool, found: str) -> None:
    """Raise with what was ``found`` unless it ``holds``."""
    if not holds:
        raise BrokenPromiseError(found)


def stepped(method: Method, batches: tuple[Tensor, ...]) -> list[Tensor]:
    """Return copies of the outputs of some steps."""
    return [method.step(images.clone()).clone() for images in batches]


def difference(first: Any, second: Any, where: str = "state") -> str | None:
    """Return where two states differ, or None."""
    if type(first) is not type(second):
        return f"{where} is {type(first).__name__} and {type(second).__name__}"
    if isinstance(first, dict):
        if first.keys() != second.keys():
            return f"{where} has the keys {sorted(first)} and {sorted(second)}"
        pairs = [(first[key], second[key], f"{where}[{key!r}]") for key in first]
    elif isinstance(first, (list, tuple)):
        if len(first) != len(second):
            return f"{where} has {len(first)} and {len(second)} entries"
        pairs = [
            (a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(first, second, strict=True))
        ]
    else:
        same = torch.equal(first, second) if isinstance(first, Tensor) else first == second
        return None if same else where
    return next(filter(None, (difference(*pair) for pair in pairs)), None)


def expect_shape(what: str, outputs: Tensor, images: Tensor) -> None:
    """Raise unless outputs are ``[B, C]``, or of segmentation ``[B, C, h, w]``."""
    shape = (len(images), NUM_CLASSES)
    fits = outputs.shape[:2] == shape and outputs.dim() in (2, 4)
    expect(fits, f"{what} have shape {tuple(outputs.shape)}, not {shape}")


def expect_equal_outputs(first: list[Tensor], second: list[Tensor], when: str) -> None:
    """Raise where outputs of the same batches differ."""
    for number, (a, b) in enumerate(zip(first, second, strict=True)):
        apart = float((a - b).abs().max())
        expect(torch.equal(a, b), f"outputs of batch {number} differ {when} by up to {apart:.2g}")


@check(
    "facts are declared",
    "predicts, outputs and Params were read",
    "a class attribute is missing or misspelt; see tta.methods.Method",
)
def facts(make: Callable[[], Method]) -> None:
    """See the words above."""
    kind = type(make())
    expect(kind.predicts in ("before", "after"), f"predicts is {kind.predicts!r}")
    kinds = ("logits", "logit_sum", "probabilities")
    expect(kind.outputs in kinds, f"outputs is {kind.outputs!r}, which is none of {kinds}")
    frozen = dataclasses.is_dataclass(kind.Params) and kind.Params.__dataclass_params__.frozen
    expect(frozen, "Params is no frozen dataclass; put @dataclass(frozen=True) above it")


@check(
    "one row of outputs per image",
    "batches of 6, 1, 6 and 2 images were given to step()",
    "outputs of another batch or a view are returned, or a loss over no or one image is NaN; "
    "return outputs.detach(), and look at what a mean over nothing gives",
)
def outputs(make: Callable[[], Method]) -> None:
    """See the words above."""
    for images, found in zip(BATCHES, stepped(make(), BATCHES), strict=True):
        expect_shape("outputs", found, images)
        expect(found.dtype == torch.float32, f"outputs are {found.dtype}, not float32")
        expect(not found.requires_grad, "outputs carry a graph")
        expect(bool(torch.isfinite(found).all()), f"outputs of {len(images)} images are not finite")


@check(
    "reset returns bit for bit",
    "four steps, reset(), and the same four steps again",
    "an attribute that step() changes is not in `state`",
)
def reset(make: Callable[[], Method]) -> None:
    """See the words above."""
    method = make()
    before = method.state_dict()
    first = stepped(method, BATCHES)
    method.reset()
    apart = difference(before, method.state_dict())
    expect(apart is None, f"after reset() {apart} is not what it was")
    expect_equal_outputs(first, stepped(method, BATCHES), "after reset()")


@check(
    "a saved state goes on to the same outputs",
    "state_dict() after two steps was saved, loaded into a new object, and both went on",
    "an attribute that step() changes is not in `state`, or holds something else than tensors and "
    "plain values",
)
def state_round_trip(make: Callable[[], Method]) -> None:
    """See the words above."""
    method, file = make(), io.BytesIO()
    stepped(method, BATCHES[:2])
    torch.save(method.state_dict(), file)
    expected = stepped(method, BATCHES[2:])
    file.seek(0)
    other = make()
    other.load_state_dict(torch.load(file, weights_only=True))
    expect_equal_outputs(expected, stepped(other, BATCHES[2:]), "after load_state_dict()")


@check(
    "equal runs give equal outputs",
    "two objects with the same seed saw the same four batches",
    "numbers are drawn without `self.generator`",
)
def deterministic(make: Callable[[], Method]) -> None:
    """See the words above."""
    first = stepped(make(), BATCHES)
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(int(first[0].numel()) + 12345)
        second = stepped(make(), BATCHES)
    expect_equal_outputs(first, second, "between two objects")


@check(
    "predict changes nothing",
    "predict() after a step, and the state before and after it",
    "predict() moves running statistics or draws random numbers",
)
def predict(make: Callable[[], Method]) -> None:
    """See the words above."""
    method = make()
    stepped(method, BATCHES[:1])
    before = method.state_dict()
    expect_shape("outputs of predict()", method.predict(BATCHES[2].clone()), BATCHES[2])
    apart = difference(before, method.state_dict())
    expect(apart is None, f"predict() changed {apart}")


@check(
    "equal logits stay finite",
    "two steps with a classifier of zeros, whose predictions tell classes not apart",
    "a division by a norm, variance or count that is 0; give it an epsilon",
)
def equal_logits(make: Callable[[], Method]) -> None:
    """See the words above."""
    method = make()
    with torch.no_grad():
        for parameter in method.backbone.classifier.parameters():
            parameter.zero_()
    for found in stepped(method, BATCHES[:2]):
        expect(bool(torch.isfinite(found).all()), "outputs are not finite")


@check(
    "confident logits stay finite",
    "three steps with a classifier ten thousand times as large",
    "log(softmax(x)) or exp(x) of large logits; use log_softmax and logsumexp",
)
def confident_logits(make: Callable[[], Method]) -> None:
    """See the words above."""
    method = make()
    with torch.no_grad():
        method.backbone.classifier.weight.mul_(1e4)
    for found in stepped(method, BATCHES[:3]):
        expect(bool(torch.isfinite(found).all()), "outputs are not finite")


@check(
    "dropout and stochastic depth stay off",
    "the modules' training mode was read after a step",
    "train() was called on the backbone; batch statistics are had by "
    "tta.ops.norm.batch_norm.replace_batch_norm",
)
def evaluation_mode(make: Callable[[], Method]) -> None:
    """See the words above."""
    method = make()
    stepped(method, BATCHES[:1])
    training = [name for name, module in method.backbone.named_modules() if module.training]
    expect(not training, f"modules are in training mode: {', '.join(map(repr, training[:3]))}")


@check(
    "global random generators are left alone",
    "the states of torch's and NumPy's generators were compared before and after two steps",
    "torch.rand and the like without generator=self.generator",
)
def generators(make: Callable[[], Method]) -> None:
    """See the words above."""
    method = make()
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    stepped(method, BATCHES[:2])
    expect(torch.equal(torch_state, torch.get_rng_state()), "torch's generator has moved")
    same = (numpy_state == np.random.get_state()[1]).all()
    expect(bool(same), "NumPy's generator has moved")


@check(
    "images are not changed",
    "a batch was compared with a copy after a step",
    "an in-place operation (a name that ends in _) on the images",
)
def images_unchanged(make: Callable[[], Method]) -> None:
    """See the words above."""
    images = BATCHES[0].clone()
    make().step(images)
    expect(torch.equal(images, BATCHES[0]), "the batch is another one after step()")


@check(
    "costs are counted per image",
    "count() after steps of 6 and of 1 image",
    "count() does not return a row per name in `counters` and a column per image",
)
def counted(make: Callable[[], Method]) -> None:
    """See the words above."""
    method = make()
    for images in BATCHES[:2]:
        method.step(images.clone())
        found = method.count()
        shape = None if found is None else tuple(found.shape)
        wanted = (len(method.counters), len(images)) if method.counters else None
        expect(shape == wanted, f"count() gave {shape}, not {wanted}")
