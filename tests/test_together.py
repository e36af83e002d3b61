"""Several methods on one stream: each run is as it is alone."""

import dataclasses
import json
import os
import signal
from pathlib import Path

import pytest
import torch

from tta.commands.run import main
from tta.config import RunConfig
from tta.experiment import run
from tta.experiment.assembly import build_several
from tta.experiment.together import run_together
from tta.methods import find_method
from tta.methods.bn import BatchNormOne
from tta.methods.source import Source
from tta.methods.tent import Tent
from tta.streams.stream import Stream

SHORT = {
    "domains": ("contrast", "pixelate"),
    "num_samples": 32,
    "batch_size": 16,
    "device": "cpu",
    "no_cache": True,
}
RMT = {"warm_up_samples": 16}
RECORDS = ("batches.csv", "domains.csv", "samples.npz", "config.yaml")
OWN = ("cost", "path", "environment")
"""What a summary holds of times and places."""
WRITES = """
import torch
from tta.methods import Method

class Writes(Method):
    name = "writes"

    def step(self, images):
        outputs = self.predict(images)
        images.zero_()
        return outputs
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def configs(methods, output, **options) -> list[RunConfig]:
    shared = {**SHORT, **options, "output": str(output)}
    return [RunConfig(method=name, set=RMT if name == "rmt" else {}, **shared) for name in methods]


def ends_of(asked, **options) -> list:
    ends = dict(run_together(asked, **options))
    return [ends[number] for number in range(len(asked))]


def records(summary) -> list[bytes]:
    return [Path(summary["path"], name).read_bytes() for name in RECORDS[:3]]


def figures(summary) -> dict:
    return {name: value for name, value in summary.items() if name not in OWN}


def made_batches(monkeypatch) -> list[int]:
    made, batches = [], Stream.batches

    def counted(self, position=0):
        for batch in batches(self, position):
            made.append(batch.start)
            yield batch

    monkeypatch.setattr(Stream, "batches", counted)
    return made


STOPPED = """
from tta.foundation.stops import Stopped
from tta.methods import Method

class Fails(Method):
    name = "fails"

    def step(self, images):
        raise ValueError("it broke")

class Stops(Method):
    name = "stops"
    seen = 0

    def step(self, images):
        self.seen += 1
        if self.seen == 2:
            raise Stopped()
        return self.predict(images)
