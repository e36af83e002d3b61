"""A second device without a driver: values live on the host, and are said to be elsewhere.

Operators run on the CPU on what a tensor holds, so that steps, backward passes and decisions on
values are real; that tensors of two devices never meet is checked at every operator, as CUDA
does, and host tensors are refused also where CUDA would quietly copy them. There is no float64,
as on MPS. Its memory is counted, and its clock goes by the operators that have run.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map, tree_map_only

import tta

PACKAGE = Path(tta.__file__).parent
_Generator = torch.Generator
DEVICE = torch.device("cuda:1")
TO_HOST = (Tensor.numpy, Tensor.__array__)
READ = (Tensor.cpu, Tensor.tolist)
FROM_LISTS = (torch.tensor, torch.as_tensor, Tensor.new_tensor)


class Memory:
    """Bytes of what is elsewhere now, of the most since the last reset, and of the most ever."""

    def __init__(self) -> None:
        self.held = self.peak = self.greatest = self.operators = 0
        self._tensors: Counter[int] = Counter()

    def add(self, tensor: Elsewhere) -> None:
        """Count what a tensor holds, until it and all others of the same memory are gone."""
        storage = tensor.held.untyped_storage()
        key, size = storage.data_ptr(), storage.nbytes()
        if size == 0:
            return
        self.held += size if self._tensors[key] == 0 else 0
        self._tensors[key] += 1
        self.peak = max(self.peak, self.held)
        self.greatest = max(self.greatest, self.peak)
        weakref.finalize(tensor, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._tensors[key] -= 1
        self.held -= size if self._tensors[key] == 0 else 0

    def reset_peak(self, device: Any = None) -> None:
        self.peak = self.held


MEMORY = Memory()


class Event:
    """Stands for ``torch.cuda.Event``: a millisecond for every operator."""

    waits: ClassVar[int] = 0

    def __init__(self, enable_timing: bool = False) -> None:
        assert enable_timing

    def record(self, stream: Any = None) -> None:
        assert stream == f"stream of {DEVICE}"
        self.at = MEMORY.operators

    def synchronize(self) -> None:
        type(self).waits += 1

    def elapsed_time(self, other: Event) -> float:
        return float(other.at - self.at)


DRIVER = {
    "synchronize": lambda device: None,
    "get_device_name": lambda device: "a stand-in",
    "current_stream": lambda device: f"stream of {device}",
    "memory_allocated": lambda device: MEMORY.held,
    "max_memory_allocated": lambda device: MEMORY.peak,
    "reset_peak_memory_stats": MEMORY.reset_peak,
    "Event": Event,
}
"""What of ``torch.cuda`` a run asks."""


class Elsewhere(Tensor):
    """A tensor that is said to be on :data:`DEVICE`."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        if held.dtype is torch.float64:
            raise AssertionError("float64 on a device that has none, as MPS")
        made = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            requires_grad=held.requires_grad,
        )
        made.held = held.detach()
        MEMORY.add(made)
        return made

    @property
    def device(self) -> torch.device:
        return DEVICE

    @property
    def is_cuda(self) -> bool:
        return True

    @property
    def is_cpu(self) -> bool:
        return False

    def __repr__(self) -> str:
        return f"Elsewhere({self.held})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copied = Elsewhere(self.held.clone())
        copied = nn.Parameter(copied) if isinstance(self, nn.Parameter) else copied
        memo[id(self)] = copied.requires_grad_(self.requires_grad)
        return copied

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        MEMORY.operators += 1
        _refuse_host_tensors(function, (args, kwargs))
        inner_args, inner_kwargs = tree_map_only(Elsewhere, lambda x: x.held, (args, kwargs))
        result = tree_map(_away, function(*inner_args, **inner_kwargs))
        return return_and_correct_aliasing(function, args, kwargs, result)


def _away(value: Any) -> Any:
    return Elsewhere(value) if isinstance(value, Tensor) else value


def _refuse_host_tensors(function: Any, given: Any) -> None:
    for value in tree_flatten(given)[0]:
        if isinstance(value, Tensor) and not isinstance(value, Elsewhere) and value.dim() > 0:
            raise AssertionError(f"{function} meets a host tensor {list(value.shape)}")


class _AnyKind(type):
    def __call__(cls, device: Any = "cpu") -> torch.Generator:
        return _Generator()

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, _Generator)


class AnyGenerator(metaclass=_AnyKind):
    """Stands for ``torch.Generator``: one for the other device draws on the host."""


