"""Files that are taken for checkpoints: read by their content, or named for what they are."""

from __future__ import annotations

import argparse
import bz2
import gzip
import io
import lzma
import os
import pathlib
import pickle
import random
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tta.backbones.checkpoint_file import read_checkpoint
from tta.experiment.saving.state_file import read_state, write_state
from tta.foundation.cache import PreparationCache
from tta.foundation.errors import UserError

STATE = {"conv.weight": torch.arange(6.0).view(2, 3), "bn.num_batches_tracked": torch.tensor(3)}


def saved(**options) -> bytes:
    buffer = io.BytesIO()
    torch.save(STATE, buffer, **options)
    return buffer.getvalue()


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, saved())
    return buffer.getvalue()


def tarred(name: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


def script() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), buffer)
    return buffer.getvalue()


def arrays(write) -> bytes:
    buffer = io.BytesIO()
    write(buffer, np.zeros(3))
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["c.pth", "c.safetensors", "c.ckpt", "c", "c.SAFETENSORS"])
@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_the_content_decides_and_not_the_name(tmp_path, name, form):
    file = tmp_path / name
    if form == "safetensors":
        save_file(STATE, file)
    else:
        file.write_bytes(saved(_use_new_zipfile_serialization=form == "zip"))
    read = read_checkpoint(file)
    assert all(torch.equal(read.content[key], STATE[key]) for key in STATE)
    as_named = (file.suffix.lower() == ".safetensors") == (form == "safetensors")
    assert bool(read.form) is not as_named
    assert as_named or "by its content" in read.form


FOREIGN = {
    "TorchScript archive": (script, "state_dict"),
    "an ONNX model": (lambda: b"\x08\x08\x12\x07pytorch\x3a\x02\x0a\x00", "safetensors"),
    "an .npz file": (lambda: arrays(lambda f, a: np.savez(f, a=a)), "safetensors"),
    "a NumPy array": (lambda: arrays(np.save), "safetensors"),
    "an HDF5 file": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(90), "safetensors"),
    "a Keras model": (
        lambda: zipped("metadata.json", "config.json", "model.weights.h5"),
        "safetensors",
    ),
    "an exported program": (lambda: zipped("m/archive_format", "m/models/model.json"), "export"),
    "a SavedModel of TensorFlow": (lambda: b"\x08\x01\x12\x80" + bytes(90), "safetensors"),
    "part of a TensorFlow checkpoint": (
        lambda: bytes(40) + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb",
        "safetensors",
    ),
    "a TensorFlow Lite model": (lambda: b"\x1c\0\0\0TFL3" + bytes(90), "safetensors"),
    "a GGUF file": (lambda: b"GGUF\x03\0\0\0" + bytes(90), "safetensors"),
    "compressed by gzip": (lambda: gzip.compress(saved()), "unpack"),
    "compressed by bzip2": (lambda: bz2.compress(saved()), "unpack"),
    "compressed by xz": (lambda: lzma.compress(saved()), "unpack"),
    "compressed by zstd": (lambda: b"\x28\xb5\x2f\xfd" + bytes(90), "unpack"),
    "a zip archive of weights/model.pth": (lambda: zipped("weights/model.pth"), "unpack"),
    "a tar archive of model.pth": (lambda: tarred("model.pth"), "unpack"),
    "the form that PyTorch wrote before 0.2": (lambda: tarred("sys_info"), "state dict"),
    "a pointer of Git LFS": (lambda: b"version https://git-lfs.github.com/spec/v1\n", "lfs pull"),
    "a text of JSON": (lambda: b'{"weight_map": {"conv1.weight": "a.safetensors"}}', "index"),
    "a text of XML": (lambda: b"<?xml version='1.0'?><net/>", "safetensors"),
    "a web page": (lambda: b"\n<!DOCTYPE html><html>", "download"),
    "is empty": (lambda: b"", "download"),
    "neither a safetensors file nor": (lambda: b"some words", "name a checkpoint"),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("what", FOREIGN)
def test_other_files_are_named_for_what_they_are(tmp_path, what, name):
    make, cure = FOREIGN[what]
    (tmp_path / name).write_bytes(make())
    with pytest.raises(UserError, match=what) as caught:
        read_checkpoint(tmp_path / name)
    assert cure in str(caught.value).partition(what)[2]


