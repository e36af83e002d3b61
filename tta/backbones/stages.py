"""How deep a model's parameters lie, as timm tells it; of torchvision's and open_clip's too."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from torch import nn

from tta.ops.parameters import norm_affine_parameters

# As timm's group_matcher of the same architecture: by class, patterns of parameter names.
_PAIRS = [(r"^features\.1\.", (0,)), *((rf"^features\.[{n}{n + 1}]\.", (n,)) for n in (2, 4, 6))]
_OTHERS = {
    "resnet.ResNet": {"stem": r"^(?:conv1|bn1)\.", "blocks": r"^layer(\d+)"},
    "regnet.RegNet": {"stem": r"^stem\.", "blocks": r"^trunk_output\.block(\d+)"},
    "densenet.DenseNet": {
        "stem": r"^features\.(?:conv|norm)0\.",
        "blocks": r"^features\.(?:denseblock|transition)(\d+)",
    },
    "efficientnet.EfficientNet": {
        "stem": r"^features\.0\.",
        "blocks": [(r"^features\.{last}\.", (99999,)), (r"^features\.(\d+)\.", None)],
    },
    "convnext.ConvNeXt": {"stem": r"^features\.0\.", "blocks": _PAIRS},
    "swin_transformer.SwinTransformer": {"stem": r"^features\.0\.", "blocks": _PAIRS},
    "open_clip.transformer.VisionTransformer": {
        "stem": r"^(?:conv1|class_embedding|positional_embedding|ln_pre)",
        "blocks": [(r"^transformer\.resblocks\.(\d+)\.", None), (r"^ln_post", (99999,))],
    },
    "open_clip.modified_resnet.ModifiedResNet": {
        "stem": r"^(?:conv|bn)[123]\.",
        "blocks": r"^layer(\d+)\.",
    },
    "vision_transformer.VisionTransformer": {
        "stem": r"^(?:class_token|conv_proj|encoder\.pos_embedding)",
        "blocks": [(r"^encoder\.layers\.encoder_layer_(\d+)\.", None), (r"^encoder\.ln", (99999,))],
    },
}


_NUMBERED = re.compile(r"(?:layer|block|stage)_?\d+$")


def early_norm_parameters(model: nn.Module, frozen_share: float) -> list[nn.Parameter]:
    """Return the affine parameters of norm layers ahead of the last ``frozen_share`` of stages.

    Stages are those of timm's ``group_matcher``: four in a ResNet or a Swin, the blocks in a
    ViT. ``frozen_share`` of their number, rounded down, is left out, and with it what follows,
    such as a final norm layer. A quarter leaves out a ResNet's ``layer4``, a ViT-B's last three
    blocks and nothing of a net of three stages. A model that does not tell its stages keeps all.
    """
    frozen = _last_stages(model, frozen_share)
    return [parameter for parameter in norm_affine_parameters(model) if parameter not in frozen]


def stage_modules(model: nn.Module, most: int = 4) -> list[nn.Module]:
    """Return the modules at whose ends the stages of a model end, in their order.

    Of more stages than ``most``, as the blocks of a ViT, those that end its equal parts. Models
    that have no ``group_matcher`` are known by children called layer1, block1, stage_1 and so on;
    others have none.
    """
    stages = [module for module in map(partial(_main_module, model), _stages(model)) if module]
    stages = stages or [part for name, part in model.named_children() if _NUMBERED.match(name)]
    count = min(most, len(stages))
    return [stages[len(stages) * (part + 1) // count - 1] for part in range(count)]


def _main_module(model: nn.Module, parameters: list[nn.Parameter]) -> nn.Module | None:
    """Return the largest module that has no other parameters than those of a stage."""
    mine = set(parameters)
    sizes = {
        module: len(owned)
        for module in model.modules()
        if (owned := list(module.parameters())) and mine.issuperset(owned)
    }
    return max(sizes, key=sizes.__getitem__, default=None)


def _stages(model: nn.Module) -> list[list[nn.Parameter]]:
    """Return the parameters of each stage: without stem and head."""
    grouped, groups = _grouped(model)
    parameters = dict(grouped.named_parameters())
    return [[parameters[name] for name in group] for group in groups[1:-1]]


def _last_stages(model: nn.Module, share: float) -> set[nn.Parameter]:
    grouped, groups = _grouped(model)
    stages = len(groups) - 2  # the first group is the stem, the last is the head
    frozen = int(share * stages)
    if frozen <= 0:
        return set()
    names = {name for group in groups[-1 - frozen :] for name in group}
    return {parameter for name, parameter in grouped.named_parameters() if name in names}


def _grouped(model: nn.Module) -> tuple[nn.Module, list[list[str]]]:
    """Return the part of a model that tells its stages, and names of parameters by depth.

    Stem first, head last; none where no part tells them.
    """
    found = ((part, _matcher(part)) for part in model.modules())
    grouped, matcher = next((pair for pair in found if pair[1] is not None), (model, None))
    if matcher is None:
        return model, []
    from timm.models import group_parameters  # here: lists import every method without timm

    groups = group_parameters(grouped, matcher)
    return grouped, [groups[depth] for depth in range(len(groups))]


def _matcher(part: nn.Module) -> dict[str, Any] | None:
    if hasattr(part, "group_matcher"):
        return part.group_matcher(coarse=True)
    kind = type(part)
    name = f"{kind.__module__}.{kind.__name__}".removeprefix("torchvision.models.")
    if name != "efficientnet.EfficientNet":
        return _OTHERS.get(name)
    (head, depth), blocks = _OTHERS[name]["blocks"]
    head = head.replace("{last}", str(len(part.features) - 1))  # 8 in the first version
    return {**_OTHERS[name], "blocks": [(head, depth), blocks]}
