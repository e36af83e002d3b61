"""Hyper-parameters from text."""

from tta.methods.params import build_params
from tta.methods.t3a import T3a


def test_text_becomes_a_number_of_the_type_that_is_declared():
    params = build_params(T3a.Params, {"support_size": "1e2"}, "t3a")
    assert params.support_size == 100 and isinstance(params.support_size, int)
    assert build_params(T3a.Params, {"support_size": None}, "t3a").support_size is None
