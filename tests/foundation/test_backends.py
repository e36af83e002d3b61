"""Flags of torch: as a run wants them within, as they were after it."""

from __future__ import annotations

import os

import pytest
import torch

from tta.config import RunConfig
from tta.experiment import assembly
from tta.foundation import backends
from tta.foundation.backends import WORKSPACE, flags, full_float32, rounding
from tta.foundation.errors import UserError

CUDA, CPU = torch.device("cuda:1"), torch.device("cpu")
HAS_NEW = hasattr(torch.backends.cudnn, "conv")
NOT_DETERMINISTIC = (
    "kthvalue CUDA does not have a deterministic implementation, but you set "
    "'torch.use_deterministic_algorithms(True)'. You can turn off determinism just for this"
)


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    monkeypatch.delenv(WORKSPACE, raising=False)
    before = flags()
    yield
    os.environ.pop(WORKSPACE, None)
    torch.set_deterministic_debug_mode(0)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("highest")
    assert flags() == before


def new_flags():
    return [backends._read(name) for name in backends._SWITCHES] if HAS_NEW else []


@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize("convolutions", [False, True])
@pytest.mark.parametrize("products", ["highest", "high", "medium"])
def test_products_are_rounded_as_said_and_flags_are_put_back(tf32, convolutions, products):
    torch.backends.cudnn.allow_tf32 = convolutions
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision(products)
    before, new = flags(), new_flags()
    with rounding(CUDA, tf32):
        found = flags()
        assert found["tf32"] is found["tf32_convolutions"] is tf32
        assert found["float32_matmul_precision"] == ("high" if tf32 else "highest")
        assert not found["cudnn_benchmark"] and not found["deterministic"]
    assert flags() == before
    assert new_flags() == new


@pytest.mark.parametrize("tf32", [False, True])
def test_what_is_inverted_is_never_rounded_to_tf32(tf32):
    with rounding(CUDA, tf32):
        before = flags(), new_flags()
        with full_float32():
            assert not flags()["tf32"] and "tf32" not in new_flags()
        assert (flags(), new_flags()) == before


@pytest.mark.skipif(not HAS_NEW, reason="torch before 2.9")
def test_a_program_that_multiplies_in_tf32_the_new_way_is_heard_there_too():
    before = new_flags()
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        with full_float32():
            assert "tf32" not in new_flags()[:1]
        assert new_flags()[0] == "tf32"
    finally:
        for name, value in zip(backends._SWITCHES, before, strict=True):
            backends._write(name, value)


@pytest.mark.skipif(not HAS_NEW, reason="torch before 2.9")
@pytest.mark.parametrize("tf32", [False, True])
def test_flags_that_a_program_has_set_the_new_way_are_heard_and_put_back(tf32):
    torch.backends.fp32_precision = "tf32"  # from here on the old flags cannot be read
    try:
        before = new_flags()
        with rounding(CUDA, tf32):
            assert flags()["tf32"] is flags()["tf32_convolutions"] is tf32
            assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"
        assert new_flags() == before
    finally:
        torch.backends.fp32_precision = "none"
        for name in backends._SWITCHES:
            backends._write(name, "none")


def test_an_error_puts_flags_back():
    before = flags()
    with pytest.raises(ZeroDivisionError), rounding(CUDA, True, True):
        raise ZeroDivisionError
    assert flags() == before


def test_deterministic_is_of_cuda_and_is_put_back():
    with rounding(CPU, deterministic=True):
        assert not torch.are_deterministic_algorithms_enabled()
        assert WORKSPACE not in os.environ
    with rounding(CUDA, deterministic=True):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.benchmark
        assert os.environ[WORKSPACE] == ":4096:8"
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic


def test_an_operator_without_a_deterministic_algorithm_is_named():
    with pytest.raises(UserError, match="^--deterministic: the operator kthvalue CUDA has no"):
        with rounding(CUDA, deterministic=True):
            raise RuntimeError(NOT_DETERMINISTIC)
    with pytest.raises(RuntimeError, match="^other$"), rounding(CUDA, deterministic=True):
        raise RuntimeError("other")


def test_torch_says_it_in_these_words():
    """On the CPU, where an operator of that kind is refused as well."""
    torch.use_deterministic_algorithms(True)
    with pytest.raises(RuntimeError) as raised:
        torch.empty(3).put_(torch.tensor([0]), torch.ones(1))
    with pytest.raises(UserError, match="the operator put_ has no"):
        backends._refuse_operator(raised.value)


def test_cublas_is_told_before_a_question_starts_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def asks(*_):
        raise UserError(f"asked with {os.environ[WORKSPACE]}")

    monkeypatch.setattr(assembly, "choose_device", asks)
    with pytest.raises(UserError, match="asked with :4096:8"):
        assembly.build(RunConfig(deterministic=True))


def test_what_cublas_was_started_with_cannot_be_changed(monkeypatch):
    monkeypatch.setenv(WORKSPACE, ":0:0")
    with pytest.raises(UserError, match="CUBLAS_WORKSPACE_CONFIG=:4096:8, and it is ':0:0'"):
        with rounding(CUDA, deterministic=True):
            pass
    monkeypatch.delenv(WORKSPACE)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(UserError, match="was not set before CUDA started"):
        with rounding(CUDA, deterministic=True):
            pass
    monkeypatch.setenv(WORKSPACE, ":16:8")
    with rounding(CUDA, deterministic=True):
        pass
