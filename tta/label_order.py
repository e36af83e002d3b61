"""Orders in which labels are correlated over time."""

from __future__ import annotations

import numpy as np

from tta.errors import UserError


def dirichlet_order(
    labels: np.ndarray, concentration: float, rng: np.random.Generator, max_draws: int = 10_000
) -> np.ndarray:
    """Return an order in which labels come in chunks of uneven class proportions.

    One chunk per class; each class is split over the chunks by a Dirichlet draw, chunks that
    are full get nothing more, and all is drawn again while a chunk holds fewer than ten samples
    (a quarter of its fair share where that is less). NOTE (Gong et al., NeurIPS 2022).

    Raises:
        UserError: no draw fills every chunk.
    """
    chunks = len(np.unique(labels))
    least = min(10, len(labels) // (4 * chunks))
    for _ in range(max_draws):
        assignment = _draw_chunks(labels, concentration, chunks, rng)
        if np.bincount(assignment, minlength=chunks).min() >= least:
            return _order_chunks(labels, assignment, chunks, rng)
    raise UserError(
        f"no Dirichlet order with concentration {concentration} over {len(labels)} samples of "
        f"{chunks} classes fills every chunk; use more samples or a larger --dirichlet"
    )


def _draw_chunks(
    labels: np.ndarray, concentration: float, chunks: int, rng: np.random.Generator
) -> np.ndarray:
    assignment = np.empty(len(labels), np.int64)
    sizes = np.zeros(chunks, np.int64)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        shares = rng.dirichlet(np.full(chunks, concentration))
        shares = np.where(sizes < len(labels) / chunks, shares, 0.0)
        total = shares.sum()
        shares = (
            shares / total if total > 0 else (sizes == sizes.min()) / (sizes == sizes.min()).sum()
        )
        cuts = (np.cumsum(shares)[:-1] * len(members)).astype(int)
        for chunk, part in enumerate(np.split(members, cuts)):
            assignment[part] = chunk
            sizes[chunk] += len(part)
    return assignment


def _order_chunks(
    labels: np.ndarray, assignment: np.ndarray, chunks: int, rng: np.random.Generator
) -> np.ndarray:
    order: list[np.ndarray] = []
    for chunk in range(chunks):
        members = np.flatnonzero(assignment == chunk)
        for label in rng.permutation(np.unique(labels[members])):
            order.append(members[labels[members] == label])
    return np.concatenate(order)
