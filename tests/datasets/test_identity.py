"""A data set is told by every file that it is made of, and decoded images by theirs."""

import dataclasses
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.datasets.layouts import cifar_binary, resize_facts, write_images
from tta.backbones import create_backbone
from tta.config import RunConfig
from tta.datasets import identity, open_dataset
from tta.datasets.decoded_cache import open_cache_folder
from tta.datasets.domain_folders import Pacs
from tta.datasets.image_files import ImageFileDataset
from tta.experiment import run

COUNT = 150
"""More images than are probed of large data, so that some are not."""


@pytest.fixture
def mine(tmp_path):
    for number in range(COUNT):
        file = tmp_path / "mine" / "sun" / f"c{number % 3}" / f"{number:03d}.bmp"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(file)
    return tmp_path / "mine"


@pytest.fixture(params=["small", "large"])
def size(request, monkeypatch):
    """Small data is told by what it holds, large data by size and time."""
    if request.param == "large":
        monkeypatch.setattr(identity, "CHEAP", 0)
    return request.param


def opened(folder, kind="folder"):
    return open_dataset(f"{kind}:{folder}")


def replace(file):
    """Put another picture of equal size in bytes in the place of a file."""
    before = file.stat().st_size
    Image.new("RGB", (8, 8), (7, 77, 177)).save(file)
    assert file.stat().st_size == before


@pytest.mark.parametrize("number", [0, 1, 75, COUNT - 1])
@pytest.mark.parametrize("kind", ["folder", "folder@gen"])
def test_every_replaced_file_changes_the_digest(number, kind, mine, size):
    folder = mine if kind == "folder" else mine / "sun"
    before = opened(folder, kind).digest()
    assert opened(folder, kind).digest() == before
    replace(sorted(mine.rglob("*.bmp"))[number])
    assert opened(folder, kind).digest() != before


@pytest.mark.parametrize("kind", ["folder", "folder@gen"])
def test_the_same_images_elsewhere_and_touched_are_the_same_data(kind, mine, tmp_path):
    part = "" if kind == "folder" else "sun"
    before = opened(mine / part, kind).digest()
    os.utime(mine / "sun/c0/000.bmp", ns=(5, 5))
    assert opened(mine / part, kind).digest() == before
    shutil.copytree(mine, tmp_path / "elsewhere")
    assert opened(tmp_path / "elsewhere" / part, kind).digest() == before


