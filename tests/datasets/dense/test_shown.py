"""In which size images that are segmented are shown, and their label maps beside them."""

import numpy as np
import pytest
from safetensors.torch import save_file

from tests.datasets.dense import trees
from tta.backbones import create_backbone
from tta.config import RunConfig
from tta.experiment import build
from tta.foundation.errors import UserError

NAME = "lraspp:test_resnet"


@pytest.fixture
def weights(tmp_path):
    backbone = create_backbone(NAME, num_classes=2, pretrained=False)
    save_file(backbone.model.state_dict(), tmp_path / "net.safetensors")
    return {"backbone": NAME, "weights": str(tmp_path / "net.safetensors"), "method": "source"}


def shown(config):
    experiment = build(config)
    data = experiment.dataset
    place = data.domains[0], data.default_severity, np.array([0])
    return data.shown(*place).shape[-2:], data.label_maps(*place).shape[-2:]


def test_images_of_one_size_keep_it(tmp_path, weights):
    config = RunConfig(dataset=trees.folder_seg(tmp_path), batch_size=1, **weights)
    assert shown(config) == ((24, 32), (24, 32))


def test_the_size_asked_for_is_that_of_label_maps_too(tmp_path, weights):
    config = RunConfig(dataset=trees.folder_seg(tmp_path), input_size=(40, 72), **weights)
    assert shown(config) == ((40, 72), (40, 72))


def test_several_sizes_need_one_to_be_said(tmp_path, weights):
    specification = trees.folder_seg(tmp_path)
    trees.write_pair(
        tmp_path / "mine/images/sun/large.png",
        tmp_path / "mine/labels/sun/large.png",
        size=(48, 64),
    )
    with pytest.raises(UserError, match="pass --input-size H,W, to which they and their label"):
        build(RunConfig(dataset=specification, **weights))
    config = RunConfig(dataset=specification, input_size=(24, 24), **weights)
    assert shown(config) == ((24, 24), (24, 24))


def test_published_data_has_the_size_of_its_protocol(tmp_path, weights):
    trees.camvid(tmp_path, official=False)
    path = tmp_path / "eleven.safetensors"
    backbone = create_backbone(NAME, num_classes=11, pretrained=False)
    save_file(backbone.model.state_dict(), path)
    options = {**weights, "weights": str(path), "data_dir": str(tmp_path)}
    assert shown(RunConfig(dataset="camvid", **options)) == ((180, 240), (180, 240))
    with pytest.raises(UserError, match="labels up to 10"):
        build(RunConfig(dataset="camvid", **{**options, "weights": weights["weights"]}))
