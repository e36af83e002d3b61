import multiprocessing
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.fakes import RandomImages, make_source
from tta.config import RunConfig
from tta.experiment import run
from tta.experiment.parts import choose_workers
from tta.source.prototypes import class_prototypes
from tta.source.source_data import SourceBatches, SourceData


def test_one_pass_shows_every_image_once():
    source = make_source(batch_size=5)
    batches = list(source.one_pass())
    assert [len(labels) for _, labels in batches] == [5, 5, 2]
    assert sorted(torch.cat([labels for _, labels in batches]).tolist()) == sorted(
        np.arange(12) % 5
    )


def test_labels_belong_to_their_images_across_domains():
    data = RandomImages(7, ("a", "b"))
    source = SourceData(data, batch_size=6, seed=1)
    rows = source.order(0)[:6]
    images, labels = next(source.batches(source.parts(rows)))
    for row, image, label in zip(rows, images, labels, strict=True):
        domain, index = divmod(int(row), 7)
        expected = data.images("ab"[domain], 1, np.array([index]))[0]
        assert torch.equal((image * 255).round().byte(), expected)
        assert label == index % 5


def test_endless_batches_resume_where_they_were():
    source = make_source(batch_size=5)
    batches = SourceBatches(source)
    for _ in range(4):
        next(batches)
    state = batches.state_dict()
    expected = [next(batches) for _ in range(4)]
    other = SourceBatches(source)
    other.load_state_dict(state)
    for (images, labels), _ in zip(expected, range(4), strict=True):
        resumed_images, resumed_labels = next(other)
        assert torch.equal(images, resumed_images)
        assert torch.equal(labels, resumed_labels)


def test_only_the_first_images_of_a_pass():
    source = make_source(batch_size=5)
    assert [len(images) for images in source.first_images(8)] == [5, 3]
    assert [len(images) for images in source.first_images(5)] == [5]
    assert [len(images) for images in source.first_images(99)] == [5, 5, 2]


def test_prototypes_are_class_means():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(20, 4, generator=generator)
    labels = torch.arange(20) % 3
    batches = zip(features.split(6), labels.split(6), strict=True)
    prototypes = class_prototypes(batches, num_classes=4)
    for k in range(3):
        torch.testing.assert_close(prototypes[k], features[labels == k].mean(0))
    assert (prototypes[3] == 0).all()


def test_prototypes_stop_after_the_limit():
    batches = ((torch.full((4, 2), float(k)), torch.zeros(4, dtype=torch.long)) for k in range(9))
    assert class_prototypes(batches, num_classes=1, limit=7)[0].tolist() == [0.5, 0.5]


class Whoever(RandomImages):
    """Images that show which process made them."""

    def images(self, domain, severity, indices):
        pid = torch.tensor([[int(digit) for digit in f"{os.getpid():08}"]], dtype=torch.uint8)
        return pid.expand(len(indices), 3, 2, 8)


def makers(batches):
    return {
        int("".join(map(str, (images[0, 0, 0] * 255).round().int().tolist()))) for images in batches
    }


def test_the_same_processes_load_every_epoch_and_end():
    source = SourceData(Whoever(12, ("source",)), 5, workers=1)
    batches = SourceBatches(source)
    pids = makers(next(batches)[0] for _ in range(7))
    assert batches.epoch == 2
    batches.load_state_dict({"epoch": 1, "position": 5})
    assert makers(next(batches)[0] for _ in range(2)) == pids
    assert {child.pid for child in multiprocessing.active_children()} == pids
    assert makers(source.first_images(12)).isdisjoint(pids)  # beside, so that both go on
    assert makers(next(batches)[0] for _ in range(2)) == pids
    source.close()
    assert not multiprocessing.active_children()
    with pytest.raises(RuntimeError, match="closed while a pass"):
        next(batches)
    assert makers(source.first_images(5)).isdisjoint(pids)
    source.close()


def test_no_process_is_left_by_a_run(tmp_path):
    config = RunConfig(
        method="rmt",
        domains=("pixelate",),
        num_samples=20,
        batch_size=10,
        workers=1,
        set={"warm_up_samples": 10},
        no_cache=True,
        output=str(tmp_path),
    )
    assert run(config)["finished"]
    assert not multiprocessing.active_children()


def test_cores_are_shared_by_what_loads_at_once(monkeypatch):
    monkeypatch.setattr("tta.datasets.loading.core_count", lambda: 6)
    for costly, at_once, expected in (
        ((True, True), True, [3, 3]),
        ((True, True), False, [6, 6]),
        ((True, False), True, [6, 0]),
    ):
        loaded = [SimpleNamespace(dataset=SimpleNamespace(costly=one)) for one in costly]
        loaded[0].device = torch.device("cuda")
        choose_workers(RunConfig(), *loaded, at_once)
        assert [one.workers for one in loaded] == expected
        choose_workers(RunConfig(workers=2), *loaded, at_once)
        assert [one.workers for one in loaded] == [2, 2]
