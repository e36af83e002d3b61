"""Figures without labels: worked examples, streams of any cut, and runs that are as without."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.timing.syncs import SyncCounter
from tests.fakes import RandomImages
from tests.reporting.test_checkpoint import records, resumed, run_killed
from tta.backbones.passes import Passes
from tta.config import RunConfig
from tta.experiment import run
from tta.experiment.observing import gathering
from tta.experiment.observing.evidence import Evidence
from tta.experiment.observing.recorder import Recorder
from tta.foundation.errors import UserError
from tta.ops.views.shift import shifted
from tta.streams import ScenarioOptions, plan_stream
from tta.streams.stream import Stream
from tta.tasks.metrics import log_probabilities
from tta.tasks.unlabelled import agreement, entropies, information, neighbourhood_density

LOGITS = torch.tensor([[2, 0, -1], [0, 1, 0.5], [1, 1, 1], [0.2, -0.3, 1.4]])
OTHER = torch.tensor([[1.5, 0.2, -1], [0.8, 0.7, 0.1], [0.5, 1.2, 0.9], [0, 0, 1]])
SHORT = {"domains": ("contrast", "pixelate"), "num_samples": 48, "batch_size": 16}
ALL = ("infomax", "snd", "consistency")


def test_the_worked_example():
    log_p = LOGITS.log_softmax(1)
    each = entropies(log_p)
    assert each.tolist() == pytest.approx([0.524267, 1.020191, 1.098612, 0.847523], abs=1e-6)
    assert each.mean().item() == pytest.approx(0.872648, abs=1e-6)
    assert information(log_p.exp().mean(0), each.mean()).item() == pytest.approx(0.214502, abs=1e-6)
    assert neighbourhood_density(log_p).item() == pytest.approx(0.180344, abs=1e-6)
    agrees, cross = agreement(log_p, OTHER.log_softmax(1))
    assert agrees.tolist() == [True, False, False, True]  # of a tie the first class counts
    assert cross.mean().item() == pytest.approx(0.928732, abs=1e-6)


def test_the_density_of_many_outputs_is_that_of_the_whole_matrix(monkeypatch):
    log_p = torch.randn(23, 5, generator=torch.Generator().manual_seed(0)).log_softmax(1)
    p = log_p.exp().double()
    p /= p.norm(dim=1, keepdim=True)
    similar = (p @ p.T / 0.05)[~torch.eye(23, dtype=bool)].view(23, 22).softmax(1)
    expected = -(similar * similar.log()).sum(1).mean()
    monkeypatch.setattr("tta.tasks.unlabelled.ROWS", 7)
    assert neighbourhood_density(log_p).item() == pytest.approx(expected.item(), rel=1e-5)
    assert math.isnan(neighbourhood_density(log_p[:1]).item())


def test_a_shifted_image_is_the_image_with_its_edges_repeated():
    images = torch.rand(64, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    views = shifted(images, torch.Generator().manual_seed(2))
    padded = torch.nn.functional.pad(images, (3, 3, 2, 2), mode="replicate")
    moves = set()
    for image, view in zip(padded, views, strict=True):
        places = [(y, x) for y in range(5) for x in range(7)]
        found = [(y, x) for y, x in places if torch.equal(image[:, y : y + 16, x : x + 24], view)]
        moves.update(found)
        assert len(found) == 1
    assert {y for y, _ in moves} == set(range(5))
    assert {x for _, x in moves} == set(range(7))
    last = images.contiguous(memory_format=torch.channels_last)
    again = shifted(last, torch.Generator().manual_seed(2))
    assert torch.equal(again, views)
    assert again.is_contiguous(memory_format=torch.channels_last)


def made(scenario, batch_size, names=("infomax", "snd")):
    data = RandomImages(20, ("a", "b", "c"))
    plan = plan_stream(scenario, data, ScenarioOptions())
    centred, linear = torch.nn.InstanceNorm2d(3), torch.nn.Linear(3 * 32 * 32, 5)
    torch.nn.init.normal_(linear.weight, std=0.1, generator=torch.Generator().manual_seed(4))
    predict = torch.nn.Sequential(centred, torch.nn.Flatten(), linear)
    evidence = Evidence(names, plan, 5, "logits", predict, 1)
    return Stream(data, plan, batch_size), evidence


def outputs_of(plan):
    """Return outputs that follow the image, whatever its place in the stream."""
    table = torch.randn(3, 20, 5, generator=torch.Generator().manual_seed(0))
    return table[torch.from_numpy(plan.domain.copy()), torch.from_numpy(plan.index.copy())]


@pytest.mark.parametrize("scenario", ["continual", "mixed_domains"])
@pytest.mark.parametrize("batch_size", [1, 7, 60])
def test_figures_are_those_of_the_visits_however_the_stream_is_cut(scenario, batch_size):
    stream, evidence = made(scenario, batch_size)
    outputs = outputs_of(stream.plan)
    for batch in stream:
        evidence.update(batch, outputs[batch.start : batch.stop])
    found = evidence.figures()
    log_p = outputs.log_softmax(1)
    order = list(dict.fromkeys(stream.plan.visit.tolist()))
    parts = [log_p[torch.from_numpy(stream.plan.visit == visit)] for visit in order]
    density = [neighbourhood_density(part).item() for part in parts]
    assert found["by_visit"]["snd"] == pytest.approx(density, rel=1e-5)
    assert found["snd"] == pytest.approx(np.mean(density), rel=1e-5)
    both = [information(part.exp().mean(0), entropies(part).mean()).item() for part in parts]
    assert found["by_visit"]["infomax"] == pytest.approx(both, rel=1e-4)
    whole = information(log_p.exp().mean(0), entropies(log_p).mean()).item()
    assert found["infomax"] == pytest.approx(whole, rel=1e-4)


def test_chunks_of_a_long_visit_are_averaged(monkeypatch):
    monkeypatch.setattr(gathering, "CHUNK", 8)
    stream, evidence = made("continual", 5, ("snd",))
    outputs = outputs_of(stream.plan)
    for batch in stream:
        evidence.update(batch, outputs[batch.start : batch.stop])
    parts = [part for visit in outputs.log_softmax(1).split(20) for part in visit.split(8)]
    sizes = [len(part) for part in parts]
    assert sizes == [8, 8, 4] * 3
    density = [neighbourhood_density(part).item() for part in parts]
    assert evidence.figures()["snd"] == pytest.approx(np.average(density, weights=sizes), rel=1e-5)


def test_views_are_compared_by_the_method_as_it_is():
    stream, evidence = made("continual", 10, ("consistency",))
    seen = []
    predict = evidence.predict
    evidence.predict = lambda images: seen.append(images) or predict(images)
    batch = next(iter(stream))
    evidence.update(batch, torch.zeros(10, 5))
    plain, view = seen
    assert torch.equal(plain, batch.images)
    assert not torch.equal(view, plain)
    pair = [predict(images).log_softmax(1) for images in seen]
    agrees, cross = agreement(*pair)
    found = evidence.figures()
    assert 0 < found["consistency"] < 1
    assert found["consistency"] == pytest.approx(agrees.float().mean().item())
    assert found["consistency_cross_entropy"] == pytest.approx(cross.mean().item(), rel=1e-5)


def test_outputs_that_are_no_numbers_make_no_figures():
    stream, evidence = made("continual", 10, ALL)
    predict = evidence.predict
    for batch in stream:
        outputs = torch.ones(10, 5)
        if batch.start == 10:
            outputs[3, 2] = torch.nan
            evidence.predict = lambda images: predict(images) * torch.nan
        else:
            evidence.predict = predict
        evidence.update(batch, outputs)
    found = evidence.figures()
    for name in ALL:
        assert found[name] is None
        assert [value is None for value in found["by_visit"][name]] == [True, False, False]


def test_it_waits_for_nothing_between_two_figures():
    stream, evidence = made("mixed_domains", 10, ALL)
    with SyncCounter() as counter:
        for batch in stream:
            evidence.update(batch, log_probabilities(torch.ones(10, 5), "logits"))
    assert not counter.places


class Ticks:
    now = 0.0

    def mark(self):
        self.now += 1
        return self.now

    def seconds(self, start, stop):
        return stop - start


def test_times_and_passes_leave_it_out():
    stream, evidence = made("continual", 10, ("infomax",))
    clock, passes, update = Ticks(), Passes(), evidence.update

    def slow(batch, outputs):
        clock.now += 1000
        passes.forward += 1000
        update(batch, outputs)

    evidence.update = slow
    recorder = Recorder(
        stream.plan, stream.labels(), "logits", passes=passes, clock=clock, evidence=evidence
    )
    for batch in stream:
        passes.forward += 10
        recorder.update(batch, torch.ones(10, 5))
    recorder.close()
    assert recorder.domains()["forwards"].tolist() == [20, 20, 20]
    assert recorder.seconds < 100


def test_a_run_with_evidence_has_the_records_of_one_without(tmp_path):
    plain = run(RunConfig(method="rotta", output=str(tmp_path), **SHORT))
    watched = run(RunConfig(method="rotta", output=str(tmp_path), evidence=ALL, **SHORT))
    assert plain["path"] != watched["path"]
    assert records(plain) == records(watched)
    assert "evidence" not in plain
    kept = json.loads(Path(watched["path"], "summary.json").read_text())["evidence"]
    assert kept == watched["evidence"]
    assert all(len(kept["by_visit"][name]) == 2 for name in ALL)
    assert 0 < kept["consistency"] <= 1


def test_it_goes_on_from_a_checkpoint(tmp_path, monkeypatch):
    options = {"method": "tent", "evidence": ALL, "checkpoint_every": 1, **SHORT}
    expected = run(RunConfig(output=str(tmp_path / "whole"), **options))
    config = RunConfig(output=str(tmp_path / "killed"), **options)
    run_killed(monkeypatch, config, 5)
    summary = resumed(config)
    assert summary["resumed_at"] == [64]
    assert summary["evidence"] == expected["evidence"]


def test_names():
    assert RunConfig(evidence="snd, infomax").evidence == ("infomax", "snd")
    assert RunConfig.from_mapping({"evidence": ["snd", "snd"]}, "a").evidence == ("snd",)
    for value, message in [("nsd", "has no 'nsd'; it has: infomax"), (3, "takes names, such as")]:
        with pytest.raises(UserError, match=message):
            RunConfig(evidence=value)
    with pytest.raises(UserError, match="leave --window out"):
        RunConfig(evidence=("consistency",), window=8, batch_size=1)
