"""Which files of a folder of one's own are read, and what is said of the others or refused."""

import os

import numpy as np
import pytest
from PIL import Image

from tta.datasets import open_dataset
from tta.datasets.decoded_cache import open_cache_folder
from tta.datasets.formats import image_suffixes
from tta.foundation.errors import UserError


def lay_out(root, *names):
    """Write a small image, or a text where the suffix is none of an image, for every name."""
    for number, name in enumerate(names):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix.lower() in image_suffixes():
            Image.new("RGB", (8, 8), (number, 0, 0)).save(file)
        else:
            file.write_text("words")
    return root


def files_note(specification):
    return open_dataset(specification).understood()["files"]


@pytest.fixture
def mine(tmp_path):
    names = [f"{d}/{c}/{k}.png" for d in ("rain", "sun") for c in ("cat", "dog") for k in range(4)]
    return lay_out(tmp_path / "mine", *names)


def test_nothing_but_images(mine):
    assert files_note(f"folder:{mine}") == "16 images"
    assert files_note(f"folder@gen:{mine}/sun") == "8 images"


STILL = "apng bmp dib gif ico jfif jp2 jpe jpeg jpg pcx pgm png ppm tga tif tiff webp".split()
NONE = "eps ps pdf mpg mpeg fli flc wmf emf h5 hdf grib bufr svg heic txt npy".split()


def test_every_suffix_of_a_still_image_is_read(tmp_path):
    assert {f".{suffix}" for suffix in STILL} <= image_suffixes()
    assert not {f".{suffix}" for suffix in NONE} & image_suffixes()
    shade = Image.new("RGB", (16, 16), (200, 200, 200))
    folder = tmp_path / "mine" / "sun" / "cat"
    folder.mkdir(parents=True)
    for suffix in STILL:
        (shade.convert("L") if suffix == "pgm" else shade).save(folder / f"a.{suffix.upper()}")
    data = open_dataset(f"folder:{tmp_path}/mine")
    data.image_size = (16, 16)
    data.check(data.domains, (0,))
    images = data.images("sun", 0, np.arange(len(STILL)))
    assert images.shape[0] == len(STILL)
    assert np.abs(images.numpy().astype(int) - 200).max() <= 2


def test_what_is_left_out_is_counted_by_reason(mine):
    lay_out(
        mine,
        "rain/cat/.ipynb_checkpoints/0.png",
        "rain/.cache/cat/0.png",
        ".DS_Store",
        "__MACOSX/rain/cat/._0.png",
        "rain/cat/._0.png",
        "sun/dog/old/9.png",
        "sun/dog/old/.DS_Store",
        "sun/notes.txt",
        "sun/dog/9.heic",
        "cover.png",
    )
    os.mkfifo(mine / "sun" / "dog" / "pipe.png")
    assert files_note(f"folder:{mine}") == (
        "16 images; left out: 6 hidden ('.DS_Store'), 2 of other suffixes ('sun/dog/9.heic'), "
        "1 in folders below the class folders ('sun/dog/old/9.png'), 1 above the class folders "
        "('cover.png'), 1 that are no regular files ('sun/dog/pipe.png')"
    )


def test_hidden_folders_are_no_domains_and_no_classes(mine):
    lay_out(mine, ".ipynb_checkpoints/cat/0.png", "rain/.ipynb_checkpoints/0.png")
    data = open_dataset(f"folder:{mine}")
    assert data.domains == ("rain", "sun")
    assert data.classes == ("cat", "dog")
    corrupted = open_dataset(f"folder@gen:{mine}/rain")
    assert corrupted.classes == ("cat", "dog")


def test_an_empty_class_folder_keeps_its_number_and_is_named(mine):
    for domain in ("rain", "sun"):
        (mine / domain / "cow").mkdir()
    data = open_dataset(f"folder:{mine}")
    assert data.classes == ("cat", "cow", "dog")
    assert data.num_classes == 3
    assert data.labels("sun", 0).tolist() == [0] * 4 + [2] * 4
    assert data.understood()["files"] == "16 images; empty class folders: 2 ('rain/cow')"
    corrupted = open_dataset(f"folder@gen:{mine}/sun")
    assert corrupted.labels("fog", 5).tolist() == [0] * 4 + [2] * 4


def test_folders_without_any_image_are_no_domains(mine):
    lay_out(mine, "annotations/xml/0.xml")
    (mine / "later" / "emu").mkdir(parents=True)
    data = open_dataset(f"folder:{mine}")
    assert data.domains == ("rain", "sun")
    assert data.classes == ("cat", "dog")


def test_what_is_unusual_is_said(mine):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", (8, 8)).save(mine / "sun/cat/0.png", exif=exif)
    Image.new("RGBA", (8, 8)).save(mine / "sun/cat/1.png")
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(mine / "sun/cat/2.png")
    assert files_note(f"folder:{mine}") == (
        "16 images, 1 turned by their EXIF orientation, 1 with transparency, shown over white, "
        "1 of 16 bits a channel, scaled to 8"
    )