def test_large_data_is_the_same_on_another_machine_though_its_times_differ(
    mine, tmp_path, monkeypatch
):
    monkeypatch.setattr(identity, "CHEAP", 0)
    here = opened(mine)
    shutil.copytree(mine, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    os.utime(tmp_path / "elsewhere/sun/c1/001.bmp", ns=(5, 5))
    there = opened(tmp_path / "elsewhere")
    assert here.digest() != there.digest()
    assert here.portable_digest() == there.portable_digest()
    replace(tmp_path / "elsewhere/sun/c0/000.bmp")  # one of the probed
    assert opened(tmp_path / "elsewhere").portable_digest() != here.portable_digest()


CHANGES = {
    "renamed": lambda root: (root / "sun/c1/001.bmp").rename(root / "sun/c1/002.bmp"),
    "moved": lambda root: (root / "sun/c1/001.bmp").rename(root / "sun/c2/001.bmp"),
    "removed": lambda root: (root / "sun/c1/001.bmp").unlink(),
    "added": lambda root: shutil.copy(root / "sun/c1/001.bmp", root / "sun/c1/999.bmp"),
    "domain": lambda root: (root / "sun").rename(root / "fog"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_names_changes_both_digests(change, mine, size):
    before = opened(mine)
    known = before.digest(), before.portable_digest()
    CHANGES[change](mine)
    after = opened(mine)
    assert after.digest() != known[0] and after.portable_digest() != known[1]


def test_files_are_looked_at_once(mine, monkeypatch):
    data = opened(mine)
    first = data.digest()
    monkeypatch.setattr("tta.datasets.image_files.identify", pytest.fail)
    assert (data.digest(), data.portable_digest()) == (first, first)


def test_published_files_in_use_are_followed(tmp_path, monkeypatch, size):
    resize_facts(monkeypatch, Pacs, 7)
    classes = ["dog", "elephant", "giraffe", "guitar", "horse", "house", "person"]
    for domain in Pacs.domains:
        write_images(tmp_path / "PACS" / domain, [f"{name}/0.jpg" for name in classes])

    def digest():
        data = open_dataset("pacs", tmp_path)
        data.check(("sketch", "photo"), (0,))
        return data.digest()

    before = digest()
    file = tmp_path / "PACS/photo/dog/0.jpg"
    content = bytearray(file.read_bytes())
    content[20] ^= 1
    file.write_bytes(content)
    assert digest() != before
    before = digest()
    (tmp_path / "PACS/cartoon/dog/0.jpg").write_bytes(b"not in use")
    assert digest() == before


def cached(folder, tmp_path):
    data = opened(folder)
    data.image_size = (8, 8)
    data.decoded_cache = open_cache_folder(str(tmp_path / "cache"))
    return data


ALL = np.arange(COUNT)


@pytest.mark.parametrize("keep_time", [False, True])
@pytest.mark.parametrize("number", [0, 1, 75, COUNT - 1])
def test_decoded_images_are_never_those_of_a_replaced_file(number, keep_time, mine, tmp_path):
    data = cached(mine, tmp_path)
    before = data.images("sun", 0, ALL)
    file = data.file("sun", 0, number)
    times = file.stat()
    replace(file)
    if keep_time:
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    for again in (data, cached(mine, tmp_path)):
        after = again.images("sun", 0, ALL)
        assert after[number, :, 0, 0].tolist() == [7, 77, 177]
        others = ALL != number
        assert torch.equal(after[others], before[others])


def flip(content, rng):
    for place in rng.integers(0, len(content), 30):
        content[place] ^= 1 + rng.integers(255)


def insert(content, rng):
    place = int(rng.integers(len(content)))
    content[place:place] = rng.bytes(7)


def insert_and_cut(content, rng):
    length = len(content)
    insert(content, rng)
    del content[length:]


DAMAGES = {
    "flipped": flip,
    "inserted": insert,
    "inserted, of the same length": insert_and_cut,
    "cut": lambda content, rng: content.__delitem__(slice(int(rng.integers(len(content))), None)),
    "emptied": lambda content, _: content.clear(),
    "zeros": lambda content, _: content.__setitem__(slice(1000, 9000), bytes(8000)),
    "another file": lambda content, rng: content.__setitem__(slice(None), rng.bytes(len(content))),
    "rows swapped": lambda content, _: content.__setitem__(
        slice(0, 392), content[196:392] + content[:196]
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_cache_is_decoded_again(damage, seed, mine, tmp_path, monkeypatch):
    expected = cached(mine, tmp_path).images("sun", 0, ALL)
    (file,) = (tmp_path / "cache").iterdir()
    whole = file.read_bytes()
    content = bytearray(whole)
    DAMAGES[damage](content, np.random.default_rng(seed))
    file.write_bytes(content)
    assert content != whole
    assert torch.equal(cached(mine, tmp_path).images("sun", 0, ALL), expected)
    assert file.read_bytes() == whole  # mended
    monkeypatch.setattr(ImageFileDataset, "_decode", pytest.fail)
    assert torch.equal(cached(mine, tmp_path).images("sun", 0, ALL[::-1].copy()), expected.flip(0))


def test_a_planted_link_of_the_right_length_is_not_written_through(mine, tmp_path):
    expected = cached(mine, tmp_path).images("sun", 0, ALL)
    (file,) = (tmp_path / "cache").iterdir()
    whole = file.read_bytes()
    target = tmp_path / "target"
    target.write_bytes(bytes(len(whole)))
    file.unlink()
    file.symlink_to(target)
    assert torch.equal(cached(mine, tmp_path).images("sun", 0, ALL), expected)
    assert target.read_bytes() == bytes(len(whole))
    assert not file.is_symlink() and file.read_bytes() == whole


def test_rows_asked_for_twice_are_decoded_once(mine, tmp_path):
    rows = np.array([5, 3, 5, 5, 0])
    images = cached(mine, tmp_path).images("sun", 0, rows)
    assert torch.equal(images, opened(mine).images("sun", 0, rows))


def test_published_and_own_decoding_do_not_share_rows(mine, tmp_path):
    file = mine / "sun" / "c0" / "000.bmp"
    Image.new("RGBA", (8, 8), (255, 0, 0, 128)).save(file.with_suffix(".png"))
    file.unlink()
    shown, published = cached(mine, tmp_path), cached(mine, tmp_path)
    published.published = True
    assert shown.images("sun", 0, ALL[:1])[0, :, 0, 0].tolist() == [255, 127, 127]
    assert published.images("sun", 0, ALL[:1])[0, :, 0, 0].tolist() == [255, 0, 0]


def test_a_file_more_shifts_rows_and_none_serves_another_file(mine, tmp_path):
    for name in ("0005.bmp", "1495.bmp"):
        (mine / "sun" / "c0" / "000.bmp").rename(mine / "sun" / "c0" / name)
        cached(mine, tmp_path).images("sun", 0, ALL)
        (mine / "sun" / "c0" / name).rename(mine / "sun" / "c0" / "000.bmp")
    images = cached(mine, tmp_path).images("sun", 0, ALL)
    assert torch.equal(images, opened(mine).images("sun", 0, ALL))


def test_replaced_images_do_not_return_the_record_of_the_old_ones(mine, tmp_path):
    weights = tmp_path / "weights.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = create_backbone("test_resnet", num_classes=3, pretrained=False).model
    save_file(model.state_dict(), weights)
    config = RunConfig(
        method="source",
        dataset=f"folder:{mine}",
        backbone="test_resnet",
        weights=str(weights),
        num_classes=3,
        num_samples=12,
        decoded_cache=str(tmp_path / "cache"),
        output=str(tmp_path / "runs"),
        device="cpu",
    )
    first = run(config)
    assert first["understood"]["files"] == f"{COUNT} images"
    assert run(config)["reused"]
    for file in mine.rglob("*.bmp"):
        times = file.stat()
        replace(file)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    second = run(config)
    assert not second["reused"]
    plain = dataclasses.replace(config, decoded_cache=None, output=str(tmp_path / "others"))
    assert second["data_digest"] == run(plain)["data_digest"] != first["data_digest"]
    assert second["domains"] == run(plain)["domains"]


@pytest.mark.parametrize("name", ["cifar10", "cifar10-c@gen", "ccc-cifar10"])
def test_images_in_memory_are_digested_once(name, tmp_path):
    batches = [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]
    cifar_binary(tmp_path / "cifar-10-batches-bin", dict.fromkeys(batches, 10_000), 1)
    data = open_dataset(name, tmp_path)
    digest = "clean_digest" if name.startswith("ccc") else "_digest"
    assert digest not in vars(data)
    known = data.digest()
    assert data.digest() == known
    assert isinstance(vars(data)[digest], str)
