"""What checkpoints hold beside a network: its classifier by another name, counters, a mean."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

# The last part of names, by what leaves them behind: torch's averaged models, EMA packages,
# counters of operations (thop), batch norm, torchmetrics.
_COUNTERS = {
    "n_averaged",
    "num_updates",
    "initted",
    "step",
    "epoch",
    "total_ops",
    "total_params",
    "num_batches_tracked",
    "_flops",
    "_params",
}
# A part of names: weights of the classes, and centres, that a loss kept while training; and the
# classifiers halfway up an Inception net and torchvision's networks that segment.
_OF_TRAINING = {
    "criterion",
    "loss",
    "loss_fn",
    "loss_function",
    "loss_func",
    "AuxLogits",
    "aux_classifier",
}
_NORMALISERS = (
    ("mu", "sigma"),
    ("mean", "std"),
    ("means", "stds"),
    ("means", "sds"),
    ("pixel_mean", "pixel_std"),
    ("image_mean", "image_std"),
)


def take_normalisation(rest: dict[str, Tensor]) -> tuple[tuple[float, ...], ...] | None:
    """Take mean and std, as a wrapped network keeps them, out of what is left over."""
    for first, second in _NORMALISERS:
        for key in rest:
            before, _, name = key.rpartition(".")
            other = f"{before}.{second}" if before else second
            if name == first and other in rest and rest[key].numel() == rest[other].numel() <= 3:
                return tuple(
                    tuple(rest.pop(part).double().flatten().tolist()) for part in (key, other)
                )
    return None


def take_classifier(
    rest: dict[str, Tensor], wanted: Mapping[str, Tensor], prefix: str
) -> tuple[str, dict[str, Tensor]] | None:
    """Take the one layer that can be the classifier out of what is left over.

    Args:
        rest: tensors by full name; the layer is taken out.
        wanted: the classifier's own tensors, by the last part of their names.
        prefix: the network's, whose nearest such layer it is where others are there too.

    Returns:
        its name and its tensors, by the last part of their names; None where none or several fit.
    """
    layers = {key.rpartition(".")[0] for key in rest}
    fitting = [
        layer
        for layer in layers
        if all(f"{layer}.{part}" in rest for part in wanted)
        and all(_fits(rest[f"{layer}.{part}"], value) for part, value in wanted.items())
    ]
    inside = [layer for layer in fitting if prefix and f"{layer}.".startswith(prefix)]
    fitting = inside or fitting
    if len(fitting) != 1 or not wanted:
        return None
    return fitting[0], {part: rest.pop(f"{fitting[0]}.{part}") for part in wanted}


def _fits(value: Tensor, wanted: Tensor) -> bool:
    """Compare shapes; a Linear and a 1x1 convolution have the same weights."""
    return [d for d in value.shape if d != 1] == [d for d in wanted.shape if d != 1]


def take_bookkeeping(rest: dict[str, Tensor]) -> list[str]:
    """Take out what training left behind, which no output depends on; return its names."""
    known = [
        key
        for key, value in rest.items()
        if (key.rpartition(".")[2] in _COUNTERS and value.numel() == 1)
        or not _OF_TRAINING.isdisjoint(key.split("."))
    ]
    for key in known:
        del rest[key]
    return known
