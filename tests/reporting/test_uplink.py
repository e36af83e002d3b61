"""What uploads cost, from a method's counts to the printed table."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from tests.fakes import NUM_CLASSES, RandomImages
from tta.datasets import open_dataset
from tta.datasets.images import png_bytes
from tta.experiment.figures import figures
from tta.experiment.observing.recorder import Recorder
from tta.reporting.run_report import domain_table
from tta.streams import ScenarioOptions, plan_stream
from tta.streams.stream import Stream

COUNTERS = ("uploads", "uplink_bytes")


def png_size(image: torch.Tensor) -> int:
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, format="PNG")
    return len(file.getvalue())


@pytest.fixture
def recorded():
    """Return a recorder after a stream whose batches each uploaded their second image."""
    dataset = RandomImages(8, ("a", "b"))
    plan = plan_stream("continual", dataset, ScenarioOptions(num_samples=6))
    stream = Stream(dataset, plan, 4)
    recorder = Recorder(
        plan, stream.labels(), "logits", COUNTERS, encoded_bytes=stream.encoded_bytes
    )
    for batch in stream:
        counted = torch.zeros(2, len(batch.images))
        counted[:, 1] = torch.tensor([1.0, 3072.0])
        recorder.update(batch, torch.rand(len(batch.images), NUM_CLASSES), counted)
    recorder.close()
    return recorder, dataset, plan


def test_uploads_by_domain(recorded):
    recorder, dataset, plan = recorded
    domains = recorder.domains()
    assert domains["uploads"].tolist() == [2, 2]
    assert domains["uplink_bytes"].tolist() == [6144, 6144]
    assert domains["upload_fraction"].tolist() == [2 / 6, 2 / 6]
    sizes = [
        png_size(dataset.images(plan.domains[plan.domain[row]], 5, plan.index[row : row + 1])[0])
        for row in (1, 5, 7, 11)
    ]
    assert domains["uplink_encoded_bytes"].tolist() == [sum(sizes[:2]), sum(sizes[2:])]


def test_totals_and_table(recorded):
    recorder, _, _ = recorded
    summary = figures(recorder.domains(), COUNTERS)
    assert summary["counters"]["uploads"] == 4
    assert summary["counters"]["uplink_encoded_bytes"] == sum(
        domain["uplink_encoded_bytes"] for domain in summary["domains"]
    )
    assert summary["upload_fraction"] == 4 / 12
    header, _, first, *_, pooled = domain_table(summary).splitlines()
    assert "| uploads | uplink KiB | uplink encoded KiB | upload % |" in header
    assert [cell.strip() for cell in first.split("|")][6:8] == ["2", "6.0"]
    assert [cell.strip() for cell in pooled.split("|")][6:10:3] == ["4", "33.33"]


def test_methods_without_uploads_have_no_such_columns():
    dataset = RandomImages(4, ("a",))
    plan = plan_stream("continual", dataset, ScenarioOptions())
    stream = Stream(dataset, plan, 4)
    recorder = Recorder(plan, stream.labels(), "logits")
    recorder.update(next(iter(stream)), torch.rand(4, NUM_CLASSES))
    recorder.close()
    summary = figures(recorder.domains())
    assert summary["counters"] == {}
    assert "upload" not in domain_table(summary)


def test_files_count_as_they_are_stored(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "photo" / "cat").mkdir(parents=True)
    for name in ("a.png", "b.jpg"):
        image = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
        image.save(tmp_path / "photo" / "cat" / name)
    dataset = open_dataset(f"folder:{tmp_path}")
    sizes = [(tmp_path / "photo" / "cat" / name).stat().st_size for name in ("b.jpg", "a.png")]
    assert dataset.encoded_bytes("photo", 0, np.array([1, 0])).tolist() == sizes


def test_png_sizes():
    flat, noise = torch.zeros(3, 16, 16, dtype=torch.uint8), torch.randint(256, (3, 16, 16))
    images = torch.stack([flat, noise.to(torch.uint8)])
    assert png_bytes(images).tolist() == [png_size(image) for image in images]
    assert len(RandomImages().encoded_bytes("a", 5, np.array([], np.int64))) == 0
