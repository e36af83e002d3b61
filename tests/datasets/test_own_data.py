"""Streams of one's own: arrays and folders."""

from importlib.metadata import EntryPoint

import numpy as np
import pytest
import torch
from PIL import Image

from tests.assets import asset
from tests.fakes import RandomImages
from tta.corruptions import CORRUPTIONS, corrupt
from tta.datasets import DATASETS, open_dataset
from tta.foundation.errors import UserError


@pytest.fixture
def arrays(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
    np.savez(
        tmp_path / "mine.npz",
        images=images,
        labels=[0, 1, 2, 0, 1, 2],
        domains=[1, 0, 1, 0, 1, 1],
        names=["rain", "snow"],
    )
    return images, f"arrays:{tmp_path}/mine.npz"


def test_arrays_with_interleaved_domains(arrays):
    images, path = arrays
    data = open_dataset(path)
    assert data.domains == ("rain", "snow")
    assert data.labels("snow", 0).tolist() == [0, 2, 1, 2]
    chosen = data.images("snow", 0, np.array([3, 0]))
    assert torch.equal(chosen, torch.from_numpy(images[[5, 0]]).permute(0, 3, 1, 2))
    domain, index = data.stored_order()
    assert domain.tolist() == [1, 0, 1, 0, 1, 1]
    assert index.tolist() == [0, 0, 1, 1, 2, 3]


def test_neighbouring_rows_are_a_view(arrays):
    _, path = arrays
    data = open_dataset(path)
    assert data.images("snow", 0, np.array([2, 3])).data_ptr() == data._images[4:].ctypes.data


def test_digest_follows_the_content(arrays, tmp_path):
    images, path = arrays
    before = open_dataset(path).digest()
    np.savez(tmp_path / "mine.npz", images=images ^ 1, labels=[0, 1, 2, 0, 1, 2])
    assert open_dataset(path).digest() != before


def test_folder_of_domains_and_classes(tmp_path):
    for number, place in enumerate(["sun/cat", "sun/dog", "rain/dog"]):
        folder = tmp_path / "data" / place
        folder.mkdir(parents=True)
        Image.new("RGB", (20 + number, 16), (number, 0, 0)).save(folder / "0.png")
    (tmp_path / "data" / "notes.txt").write_text("not an image")
    data = open_dataset(f"folder:{tmp_path}/data")
    assert data.domains == ("rain", "sun")
    assert data.classes == ("cat", "dog")
    assert data.labels("rain", 0).tolist() == [1]
    data.image_size = (8, 8)
    images = data.images("sun", 0, np.array([0, 1]))
    assert images.shape == (2, 3, 8, 8)
    assert images[:, 0, 0, 0].tolist() == [0, 1]
    data.check(data.domains, (0,))


def test_the_recorded_stream_opens_in_stored_order():
    data = open_dataset(f"arrays:{asset('reference', 'cifar10c-visible.npz')}")
    assert len(data.domains) == 15
    assert data.num_classes == 10
    domain, index = data.stored_order()
    assert (np.diff(domain) >= 0).all()
    assert index[:1000].tolist() == list(range(1000))


@pytest.fixture
def clean_folder(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (4, 40, 48, 3), np.uint8)
    for pixels, place in zip(noise, ["cat/0", "cat/1", "dog/0", "emu/0"], strict=True):
        file = tmp_path / "mine" / f"{place}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    return tmp_path / "mine"


def test_corruptions_of_a_folder(clean_folder):
    data = open_dataset(f"folder@gen:{clean_folder}")
    data.image_size = (32, 32)
    assert data.domains == CORRUPTIONS
    assert data.labels("fog", 5).tolist() == [0, 0, 1, 2]
    clean = open_dataset(f"folder:{clean_folder.parent}")
    clean.image_size = (32, 32)
    rows = np.array([3, 1])
    expected = corrupt(clean.images("mine", 0, rows), "shot_noise", 3, ids=rows)
    assert torch.equal(data.images("shot_noise", 3, rows), expected)


def test_corruptions_of_a_folder_say_their_frost(clean_folder):
    assert open_dataset(f"folder@gen:{clean_folder}").name == "folder@gen:mine,frost=procedural"
    official = open_dataset(f"folder@gen:{clean_folder}", asset("data"))
    assert official.name == "folder@gen:mine,frost=official"


def test_digest_of_a_corrupted_folder_follows_its_files(clean_folder):
    before = open_dataset(f"folder@gen:{clean_folder}").digest()
    (clean_folder / "dog/0.png").rename(clean_folder / "dog/1.png")
    assert open_dataset(f"folder@gen:{clean_folder}").digest() != before


@pytest.mark.parametrize(
    ("path", "words"), [("", "write folder@gen:PATH"), ("void", "holds no images; lay them out")]
)
def test_corruptions_of_a_folder_that_does_not_fit(tmp_path, path, words):
    (tmp_path / "void").mkdir()
    with pytest.raises(UserError, match=words):
        open_dataset(f"folder@gen:{path and tmp_path / path}")


class PublishedElsewhere(RandomImages):
    """A data set of another package, which takes a path."""

    argument = "path"

    def __init__(self, path: str) -> None:
        super().__init__(domains=(path,))


def test_a_dataset_by_entry_point_takes_what_it_says(monkeypatch):
    location = f"{__name__}:PublishedElsewhere"
    point = EntryPoint("elsewhere", location, "tta.datasets")
    monkeypatch.setattr(DATASETS, "_published", lambda: {"elsewhere": point})
    monkeypatch.setattr(DATASETS, "_objects", {})
    assert open_dataset("elsewhere:here").domains == ("here",)
    with pytest.raises(UserError, match="write elsewhere:PATH"):
        open_dataset("elsewhere")