class OtherDevice(TorchFunctionMode):
    """Within, ``cuda:1`` is a device.

    Attributes:
        copies: calls that copied a list to the device, which the host waits for.
        unlocked: files of the package that sent tensors from memory that was not locked, likewise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.copies: Counter[str] = Counter()
        self.unlocked: Counter[str] = Counter()
        self._patches = ExitStack()

    def __enter__(self) -> OtherDevice:
        self._patches.enter_context(mock.patch("torch.Generator", AnyGenerator))
        for name, stands_for in DRIVER.items():
            self._patches.enter_context(mock.patch(f"torch.cuda.{name}", stands_for))
        overwrite = torch.__future__.set_overwrite_module_params_on_conversion
        overwrite(True)  # a plain parameter cannot hold what is elsewhere
        self._patches.callback(overwrite, False)
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        self._patches.close()

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if function is Tensor.is_pinned:
            return hasattr(args[0], "is_locked")
        if function is Tensor.pin_memory:
            locked = args[0].clone()
            locked.is_locked = True
            return locked
        if function is Tensor.to:
            self._note_if_unlocked(*args, **kwargs)
            return _to(*args, **kwargs)
        if function in TO_HOST and isinstance(args[0], Elsewhere):
            raise AssertionError(f"{function.__name__} of a tensor that is on {DEVICE}")
        if function in READ and isinstance(args[0], Elsewhere):
            return function(args[0].held.clone(), *args[1:], **kwargs)
        if function in FROM_LISTS and (
            isinstance(args[0], Elsewhere) or _is_away(kwargs.get("device"))
        ):
            self.copies[function.__name__] += 1
            kwargs["device"] = "cpu"
            plain = torch.tensor if function is Tensor.new_tensor else function
            return _away(plain(*args[function is Tensor.new_tensor :], **kwargs))
        if _is_away(kwargs.get("device")):
            result = function(*args, **{**kwargs, "device": "cpu"})
            return tree_map(lambda x: x if isinstance(x, Elsewhere) else _away(x), result)
        return function(*args, **kwargs)

    def _note_if_unlocked(self, tensor: Tensor, *args: Any, **kwargs: Any) -> None:
        kwargs.pop("copy", None)
        device = args[0].device if args and isinstance(args[0], Tensor) else None
        device = device or torch._C._nn._parse_to(*args, **kwargs)[0]
        at_home = not isinstance(tensor, Elsewhere) and not hasattr(tensor, "is_locked")
        if at_home and _is_away(device) and tensor.dim() and (file := _asking_file()):
            self.unlocked[file] += 1


def _asking_file() -> str | None:
    """Return the file of the innermost frame outside torch and this file; None for no package's."""
    frame = sys._getframe(1)
    passed_over = (__file__, f"{torch.__path__[0]}/")
    while frame.f_back is not None and frame.f_code.co_filename.startswith(passed_over):
        frame = frame.f_back
    file = Path(frame.f_code.co_filename)
    return file.relative_to(PACKAGE).as_posix() if file.is_relative_to(PACKAGE) else None


def _is_away(device: Any) -> bool:
    return device is not None and torch.device(device).type == DEVICE.type


def _to(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    copy = kwargs.pop("copy", False)
    if args and isinstance(args[0], Tensor):
        args = (args[0].device, args[0].dtype, *args[1:])
    device, dtype, in_background, layout = torch._C._nn._parse_to(*args, **kwargs)
    is_safe = _is_away(device) and hasattr(tensor, "is_locked")
    if in_background and not is_safe and _asking_file():
        raise AssertionError("a copy in the background, not from locked memory to the device")
    if device is not None and isinstance(tensor, Elsewhere) != _is_away(device):
        moved = tensor.held if isinstance(tensor, Elsewhere) else Elsewhere(tensor.detach())
        tensor = moved.clone()
    changes = {"dtype": dtype or tensor.dtype, "copy": copy}
    if layout is not None:
        changes["memory_format"] = layout
    with torch._C.DisableTorchFunction():
        return Tensor.to(tensor, **changes)


def send(module: nn.Module) -> nn.Module:
    """Put the parameters and buffers of a module on the other device, in place."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                away = nn.Parameter(Elsewhere(parameter.detach()), parameter.requires_grad)
                part._parameters[name] = away
        for name, buffer in part._buffers.items():
            part._buffers[name] = None if buffer is None else Elsewhere(buffer.detach())
    return module
