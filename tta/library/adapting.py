"""A trained network of the user's program, adapted inside a loop of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from tta.backbones import wrap_model
from tta.backbones.backbone import Backbone
from tta.backbones.compilation import TORCH_MODES, Compilation, choose_compilation
from tta.backbones.folding import folded
from tta.backbones.precision import PRECISIONS
from tta.config import RunConfig
from tta.datasets import Dataset, open_dataset
from tta.datasets.given import Pairs, given_images
from tta.datasets.given_maps import given_maps
from tta.experiment.class_numbers import number_classes
from tta.experiment.segmenting import check_fits, check_segments
from tta.experiment.showing import show
from tta.foundation.errors import UserError, did_you_mean, message_of
from tta.foundation.notes import in_order
from tta.library.adapted import Adapted, own_context
from tta.methods import Method, Need, find_method
from tta.methods.cloud import layout
from tta.methods.dense import dense_defaults
from tta.methods.flaws import flaw_of_method
from tta.methods.params import build_params, by_name
from tta.methods.published import published_for
from tta.methods.requirements import SOURCE_NEEDS, check_needs
from tta.source.source_data import SourceData

SOURCE_BATCH = 64
"""Images of a source batch where nothing else is said."""


def adapt(
    model: nn.Module,
    method: str | type[Method],
    *,
    source: Pairs | str | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    input_size: Sequence[int] | None = None,
    num_classes: int | None = None,
    split: str | None = None,
    preset: str | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    cloud: nn.Module | None = None,
    device: torch.device | str | None = None,
    precision: str = "fp32",
    compile: str = "none",
    fold: bool = False,
    **params: Any,
) -> Adapted:
    """Return a network that adapts to every batch it is called with. ``model`` itself stays.

    Example:
        >>> import tta, torch
        >>> from torch import nn
        >>> parts = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        >>> model = nn.Sequential(*parts, nn.Flatten(), nn.Linear(8, 5))
        >>> adapted = tta.adapt(model, "tent", mean=0.5, std=0.25, input_size=(3, 32, 32), lr=0.01)
        >>> for images in torch.rand(3, 4, 3, 32, 32):  # float images in [0, 1]
        ...     logits = adapted(images)  # adapts, and returns the outputs of this batch
        >>> logits.shape
        torch.Size([4, 5])
        >>> adapted.reset()

    Args:
        model: any ``nn.Module`` that returns logits ``[B, C]`` of a last linear layer, or logits
            of pixels ``[B, C, H, W]`` of a last convolution. timm's and torchvision's need no
            ``mean``, ``std`` and ``input_size``.
        method: a name of :data:`tta.METHODS`, ``my_file.py:MyMethod``, or a subclass of
            :class:`tta.Method`.
        source: labelled source images, for methods that need them: a torch ``Dataset`` of (image
            ``[C, H, W]``, label), which is read by index; an iterable of (images ``[B, C, H, W]``,
            labels ``[B]``) such as a DataLoader, which is read once and kept in memory; maps
            ``[H, W]`` and ``[B, H, W]`` in place of labels where the model segments; or the
            name of a data set that ``python -m tta.run --list`` shows. Images are shown to the
            model as they come.
        mean: per channel, for images in [0, 1], or one number for all. Where nothing says it, the
            model gets images as they are: it normalises them itself.
        std: likewise.
        input_size: (C, H, W) of one image.
        num_classes: outputs that the model is meant to have, as a check.
        split: name of the model's last linear layer, where trying does not find it.
        preset: published hyper-parameters, such as ``cifar10-c``; ``params`` go over them. By
            default the method's own.
        seed: of the method's random draws.
        batch_size: images of a full batch, and of a source batch (64 unless given).
        cloud: the second model, for the same classes: of edge-cloud methods the larger one, of
            ``adaptive_smoothing`` the robust one; normalised as ``mean`` and ``std`` say unless it
            is timm's or torchvision's.
        device: where it runs; by default where ``model`` is.
        precision: of forward passes, ``fp32``, ``bf16`` or ``fp16``.
        compile: let torch.compile write the code of batches of ``batch_size`` images, which is
            then needed: ``default`` or ``max-autotune``. ``none`` compiles nothing, which is also
            what happens, with a note in ``print(adapted)``, where there is no compiler.
        fold: fold batch norm into the convolutions before it where the method changes neither, in
            float32: faster, and the last digits are others.
        params: hyper-parameters of the method, see ``python -m tta.run --method NAME --params``.

    Raises:
        UserError: the model cannot be taken, or lacks something that the method needs; a
            hyper-parameter that the method does not have, or out of range.
    """
    kind = _method_class(method)
    with own_context(_device_of(model)):
        backbone = wrap_model(
            model, mean=mean, std=std, input_size=input_size, num_classes=num_classes, split=split
        )
        if backbone.dense:
            check_segments(kind)
        chosen = _params(kind, params, preset, backbone)
        backbone.precision = _precision(precision)
        _move(backbone, device)
        data = _source(source, backbone, batch_size or SOURCE_BATCH, seed, kind, chosen)
        _compile(backbone, compile, batch_size)
        larger = _cloud(cloud, backbone, mean, std, kind, chosen)
        check_needs(kind, chosen, backbone, data is not None, larger, stream_known=False)
        understood = in_order(backbone.understood, _images_in_words(backbone))
        if fold and kind.keeps_network(chosen):
            backbone = folded(backbone)
        made = kind(backbone, chosen, seed=seed)
        made.usual_batch = batch_size
        if larger is not None:
            made.attach_model(larger)
    with own_context(backbone.mean.device):
        made.start(data)
    return Adapted(made, understood)


def _device_of(model: Any) -> torch.device:
    parameters = model.parameters() if isinstance(model, nn.Module) else iter(())
    return next((parameter.device for parameter in parameters), torch.device("cpu"))


def _images_in_words(backbone: Backbone) -> dict[str, str]:
    size = "x".join(map(str, backbone.input_size))
    return {"images": f"float32 in [0, 1], tried with {size}"}


def _method_class(method: str | type[Method]) -> type[Method]:
    if isinstance(method, str):
        return find_method(method)
    reason = flaw_of_method(method)
    if reason:
        shown = getattr(method, "__name__", type(method).__name__)
        raise UserError(f"method {shown} {reason}")
    return method


def _params(
    kind: type[Method], given: Mapping[str, Any], preset: str | None, backbone: Backbone
) -> Any:
    published, given = {}, by_name(given)
    if preset not in (None, "defaults"):
        published, origin = published_for(kind, preset, backbone.name, given)
        if not origin:
            raise UserError(f"preset {preset!r} says nothing of method {kind.name!r}; leave it out")
    usual = (dense_defaults(kind) or {}) if backbone.dense else {}
    return build_params(kind.Params, {**usual, **published, **given}, kind.name)


def _precision(name: str) -> torch.dtype:
    if name not in PRECISIONS:
        raise UserError(f"unknown precision {name!r}; {did_you_mean(name, PRECISIONS)}")
    return PRECISIONS[name]


def _compile(backbone: Backbone, mode: str, batch_size: int | None) -> None:
    """Let full batches be compiled, where that is asked for and works here."""
    if mode not in ("none", *TORCH_MODES):
        raise UserError(f"unknown compile {mode!r}; {did_you_mean(mode, ['none', *TORCH_MODES])}")
    if mode != "none" and batch_size is None:
        raise UserError("compile= is for batches of one size: pass batch_size= too")
    mode, reason = choose_compilation(mode, backbone.mean.device)
    if mode != "none":
        backbone.compilation = Compilation(mode, {batch_size})
    if reason is not None:
        backbone.understood["compile"] = f"not compiled: {reason}"


def _move(backbone: Backbone, device: torch.device | str | None) -> None:
    if device is None:
        return
    try:
        backbone.to(torch.device(device))
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        if isinstance(error, torch.cuda.OutOfMemoryError):
            raise
        raise UserError(f"device {str(device)!r} is not available: {message_of(error)}") from error


def _source(
    given: Pairs | str | None,
    backbone: Backbone,
    batch_size: int,
    seed: int,
    method: type[Method],
    params: Any,
) -> SourceData | None:
    """Return the source images, where the method needs them."""
    if not method.needs(params) & SOURCE_NEEDS:
        return None
    if given is None:
        raise UserError(
            f"method {method.name!r} needs source images; pass source=, a torch Dataset or an "
            "iterable of (images, labels), or the name of a data set"
        )
    if isinstance(given, str):
        data = _named_source(given, backbone)
    else:
        read = given_maps if backbone.dense else given_images
        data = read(given, backbone.input_size[0], backbone.num_classes)
    return SourceData(data, batch_size, seed, backbone.mean.device, layout(backbone))


def _named_source(name: str, backbone: Backbone) -> Dataset:
    data = open_dataset(name)
    check_fits(backbone, data)
    number_classes(RunConfig(dataset=name), data, backbone)
    if backbone.class_subset is not None:
        raise UserError(
            f"data set {name!r} has {backbone.num_classes} of the {backbone.outputs} classes that "
            "the model tells apart; choose one that has all"
        )
    options = SimpleNamespace(input_size=backbone.input_size[1:], resize=None, crop=None)
    show(options, data, (data.domains[0], data.severities[0]), backbone, from_file=False)
    return data


def _cloud(
    model: nn.Module | None,
    backbone: Backbone,
    mean: float | Sequence[float] | None,
    std: float | Sequence[float] | None,
    method: type[Method],
    params: Any,
) -> Backbone | None:
    """Return the cloud's model, where the method needs one."""
    if Need.CLOUD_MODEL not in method.needs(params):
        return None
    if model is None:
        raise UserError(
            f"method {method.name!r} needs a {method.second_model}, for the same classes; pass "
            "cloud=, another nn.Module"
        )
    cloud = wrap_model(model, mean=mean, std=std, input_size=backbone.input_size)
    cloud.precision = backbone.precision
    return cloud.to(backbone.mean.device)
