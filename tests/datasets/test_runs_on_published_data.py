"""The data folder reaches a run's data set and its source, and classes are masked."""

import pytest
from safetensors.torch import save_file

from tests.datasets.layouts import cifar_c, resize_facts, write_images
from tta.backbones import create_backbone
from tta.config import RunConfig
from tta.datasets.imagenet import ImageNetR, imagenet_classes
from tta.experiment import build
from tta.foundation.errors import UserError
from tta.tasks.classes.lists import imagenet_names


@pytest.fixture
def weights(tmp_path):
    def make(classes: int) -> str:
        model = create_backbone("test_resnet", num_classes=classes, pretrained=False).model
        save_file(model.state_dict(), tmp_path / f"{classes}.safetensors")
        return str(tmp_path / f"{classes}.safetensors")

    return make


def test_source_images_are_opened_only_where_a_method_needs_them(tmp_path, weights):
    cifar_c(tmp_path / "CIFAR-10-C", ("fog",))
    options = {
        "dataset": "cifar10-c",
        "data_dir": str(tmp_path),
        "domains": ("fog",),
        "num_samples": 8,
        "backbone": "test_resnet",
        "weights": weights(10),
        "num_classes": 10,
        "output": str(tmp_path / "runs"),
    }
    experiment = build(RunConfig(method="tent", **options))
    assert experiment.source is None
    assert experiment.stream.labels().shape == (8,)
    with pytest.raises(UserError, match="cifar-10-batches-bin.*tta.get cifar10 "):
        build(RunConfig(method="rmt", **options))
    with pytest.raises(UserError, match="no file '.*snow.npy'"):
        build(RunConfig(method="tent", **{**options, "domains": ("fog", "snow")}))


def test_where_data_lies_does_not_change_a_run(tmp_path, weights):
    fingerprints = set()
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        cifar_c(tmp_path / place / "CIFAR-10-C", ("fog",))
        config = RunConfig(
            dataset="cifar10-c",
            data_dir=str(tmp_path / place),
            domains=("fog",),
            backbone="test_resnet",
            weights=weights(10),
            num_classes=10,
        )
        fingerprints.add(build(config).fingerprint())
    assert len(fingerprints) == 1


def test_a_class_subset_masks_a_model_of_all_classes(tmp_path, weights, monkeypatch):
    resize_facts(monkeypatch, ImageNetR, 200)
    names = [f"{wnid}/0.jpg" for wnid in imagenet_classes()[:200]]
    write_images(tmp_path / "imagenet-r", names)
    monkeypatch.setattr(ImageNetR, "benchmark", ImageNetR.benchmark.but(backbone="test_resnet"))
    config = RunConfig(dataset="imagenet-r", data_dir=str(tmp_path), weights=weights(1000))
    experiment = build(config)
    assert experiment.backbone.num_classes == 200
    batch = next(iter(experiment.stream))
    assert batch.images.shape == (64, 3, *experiment.backbone.input_size[1:])


@pytest.mark.parametrize(("outputs", "first"), [(1001, 1), (21_843, 359)])
def test_a_class_subset_is_looked_up_in_the_list_of_the_model(
    tmp_path, weights, monkeypatch, outputs, first
):
    resize_facts(monkeypatch, ImageNetR, 200)
    write_images(tmp_path / "imagenet-r", [f"{wnid}/0.jpg" for wnid in imagenet_classes()[:200]])
    monkeypatch.setattr(ImageNetR, "benchmark", ImageNetR.benchmark.but(backbone="test_resnet"))
    config = {"dataset": "imagenet-r", "data_dir": str(tmp_path), "weights": weights(outputs)}
    experiment = build(RunConfig(num_classes=outputs, **config))
    known = imagenet_names(outputs).names
    assert [known[output] for output in experiment.backbone.class_ids] == list(
        imagenet_classes()[:200]
    )
    assert experiment.backbone.class_ids[0] == first


def test_outputs_for_other_classes_are_refused(tmp_path, weights, monkeypatch):
    cifar_c(tmp_path / "CIFAR-10-C", ("fog",))
    config = {"dataset": "cifar10-c", "data_dir": str(tmp_path), "domains": ("fog",)}
    with pytest.raises(UserError, match="has 10 classes, but backbone .* has 1,000 outputs"):
        build(RunConfig(backbone="test_resnet", weights=weights(1000), **config))
