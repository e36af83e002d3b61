"""Finds the operators that would make the host wait for a GPU, without a GPU.

The operators and calls are those that ``torch.cuda.set_sync_debug_mode`` reports: reading a
value on the host, indexing whose result has a size of its own, copies to host memory.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import tta

PACKAGE = Path(tta.__file__).parent

WAITING_OPERATORS = {
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::masked_select",
    "aten::unique_dim",
    "aten::_unique2",
    "aten::repeat_interleave.Tensor",
    "aten::equal",
}
INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
COPIES_TO_HOST = ("cpu", "numpy", "tolist", "__array__")
COPIES_OF_LISTS = ("tensor", "as_tensor")
"""Calls that copy what the host holds to the device, from memory that is not pinned."""
HOST_TENSORS = {
    ("ops/views/augment.py", "draw"),
    ("ops/views/augment.py", "_uniform"),
    ("ops/generators.py", "generator_on"),
    ("ops/memory.py", "array_of"),
    ("ops/views/moco_augment.py", "draw"),
    ("methods/foa_search.py", "ask"),
    ("methods/foa_search.py", "tell"),
    ("methods/foa_search.py", "load_state_dict"),
    ("ops/loss_scaling.py", "step_unscaled"),
    ("methods/unient.py", "_seed"),
    ("backbones/clip/text_tower.py", "cut"),
}
"""Where host tensors are read: random draws, the count of steps that Adam keeps there, the
bookkeeping of memory banks, the search of FOA, and tokens of new prompts."""

DOCUMENTED: dict[str, set[tuple[str, str]]] = {
    "asr": {("methods/asr.py", "step"), ("methods/eta.py", "step")},
    "atlas": {("methods/atlas.py", "step")},
    "cema": {
        ("methods/cema.py", "_upload"),
        ("methods/cloud.py", "to_bytes"),
    },
    "clipartt": {("methods/clipartt.py", "adapt")},
    "cliptta": {("methods/cliptta_memory.py", "insert"), ("methods/cliptta_memory.py", "_count")},
    "cmf": {("methods/roid.py", "adapt")},
    "cotta": {("methods/cotta.py", "_targets")},
    "deyo": {("methods/deyo.py", "step"), ("methods/deyo.py", "_adapt")},
    "dpcore": {("methods/dpcore.py", "_judge")},
    "drm": {("methods/drm.py", "_adapt")},
    "eata": {("methods/eta.py", "step")},
    "eta": {("methods/eta.py", "step")},
    "foa": {("methods/foa.py", "step")},
    "gtta": {("methods/gtta.py", "step")},
    "imse": {("methods/imse_domains.py", "is_left"), ("methods/imse.py", "step")},
    "lame": {("methods/lame_optimization.py", "laplacian_optimization")},
    "note": {("ops/memory.py", "_read")},
    "owttt": {("methods/owttt.py", "_decide")},
    "petta": {("ops/memory.py", "_read")},
    "pl": {("methods/pl.py", "step")},
    "reservoir": {
        ("methods/reservoir.py", "step"),
        ("methods/reservoir.py", "_most_informative"),
        ("methods/reservoir_clusters.py", "assign"),
    },
    "poem": {("methods/poem.py", "_read")},
    "rdumb": {("methods/eta.py", "step")},
    "roid": {("methods/roid.py", "adapt")},
    "rotta": {("ops/memory.py", "_read")},
    "sar": {("methods/sar.py", "_descend")},
    "sotta": {("ops/memory.py", "_read")},
    "spa": {("methods/spa.py", "step")},
    "stamp": {("ops/memory.py", "_read")},
    "tribe": {("methods/tribe.py", "step")},
    "unient": {("methods/unient.py", "_known")},
}
"""Waits that a method's code explains where they stand: the host must decide what comes next, or
batch statistics are those of the selected images alone."""

Place = tuple[str, str]


def place_of(frame: FrameType | None) -> Place:
    """Return file and function of the package that are innermost on the stack from ``frame`` on."""
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(PACKAGE) and not frame.f_code.co_name.startswith("<"):
            return path.relative_to(PACKAGE).as_posix(), frame.f_code.co_name
        frame = frame.f_back
    return "outside", "the package"


class SyncCounter(TorchDispatchMode):
    """Counts what would wait for the device, by (file, function) of the package.

    Attributes:
        places: how often, by where; host tensors left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.places: Counter[Place] = Counter()
        self._functions = _HostCopies(self)

    def __enter__(self) -> SyncCounter:
        self._functions.__enter__()
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        self._functions.__exit__(*exception)

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping | None = None
    ) -> Any:
        name = function._schema.name
        if name in WAITING_OPERATORS or name in INDEXING and _by_mask(args[1]):
            self.note()
        return function(*args, **(kwargs or {}))

    def note(self) -> None:
        """Count the innermost place of the package that is on the stack."""
        place = place_of(sys._getframe(1))
        if place not in HOST_TENSORS:
            self.places[place] += 1


class _HostCopies(TorchFunctionMode):
    """Sees the calls that move a tensor to the host: for a host tensor no operator runs."""

    def __init__(self, counter: SyncCounter) -> None:
        super().__init__()
        self._counter = counter

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        to_host = name in COPIES_TO_HOST or name == "to" and _is_host((*args[1:], *kwargs.values()))
        of_list = name == "new_tensor" or name in COPIES_OF_LISTS and "device" in kwargs
        if to_host or of_list:
            self._counter.note()
        return function(*args, **kwargs)


def _by_mask(indices: Sequence[Tensor | None]) -> bool:
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)


def _is_host(arguments: Sequence[Any]) -> bool:
    # A device that is the string "cpu" was written by somebody; one that is another tensor's
    # device is wherever that tensor is.
    return any(isinstance(argument, str) and argument == "cpu" for argument in arguments)


def undocumented(method: Any, images: Sequence[Tensor]) -> dict[Place, int]:
    """Step through batches and return the places that would wait and are not documented."""
    with SyncCounter() as counter:
        for batch in images:
            method.step(batch)
            method.count()
    documented = DOCUMENTED.get(method.name, set())
    return {place: count for place, count in counter.places.items() if place not in documented}