@pytest.mark.parametrize(("name", "what"), [("m.onnx", "an ONNX"), ("m.msgpack", "a Flax")])
def test_what_has_no_mark_is_named_by_its_suffix(tmp_path, name, what):
    (tmp_path / name).write_bytes(b"\x85\xa1 some bytes")
    with pytest.raises(UserError, match=f"is {what}"):
        read_checkpoint(tmp_path / name)


def test_arguments_of_a_training_script_do_not_hinder(tmp_path):
    content = {"state_dict": STATE, "args": argparse.Namespace(lr=0.1, model="resnet18")}
    torch.save(content, tmp_path / "c.pth")
    assert read_checkpoint(tmp_path / "c.pth").content["args"].lr == 0.1
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


def test_a_whole_model_is_named_so(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "c.pth")
    with pytest.raises(UserError, match="most likely a whole model .*save model.state_dict"):
        read_checkpoint(tmp_path / "c.pth")


@pytest.fixture(params=["2.4.0", "2.5.1+cu121", "2.6.0", "2.9.1", "2.10.0", "2.14.1", "3.0.0a0"])
def version(request, monkeypatch):
    monkeypatch.setattr(torch, "__version__", request.param)
    return request.param


def safe(version: str) -> bool:
    return version in ("2.10.0", "2.14.1", "3.0.0a0")


def test_pickles_are_refused_where_torch_can_be_misled(tmp_path, version):
    file, plain = tmp_path / "c.pth", tmp_path / "c.safetensors"
    file.write_bytes(saved())
    save_file(STATE, plain)
    assert read_checkpoint(plain).content.keys() == STATE.keys()
    if safe(version):
        assert read_checkpoint(file).content.keys() == STATE.keys()
        return
    with pytest.raises(UserError, match="upgrade to torch 2.10 or newer, or .* safetensors") as got:
        read_checkpoint(file)
    assert version in str(got.value)


def test_the_cache_is_computed_again_where_torch_can_be_misled(tmp_path, version, monkeypatch):
    monkeypatch.setenv("TTA_CACHE_DIR", str(tmp_path))
    cache = PreparationCache({"a": 1})
    cache.save({"mean": torch.ones(2)})
    assert (cache.load() is not None) is safe(version)


def test_ones_own_state_is_read_by_any_torch(tmp_path, version):
    write_state(tmp_path / "state.pt", {"mean": torch.ones(2)}, "f1")
    assert torch.equal(read_state(tmp_path / "state.pt", "f1")["mean"], torch.ones(2))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.pth", "does not exist"),
        (".", "is a directory"),
        ("file.pth/below", "cannot be looked at .Not a directory"),
        ("x" * 256, "cannot be looked at .File name too long"),
        ("a\0b", "cannot be the name of a file"),
        ("\ud800", "cannot be the name of a file"),
        ("\udcff.pth", "does not exist"),
        ("loop", "cannot be looked at "),
        ("pipe", "is a pipe, a socket or a device"),
        ("/dev/zero", "is a pipe, a socket or a device"),
        ("~no-such-user/w.pth", "cannot be the name of a file"),
    ],
)
def test_paths_that_lead_to_no_file(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("file.pth").write_bytes(saved())
    os.mkfifo("pipe")
    os.symlink("loop", "loop")
    with pytest.raises(UserError, match=message) as caught:
        read_checkpoint(name)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission(tmp_path):
    (tmp_path / "c.pth").write_bytes(saved())
    (tmp_path / "c.pth").chmod(0)
    with pytest.raises(UserError, match="cannot be (read: |looked at .)Permission denied"):
        read_checkpoint(tmp_path / "c.pth")


def test_permission_of_a_folder_is_said(tmp_path, monkeypatch):
    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "stat", denied)
    with pytest.raises(UserError, match="cannot be looked at .Permission denied.; check the path"):
        read_checkpoint(tmp_path / "c.pth")


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors", "code"])
def test_damaged_bytes_give_the_weights_or_one_message(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "c.bin"
    if form == "safetensors":
        save_file(STATE, file)
        whole = file.read_bytes()
    elif form == "code":
        whole = pickle.dumps({"w": RunsCode()}, protocol=2)
    else:
        whole = saved(_use_new_zipfile_serialization=form == "zip")
    draw = random.Random(0)
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        file.write_bytes(damaged[: draw.choice([len(damaged), draw.randrange(len(damaged))])])
        try:
            found = read_checkpoint(file).content
        except UserError as error:
            assert "c.bin" in str(error)
        else:
            if form == "zip":  # the one form with checksums
                assert all(torch.equal(found[key], value) for key, value in STATE.items())
    assert not (tmp_path / "executed").exists()
