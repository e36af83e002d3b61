import pickle
import struct

import numpy as np
import pytest
import torch

from tests.assets import asset
from tests.datasets.layouts import cifar_binary, cifar_c
from tta.corruptions import CORRUPTIONS, corrupt
from tta.datasets import open_dataset
from tta.foundation.errors import UserError
from tta.streams import ScenarioOptions, plan_stream

TWO = ("fog", "snow")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    cifar_c(root / "CIFAR-10-C", TWO)
    return root


def test_severities_are_slices_of_the_published_files(published):
    data = open_dataset("cifar10-c", published)
    assert data.domains == CORRUPTIONS
    for number, domain in enumerate(TWO):
        for severity in data.severities:
            images = data.images(domain, severity, np.array([2, 0, 1]))
            assert images.shape == (3, 3, 32, 32)
            assert images[:, :, 0, 0].tolist() == [[number, severity, row] for row in (2, 0, 1)]
            assert data.labels(domain, severity)[:8].tolist() == [0, 1, 2, 3, 4, 5, 6, 0]
            assert len(data.labels(domain, severity)) == 10_000
    data.check(TWO, data.severities)


def test_neighbouring_rows_are_not_copied(published):
    data = open_dataset("cifar10-c", published)
    images = data.images("fog", 2, np.arange(10, 20))
    assert images.data_ptr() == data._array("fog")[10_010:].ctypes.data


def test_the_order_of_the_stream_is_fixed(published):
    data = open_dataset("cifar10-c", published)
    plan = plan_stream("continual", data, ScenarioOptions(domains=TWO))
    assert len(plan) == 20_000
    assert plan.digest[:12] == "70ee2dcb7249"


def test_the_digest_follows_all_images_in_use_and_not_their_place(published, tmp_path):
    def digest(folder, severities=(5,)):
        data = open_dataset("cifar10-c", folder)
        data.check(TWO, severities)
        return data.digest()

    cifar_c(tmp_path / "CIFAR-10-C", TWO)
    known = {levels: digest(tmp_path, levels) for levels in ((5,), (1,), (1, 5))}
    assert known == {levels: digest(published, levels) for levels in known}
    assert len(set(known.values())) == 3
    for row, levels in ((40_001, {(5,), (1, 5)}), (49_999, {(5,), (1, 5)}), (7, {(1,), (1, 5)})):
        array = np.load(tmp_path / "CIFAR-10-C" / "snow.npy", mmap_mode="r+")
        array[row, 5, 5] ^= 9
        array.flush()
        now = {levels: digest(tmp_path, levels) for levels in known}
        assert {levels for levels in known if now[levels] != known[levels]} == levels
        known = now


def truncate(file, keep):
    with file.open("r+b") as stream:
        stream.truncate(keep)


FAULTS = {
    "no file": lambda folder: (folder / "fog.npy").unlink(),
    "truncated or no array": lambda folder: truncate(folder / "fog.npy", 1_000_000),
    "truncated or no": lambda folder: (folder / "fog.npy").write_bytes(b"<html>not found</html>"),
    r"has shape \[10, 32, 32, 3\]": lambda folder: np.save(
        folder / "fog.npy", np.zeros((10, 32, 32, 3), np.uint8)
    ),
    "holds int16, not uint8": lambda folder: np.lib.format.open_memmap(
        folder / "fog.npy", "w+", np.int16, (50_000, 32, 32, 3)
    ),
    r"labels.npy' has shape \[9000\]": lambda folder: np.save(
        folder / "labels.npy", np.zeros(9000, np.int64)
    ),
    "labels outside 0 .. 9": lambda folder: np.save(folder / "labels.npy", np.full(50_000, 10)),
    "labels.npy'; get it": lambda folder: (folder / "labels.npy").unlink(),
}


@pytest.mark.parametrize("message", FAULTS)
def test_faults_are_found_before_the_stream(message, tmp_path):
    cifar_c(tmp_path / "CIFAR-10-C", ("fog",))
    FAULTS[message](tmp_path / "CIFAR-10-C")
    data = open_dataset("cifar10-c", tmp_path)
    with pytest.raises(UserError, match=message) as error:
        data.labels("fog", 5)
        data.check(("fog",), (5,))
    assert "python -m tta.get cifar10-c" in str(error.value)


