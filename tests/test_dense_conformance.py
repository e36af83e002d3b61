"""What every method that segments must do."""

import pytest

from tests.test_conformance import PARAMS
from tta.experiment.segmenting import dense_methods
from tta.methods import find_method
from tta.methods.dense import dense_defaults
from tta.methods.params import build_params
from tta.testing.checking import _fault, _maker
from tta.testing.checks import CHECKS
from tta.testing.dense_checks import DENSE_CHECKS

OWN = {"cotta": {"scales": [0.5, 1.0], "confidence_threshold": 1.0}, "rmt": {}}


def maker(name, backbone):
    kind = find_method(name)
    wanted = OWN.get(name, PARAMS.get(name, {}))
    return _maker(
        kind, build_params(kind.Params, {**dense_defaults(kind), **wanted}, name), backbone
    )


def test_those_that_segment_are_these():
    assert set(dense_methods()) == {
        *("source", "bn", "bn_alpha", "bn_ema", "core", "tent", "pl", "rpl", "eta", "eata", "sar"),
        *("shot_im", "cotta", "rmt", "roid", "unmix_tns"),
    }


@pytest.mark.parametrize("name", dense_methods())
def test_a_method_that_segments_keeps_its_promises(name):
    kinds = [(check, "segmenting") for check in (*CHECKS, *DENSE_CHECKS)]
    kinds += [(check, "segmenting_pyramid") for check in DENSE_CHECKS]  # a map of one pixel
    faults = {
        f"{check.name} ({backbone})": fault
        for check, backbone in kinds
        if (fault := _fault(check, maker(name, backbone)))
    }
    assert not faults
