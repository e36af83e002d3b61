"""Adaptation methods by name, by entry point and by file.

What a method is made of is imported when it is asked for, so that the commands start fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tta.foundation.registry import Registry, lazy_attributes
from tta.methods.flaws import WANTED, flaw_of_method

if TYPE_CHECKING:
    from tta.methods.base import Method, Need, descend, make_optimizer, trainable
    from tta.methods.params import OptimizerParams, param

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

__getattr__ = lazy_attributes(
    __name__,
    dict.fromkeys(["Method", "Need", "descend", "make_optimizer", "trainable"], f"{__name__}.base")
    | dict.fromkeys(["OptimizerParams", "param"], f"{__name__}.params"),
)

METHODS: Registry[type[Method]] = Registry(
    "method",
    {
        "adacontrast": "tta.methods.adacontrast:AdaContrast",
        "adaptive_smoothing": "tta.methods.adaptive_smoothing:AdaptiveSmoothing",
        "asr": "tta.methods.asr:AdaptiveSelectiveReset",
        "atlas": "tta.methods.atlas:Atlas",
        "batclip": "tta.methods.batclip:BatClip",
        "bn": "tta.methods.bn:BatchNormOne",
        "bn_alpha": "tta.methods.bn_alpha:AlphaBatchNorm",
        "bn_ema": "tta.methods.bn_ema:BatchNormEma",
        "boostadapter": "tta.methods.boostadapter:BoostAdapter",
        "buffer": "tta.methods.buffer:Buffer",
        "cema": "tta.methods.cema:CloudEdgeModelAdaptation",
        "clipartt": "tta.methods.clipartt:ClipArtt",
        "cliptta": "tta.methods.cliptta:ClipTta",
        "cmf": "tta.methods.cmf:ContinualMomentumFiltering",
        "core": "tta.methods.core:Core",
        "cotta": "tta.methods.cotta:Cotta",
        "crop_selection": "tta.methods.crop_selection:CropSelection",
        "ctpt": "tta.methods.ctpt:CTpt",
        "deyo": "tta.methods.deyo:DestroyYourObject",
        "dmn": "tta.methods.dmn:Dmn",
        "dpcore": "tta.methods.dpcore:DynamicPromptCoreset",
        "dpe": "tta.methods.dpe:Dpe",
        "drm": "tta.methods.drm:DomainSpecificRiskMinimization",
        "eata": "tta.methods.eata:Eata",
        "eta": "tta.methods.eta:Eta",
        "foa": "tta.methods.foa:ForwardOnlyAdaptation",
        "gtta": "tta.methods.gtta:GradualTestTimeAdaptation",
        "imse": "tta.methods.imse:SpectralExperts",
        "lame": "tta.methods.lame:Lame",
        "memo": "tta.methods.memo:Memo",
        "mta": "tta.methods.mta:Mta",
        "neo": "tta.methods.neo:Neo",
        "note": "tta.methods.note:Note",
        "onzeta": "tta.methods.onzeta:OnZeta",
        "ostta": "tta.methods.ostta:Ostta",
        "owttt": "tta.methods.owttt:OpenWorldTraining",
        "palm": "tta.methods.palm:Palm",
        "petta": "tta.methods.petta:Petta",
        "pl": "tta.methods.pl:PseudoLabelling",
        "poem": "tta.methods.poem:Poem",
        "rdumb": "tta.methods.rdumb:RDumb",
        "rem": "tta.methods.rem:RankedEntropyMinimization",
        "reservoir": "tta.methods.reservoir:Reservoir",
        "rmt": "tta.methods.rmt:RobustMeanTeacher",
        "roid": "tta.methods.roid:Roid",
        "rotta": "tta.methods.rotta:Rotta",
        "rpl": "tta.methods.rpl:RobustPseudoLabelling",
        "rws": "tta.methods.rws:RobustWeightSignatures",
        "santa": "tta.methods.santa:Santa",
        "sar": "tta.methods.sar:Sar",
        "shot_im": "tta.methods.shot_im:ShotInformationMaximization",
        "source": "tta.methods.source:Source",
        "sotta": "tta.methods.sotta:Sotta",
        "spa": "tta.methods.spa:SelfBootstrapping",
        "stamp": "tta.methods.stamp:Stamp",
        "stata": "tta.methods.stata:StatA",
        "t3a": "tta.methods.t3a:T3a",
        "tda": "tta.methods.tda:Tda",
        "tea": "tta.methods.tea:Tea",
        "tent": "tta.methods.tent:Tent",
        "tps": "tta.methods.tps:Tps",
        "tpt": "tta.methods.tpt:Tpt",
        "tribe": "tta.methods.tribe:Tribe",
        "ttaug": "tta.methods.ttaug:AveragedViews",
        "unient": "tta.methods.unient:UnifiedEntropy",
        "unmix_tns": "tta.methods.unmix_tns:UnmixTns",
        "vida": "tta.methods.vida:VisualDomainAdapters",
        "vte": "tta.methods.vte:Vte",
        "watt": "tta.methods.watt:Watt",
        "zero": "tta.methods.zero:Zero",
    },
    entry_point_group="tta.methods",
    wanted=WANTED,
    flaw=flaw_of_method,
)


def find_method(name: str) -> type[Method]:
    """Return the method class that ``name`` stands for.

    Args:
        name: a registered name, or ``path/to/file.py:ClassName`` for a method of one's own.

    Raises:
        UserError: there is no such name, file or class, the file cannot be imported, or the class
            is no whole Method.
    """
    return METHODS.find(name)