REFUSED = {
    "a class of other suffixes": (
        ["sun/emu/0.heic", "sun/emu/1.heic"],
        "class folder '.*sun/emu' holds files, but no image .*left out in all: 2 of other suffixes",
    ),
    "a class of sidecars": (["sun/labels/0.txt"], "class folder '.*sun/labels' holds files"),
    "a class one level deeper": (
        ["sun/emu/old/0.png"],
        "class folder '.*sun/emu' .*1 in folders below the class folders .'sun/emu/old/0.png'",
    ),
    "a class in one domain alone": (["rain/cow/a.jxl", "sun/cow/0.png"], "folder '.*rain/cow'"),
    "a domain one level deeper": (["fog/test/cat/0.png"], "class folder '.*fog/test' holds files"),
    "a domain one level shallower": (["fog/0.png"], "domain folder '.*fog' .* above the class"),
    "half of the images by suffix": (
        [f"sun/cat/{k}.heic" for k in range(16)],
        "16 images are laid out as .* but 16 files that may be images are not",
    ),
    "half of the images by depth": (
        [f"sun/cat/old/{k}.png" for k in range(16)],
        "16 files that may be images are not; left out: 16 in folders below",
    ),
    "half of the images by place": (
        [f"{k}.png" for k in range(16)],
        "16 files that may be images are not; left out: 16 above the class folders",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_class_or_half_of_the_images_is_not_missed(case, mine):
    names, words = REFUSED[case]
    lay_out(mine, *names)
    with pytest.raises(UserError, match=words) as error:
        open_dataset(f"folder:{mine}")
    assert "take" in str(error.value)  # the cure


def test_fewer_than_half_are_said_and_sidecars_do_not_count(mine):
    lay_out(mine, *(f"sun/cat/{k}.heic" for k in range(15)))
    lay_out(mine, *(f"sun/cat/{k}.txt" for k in range(50)))
    assert "left out: 65 of other suffixes" in files_note(f"folder:{mine}")


WITHOUT = {
    "classes alone": (
        "folder",
        ["cat/0.png", "dog/0.png"],
        "is laid out as <class>/., without domains.*into a folder with the name of their domain "
        ".folder@gen:",
    ),
    "deeper": (
        "folder",
        ["data/sun/cat/0.png"],
        "is laid out deeper .'data/sun/cat/0.png'.*such as folder:.*/data$",
    ),
    "domains": (
        "folder@gen",
        ["sun/cat/0.png"],
        "laid out deeper.*such as folder@gen:.*/sun, or pass folder:.* to stream <domain>/<class>",
    ),
    "images alone": ("folder", ["0.png"], "holds no images; .*left out: 1 above"),
    "other files": ("folder@gen", ["cat/0.svg"], "holds no images; .*left out: 1 of other suff"),
    "nothing": ("folder", [], "holds no images; lay them out as <domain>/<class>/"),
}


@pytest.mark.parametrize("case", WITHOUT)
def test_a_folder_laid_out_otherwise_gets_the_right_cure(case, tmp_path):
    kind, names, words = WITHOUT[case]
    (tmp_path / "mine").mkdir()
    lay_out(tmp_path / "mine", *names)
    with pytest.raises(UserError, match=words):
        open_dataset(f"{kind}:{tmp_path}/mine")


def test_links_to_folders_and_files_are_followed_and_broken_ones_named(mine, tmp_path):
    (mine / "moved").symlink_to(mine / "sun")
    (mine / "rain" / "cat" / "9.png").symlink_to(mine / "sun" / "cat" / "0.png")
    (mine / "rain" / "loop").symlink_to(mine / "rain" / "loop")
    data = open_dataset(f"folder:{mine}")
    assert data.domains == ("moved", "rain", "sun")
    assert len(data.labels("rain", 0)) == 9
    (mine / "sun" / "cat" / "9.png").symlink_to(tmp_path / "nowhere.png")
    data = open_dataset(f"folder:{mine}")
    with pytest.raises(UserError, match="no image file '.*sun/cat/9.png'"):
        data.check(("sun",), (0,))


BAD_PATHS = {
    "too long": "x" * 256,
    "a NUL": "a\0b",
    "no text": "a\udc80b\ud800",
    "below a file": "file.png/x",
    "a file": "file.png",
    "missing": "nowhere",
}


@pytest.mark.parametrize("kind", ["folder", "folder@gen", "arrays"])
@pytest.mark.parametrize("case", BAD_PATHS)
def test_paths_that_cannot_be_looked_at(kind, case, tmp_path):
    lay_out(tmp_path, "file.png")
    with pytest.raises(UserError, match="no (folder|file)|cannot be (looked at|read)"):
        open_dataset(f"{kind}:{tmp_path}/{BAD_PATHS[case]}")
    with pytest.raises(UserError, match="no folder|cannot be looked at"):
        open_dataset("imagenet", f"{tmp_path}/{BAD_PATHS[case]}")


@pytest.mark.parametrize("case", ["too long", "a NUL", "no text", "below a file", "a file"])
def test_caches_that_cannot_be_made(case, tmp_path):
    lay_out(tmp_path, "file.png")
    with pytest.raises(UserError, match="cannot write decoded images .* choose another"):
        open_cache_folder(f"{tmp_path}/{BAD_PATHS[case]}")


def test_a_folder_that_may_not_be_read_is_named(mine, monkeypatch):
    scandir = os.scandir

    def refuse(folder):
        if str(folder).endswith("sun/dog"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"folder '.*sun/dog' cannot be read \(Permission denied\)"):
        open_dataset(f"folder:{mine}")


def test_a_path_that_may_not_be_looked_at_is_named(mine, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tta.datasets.paths.os.stat", refuse)
    with pytest.raises(UserError, match=r"cannot be looked at \(Permission denied\)"):
        open_dataset(f"folder:{mine}")


@pytest.mark.parametrize("name", [b"a\xff", b"a\nb"])
def test_names_that_cannot_be_written_down(name, mine):
    folder = os.path.join(os.fsencode(mine), b"sun", name)
    os.mkdir(folder)
    with pytest.raises(UserError, match="cannot be written down.*rename it"):
        open_dataset(f"folder:{mine}")
    os.rmdir(folder)
    os.rename(
        mine / "sun/cat/0.png", os.path.join(os.fsencode(mine), b"sun", b"cat", name + b".png")
    )
    data = open_dataset(f"folder:{mine}")
    data.check(data.domains, (0,))
    assert len(data.digest()) == 64
