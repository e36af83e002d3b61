"""Of many files some are opened before a run; the others are refused in the same words."""

import numpy as np
import pytest

from tests.datasets.layouts import jpeg, resize_facts
from tta.datasets import image_files, open_dataset
from tta.datasets.base import PROBES
from tta.datasets.getting.verify import problems
from tta.datasets.imagenet import ImageNetSketch, imagenet_classes
from tta.datasets.imagenet_c import ImageNetC
from tta.foundation.errors import UserError
from tta.streams import ScenarioOptions, plan_stream
from tta.streams.stream import Stream

COUNT = 3 * PROBES


def write(folder, names):
    content = jpeg()
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@pytest.fixture
def sketches(tmp_path, monkeypatch):
    resize_facts(monkeypatch, ImageNetSketch, COUNT)
    wnid = imagenet_classes()[0]
    write(tmp_path / "ImageNet-Sketch/sketch", [f"{wnid}/{k:04}.JPEG" for k in range(COUNT)])
    return tmp_path


@pytest.fixture
def opened(monkeypatch):
    files, check = [], image_files.check_image
    monkeypatch.setattr(
        image_files, "check_image", lambda file, *rest: files.append(file) or check(file, *rest)
    )
    return files


def test_files_over_all_of_a_domain_are_opened(sketches, opened):
    data = open_dataset("imagenet-sketch", sketches)
    data.check(data.domains, (0,))
    numbers = [int(file.stem) for file in opened]
    assert len(numbers) == PROBES and np.diff(numbers).max() <= 4
    assert (numbers[0], numbers[-1]) == (0, COUNT - 1)
    opened.clear()
    assert not list(problems("imagenet-sketch", sketches))
    assert len(opened) == COUNT


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_file_that_was_not_opened_is_refused_when_it_is_shown(sketches, workers):
    data = open_dataset("imagenet-sketch", sketches)
    data.image_size = (32, 32)
    damaged = data.file("sketch", 0, 1)
    damaged.write_bytes(damaged.read_bytes()[:300])
    data.check(data.domains, (0,))
    (found,) = problems("imagenet-sketch", sketches)
    plan = plan_stream("recorded", data, ScenarioOptions())
    with pytest.raises(UserError, match=r"^image '.*0001.JPEG' cannot be decoded") as error:
        list(Stream(data, plan, 8, workers=workers))
    assert str(error.value) == found


def test_every_file_of_a_list_is_looked_for(tmp_path, monkeypatch, opened):
    resize_facts(monkeypatch, ImageNetC, COUNT)
    wnid = imagenet_classes()[0]
    names = [f"{wnid}/ILSVRC2012_val_{k:08d}.JPEG" for k in range(COUNT)]
    write(tmp_path / "ImageNet-C/fog/5", names)
    (tmp_path / "ImageNet-C/imagenet_test_image_ids.txt").write_text("\n".join(names))
    open_dataset("imagenet-c", tmp_path).check(("fog",), (5,))
    assert len(opened) == PROBES
    (tmp_path / "ImageNet-C/fog/5" / names[1]).unlink()
    with pytest.raises(UserError, match="no image file '.*00000001.JPEG'"):
        open_dataset("imagenet-c", tmp_path).check(("fog",), (5,))


def test_ones_own_images_are_all_opened_while_they_are_few(tmp_path, opened):
    write(tmp_path / "own", [f"x/a/{k}.jpg" for k in range(COUNT)])
    data = open_dataset(f"folder:{tmp_path / 'own'}")
    data.check(data.domains, (0,))
    assert len(opened) == COUNT


def test_a_file_that_vanished_has_no_size(tmp_path):
    write(tmp_path / "own", [f"x/a/{k}.jpg" for k in range(2)])
    data = open_dataset(f"folder:{tmp_path / 'own'}")
    data.file("x", 0, 1).unlink()
    with pytest.raises(UserError, match=r"no image file '.*1\.jpg'"):
        data.encoded_bytes("x", 0, np.arange(2))
