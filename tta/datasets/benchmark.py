"""What goes around a data set by default: models, source images, published hyper-parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from tta.foundation.errors import UserError


@dataclass(frozen=True)
class Benchmark:
    """Defaults of a run on a data set; an option of the run goes over each.

    Attributes:
        backbone: name, or None.
        weights: checkpoint of that backbone, or None.
        other_weights: checkpoints of further backbones, by name.
        train_at_first_use: where there is no such checkpoint, train one with a head per domain of
            ``source``, and keep it.
        cloud_backbone: larger model of edge-cloud methods, or None.
        cloud_weights: checkpoint of that model, or None.
        source: specification of the data set that holds the source images, or None.
        templates: texts that names of classes are put into, for models that read text.
        preset: file of published hyper-parameters in ``tta/presets``, or None.
        batch_size: the published one.
    """

    backbone: str | None = None
    weights: str | None = None
    other_weights: Mapping[str, str] = field(default_factory=dict)
    train_at_first_use: bool = False
    cloud_backbone: str | None = None
    cloud_weights: str | None = None
    source: str | None = None
    templates: tuple[str, ...] = ("a photo of a {}.",)
    preset: str | None = None
    batch_size: int = 64

    def but(self, **changes: Any) -> Benchmark:
        """Return one that differs in these."""
        return replace(self, **changes)


def shipped(file: str) -> Path:
    """Return the path of a checkpoint that comes with the package."""
    return Path(__file__).parent / "assets" / file


DEFAULTS = tuple(fact.name for fact in fields(Benchmark))


def check_benchmark(data: Any, whose: str) -> None:
    """Refuse defaults of a data set that nothing would read.

    Args:
        data: the data set.
        whose: it is, for the message.

    Raises:
        UserError: its ``benchmark`` is none, or defaults are attributes of the data set itself.
    """
    if not isinstance(data.benchmark, Benchmark):
        raise UserError(
            f"{whose} has {data.benchmark!r} as benchmark; give it a tta.datasets.Benchmark"
        )
    stray = [name for name in DEFAULTS if hasattr(data, name)]
    if stray:
        values = ", ".join(f"{name}=..." for name in stray)
        raise UserError(
            f"{whose} has {' and '.join(stray)} of its own, which nothing reads; write "
            f"benchmark = Benchmark({values}), with Benchmark from tta.datasets"
        )
