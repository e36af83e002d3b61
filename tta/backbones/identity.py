"""What a network of the user's program is, as a digest: its weights, settings and code."""

from __future__ import annotations

import enum
import functools
import hashlib
import sys
import types
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tta.backbones.clip.text_side import TextSide

_PLAIN = (type(None), bool, int, float, complex, str, bytes, enum.Enum, np.generic, Path)
_OF_TORCH = (torch.dtype, torch.device, torch.layout, torch.memory_format)
_KNOWN = {"torch", "torchvision", "timm", "numpy", "tta", *sys.stdlib_module_names}
"""Packages whose code counts as it does for networks that are called by name."""


def model_identity(network: nn.Module) -> tuple[str, list[Path]]:
    """Return a digest of all that a network is made of, and the files that its classes are in.

    Every attribute of every module counts, hooks included, but for whether it is in training.
    Where something cannot be looked into, the digest is one that no other call returns: two
    networks may pass for different ones though they are equal, but never for equal ones.
    """
    found = _Description()
    found.visit(network)
    return found.sha.hexdigest(), sorted(found.files)


class _Description:
    """A digest of a value and of all that it refers to, in the order in which it is reached."""

    def __init__(self) -> None:
        self.sha = hashlib.sha256()
        self.files: set[Path] = set()
        self._numbers: dict[int, int] = {}
        self._kept: list[Any] = []  # so that no number of an object is used again

    def visit(self, value: Any) -> None:
        if isinstance(value, (*_PLAIN, *_OF_TORCH)):
            return self._note(type(value).__qualname__, repr(value))
        if type(value) is not tuple:  # of which equal ones may be one object or several
            if id(value) in self._numbers:
                return self._note("again", self._numbers[id(value)])
            self._numbers[id(value)] = len(self._numbers)
            self._kept.append(value)
        self._visit_whole(value)

    def _visit_whole(self, value: Any) -> None:
        if isinstance(value, Tensor):
            self._tensor(value)
        elif isinstance(value, TextSide):  # its tower is in the backbone's digest of weights
            self._note("text", value.digest, value.scale, value.bias)
        elif isinstance(value, np.ndarray):
            self._note("array", value.dtype, value.shape, value.tolist())
        elif isinstance(value, type):
            self._type(value)
        elif isinstance(value, functools.partial):
            self._items("partial", [value.func, value.args, value.keywords])
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, types.MethodType):
            self._items("method", [value.__func__, value.__self__])
        elif isinstance(value, types.BuiltinFunctionType):
            self._note("builtin", value.__module__, value.__qualname__)
        elif isinstance(value, (property, staticmethod, classmethod)):
            self._items("wrapped", [getattr(value, "fget", None) or getattr(value, "__func__", 0)])
        else:
            self._object(value)

    def _object(self, value: Any) -> None:
        is_container = isinstance(value, (dict, list, tuple, set, frozenset))
        if not is_container and (not hasattr(value, "__dict__") or hasattr(value, "__slots__")):
            return self._note("unknown", uuid.uuid4())
        self.visit(type(value))
        if isinstance(value, dict):
            self._items("keys", [*value, *value.values()])
        elif isinstance(value, (set, frozenset)):
            self._items("set", sorted(value, key=repr))
        elif is_container:
            self._items("items", value)
        self._attributes(value)

    def _attributes(self, value: Any) -> None:
        for name, attribute in sorted(getattr(value, "__dict__", {}).items()):
            if isinstance(value, nn.Module) and name.endswith("_hooks"):
                attribute = list(attribute.values())  # their keys count all hooks ever made
            if not isinstance(value, nn.Module) or name != "training":
                self._note("attribute", name)
                self.visit(attribute)

    def _tensor(self, value: Tensor) -> None:
        content = value.detach().cpu().contiguous().reshape(-1)
        self._note(type(value).__qualname__, value.dtype, tuple(value.shape))
        self.sha.update(content.view(torch.uint8).numpy().data)

    def _type(self, kind: type) -> None:
        self._note("type", kind.__module__, kind.__qualname__)
        if _is_known(kind.__module__):
            return
        self._file(kind.__module__)
        for name, attribute in sorted(vars(kind).items()):
            if not name.startswith("__") and name != "_abc_impl" or name == "__init__":
                self._note("class attribute", name)
                self.visit(attribute)
        for base in kind.__bases__:
            self.visit(base)

    def _function(self, function: types.FunctionType) -> None:
        self._note("function", function.__module__, function.__qualname__)
        if not _is_known(function.__module__):
            self._file(function.__module__)
        self._code(function.__code__)
        cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
        self._items("closure", [function.__defaults__, function.__kwdefaults__, *cells])

    def _code(self, code: types.CodeType) -> None:
        self._note(code.co_code, code.co_names, code.co_varnames, code.co_freevars)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._code(constant)
            else:
                self.visit(constant)

    def _file(self, module: str | None) -> None:
        file = getattr(sys.modules.get(module or ""), "__file__", None)
        if file is None:
            return self._note("no file", uuid.uuid4())
        self.files.add(Path(file))

    def _items(self, kind: str, values: Iterable[Any]) -> None:
        values = list(values)
        self._note(kind, len(values))
        for value in values:
            self.visit(value)

    def _note(self, *words: Any) -> None:
        self.sha.update(f"{words!r}\n".encode(errors="surrogatepass"))


def _is_known(module: str | None) -> bool:
    return (module or "").partition(".")[0] in _KNOWN


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - asked for to see whether it is there
    except ValueError:
        return False
    return True
