"""Loaders of published label maps, on tiny trees in the layouts of their authors."""

import shutil
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from tests.assets import asset
from tests.datasets.dense import trees
from tests.datasets.layouts import resize_facts
from tta.commands.get import main as get
from tta.datasets import open_dataset
from tta.datasets.dense.camvid import CamVid
from tta.datasets.dense.classes import CAMVID, CITYSCAPES, train_ids
from tta.datasets.dense.streets import Acdc, Cityscapes, Gta5
from tta.foundation.errors import UserError

FIRST = np.array([0])


def names(dataset, domain):
    return [pair[0].stem.replace("_rgb_anon", "") for pair in dataset.pairs(domain)]


@pytest.mark.parametrize("official", [True, False])
def test_camvid_is_divided_by_drive(tmp_path, official):
    root = trees.camvid(tmp_path, official)
    data = open_dataset("camvid", root)
    assert names(data, "day") == ["Seq05VD_f00000"]
    assert names(data, "dusk") == ["0001TP_006690", "0001TP_008550"]
    assert names(open_dataset("camvid-source", root), "day") == ["0006R0_f00930", "0016E5_00390"]
    assert names(open_dataset("camvid-source:val", root), "day") == ["0016E5_07959"]
    assert data.labels("dusk", 0).tolist() == [0, 0]
    assert (data.num_classes, data.ignore_label, data.usual_size) == (11, 11, (180, 240))
    with pytest.raises(UserError, match="takes val"):
        open_dataset("camvid-source:test", root)


def test_camvid_corrupted_shows_frames_by_day_that_move_with_their_labels(tmp_path):
    data = open_dataset("camvid-c@gen", trees.camvid(tmp_path))
    data.image_size = (48, 64)
    assert {len(data.pairs(domain)) for domain in data.domains} == {1}
    still = data.label_maps("fog", 5, FIRST)
    assert (still[:, :, :32] == 0).all() and (still[:, :, 32:] == 1).all()
    moved = data.label_maps("elastic_transform", 5, FIRST)
    assert moved.shape == still.shape and (moved != still).any()
    assert data.images("fog", 5, FIRST).shape == (1, 3, 48, 64)


def test_cityscapes_label_ids_become_train_ids(tmp_path):
    data = open_dataset("cityscapes", trees.cityscapes(tmp_path))
    data.image_size = (16, 32)
    data.scored_size = None
    assert [file.parent.name for file, _ in data.pairs("val")] == ["a_town", "b_town"]
    labels = data.label_maps("val", 0, FIRST)
    assert labels.dtype == torch.uint8 and labels.shape == (1, 16, 32)
    assert labels[0, 0, 0] == 0 and labels[0, 0, 31] == 255
    table = train_ids()
    assert table[[7, 8, 24, 33]].tolist() == [0, 1, 11, 18] and (table == 255).sum() == 256 - 19


def test_label_maps_of_published_protocols_keep_their_size(tmp_path):
    data = open_dataset("acdc", trees.acdc(tmp_path))
    data.image_size = (9, 16)
    assert Acdc.scored_size == (1080, 1920) and Acdc.usual_size == (540, 960)
    data.scored_size = (27, 48)
    assert data.shown("night", 0, FIRST).shape == (1, 3, 9, 16)
    labels = data.label_maps("night", 0, FIRST)
    assert labels.shape == (1, 27, 48) and labels.unique().tolist() == [18, 255]


def test_acdc_is_in_sorted_order_in_four_conditions(tmp_path, monkeypatch):
    resize_facts(monkeypatch, Acdc, 2)
    data = open_dataset("acdc", trees.acdc(tmp_path))
    assert data.domains == ("fog", "night", "rain", "snow")
    assert names(data, "rain") == ["GOPR1_frame_9", "GOPR2_frame_1"]
    assert list(data.faults(data.domains, (0,))) == []


def test_pairs_of_gta5_of_two_sizes_are_left_out_and_counted(tmp_path, monkeypatch):
    resize_facts(monkeypatch, Gta5, 3)
    data = open_dataset("gta5", trees.gta5(tmp_path, broken=1))
    assert names(data, "train") == ["00001", "00002"]
    assert "2 images; left out: 1 whose label map has another size" in data.understood()["files"]
    assert list(data.faults(data.domains, (0,))) == []
    assert data.label_maps("train", 0, FIRST).unique().tolist() == [13, 255]


