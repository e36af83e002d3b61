"""The depth at which a model's parameters lie, as timm tells it."""

from __future__ import annotations

from torch import nn

from tta.ops.parameters import norm_affine_parameters


def early_norm_parameters(model: nn.Module, frozen_share: float) -> list[nn.Parameter]:
    """Return the affine parameters of norm layers ahead of the last ``frozen_share`` of stages.

    Stages are those of timm's ``group_matcher``: four in a ResNet or a Swin, the blocks in a
    ViT. ``frozen_share`` of their number, rounded down, is left out, and with it what follows,
    such as a final norm layer. A quarter leaves out a ResNet's ``layer4``, a ViT-B's last three
    blocks and nothing of a net of three stages. A model that does not tell its stages keeps all.
    """
    frozen = _last_stages(model, frozen_share)
    return [parameter for parameter in norm_affine_parameters(model) if parameter not in frozen]


def _last_stages(model: nn.Module, share: float) -> set[nn.Parameter]:
    grouped = next((part for part in model.modules() if hasattr(part, "group_matcher")), None)
    if grouped is None:
        return set()
    from timm.models import group_parameters  # here: lists import every method without timm

    groups = group_parameters(grouped, grouped.group_matcher(coarse=True))
    stages = len(groups) - 2  # the first group is the stem, the last is the head
    frozen = int(share * stages)
    if frozen == 0:
        return set()
    depths = range(len(groups) - 1 - frozen, len(groups))
    names = {name for depth in depths for name in groups[depth]}
    return {parameter for name, parameter in grouped.named_parameters() if name in names}
