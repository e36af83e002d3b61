"""Checkpoints as found in the world: wrapped, prefixed, damaged, hostile."""

from __future__ import annotations

import pathlib
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tta.backbones.checkpoint import load_checkpoint, weights_sha256
from tta.backbones.checkpoint_file import read_checkpoint
from tta.foundation.errors import UserError


def make_model():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


@pytest.fixture
def state():
    return make_model().state_dict()


class Hostile:
    """A pickle of this creates a file when it is loaded."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return pathlib.Path.touch, (self.target,)


@pytest.mark.parametrize("wrap", [(), ("state_dict",), ("model",), ("net",), ("model", "net")])
@pytest.mark.parametrize("prefix", ["", "module.", "module.module."])
def test_wrappers_and_prefixes_are_taken_off(tmp_path, state, wrap, prefix):
    content = {prefix + key: value for key, value in state.items()}
    for key in wrap:
        content = {key: content, "epoch": 3}
    read = load(tmp_path, content).state_dict()
    assert all(torch.equal(read[key], state[key]) for key in state)


def test_a_wrapper_key_that_holds_a_name_is_no_wrapper(tmp_path, state):
    read = load(tmp_path, {"model": "wrn", "state_dict": state}).state_dict()
    assert all(torch.equal(read[key], state[key]) for key in state)


def test_the_digest_depends_on_the_weights_and_not_on_the_file(tmp_path, state):
    torch.save(state, tmp_path / "zip.pt")
    torch.save(state, tmp_path / "legacy.th", _use_new_zipfile_serialization=False)
    without_counter = {k: v for k, v in state.items() if k != "1.num_batches_tracked"}
    save_file(without_counter, tmp_path / "plain.safetensors")
    digests = set()
    for file in ("zip.pt", "legacy.th", "plain.safetensors"):
        model = make_model()
        load_checkpoint(model, read_checkpoint(tmp_path / file), "mine")
        digests.add(weights_sha256(model))
    assert len(digests) == 1
    for parameter in (model[0].weight, model[1].running_var):
        parameter.data[0] += 1e-3
        digests.add(weights_sha256(model))
    digests.add(weights_sha256(model.double()))
    assert len(digests) == 4


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path, state, form):
    file, target = tmp_path / "c.pt", tmp_path / "created"
    content = {"state_dict": state, "extra": Hostile(target)}
    if form == "pickle":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(UserError, match="refused .* pickle that would run code .* safetensors"):
        read_checkpoint(file)
    assert not target.exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><html><body>Quota exceeded", "is a web page"),
        (b"404: not found, and some more words", "neither a safetensors|is damaged"),
    ],
)
def test_what_is_no_checkpoint_is_named_so(tmp_path, suffix, content, message):
    file = tmp_path / f"c{suffix}"
    file.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_checkpoint(file)


@pytest.mark.parametrize("form", ["zip.pt", "legacy.pt", "c.safetensors"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_a_file_that_is_cut_short_is_refused(tmp_path, state, form, share):
    file = tmp_path / form
    if form == "c.safetensors":
        save_file(state, file)
    else:
        torch.save(state, file, _use_new_zipfile_serialization=form == "zip.pt")
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError, match="damaged or cut short"):
        read_checkpoint(file)


def test_paths_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_checkpoint(tmp_path / "missing.pt")
    with pytest.raises(UserError, match="is a directory"):
        read_checkpoint(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be looked at"):
        read_checkpoint(tmp_path / "file" / "below.pt")


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {"state_dict": {"w": 1.0}}])
def test_a_checkpoint_without_weights_is_refused(tmp_path, content):
    with pytest.raises(UserError, match="holds no state dict"):
        load(tmp_path, content)


def load(tmp_path, state):
    torch.save(state, tmp_path / "c.pt")
    model = make_model()
    load_checkpoint(model, read_checkpoint(tmp_path / "c.pt"), "mine")
    return model


def test_keys_that_do_not_match_are_refused_and_listed(tmp_path, state):
    state["0.weights"] = state.pop("0.weight")
    state["1.running_mean"] = torch.zeros(5)
    with pytest.raises(UserError, match="does not fit backbone 'mine'") as caught:
        load(tmp_path, state)
    assert "missing: 0.weight;" in str(caught.value)
    assert "unexpected: 0.weights;" in str(caught.value)
    assert "of another shape: 1.running_mean [5] instead of [4];" in str(caught.value)


def test_a_long_list_of_keys_is_cut(tmp_path, state):
    with pytest.raises(UserError, match="and 32 more;") as caught:
        load(tmp_path, state | {f"extra{i}": torch.zeros(1) for i in range(40)})
    assert str(caught.value).count("extra") == 8


def test_a_mismatch_leaves_the_model_as_it_was(tmp_path, state):
    torch.save({"0.weight": torch.zeros_like(state["0.weight"])}, tmp_path / "c.pt")
    model = make_model()
    before = weights_sha256(model)
    with pytest.raises(UserError, match="missing"):
        load_checkpoint(model, read_checkpoint(tmp_path / "c.pt"), "mine")
    assert weights_sha256(model) == before
