"""Training of source models, and their use by the command."""

from __future__ import annotations

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.fakes import NUM_CLASSES, SIZE, RandomImages, make_backbone
from tta.backbones import create_backbone
from tta.commands.run import main
from tta.datasets import open_dataset
from tta.datasets.rotated_digits import WEIGHTS
from tta.foundation.errors import UserError
from tta.foundation.lock import FolderLock
from tta.source.models import own_weights, save_source_model
from tta.source.recipe import Recipe
from tta.source.training import initial_backbone, train

TINY = Recipe(steps=40, batch_size=8, lr=3e-3)


class Stripes(RandomImages):
    """Classes are rows that are lit; domains are the colour they are lit in."""

    name = "stripes"
    severities = (0,)
    default_severity = 0

    def images(self, domain, severity, indices):
        images = super().images(domain, severity, indices) // 8
        for image, label in zip(images, self.labels(domain, severity)[indices], strict=True):
            rows = slice(int(label) * 6, int(label) * 6 + 6)
            image[self.domains.index(domain), rows] = 255
        return images


def accuracies(backbone, data) -> list[float]:
    """Return accuracy of every domain's own head, and of the shared head on all."""
    own, shared = [], []
    for k, domain in enumerate(data.domains):
        images = data.images(domain, 0, np.arange(data.size)).float() / 255
        labels = torch.from_numpy(data.labels(domain, 0))
        logits = backbone.domain_logits(backbone.features(images)).argmax(2)
        own.append((logits[k] == labels).float().mean().item())
        shared.append((logits[-1] == labels).float().mean().item())
    return own + [float(np.mean(shared))]


@pytest.fixture(scope="module")
def trained():
    data = Stripes(30)
    backbone = initial_backbone("test_resnet", NUM_CLASSES)
    train(backbone, data, TINY)
    return backbone, data


def test_training_teaches_every_head(trained):
    backbone, data = trained
    assert min(accuracies(backbone, data)) > 0.6  # chance is 0.2
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_means_and_discriminator_tell_domains_apart(trained):
    backbone, data = trained
    for k, domain in enumerate(data.domains):
        images = data.images(domain, 0, np.arange(data.size)).float() / 255
        features = backbone.features(images)
        mean = backbone.domain_heads.means[k]
        torch.testing.assert_close(features.mean(0), mean, atol=1e-4, rtol=1e-4)
        found = backbone.domain_heads.discriminator(features).argmax(1)
        assert (found == k).float().mean() > 0.6  # chance is 0.33


def test_training_is_reproducible_and_leaves_the_global_generator(trained):
    before = torch.get_rng_state()
    data = Stripes(10, ("a", "b"))
    recipe = Recipe(steps=2, batch_size=5, seed=4)
    digests = []
    for seed in (4, 4, 5):
        backbone = initial_backbone("test_resnet", NUM_CLASSES, seed=seed)
        train(backbone, data, recipe)
        digests.append(backbone.weights_sha256)
    assert torch.equal(before, torch.get_rng_state())
    assert digests[0] == digests[1] != digests[2]


def test_erm_trains_the_shared_head_alone():
    backbone = initial_backbone("test_resnet", NUM_CLASSES)
    before = backbone.weights_sha256
    train(backbone, Stripes(10, ("a",)), Recipe(drm=False, steps=1))
    assert backbone.domain_heads is None
    assert backbone.weights_sha256 != before


def test_a_single_domain_is_refused_for_drm():
    with pytest.raises(UserError, match="'stripes' leaves 1 to train on.*without --drm"):
        train(initial_backbone("test_resnet", 5), Stripes(10, ("a",)), TINY)


def test_frozen_batch_norm_keeps_its_statistics(tmp_path):
    start = tmp_path / "start.safetensors"
    save_source_model(make_backbone("batch_norm"), start, ("a",), TINY)
    options = {"num_classes": NUM_CLASSES, "weights": start}
    first = create_backbone("test_resnet", **options)
    backbone = create_backbone("test_resnet", **options)
    train(backbone, Stripes(10, ("a",)), Recipe(drm=False, steps=1, freeze_batch_norm=True))
    after = backbone.model.state_dict()
    for key, value in first.model.state_dict().items():
        if "running" in key or key == "fc.weight":
            assert torch.equal(value, after[key]) == ("running" in key), key


def test_rotated_digits_run_from_the_command_line(tmp_path, capsys):
    arguments = ["--dataset", "digits-r", "--num-samples", "64", "--json"]
    arguments += ["--output", str(tmp_path), "--device", "cpu"]
    found = {}
    for method in ("source", "drm"):
        assert main(["--method", method, *arguments]) == 0
        found[method] = json.loads(capsys.readouterr().out)
    assert found["drm"]["domains"][0]["domain"] == "75"
    assert found["drm"]["outputs"] == "probabilities"
    assert min(summary["mean_accuracy"] for summary in found.values()) > 0.5  # chance is 0.1


def test_a_backbone_of_one_head_is_refused_on_the_command_line(tmp_path, capsys):
    assert main(["--method", "drm", "--output", str(tmp_path), "--device", "cpu"]) == 2
    assert "single head; train one with python -m tta.train_source" in capsys.readouterr().err


def test_another_held_out_domain_is_trained_once(tmp_path, monkeypatch):
    small = Recipe(steps=1, batch_size=2, validation_fraction=0.98)
    monkeypatch.setenv("TTA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("tta.source.models.Recipe", lambda: small)
    dataset = open_dataset("digits-r:15")
    file = own_weights(dataset)
    assert file.startswith(str(tmp_path))
    good = {key: tensor.clone() for key, tensor in load_file(file).items()}  # else of the file
    content = Path(file).read_bytes()
    Path(file).write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    assert own_weights(dataset) == file
    again = load_file(file)  # trained again
    assert all(torch.equal(again[key], tensor) for key, tensor in good.items())
    monkeypatch.setattr("tta.source.training.train", None)  # another training would fail
    assert own_weights(dataset) == file
    dataset.benchmark = dataset.benchmark.but(backbone="test_vit")
    with pytest.raises(TypeError):  # another model needs another training
        own_weights(dataset)
    dataset.benchmark = dataset.benchmark.but(backbone="test_resnet.r160_in1k")
    monkeypatch.setattr("tta.source.models.code_digest", lambda: "edited")
    with pytest.raises(TypeError):
        own_weights(dataset)
    backbone = create_backbone(dataset.benchmark.backbone, weights=file, num_classes=10)
    assert len(backbone.domain_heads) == 5
    assert own_weights(open_dataset("digits-r")) == str(WEIGHTS)
    assert own_weights(RandomImages(SIZE)) is None


def test_who_comes_second_waits_for_the_training_of_the_first(tmp_path, monkeypatch):
    monkeypatch.setenv("TTA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("tta.source.models._key", lambda *_: "key")
    monkeypatch.setattr("tta.source.training.train", None)  # the second would fail
    folder = tmp_path / "source_models" / "digits-r_15-key"
    folder.mkdir(parents=True)
    lock = FolderLock(folder)
    with ThreadPoolExecutor() as pool:
        second = pool.submit(own_weights, open_dataset("digits-r:15"))
        time.sleep(0.3)
        assert not second.done()
        (folder / "model.safetensors").touch()
        (folder / "sha256").write_text(hashlib.sha256(b"").hexdigest())
        lock.release()
        assert second.result(timeout=10) == str(folder / "model.safetensors")
