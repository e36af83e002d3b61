"""Counter-based random numbers: every draw is a pure function of a key and a counter.

An image's key mixes (seed, corruption, severity, image id) with the SplitMix64 finaliser (Steele,
Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014); the i-th word of an
image is the finaliser of ``key + i * golden ratio``. No state is shared between images and no
library generator is touched, so a result depends neither on the batch it came in nor on threads,
workers or device. Integers are exact everywhere; normals come from a table of quantiles rather
than from ``log`` and ``cos``, whose last bit differs between vector and scalar code.
"""

from __future__ import annotations

import math
from functools import lru_cache
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_SHIFTS = (30, 27, 31)
_ALL_BITS = (1 << 64) - 1


def _signed(value: int) -> int:
    """Return the int64 with the same low 64 bits as ``value``."""
    value &= _ALL_BITS
    return value - (1 << 64) if value >> 63 else value


def _xor_shift_(words: Tensor, shift: int) -> Tensor:
    if words.device.type == "cpu":  # two passes, and little to call
        bits = words.numpy().view(np.uint64)
        bits ^= bits >> shift
        return words
    # The mask turns torch's arithmetic shift into a logical one.
    return words.bitwise_xor_((words >> shift).bitwise_and_((1 << (64 - shift)) - 1))


def _mix_(words: Tensor) -> Tensor:
    """Apply the SplitMix64 finaliser to int64 ``words`` in place; products wrap modulo 2^64."""
    _xor_shift_(words, _SHIFTS[0]).mul_(_signed(_FACTORS[0]))
    _xor_shift_(words, _SHIFTS[1]).mul_(_signed(_FACTORS[1]))
    return _xor_shift_(words, _SHIFTS[2])


def _mix_int(value: int) -> int:
    """Return the finaliser of one number, as an int64: what ``_mix_`` gives, without its calls."""
    value &= _ALL_BITS
    for shift, factor in zip(_SHIFTS, (*_FACTORS, 1), strict=True):
        value = (value ^ value >> shift) * factor & _ALL_BITS
    return _signed(value)


@lru_cache(maxsize=8)
def _normal_quantiles(device: torch.device) -> Tensor:
    """Return the 2^16 mid-point quantiles of the standard normal, indexed by a 16-bit draw."""
    uniform = (torch.arange(1 << 16, dtype=torch.float64) + 0.5) / (1 << 16)
    return torch.special.ndtri(uniform).float().to(device)


class ImageRandom:
    """Private random numbers for each image of a batch.

    Successive calls give fresh, independent draws; the order of calls is part of the result.

    Args:
        ids: int64 [B], one id per image, on the device where numbers are wanted.
        corruption: name that separates the draws of one corruption from those of another.
        severity: 1 to 5.
        seed: any integer.
    """

    def __init__(self, ids: Tensor, corruption: str, severity: int, seed: int) -> None:
        key = 0
        for part in (seed, crc32(corruption.encode()), severity):
            key = _mix_int(key * _GOLDEN + part)
        self._keys = _mix_(ids.to(torch.int64, copy=True).mul_(_signed(_GOLDEN)).add_(key))
        self._calls = 0

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def device(self) -> torch.device:
        """Where the numbers are made."""
        return self._keys.device

    def _words(self, count: int) -> Tensor:
        """Return ``count`` fresh 64-bit words per image, int64 [B, count]."""
        self._calls += 1
        start = _mix_(self._keys + self._calls)
        counter = torch.arange(1, count + 1, device=start.device).mul_(_signed(_GOLDEN))
        return _mix_(start[:, None] + counter)

    def _integers(self, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        """Return [B, *shape] uniform over all values of a signed integer ``dtype``."""
        count = math.prod(shape)
        words = self._words(-(-count * dtype.itemsize // 8))
        return words.view(dtype)[:, :count].reshape(-1, *shape)

    def bits16(self, *shape: int) -> Tensor:
        """Return int32 [B, *shape], uniform over 0 .. 65535."""
        return self._integers(torch.int16, shape).to(torch.int32).bitwise_and_(0xFFFF)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return float64 [B, *shape] in (low, high), on a grid of 2^32 mid-points."""
        unit = self._integers(torch.int32, shape).to(torch.float64).add_(2**31 + 0.5).mul_(2.0**-32)
        return unit.mul_(high - low).add_(low)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Return int32 [B, *shape] in low .. high - 1, for narrow ranges.

        A value's chance is off by at most 2^-16, hence nothing for ranges that are powers of two.
        """
        return self.bits16(*shape).mul_(high - low).bitwise_right_shift_(16).add_(low)

    def normal(self, *shape: int) -> Tensor:
        """Return float32 [B, *shape] standard normal, quantised to 2^16 levels (|z| < 4.33)."""
        draws = self.bits16(*shape)
        table = _normal_quantiles(draws.device)
        return table.index_select(0, draws.flatten()).view(draws.shape)


def draws_of(ids: Tensor, name: str, severity: float, seed: int) -> ImageRandom:
    """Return the draws of a corruption for some images, at any severity.

    Whole severities keep their own draws; those between get a number that none of them has.
    """
    whole = severity == int(severity)
    return ImageRandom(ids, name, int(severity) if whole else round(severity * 1_000_000), seed)
