"""What a run that segments may not ask for: it is refused before the stream, without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tta.config import RunConfig
from tta.foundation.errors import UserError
from tta.methods import METHODS
from tta.methods.declared import Undeclared, declared
from tta.methods.dense import dense_defaults
from tta.streams import find_scenario
from tta.tasks.task import SEGMENTATION

if TYPE_CHECKING:
    from tta.backbones.backbone import Backbone
    from tta.datasets import Dataset

_REFUSED = {
    "unknown": "mixes in images of no known class",
    "score": "says how much an image looks known",
    "estimate": "estimates how often classes of images are right",
    "evidence": "follows from the classes of images",
    "probe": "measures accuracy on images with a class each",
    "adapt_classes": "chooses images by their classes",
    "adapt_from": "draws images by their predicted classes",
    "single_model": "guesses the class of an image",
    "window": "predicts a class for each image of a window",
}
"""Options that speak of the class of an image, and what they do."""
_MAPS, _ONE = "label maps (one class per pixel)", "a class for each image"


def check_segmentation(config: RunConfig, dataset: Any, method: Any) -> None:
    """Refuse a run on label maps that asks for what needs a class for each image.

    Args:
        config: of the run.
        dataset: what is known of the data: its class, or the data set; None for nothing.
        method: the method's class, or what its source declares; None for nothing.

    Raises:
        UserError: naming what cannot be had, and what can.
    """
    if getattr(dataset, "task", None) != SEGMENTATION.name:
        if dataset is not None and config.loss_size != RunConfig.loss_size:
            raise UserError(
                f"--loss-size is for label maps, and data set {dataset.name!r} has a class for "
                "each image: leave it out"
            )
        return
    usual, whose = RunConfig(), getattr(dataset, "name", config.dataset)
    for name, does in _REFUSED.items():
        if getattr(config, name) != getattr(usual, name):
            raise UserError(
                f"--{name.replace('_', '-')} {does}, and data set {whose!r} has label maps "
                "(one class per pixel): leave it out"
            )
    _check_scenario(config, whose)
    if method is not None:
        check_segments(method)


def _check_scenario(config: RunConfig, dataset: str) -> None:
    scenario = find_scenario(config.scenario)
    in_slots = "dirichlet" in scenario.uses and config.dirichlet > 0
    if scenario.by_class or in_slots:
        said = f"--dirichlet {config.dirichlet:g}" if not scenario.by_class else scenario.name
        raise UserError(
            f"scenario {said!r} orders images by their classes, and data set {dataset!r} has label "
            "maps (one class per pixel): choose continual, gradual, recurring, mixed_domains, "
            "domain_blocks or reset_each_shift"
        )


def check_segments(method: Any) -> None:
    """Refuse a method that is for classes of images alone.

    Raises:
        UserError: naming those that segment.
    """
    if dense_defaults(method) is None:
        raise UserError(
            f"method {method.name!r} is for classes of images, and here every pixel has one; "
            f"methods that segment: {', '.join(dense_methods())}"
        )


def check_fits(backbone: Backbone, dataset: Dataset) -> None:
    """Refuse a backbone that segments where images have a class each, and the other way round.

    Raises:
        UserError: naming what each of them is for.
    """
    if dataset.dense == backbone.dense:
        return
    has, gives = (_ONE, _MAPS) if backbone.dense else (_MAPS, _ONE)
    raise UserError(
        f"data set {dataset.name!r} has {has}, and backbone {backbone.name!r} predicts {gives}: "
        f"choose a --backbone that {'classifies' if backbone.dense else 'segments'}"
    )


def check_source_fits(source: Dataset, dataset: Dataset) -> None:
    """Refuse source images with a class each for label maps, and the other way round.

    Raises:
        UserError: naming what both have.
    """
    if source.dense != dataset.dense:
        has, wanted = (_MAPS, _ONE) if source.dense else (_ONE, _MAPS)
        raise UserError(
            f"source images {source.name!r} have {has}, and {dataset.name!r} has {wanted}: "
            "choose a --source like the test data"
        )


def dense_methods() -> list[str]:
    """Return the names of the methods that segment, of those that come with this package."""
    return [name for name in METHODS if _segments(METHODS.location(name))]


def _segments(location: str | None) -> bool:
    try:
        return location is not None and dense_defaults(declared(location)) is not None
    except Undeclared:
        return False
