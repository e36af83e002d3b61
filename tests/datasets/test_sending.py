"""However processes are started here, they get a data set by its facts, and the same images."""

import multiprocessing
import pickle
from functools import partial
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch

from tests.datasets.dense import trees
from tests.datasets.layouts import (
    cifar_binary,
    cifar_c,
    fine_grained,
    resize_facts,
    validation_names,
    write_images,
)
from tta.datasets import DATASETS, open_dataset
from tta.datasets.ccc_path import GRID
from tta.datasets.coop_sets import COOP_SETS
from tta.datasets.decoded_cache import DecodedImages
from tta.datasets.domainnet import TARGETS
from tta.datasets.imagenet import imagenet_classes
from tta.datasets.loading import Loader, image_loader
from tta.datasets.packed_names import PackedNames
from tta.datasets.sending import SHARED, Sender
from tta.foundation.errors import UserError

CIFAR_C = ("cifar10-c", "cifar100-c")
METHODS = ("fork", "forkserver", "spawn")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Small data sets of every kind."""
    folder = tmp_path_factory.mktemp("data")
    names, classes = validation_names(4), imagenet_classes()
    cifar_c(folder / "CIFAR-10-C", ("fog",))
    cifar_c(folder / "CIFAR-100-C", ("fog",))
    batches = dict.fromkeys(["test_batch.bin", *(f"data_batch_{k}.bin" for k in range(1, 6))])
    cifar_binary(folder / "cifar-10-batches-bin", dict.fromkeys(batches, 10_000), 1)
    cifar_binary(folder / "cifar-100-binary", {"train.bin": 50_000, "test.bin": 10_000}, 2)
    for place in ("ImageNet-C/fog/5", "imagenet/val", "imagenet/train", "ImageNet-Sketch/sketch"):
        write_images(folder / place, names)
    (folder / "ImageNet-C" / "imagenet_test_image_ids.txt").write_text("\n".join(names))
    for place in ("imagenet-a", "imagenet-r"):
        write_images(folder / place, [f"{name}/0.jpg" for name in classes[:200]])
    write_images(
        folder / "imagenetv2-matched-frequency-format-val", [f"{k}/0.jpg" for k in range(3)]
    )
    for domain in DATASETS["pacs"].domains:
        write_images(folder / "PACS" / domain, [f"class{k}/0.jpg" for k in range(7)])
    for domain in DATASETS["office-home"].domains:
        homes = folder / "OfficeHomeDataset_10072016" / domain
        write_images(homes, [f"class{k}/0.jpg" for k in range(65)])
    for domain in TARGETS:
        write_images(folder / "DomainNet-126", [f"{domain}/a/{k}.jpg" for k in range(3)])
        lines = "\n".join(f"{domain}/a/{k}.jpg {k}" for k in range(3))
        (folder / "DomainNet-126" / f"{domain}_list.txt").write_text(lines)
    for name in COOP_SETS:
        fine_grained(folder, name, 3)
    for write in (trees.camvid, trees.acdc, trees.gta5):
        write(folder)
    for split in ("train", "val"):
        trees.cityscapes(folder, split)
    trees.folder_seg(folder / "maps")
    write_images(folder / "own", [f"{domain}/a/{k}.jpg" for domain in "xy" for k in range(3)])
    write_images(folder / "clean", [f"a/{k}.jpg" for k in range(3)])
    images = np.random.default_rng(0).integers(0, 256, (400, 32, 32, 3), np.uint8)
    np.savez(folder / "mine.npz", images=images, labels=np.arange(400) % 10)
    return folder


def opened(name, root, monkeypatch):
    kind = DATASETS[name]
    places = {"arrays": "mine.npz", "folder": "own", "folder@gen": "clean"}
    argument = (places | {"folder-seg": "maps/mine"}).get(name)
    for sized in (kind, DATASETS["imagenet"]):
        if "imagenet-c" in name and "full" not in name:
            resize_facts(monkeypatch, sized, 4)
        elif name.startswith("domainnet"):
            resize_facts(monkeypatch, kind, 3)
    data = open_dataset(f"{name}:{root / argument}" if argument else name, root)
    if name.startswith("ccc"):
        data.length = 40
        slope = np.linspace(90, 10, GRID)
        data.calibrate(lambda *_: (slope[:, None] + slope) / 2, "model")
    if data.sizing != "fixed":
        data.image_size = (32, 32)
    return data


def shown(data):
    domain = "fog" if "fog" in data.domains else data.domains[0]
    labels = data.labels(domain, data.default_severity)
    return data.shown(domain, data.default_severity, np.arange(min(2, len(labels)))), labels


@pytest.mark.parametrize("name", list(DATASETS))
def test_every_data_set_is_sent_by_its_facts(name, root, monkeypatch):
    data = opened(name, root, monkeypatch)
    images, labels = shown(data)
    sent = Sender(data).dumps()
    # Names of class folders and of 15 corruptions; images and long lists are elsewhere.
    assert len(sent) < 100_000
    others, other_labels = shown(pickle.loads(sent))
    assert torch.equal(images, others)
    assert np.array_equal(labels, other_labels)


def test_large_arrays_lie_in_shared_memory_once():
    arrays = {"whole": np.arange(SHARED), "turned": np.arange(SHARED).reshape(2, -1).T}
    sender = Sender(arrays)
    first, second = (pickle.loads(sender.dumps()) for _ in range(2))
    for name, array in arrays.items():
        assert first[name].dtype == array.dtype
        assert np.array_equal(first[name], array)
    first["whole"][0] = 7
    assert second["whole"][0] == 7 and arrays["whole"][0] == 0
    assert len(sender.dumps()) < 3000 < len(ForkingPickler.dumps(arrays))


@pytest.mark.parametrize("mode", ["r", "c", "r+"])
def test_mapped_files_are_mapped_again(tmp_path, mode):
    np.save(tmp_path / "a.npy", np.arange(SHARED))
    mapped = np.load(tmp_path / "a.npy", mmap_mode=mode)
    sent = Sender((mapped, mapped[5:])).dumps()
    assert len(sent) < 3000
    whole, part = pickle.loads(sent)
    assert isinstance(whole, np.memmap) and whole.mode == mode
    assert np.array_equal(whole, mapped) and np.array_equal(part, mapped[5:])


def test_decoded_images_are_no_part_of_what_is_sent(tmp_path):
    images = DecodedImages(tmp_path, "key", 1000, (32, 32))
    sent = Sender(images).dumps()
    assert len(sent) < 3000
    rows, red = np.arange(2), torch.full((2, 3, 32, 32), 7, dtype=torch.uint8)
    pickle.loads(sent).take(rows, [b"a", b"b"], lambda _: red)
    assert torch.equal(images.take(rows, [b"a", b"b"], pytest.fail), red)


def test_packed_names_are_those_that_were_given():
    names = ["a", "", "ü/\udcff.jpg", "b" * 300]
    packed = PackedNames(names)
    assert list(packed) == names and packed[-1] == names[-1] and len(packed) == 4
    with pytest.raises(IndexError):
        packed[4]
    many = PackedNames(f"n01440764/ILSVRC2012_val_{k:08d}.JPEG" for k in range(20_000))
    assert len(Sender(many).dumps()) < 3000


@pytest.fixture
def started_by(monkeypatch):
    before = multiprocessing.get_start_method(allow_none=True)
    yield partial(multiprocessing.set_start_method, force=True)
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.parametrize("method", METHODS)
def test_images_and_faults_are_the_same_however_processes_start(
    method, root, tmp_path, monkeypatch, started_by
):
    write_images(tmp_path / "own", [f"x/a/{k}.jpg" for k in range(9)], size=(60, 50))
    data = open_dataset(f"folder:{tmp_path / 'own'}")
    data.image_size, data.decoded_cache = (32, 32), tmp_path
    zeros = np.zeros(3, np.int64)
    rows = [(zeros, zeros, np.arange(start, start + 3)) for start in (0, 3, 6)]
    expected = [data.gather(data.domains, *part) for part in rows]
    data.file("x", 0, 7).write_bytes(b"no image")
    started_by(method)
    with image_loader(data, data.domains, 1, False) as loader:
        for _ in range(2):  # by the same process
            loaded = loader(rows)
            for images in expected[:2]:
                assert torch.equal(next(loaded), images)
            with pytest.raises(UserError, match=r"^image '.*7.jpg' cannot be decoded \(.*\); rep"):
                next(loaded)
        assert len(multiprocessing.active_children()) == 1
    assert not multiprocessing.active_children()


def test_what_cannot_be_sent_is_one_message(started_by):
    started_by("spawn")
    with pytest.raises(UserError, match=r"cannot be sent.*pass --workers 0"):
        next(Loader(lambda item: item, 1, False)([1]))


def test_a_mapped_file_that_has_gone_is_one_message(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(SHARED))
    loader = Loader(partial(_taken, np.load(tmp_path / "a.npy", mmap_mode="r")), 1, False)
    (tmp_path / "a.npy").unlink()
    assert next(loader([3])).item() == 3  # forked
    loads = loading_state(loader)
    with pytest.raises(UserError, match=r"a.npy' cannot be read \(No such file"):
        loads.load(3)


def _taken(array, item):
    return torch.tensor(array[item])


def loading_state(loader):
    sent = ForkingPickler.dumps(loader._loader.dataset)
    return pickle.loads(sent)
