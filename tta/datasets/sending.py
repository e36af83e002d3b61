"""What is sent to a process that is started: large arrays are shared with it, not copied."""

from __future__ import annotations

import io
from multiprocessing.reduction import ForkingPickler
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tta.foundation.own_file import from_home, own_home

SHARED = 2**16
"""Bytes from which on an array is shared."""


class Sender:
    """Writes an object down for processes of this machine, as often as there are of them.

    Tensors and large arrays lie in shared memory, once for all processes and for as long as this
    object; mapped files are mapped again by their path.

    Args:
        content: what to send.
    """

    def __init__(self, content: Any) -> None:
        self._content = content
        self._shared: dict[int, tuple[np.ndarray, Tensor]] = {}

    def dumps(self) -> bytes:
        """Return what :func:`pickle.loads` makes the object of, in a process that is started now.

        Raises:
            RuntimeError: there is no room for shared memory.
            Exception: whatever the parts of an object raise that cannot be pickled.
        """
        file = io.BytesIO()
        _Pickler(file, self._shared).dump(self._content)
        return file.getvalue()


class _Pickler(ForkingPickler):
    def __init__(self, file: io.BytesIO, shared: dict[int, tuple[np.ndarray, Tensor]]) -> None:
        super().__init__(file)
        self._shared = shared

    def reducer_override(self, found: Any) -> Any:
        if _is_mapped_file(found):
            facts = found.filename, found.dtype, _MODES[found.mode], found.offset, found.shape
            return np.memmap, facts
        if isinstance(found, np.ndarray) and found.dtype.kind in "biuf" and found.nbytes >= SHARED:
            return _as_array, (self._tensor(found), found.dtype)
        if isinstance(found, type | FunctionType):
            home = own_home(found)  # a module that is not found by its name
            return NotImplemented if home is None else (from_home, home)
        return NotImplemented

    def _tensor(self, array: np.ndarray) -> Tensor:
        """Return an array's bytes in shared memory, where they come to lie once."""
        if id(array) not in self._shared:
            integers = np.ascontiguousarray(array).view(f"i{array.itemsize}")
            # The array is kept as well, so that no other gets its number.
            self._shared[id(array)] = array, torch.tensor(integers).share_memory_()
        return self._shared[id(array)][1]


_MODES = {"r": "r", "c": "c", "r+": "r+", "w+": "r+"}


def _is_mapped_file(found: Any) -> bool:
    """Return whether an array is the whole of what was mapped, and not a part of it."""
    whole = type(found) is np.memmap and found.base is found._mmap
    return whole and found.filename is not None and found.flags.c_contiguous


def _as_array(tensor: Tensor, dtype: np.dtype) -> np.ndarray:
    return tensor.numpy().view(dtype)