def test_permission_denied_is_named(published, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(np, "load", refuse)
    with pytest.raises(UserError, match=r"labels.npy' cannot be read \(Permission denied\)"):
        open_dataset("cifar10-c", published).check(("fog",), (5,))


def python2_batch(key, planes, labels):
    """Return the pickle that Python 2 made of a batch: its strings are of no Python 3 type."""
    rows, values = planes.shape
    shape = b"M" + struct.pack("<H", rows) + b"M" + struct.pack("<H", values) + b"\x86"
    unset = b"J\xff\xff\xff\xff"
    dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNN" + unset + unset + b"K\x00tb"
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    data = b"T" + struct.pack("<i", planes.size) + planes.tobytes()
    array = empty + b"(K\x01" + shape + dtype + b"I00\n" + data + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    name = b"U" + bytes([len(key)]) + key.encode()
    return b"\x80\x02}(U\x04data" + array + name + numbers + b"u."


def test_binary_and_python_batches_are_the_same_images(tmp_path):
    binary, python = tmp_path / "a", tmp_path / "b"
    binary.mkdir(), (python / "cifar-100-python").mkdir(parents=True)
    cifar_binary(binary / "cifar-100-binary", {"test.bin": 10_000}, label_bytes=2)
    planes = np.zeros((10_000, 3072), np.uint8)
    planes[:, 0] = np.arange(10_000) % 256
    batch = python2_batch("fine_labels", planes, [k % 10 for k in range(10_000)])
    (python / "cifar-100-python" / "test").write_bytes(batch)
    opened = [open_dataset("cifar100-c@gen", root) for root in (binary, python)]
    assert opened[0].digest() == opened[1].digest()
    assert opened[0].labels("fog", 5)[:12].tolist() == [*range(10), 0, 1]
    rows = np.array([3, 300])
    expected = corrupt(torch.from_numpy(planes[rows]).reshape(2, 3, 32, 32), "fog", 5, ids=[3, 300])
    assert torch.equal(opened[1].images("fog", 5, rows), expected)


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("executed",)

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "test_batch").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UserError, match="asks for builtins.print"):
        open_dataset("cifar10-c@gen", tmp_path)


def test_training_batches_in_order(tmp_path):
    names = {f"data_batch_{number}.bin": 10_000 for number in range(1, 6)}
    cifar_binary(tmp_path / "cifar-10-batches-bin", names, label_bytes=1)
    data = open_dataset("cifar10", tmp_path)
    assert len(data.labels("train")) == 50_000
    assert data.images("train", 0, np.array([10_001]))[0, :, 0, 0].tolist() == [1, 0, 0]
    (tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin").write_bytes(bytes(3073 * 7))
    with pytest.raises(UserError, match="data_batch_3.bin' holds 7 images"):
        open_dataset("cifar10", tmp_path)


def test_a_part_of_the_images_keeps_their_numbers(tmp_path):
    (tmp_path / "cifar10").mkdir()
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    np.savez(
        tmp_path / "cifar10" / "test_some.npz", images=images, labels=range(4), index=[9, 5, 7, 30]
    )
    data = open_dataset("cifar10-c@gen", tmp_path)
    one = data.images("gaussian_noise", 3, np.array([2]))
    clean = torch.from_numpy(images[2:3]).permute(0, 3, 1, 2)
    assert torch.equal(one, corrupt(clean, "gaussian_noise", 3, ids=[7]))


def test_nothing_there_names_what_is_expected(tmp_path):
    with pytest.raises(UserError, match="cifar-10-batches-bin.*tta.get cifar10 "):
        open_dataset("cifar10-c@gen", tmp_path)


def test_real_images_are_corrupted_on_the_fly():
    data = open_dataset("cifar10-c@gen", asset("data"))
    images = data.images("gaussian_noise", 5, np.arange(64))
    clean = torch.from_numpy(data._clean.images[:64]).permute(0, 3, 1, 2)
    difference = (images.float() - clean.float()).std() / 255
    assert 0.07 < difference < 0.1  # the published deviation of 0.10, less what is clipped
