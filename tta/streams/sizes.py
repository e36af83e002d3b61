"""How long a stream may be: what no run ends is refused before it is laid out."""

from __future__ import annotations

from tta.foundation.errors import UserError

MOST_SAMPLES = 200_000_000
MOST_VISITS = 100_000


def check_samples(count: float, cure: str) -> None:
    """Refuse a stream of more than :data:`MOST_SAMPLES` images.

    Args:
        count: of its images.
        cure: which options to lower.

    Raises:
        UserError: see above.
    """
    if count > MOST_SAMPLES:
        raise UserError(
            f"the stream would have {count:,.0f} images, and one has at most {MOST_SAMPLES:,}: "
            f"use {cure}"
        )


def check_visits(count: int, cure: str) -> None:
    """Refuse a stream of more than :data:`MOST_VISITS` visits, or tasks; see above.

    Raises:
        UserError: see above.
    """
    if count > MOST_VISITS:
        raise UserError(
            f"the stream would have {count:,} visits to domains or tasks, and one has at most "
            f"{MOST_VISITS:,}: use {cure}"
        )
