"""Golden vectors of methods for image-text models: inputs, and a text tower of four numbers.

Values come from the authors' functions, run in float64 on ``f_n[d] = unit(1 + .2 sin(.7 (n + 1)
(d + 1)))`` and ``T[c, d] = unit(1 + .2 sin((c + 1)(d + 1)))`` with a logit scale of 100.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

CLASSES, WIDTH, SCALE = 3, 4, 100.0


def _waves(count: int, step: float) -> torch.Tensor:
    rows = torch.arange(1, count + 1, dtype=torch.float64)[:, None]
    columns = torch.arange(1, WIDTH + 1, dtype=torch.float64)
    return F.normalize(1 + 0.2 * (step * rows * columns).sin(), dim=1)


TEXT = _waves(CLASSES, 1.0)
FEATURES = _waves(60, 0.7)
LOGITS = SCALE * FEATURES @ TEXT.T


def views_of(image: int, count: int) -> slice:
    """Return which rows are views of an image."""
    return slice(3 * image, 3 * image + count)


def close(found: torch.Tensor, expected: str) -> None:
    """Compare with numbers as they are written, to their last digit."""
    wanted = torch.tensor([float(number) for number in expected.split()], dtype=torch.float64)
    torch.testing.assert_close(found.detach().double().flatten(), wanted, rtol=0, atol=1.01e-6)