FAULTS = {
    "no label map": lambda root: (root / "CamVid/testannot/0001TP_008550.png").unlink(),
    "is 24x31, its image": lambda root: trees.write_pair(
        root / "x.png", root / "CamVid/testannot/0001TP_008550.png", label_size=(24, 31)
    ),
    "holds 12, and classes are 0 to 10 and 11 is ignored": lambda root: trees.write_pair(
        root / "x.png", root / "CamVid/testannot/0001TP_008550.png", values=(11, 12)
    ),
    "picture of mode RGB": lambda root: Image.new("RGB", (32, 24)).save(
        root / "CamVid/testannot/0001TP_008550.png"
    ),
    "cannot be decoded": lambda root: (root / "CamVid/testannot/0001TP_008550.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + b"0" * 40
    ),
}


@pytest.mark.parametrize("message", FAULTS)
def test_faults_of_label_maps_are_one_line_each(tmp_path, monkeypatch, message):
    root = trees.camvid(tmp_path)
    resize_facts(monkeypatch, CamVid, {"day": 1, "dusk": 2})
    data = open_dataset("camvid", root)
    assert list(data.faults(data.domains, (0,))) == []
    FAULTS[message](root)
    faults = [str(fault) for fault in data.faults(data.domains, (0,), probes=64)]
    assert len(faults) == 1 and message in faults[0]
    assert "\n" not in faults[0] and "0001TP_008550" in faults[0]
    with pytest.raises(UserError, match="0001TP_008550"):
        data.label_maps("dusk", 0, np.array([1]))


def test_absent_data_is_named_with_its_cure(tmp_path, capsys):
    for name in ("camvid", "cityscapes", "cityscapes-source", "acdc", "gta5"):
        faults = list(open_dataset(name, tmp_path).faults(("nothing",), (0,)))
        assert "python -m tta.get" in str(faults[0])
    assert get(["verify", "acdc", "--data-dir", str(tmp_path)], "tta get") == 2
    assert "no folder" in capsys.readouterr().out
    assert get(["cityscapes", "--data-dir", str(tmp_path)], "tta get") == 2
    assert "on registration" in capsys.readouterr().err


def test_digests_follow_images_and_label_maps(tmp_path):
    data = open_dataset("cityscapes", trees.cityscapes(tmp_path))
    before = data.digest()
    assert before == open_dataset("cityscapes", tmp_path).digest()
    image, labels = data.pairs("val")[0]
    trees.write_pair(tmp_path / "x.png", labels, values=(8, 3), size=(32, 64))
    changed = open_dataset("cityscapes", tmp_path).digest()
    trees.write_pair(image, tmp_path / "x.png", size=(32, 64), shade=7)
    assert len({before, changed, open_dataset("cityscapes", tmp_path).digest()}) == 3


def test_classes_have_a_colour_each():
    for classes, count in ((CAMVID, 11), (CITYSCAPES, 19)):
        assert len(classes.names) == len(set(classes.palette)) == count
    assert Cityscapes.palette[13] == (0, 0, 142)


def test_real_frames_of_camvid(tmp_path):
    folder = tmp_path / "camvid"
    folder.mkdir()
    shutil.copy(asset("data", "camvid", "frames.csv"), folder)
    data = open_dataset("camvid", tmp_path)
    counts = [len(data.labels(domain, 0)) for domain in data.domains]
    assert counts == [data.facts.images_of(domain) for domain in data.domains] == [171, 124]
    assert len(open_dataset("camvid-source:val", tmp_path).labels("day", 0)) == 101
    with zipfile.ZipFile(asset("data", "camvid", "images.zip")) as archive:
        for file in data.pairs("dusk")[0]:
            archive.extract(f"{file.parent.name}/{file.name}", folder)
    data.image_size = data.usual_size
    labels = data.label_maps("dusk", 0, FIRST)
    assert data.shown("dusk", 0, FIRST).shape == (1, 3, 180, 240)
    assert labels.shape == (1, 180, 240) and 11 in labels and labels.max() == 11
    sky, road = (labels == CAMVID.names.index(name) for name in ("sky", "road"))
    rows = torch.arange(180).view(1, -1, 1).expand_as(labels)
    assert rows[sky].float().mean() < 60 < 120 < rows[road].float().mean()
