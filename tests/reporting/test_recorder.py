"""What is kept of every sample, and what a run's passes come to."""

import numpy as np
import pytest
import torch

from tests.fakes import RandomImages
from tta.backbones.passes import Passes
from tta.experiment.figures import figures
from tta.experiment.observing.recorder import Recorder
from tta.reporting.records.run_directory import RunDirectory
from tta.streams import ScenarioOptions, plan_stream
from tta.streams.stream import Stream
from tta.tasks.calibration import expected_calibration_error
from tta.tasks.metrics import sample_metrics


@pytest.fixture
def stream():
    dataset = RandomImages(10, ("a", "b"))
    return Stream(dataset, plan_stream("continual", dataset, ScenarioOptions()), 4)


def outputs_of(stream):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(len(stream.plan), 5, generator=generator)


def test_samples_are_kept_in_stream_order(stream, tmp_path):
    recorder = Recorder(stream.plan, stream.labels(), "logits")
    outputs = outputs_of(stream)
    for batch in stream:
        recorder.update(batch, outputs[batch.start : batch.stop])
    recorder.close()
    recorder.samples.save(RunDirectory(tmp_path))
    correct, confidence, *_ = sample_metrics(outputs, torch.from_numpy(stream.labels()), "logits")
    with np.load(tmp_path / "samples.npz") as samples:
        assert samples["correct"].tolist() == correct.bool().tolist()
        np.testing.assert_allclose(samples["confidence"], confidence, rtol=1e-3)
        whole = expected_calibration_error(*(row.double().numpy() for row in (confidence, correct)))
        assert recorder.samples.pooled() == {"ece": whole}
        assert samples["visit"].tolist() == [0] * 10 + [1] * 10


def test_passes_by_domain_and_per_image(stream):
    passes = Passes()
    passes.forward = 99  # of the preparation: not counted
    recorder = Recorder(stream.plan, stream.labels(), "logits", passes=passes)
    outputs = outputs_of(stream)
    for batch in stream:
        passes.forward += 2 * len(batch.images)
        passes.backward += batch.start < 10
        recorder.update(batch, outputs[batch.start : batch.stop])
    recorder.close()
    domains = recorder.domains()
    assert domains["forwards"].tolist() == [20, 20]
    assert domains["backwards"].tolist() == [3, 0]
    summary = figures(domains)
    assert summary["passes"] == {"forwards": 2.0, "backwards": 3 / 20}
    assert summary["counters"] == {}


class Ticks:
    """A clock that goes on by one at every mark; what is waited for takes ten."""

    def __init__(self):
        self.now = 0.0

    def mark(self):
        self.now += 1
        return self.now

    def seconds(self, start, stop):
        return stop - start

    def settle(self):
        self.now += 10


def test_batches_are_timed_by_the_clock_without_verdicts_and_pauses(stream, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "tta.experiment.observing.recorder.DISPLAY_INTERVAL", -1.0
    )  # fetch after each batch
    clock = Ticks()

    class Verdict:
        batch = None

        def update(self, batch, outputs):
            pass

        def read(self):
            pass

        def judge(self):
            clock.now += 100

    directory = RunDirectory(tmp_path)
    directory.start_over()
    recorder = Recorder(
        stream.plan, stream.labels(), "logits", directory=directory, watch=Verdict(), clock=clock
    )
    outputs = outputs_of(stream)
    for number, batch in enumerate(stream):
        if number == 2:
            clock.now += 1000  # a checkpoint
            recorder.restart_clock()
        recorder.update(batch, outputs[batch.start : batch.stop])
    recorder.settle()
    recorder.flush()
    rows = (tmp_path / "timing.csv").read_text().split()[1:]
    # To the batch's end; to the verdict, and from there on; after a pause, to the end alone.
    assert [float(row.split(",")[1]) for row in rows] == [1, 2, 1, 2, 2, 2]
    assert recorder.seconds == 10