"""


def test_runs_are_those_of_runs_alone_and_a_batch_is_made_once(tmp_path, monkeypatch):
    options = {"probe": "source", "probe_samples": 20, "estimate": ("aetta",)}
    methods = ["tent", "rmt", "source"]
    alone = [run(config) for config in configs(methods, "alone", **options)]
    made = made_batches(monkeypatch)
    ends = ends_of(configs(methods, "shared", **options))
    assert made == [0, 16, 32, 48]
    for end, expected in zip(ends, alone, strict=True):
        assert records(end) == records(expected)
        assert figures(end) == figures(expected)
        assert Path(end["path"]).relative_to("shared") == Path(expected["path"]).relative_to(
            "alone"
        )
        assert end["cost"]["runs_on_the_stream"] == 3
        assert "energy_joules" not in end["cost"]
        assert "runs_on_the_stream" not in expected["cost"]
        assert sorted(os.listdir(end["path"])) == sorted(os.listdir(expected["path"]))


def test_a_method_that_writes_to_its_images_spoils_no_others(tmp_path):
    Path("writes.py").write_text(WRITES)
    (expected,) = ends_of(configs(["source"], "alone"))
    ends = ends_of(configs(["writes.py:Writes", "source"], "shared"))
    assert records(ends[1]) == records(expected)
    assert ends[0]["mean_error"] == ends[1]["mean_error"]


def test_one_that_raises_or_stops_early_leaves_the_others_going(monkeypatch):
    (expected,) = ends_of(configs(["tent"], "alone"))
    step, calls = BatchNormOne.step, []

    def fails(self, images):
        calls.append(len(images))
        if len(calls) == 2:
            raise ArithmeticError("no such number")
        return step(self, images)

    monkeypatch.setattr(BatchNormOne, "step", fails)
    predict = Source.step
    monkeypatch.setattr(Source, "step", lambda self, images: predict(self, images) * torch.nan)
    asked = configs(["bn", "source", "tent"], "shared", on_nonfinite="stop")
    failed, stopped, whole = ends_of(asked)
    assert isinstance(failed, ArithmeticError)
    (left,) = Path("shared").glob("*/*/*/bn/*/summary.json")
    assert json.loads(left.read_text())["samples"] == 16
    assert (stopped["finished"], stopped["samples"]) == (False, 16)
    assert whole["finished"]
    assert records(whole) == records(expected)


def stop_in_step(monkeypatch, method, number) -> None:
    step, calls = method.step, []

    def stopped(self, images):
        calls.append(len(images))
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, images)

    monkeypatch.setattr(method, "step", stopped)


def test_ctrl_c_saves_all_of_them_and_they_go_on_from_where_each_is(monkeypatch, capfd):
    methods, every = ["source", "tent", "bn"], ["--batch-size", "16", "--num-samples", "32"]
    line = ["--domains", "contrast,pixelate", *every, "--no-cache", "--device", "cpu"]
    alone = [run(config) for config in configs(methods, "alone")]
    with monkeypatch.context() as patch:
        stop_in_step(patch, Tent, 2)
        assert main(["--methods", "source,tent", *line, "--output", "shared"]) == 130
    said = capfd.readouterr().err
    assert said.count("a checkpoint holds the first 32 of 64 images, to go on:") == 2
    made = made_batches(monkeypatch)
    assert main(["--methods", "source,tent,bn", *line, "--output", "shared", "--resume"]) == 0
    assert made == [0, 16, 32, 48]
    for expected in alone:
        path = Path("shared", Path(expected["path"]).relative_to("alone"))
        found = json.loads((path / "summary.json").read_text())
        assert found["resumed_at"] == ([] if found["method"] == "bn" else [32])
        assert records({"path": path}) == records(expected)
    assert main(["--methods", "source,tent,bn", *line, "--output", "shared"]) == 0
    assert len(made) == 4  # all were finished


def test_what_ends_the_stream_ends_all_and_each_keeps_its_part(monkeypatch):
    batches = Stream.batches

    def breaks(self, position=0):
        yield from list(batches(self, position))[:2]
        raise OSError("the disk has gone")

    monkeypatch.setattr(Stream, "batches", breaks)
    ends = ends_of(configs(["source", "bn"], "shared"))
    assert [str(end) for end in ends] == ["the disk has gone"] * 2
    left = [json.loads(file.read_text()) for file in Path("shared").rglob("summary.json")]
    assert [summary["samples"] for summary in left] == [32, 32]


def test_memory_bounds_how_many_go_together(monkeypatch):
    made = made_batches(monkeypatch)
    monkeypatch.setattr("tta.experiment.assembly.free_bytes", lambda device: 400)
    monkeypatch.setattr("tta.experiment.assembly.bytes_of_a_method", lambda backbone: 100)
    passes = []
    asked = configs(["source", "bn", "tent"], "shared")
    ends_of(asked, shown=lambda runs: passes.append([one.method.name for one in runs]))
    assert passes == [["source", "bn"], ["tent"]]
    assert made == [0, 16, 32, 48] * 2


def test_the_same_run_typed_otherwise_is_not_run_twice(monkeypatch):
    made = made_batches(monkeypatch)
    plain, typed = configs(["tent", "tent"], "shared")
    usual = find_method("tent").Params().lr
    first, second = ends_of([plain, dataclasses.replace(typed, set={"lr": usual})])
    assert (first["reused"], second["reused"]) == (False, True)
    assert first["path"] == second["path"]
    assert made == [0, 16, 32, 48]


def test_what_is_wrong_with_one_is_its_own_and_with_the_data_all_of_theirs():
    sound, unsound = ends_of(configs(["source", "drm"], "shared"))
    assert sound["finished"]
    assert "drm" in str(unsound)
    ends = ends_of(configs(["source", "bn"], "shared", backbone="resnet18", num_classes=3))
    assert ends[0] is ends[1]


def test_times_and_memory_are_of_each_run_alone(monkeypatch):
    step = Tent.step

    def slow(self, images):
        import time

        time.sleep(0.2)
        return step(self, images)

    monkeypatch.setattr(Tent, "step", slow)
    source, tent = ends_of(configs(["source", "tent"], "shared"))
    assert tent["cost"]["stream_seconds"] > 0.8
    assert source["cost"]["stream_seconds"] < tent["cost"]["stream_seconds"] - 0.5
    timing = Path(source["path"], "timing.csv").read_text().splitlines()
    assert len(timing) == 5


def test_runs_that_measure_themselves_have_the_machine_alone():
    keys = [
        one.stream_key for one in configs(["tent", "rmt"], "x", stream_rate=1.0, cost="counted")
    ]
    assert keys[0] == keys[1] is not None
    (measured,) = configs(["tent"], "x", stream_rate=1.0)
    assert measured.stream_key is None
    assert configs(["tent"], "x", seed=2)[0].stream_key != configs(["tent"], "x")[0].stream_key


def test_models_are_loaded_once_and_left_as_they_are():
    first, second = build_several(configs(["tent", "rmt"], "x"))
    assert first.backbone.model is second.backbone.model
    assert first.backbone.passes is not second.backbone.passes
    assert first.stream is second.stream
    assert first.fingerprint() != second.fingerprint()


def test_what_failed_before_a_stop_is_told(tmp_path, capsys):
    file = tmp_path / "own.py"
    file.write_text(STOPPED)
    words = [
        "--methods",
        f"{file}:Fails,{file}:Stops",
        "--output",
        str(tmp_path),
        "--device",
        "cpu",
    ]
    words += ["--device", "cpu", "--num-samples", "64", "--batch-size", "16", "--domains", "fog"]
    assert main(words) == 130
    told = capsys.readouterr().err
    assert "it broke" in told and told.count("stopped by") == 1
