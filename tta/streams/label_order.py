"""Orders in which labels are correlated over time."""

from __future__ import annotations

import numpy as np

from tta.foundation.errors import UserError


def check_all_of_classes(labels: np.ndarray) -> None:
    """Refuse unknown images (-1) where images are drawn by class: they are no class to draw.

    Raises:
        UserError: there is one.
    """
    unknown = int((labels < 0).sum())
    if unknown:
        raise UserError(
            f"this --scenario draws images by their classes, and {unknown} of {len(labels)} images "
            "are of none (label -1); it takes data whose images are all of known classes: leave "
            "the others out and show unknown images beside with --unknown NAME, or choose another "
            "scenario, such as continual"
        )


def grouped_order(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an order in which classes follow each other whole, themselves in random order.

    Unknown images (-1) are one more class. The non-iid stream of LAME (Boudiaf et al., CVPR 2022)
    for data without videos.
    """
    labels = np.where(labels < 0, labels.max() + 1, labels)
    rank = rng.permutation(int(labels.max()) + 1)
    return np.argsort(rank[labels], kind="stable")


def zipf_sample(
    labels: np.ndarray, exponent: float, rng: np.random.Generator, max_draws: int = 10_000
) -> np.ndarray:
    """Return as many positions as there are labels, classes in Zipf proportions.

    Each class's share is proportional to a draw from Zipf(``exponent``), drawn again until the
    most frequent tenth of the classes holds less than 90 %; images are drawn with replacement
    and shuffled. The class-imbalanced stream of LAME (Boudiaf et al., CVPR 2022).

    Raises:
        UserError: no draw is balanced enough.
    """
    classes = np.unique(labels)
    top = max(1, len(classes) // 10)
    for _ in range(max_draws):
        draws = rng.zipf(exponent, len(classes)).astype(float)
        shares = draws / draws.sum()
        if np.sort(shares)[-top:].sum() < 0.9:
            break
    else:
        raise UserError(
            f"no Zipf draw with exponent {exponent} leaves the most frequent tenth of "
            f"{len(classes)} classes below 90 %; use a larger --zipf"
        )
    drawn = rng.choice(classes, len(labels), p=shares)
    members = {label: np.flatnonzero(labels == label) for label in classes}
    return np.array([rng.choice(members[label]) for label in drawn])


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


def slot_order(labels: np.ndarray, concentration: float, rng: np.random.Generator) -> np.ndarray:
    """Return an order in which each class comes in slots of the stream, as a Dirichlet draw says.

    There are as many slots as classes, at most 100. Each class is split over them by a draw of
    its own; in a slot the classes come whole, in random order. Slots are of any size, or empty.
    The practical setting of RoTTA (Yuan et al., CVPR 2023).
    """
    slots = min(len(np.unique(labels)), 100)
    assignment = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        shares = rng.dirichlet(np.full(slots, concentration))
        cuts = (np.cumsum(shares)[:-1] * len(members)).astype(int)
        for slot, part in enumerate(np.split(members, cuts)):
            assignment[part] = slot
    return _order_chunks(labels, assignment, slots, rng)


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
