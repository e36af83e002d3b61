"""``folder-seg``: images and label maps of one's own."""

import numpy as np
import pytest
from PIL import Image

from tests.datasets.dense import trees
from tta.datasets import open_dataset
from tta.foundation.errors import UserError


def test_domains_are_folders_and_classes_lines(tmp_path):
    data = open_dataset(trees.folder_seg(tmp_path))
    assert data.domains == ("rain", "sun") and data.class_names == ("sky", "road")
    assert data.num_classes == 2 and data.name == "folder-seg:mine"
    data.image_size = (24, 32)
    assert data.label_maps("sun", 0, np.array([0])).unique().tolist() == [0, 1]
    assert list(data.faults(data.domains, (0,))) == []
    assert "2 images with label maps" in data.understood()["files"]


def test_without_names_the_greatest_number_counts(tmp_path):
    data = open_dataset(trees.folder_seg(tmp_path, classes=(), values=(255, 4)))
    assert data.num_classes == 5 and data.class_names is None


REFUSED = {
    "no folder 'images'": lambda base: (base / "images").rename(base / "pictures"),
    "holds no images": lambda base: [file.unlink() for file in base.glob("images/*/*")],
    "have one label map, one.png": lambda base: Image.new("RGB", (32, 24)).save(
        base / "images/sun/one.png"
    ),
    "hold 255 alone": lambda base: [
        file.unlink() or Image.new("L", (32, 24), 255).save(file)
        for file in base.glob("labels/*/*")
    ],
    "no label map": lambda base: (base / "labels/sun/one.png").unlink(),
    "lines 1 and 2 of .* are both": lambda base: (base / "classes.txt").write_text("a\na\n"),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_read_is_refused(tmp_path, message):
    specification = trees.folder_seg(tmp_path, classes=())
    REFUSED[message](tmp_path / "mine")
    with pytest.raises(UserError, match=message):
        open_dataset(specification)


def test_a_turned_image_is_refused(tmp_path):
    specification = trees.folder_seg(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", (32, 24)).save(tmp_path / "mine/images/sun/one.jpg", exif=exif)
    data = open_dataset(specification)
    with pytest.raises(UserError, match="EXIF"):
        data.label_maps("sun", 0, np.array([0]))


def test_the_same_data_elsewhere_is_the_same(tmp_path):
    digests = {
        open_dataset(trees.folder_seg(tmp_path / place)).digest() for place in ("here", "there")
    }
    assert len(digests) == 1
