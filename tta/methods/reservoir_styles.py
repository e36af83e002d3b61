"""Styles of batches: variances of early maps, by which ReservoirTTA tells domains apart."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from tta.backbones.backbone import Backbone
from tta.backbones.stages import stage_modules
from tta.foundation.errors import UserError

VGG_LAYERS = (2, 5, 7)
"""Of VGG-19's features: the second to fourth convolution, before their ReLU."""
_LEAST_VARIANCE = 1e-5
"""Below it channels count as silent: their logarithm would be all that tells styles apart."""
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class _Seen(Exception):  # noqa: N818 - no error: nothing more is needed
    """Ends a forward pass behind the last layer that is looked at."""


class Styles:
    """Computes the style ``[D]`` of a batch: logarithms of the variances of channels.

    Args:
        network: maps normalised images; is not changed.
        layers: of it, whose outputs ``[B, C, h, w]`` or tokens ``[B, T, C]`` are looked at, in
            the order in which they run.
        mean: images are normalised by, ``[1, 3, 1, 1]``.
        std: likewise.
    """

    def __init__(
        self, network: nn.Module, layers: list[nn.Module], mean: Tensor, std: Tensor
    ) -> None:
        self.network, self.layers, self.mean, self.std = network, layers, mean, std

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the style of images ``[B, 3, H, W]`` in [0, 1]."""
        with self._seen() as maps, contextlib.suppress(_Seen):
            self.network((images - self.mean) / self.std)
        return torch.cat([_log_variances(map_) for map_ in maps])

    @contextlib.contextmanager
    def _seen(self) -> Iterator[list[Tensor]]:
        maps: list[Tensor] = []

        def look(_layer: nn.Module, _given: tuple[Tensor, ...], output: Tensor) -> None:
            maps.append(output)
            if len(maps) == len(self.layers):
                raise _Seen

        hooks = [layer.register_forward_hook(look) for layer in self.layers]
        try:
            yield maps
        finally:
            for hook in hooks:
                hook.remove()


def _log_variances(maps: Tensor) -> Tensor:
    """Return the log of each channel's variance over images and places ``[C]``."""
    channels = maps.float().movedim(1 if maps.dim() == 4 else -1, 0).flatten(1)
    return channels.var(1, correction=int(channels.shape[1] > 1)).clamp_min(_LEAST_VARIANCE).log()


def model_styles(backbone: Backbone) -> Styles:
    """Return styles of the first stage of a copy of ``backbone``, as the source left it."""
    copy = backbone.clone()
    stages = stage_modules(copy.model) or [
        part for part in copy.modules() if isinstance(part, nn.Conv2d)
    ]
    if not stages:
        raise UserError(
            f"backbone {backbone.name!r} has neither stages nor convolutions whose maps could tell "
            "styles: set style=vgg19"
        )
    return Styles(copy.model, stages[:1], copy.mean, copy.std)


def vgg_styles(device: torch.device) -> Styles:
    """Return styles of torchvision's VGG-19 with ImageNet weights, from its cache or loaded now.

    Raises:
        UserError: the weights are not at hand.
    """
    from torchvision.models import VGG19_Weights, vgg19

    try:
        network = vgg19(weights=VGG19_Weights.IMAGENET1K_V1).features
    except (OSError, RuntimeError) as error:
        raise UserError(
            "style=vgg19 needs torchvision's VGG-19 weights, which could not be loaded "
            f"({error}); put vgg19-dcbb9e9d.pth into torch.hub's checkpoints, or set style=model"
        ) from error
    return styles_of_vgg(network.to(device).eval())


def styles_of_vgg(features: nn.Sequential) -> Styles:
    """Return styles of the convolutional part of a VGG-19."""
    kept = nn.Sequential(*features[: VGG_LAYERS[-1] + 1]).requires_grad_(False)
    for place, layer in enumerate(kept):
        if isinstance(layer, nn.ReLU):
            kept[place] = nn.ReLU()  # in place, it would change what is looked at
    device = next(kept.parameters()).device
    mean, std = (torch.tensor(of, device=device).view(1, 3, 1, 1) for of in _IMAGENET)
    return Styles(kept, [kept[place] for place in VGG_LAYERS], mean, std)
