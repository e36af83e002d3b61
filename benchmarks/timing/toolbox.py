"""Methods of a checkout of mariodoebler/test-time-adaptation, to be timed beside those of here.

Nothing of it is part of this repository: the user names a folder. Its methods get the network of
:mod:`timing.subjects` in its own layout, synthetic source images, and thresholds that let every
sample pass, as the methods here do.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tta.backbones.backbone import Backbone
from tta.foundation.errors import UserError

FILES = {"bn": "norm_test", "bn_alpha": "norm_alpha", "bn_ema": "norm_ema"}
"""Its configuration files, where they are not called as methods are here."""
NEEDED = ("yacs", "iopath", "einops")
"""Packages that it works with."""
NOT_NEEDED = (
    "open_clip",
    "webdataset",
    "gdown",
    "requests",
    "autoattack",
    "geotorch",
    "clip",
    "wget",
)
"""Packages that it imports and the timed parts never call: of these a stand-in does."""
FULL_WORK = {
    "EATA.MARGIN_E0": 2.0,
    "EATA.D_MARGIN": 2.0,
    "DEYO.MARGIN": 2.0,
    "DEYO.PLPD": -2.0,
    "SAR.RESET_CONSTANT_EM": -1.0,
}
"""Its thresholds with which every sample passes."""


class Toolbox:
    """A checkout, imported.

    Args:
        folder: of the checkout, or its ``classification`` folder.

    Raises:
        UserError: it is no such checkout, or a package is missing that it is read with.
    """

    def __init__(self, folder: Path) -> None:
        inner = folder / "classification"
        self.folder = inner if inner.is_dir() else folder
        if not (self.folder / "methods" / "rmt.py").is_file():
            raise UserError(
                f"{folder} is no checkout of test-time-adaptation: it has no "
                "classification/methods/rmt.py"
            )
        missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
        if missing:
            raise UserError(f"it works with {', '.join(missing)}: pip install {' '.join(missing)}")
        sys.path.insert(0, str(self.folder))
        sys.meta_path.append(_StandIns())
        logging.disable(logging.INFO)
        if not torch.cuda.is_available():
            Tensor.cuda = _stay  # CMF names the device outright
        self.methods = importlib.import_module("methods")
        self.configuration = importlib.import_module("conf")
        self.registry = importlib.import_module("utils.registry").ADAPTATION_REGISTRY

    def __contains__(self, method: str) -> bool:
        return self._file(method).is_file()

    def step(
        self, method: str, backbone: Backbone, images: Tensor, **options: Any
    ) -> Callable[[], object]:
        """Return a call that takes one step of one of its methods on ``images`` ``[B, 3, H, W]``.

        Args:
            method: as it is called here.
            backbone: copied, and put in the layout of the toolbox.
            images: of a batch, which are source images too.
            options: of its configuration, ``OPTIM__LR=1e-4``.
        """
        network = backbone.clone().to(memory_format=torch.contiguous_format)
        network.model_preprocess = None
        images = images.contiguous()
        with tempfile.TemporaryDirectory() as folder, _sources(images, backbone.num_classes):
            settings = self._settings(method, images, folder, options)
            kind = self.registry.get(settings.MODEL.ADAPTATION)
            adapted = kind(cfg=settings, model=network, num_classes=backbone.num_classes)
        _mend(adapted)
        return lambda: adapted(images)

    def _file(self, method: str) -> Path:
        return self.folder / "cfgs" / "cifar10_c" / f"{FILES.get(method, method)}.yaml"

    def _settings(self, method: str, images: Tensor, folder: str, options: dict[str, Any]) -> Any:
        settings = self.configuration._CFG_DEFAULT.clone()
        settings.defrost()
        settings.merge_from_file(str(self._file(method)))
        count = len(images)
        chosen = {"CKPT_DIR": folder, "TEST.BATCH_SIZE": count, "RMT.NUM_SAMPLES_WARM_UP": count}
        chosen |= {"SOURCE.NUM_SAMPLES": count, **FULL_WORK}
        if images.shape[-1] > 32:
            chosen["CORRUPTION.DATASET"] = "imagenet_c"
        chosen |= {key.replace("__", "."): value for key, value in options.items()}
        settings.merge_from_list([part for pair in chosen.items() for part in pair])
        return settings


def _stay(tensor: Tensor, *_: object, **__: object) -> Tensor:
    return tensor


def _mend(method: nn.Module) -> None:
    """Mend what stops a method on a CPU: RoTTA's loss is called with an argument it has not."""
    if type(method).__name__ == "RoTTA":
        loss = method.loss_calculation
        method.loss_calculation = lambda *_: loss()


def _split(model: Backbone, *_: object) -> tuple[nn.Module, nn.Module]:
    return _Features(model), model.classifier


class _Features(nn.Module):
    """A backbone up to its classifier."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        return self.backbone.features(images)


@contextlib.contextmanager
def _sources(images: Tensor, num_classes: int) -> Iterator[None]:
    """Let its methods read these images as source images, and split our networks."""
    labels = torch.arange(len(images)) % num_classes
    data = TensorDataset(images, labels)

    def loader(*_: object, batch_size: int, **__: object) -> tuple[TensorDataset, DataLoader]:
        return data, DataLoader(data, batch_size=batch_size, shuffle=True)

    stand_ins = {"get_source_loader": loader, "split_up_model": _split}
    places = [
        (module, name, replacement)
        for key, module in list(sys.modules.items())
        if key.startswith("methods.")
        for name, replacement in stand_ins.items()
        if hasattr(module, name)
    ]
    before = [getattr(module, name) for module, name, _ in places]
    for module, name, replacement in places:
        setattr(module, name, replacement)
    try:
        yield
    finally:
        for (module, name, _), value in zip(places, before, strict=True):
            setattr(module, name, value)


class _StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Empty modules for :data:`NOT_NEEDED`, asked after everything that is installed."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name.split(".")[0] not in NOT_NEEDED:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = MagicMock(name=spec.name)
        module.__path__, module.__spec__ = [], spec
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""
