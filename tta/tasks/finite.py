"""Images whose outputs are no numbers, and what a run does about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor


def finite_rows(outputs: Tensor, kind: str) -> Tensor:
    """Return bool ``[B]``: whether outputs ``[B, C]`` tell a class.

    NaN or +inf anywhere, or -inf everywhere, tells none. A few logits of -inf are classes that a
    method has ruled out.

    Args:
        outputs: on any device, which is not waited for.
        kind: see :func:`tta.tasks.metrics.log_probabilities`.
    """
    if kind == "probabilities":
        return outputs.isfinite().all(1)
    return outputs.float().amax(1).isfinite()


def nonfinite_facts(confidence: np.ndarray, starts: np.ndarray) -> dict[str, Any]:
    """Return where outputs were not finite, and how often.

    Args:
        confidence: of the images seen ``[n]``, NaN where the outputs were not finite.
        starts: positions of the first images of the stream's batches.

    Returns:
        ``nonfinite_at_batch`` (from 1) and ``nonfinite_at_image`` (from 0), None for none, and
        the counts ``nonfinite_batches`` and ``nonfinite_images``.
    """
    positions = np.flatnonzero(np.isnan(confidence))
    batches = np.unique(np.searchsorted(starts, positions, side="right"))
    return {
        "nonfinite_at_batch": int(batches[0]) if len(batches) else None,
        "nonfinite_at_image": int(positions[0]) if len(positions) else None,
        "nonfinite_batches": len(batches),
        "nonfinite_images": len(positions),
    }


def in_words(facts: dict[str, Any]) -> str:
    """Return what a run says of its :func:`nonfinite_facts`; empty where all was finite."""
    if facts.get("nonfinite_at_batch") is None:
        domain = facts.get("nonfinite_weights_after")
        return "" if domain is None else f"weights not finite after {domain}, though outputs are"
    text = (
        f"outputs not finite from batch {facts['nonfinite_at_batch']}: "
        f"{facts['nonfinite_images']} images in {facts['nonfinite_batches']} batches, "
        "counted as wrong"
    )
    if facts["on_nonfinite"] == "reset":
        return f"{text}; the method was reset after each of these batches"
    return f"{text}; the run stopped there" if facts["on_nonfinite"] == "stop" else text


def make_guard(policy: str, kind: str, reset: Callable[[], None]) -> Callable[[Tensor], bool]:
    """Return what looks at every batch's outputs and says whether the stream goes on.

    ``mark`` never waits for the device. The others wait for it once a batch: what they do must
    not depend on when a figure happened to be fetched.

    Args:
        policy: ``mark``, ``stop`` or ``reset``.
        kind: see :func:`finite_rows`.
        reset: puts the method back to its state before the stream.
    """

    @torch.no_grad()
    def guard(outputs: Tensor) -> bool:
        if policy == "mark" or bool(finite_rows(outputs, kind).all()):
            return True
        if policy == "reset":
            reset()
        return policy != "stop"

    return guard
