"""Whether the source model knows the pixels of a stream at all, before figures are believed."""

from __future__ import annotations

import numpy as np
import torch

from tta.backbones.backbone import Backbone
from tta.experiment.sanity import best_numbers
from tta.streams.stream import Stream
from tta.tasks.dense_metrics import pixel_metrics

FROM_A_DOMAIN = 8
"""Images, spread evenly; the first domain that the model knows ends the search."""
MOST = 32
KAPPA = 0.05
"""Cohen's kappa, accuracy beyond chance over what is possible, up to which a model guesses;
neighbouring pixels are alike, so that no test over them would hold."""


def map_warnings(stream: Stream, backbone: Backbone, ignore: int) -> tuple[str, ...]:
    """Return in words why the source model's label maps are not to be believed.

    Args:
        stream: the test stream.
        backbone: the source model as loaded, on the stream's device.
        ignore: label of pixels that do not count.
    """
    plan, seen = stream.plan, []
    for number in list(dict.fromkeys(plan.domain.tolist()))[: MOST // FROM_A_DOMAIN]:
        rows = np.flatnonzero(plan.domain == number)
        rows = rows[plan.severity[rows] == plan.severity[rows].min()]
        some = np.linspace(0, len(rows) - 1, min(len(rows), FROM_A_DOMAIN)).astype(int)
        matrices = _matrices(stream, backbone, rows[np.unique(some)], ignore)
        swapped = renumbered(matrices)
        if swapped is not None:
            return (_in_words(*swapped),)
        if kappa(matrices.sum(0)) > KAPPA:
            return ()
        seen.append(matrices)
    total = np.concatenate(seen).sum(0)
    if not total.sum():
        return ("no pixel of the images looked at counts: all labels are ignored",)
    return (
        f"the source model is at chance: it is right on {_accuracy(total):.1%} of the pixels of "
        f"{sum(map(len, seen))} images, where guessing gets {_chance(total):.1%}; the usual causes "
        "are the numbers of the classes in the label maps, and the normalisation (--mean, --std)",
    )


@torch.no_grad()
def _matrices(stream: Stream, backbone: Backbone, rows: np.ndarray, ignore: int) -> np.ndarray:
    found = []
    for row in rows:
        outputs = backbone(stream.images(row[None]))
        maps = stream.label_maps(row[None]).to(outputs.device)
        found.append(pixel_metrics(outputs, maps, "logits", ignore, backbone.align_corners)[1])
    return torch.cat(found).cpu().numpy().astype(np.int64)


def _accuracy(matrix: np.ndarray) -> float:
    return float(np.trace(matrix) / max(1, matrix.sum()))


def _chance(matrix: np.ndarray) -> float:
    """Return the accuracy of predictions as frequent as these that do not depend on the image."""
    labels, predicted = matrix.sum(1), matrix[:, :-1].sum(0)
    return float(labels @ predicted / max(1, matrix.sum()) ** 2)


def kappa(matrix: np.ndarray) -> float:
    """Return Cohen's kappa of a matrix ``[C, C + 1]``: 1 where all is right, 0 at chance.

    Where all pixels are of one class, and so called, it is 1.
    """
    chance = _chance(matrix)
    return 1.0 if chance == 1 else (_accuracy(matrix) - chance) / (1 - chance)


def renumbered(matrices: np.ndarray) -> tuple[float, float] | None:
    """Return the accuracy as it is, and with other numbers of classes, where that is doubled.

    The numbers are chosen, one for one, on every other image and judged on the rest; None where
    they are no better, or there is one image alone.
    """
    if len(matrices) < 2:
        return None
    chosen_on, judged_on = matrices[::2].sum(0), matrices[1::2].sum(0)
    pairs = np.stack(np.nonzero(chosen_on[:, :-1].T))
    number = best_numbers(pairs, chosen_on[pairs[1], pairs[0]], len(chosen_on))
    now = _accuracy(judged_on)
    known = number >= 0
    then = judged_on[number[known], np.flatnonzero(known)].sum() / max(1, judged_on.sum())
    return None if then < max(0.5, 2 * now) else (now, float(then))


def _in_words(now: float, then: float) -> str:
    return (
        f"the source model is right on {now:.1%} of the pixels, and would be on {then:.1%} if its "
        "outputs were numbered otherwise: its classes seem to be in another order than those of "
        "the label maps; mend the maps, or choose a model of these classes"
    )
