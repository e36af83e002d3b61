"""Adaptation methods by name, by entry point and by file."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from tta.errors import UserError
from tta.methods.base import Method, Need, descend, make_optimizer, trainable
from tta.methods.params import OptimizerParams, param
from tta.registry import Registry

__all__ = [
    "METHODS",
    "Method",
    "Need",
    "OptimizerParams",
    "descend",
    "find_method",
    "make_optimizer",
    "param",
    "trainable",
]

METHODS: Registry[type[Method]] = Registry(
    "method",
    {
        "adacontrast": "tta.methods.adacontrast:AdaContrast",
        "asr": "tta.methods.asr:AdaptiveSelectiveReset",
        "bn": "tta.methods.bn:BatchNormOne",
        "bn_alpha": "tta.methods.bn_alpha:AlphaBatchNorm",
        "bn_ema": "tta.methods.bn_ema:BatchNormEma",
        "cema": "tta.methods.cema:CloudEdgeModelAdaptation",
        "cmf": "tta.methods.cmf:ContinualMomentumFiltering",
        "core": "tta.methods.core:Core",
        "cotta": "tta.methods.cotta:Cotta",
        "deyo": "tta.methods.deyo:DestroyYourObject",
        "drm": "tta.methods.drm:DomainSpecificRiskMinimization",
        "eata": "tta.methods.eata:Eata",
        "eta": "tta.methods.eta:Eta",
        "foa": "tta.methods.foa:ForwardOnlyAdaptation",
        "gtta": "tta.methods.gtta:GradualTestTimeAdaptation",
        "lame": "tta.methods.lame:Lame",
        "memo": "tta.methods.memo:Memo",
        "note": "tta.methods.note:Note",
        "petta": "tta.methods.petta:Petta",
        "pl": "tta.methods.pl:PseudoLabelling",
        "rdumb": "tta.methods.rdumb:RDumb",
        "rem": "tta.methods.rem:RankedEntropyMinimization",
        "rmt": "tta.methods.rmt:RobustMeanTeacher",
        "roid": "tta.methods.roid:Roid",
        "rotta": "tta.methods.rotta:Rotta",
        "rpl": "tta.methods.rpl:RobustPseudoLabelling",
        "santa": "tta.methods.santa:Santa",
        "sar": "tta.methods.sar:Sar",
        "shot_im": "tta.methods.shot_im:ShotInformationMaximization",
        "source": "tta.methods.source:Source",
        "spa": "tta.methods.spa:SelfBootstrapping",
        "t3a": "tta.methods.t3a:T3a",
        "tent": "tta.methods.tent:Tent",
        "ttaug": "tta.methods.ttaug:AveragedViews",
    },
    entry_point_group="tta.methods",
)


def find_method(name: str) -> type[Method]:
    """Return the method class that ``name`` stands for.

    Args:
        name: a registered name, or ``path/to/file.py:ClassName`` for a method of one's own.

    Raises:
        UserError: there is no such name, file or class, the file cannot be imported, or the class
            is no whole Method.
    """
    path, colon, class_name = name.rpartition(":")
    if not (colon and path.endswith(".py")):
        return METHODS[name]
    return _from_file(Path(path), class_name)


def _from_file(path: Path, class_name: str) -> type[Method]:
    if not path.is_file():
        raise UserError(f"method file {str(path)!r} does not exist; give path/to/file.py:ClassName")
    found = getattr(_imported(path), class_name, None)
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise UserError(
            f"{str(path)!r} has no subclass of tta.methods.Method named {class_name!r}; "
            "check the name after the colon"
        )
    if not isinstance(getattr(found, "name", None), str):
        raise UserError(
            f"class {class_name} in {str(path)!r} has no name; give it one, such as "
            f"name = {class_name.lower()!r}"
        )
    if not dataclasses.is_dataclass(found.Params):
        raise UserError(
            f"{class_name}.Params in {str(path)!r} is no dataclass; put "
            "@dataclass(frozen=True) above it"
        )
    return found


def _imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tta_user_{path.stem}", path)
    assert spec is not None and spec.loader is not None  # noqa: S101 - a .py file has a loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up while the class is made
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == spec.origin]
        line = lines[-1] if lines else getattr(error, "lineno", None)
        place = f" in line {line}" if line else ""
        cure = "install it" if isinstance(error, ModuleNotFoundError) else "mend the file"
        raise UserError(
            f"method file {str(path)!r} fails{place} ({type(error).__name__}: {error}); {cure}"
        ) from error
    return module
