"""Outputs that are not finite: counted as wrong, said everywhere, stopped or reset on demand."""

import csv
import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from benchmarks.timing.syncs import SyncCounter
from tests.reporting import diverging
from tests.reporting.fake_runs import write_run
from tests.reporting.test_checkpoint import records
from tests.reporting.test_collapse import CLASSES, SIZE, watch_of
from tta.commands.cli import EXIT_NOT_FINITE
from tta.commands.compare import main as compare
from tta.commands.plot import main as plot
from tta.commands.report import main as report
from tta.commands.run import main
from tta.commands.sweep import _line
from tta.config import RunConfig
from tta.experiment import build, run
from tta.sweeps.cells import Finished, Outcome
from tta.sweeps.grid import Cell
from tta.tasks.finite import finite_rows, make_guard, nonfinite_facts
from tta.tasks.metrics import sample_metrics

INF, NAN = float("inf"), float("nan")
METHOD = f"{diverging.__file__}:Diverging"
SHORT = {"domains": ("contrast", "pixelate"), "num_samples": 48, "batch_size": 16}


def test_which_outputs_tell_a_class():
    logits = torch.tensor(
        [[0.0, 1.0], [NAN, 1.0], [INF, 0.0], [-INF, 1.0], [-INF, -INF], [-INF, NAN]]
    )
    assert finite_rows(logits, "logits").tolist() == [True, False, False, True, False, False]
    assert finite_rows(logits.half(), "logit_sum").tolist()[:3] == [True, False, False]
    assert finite_rows(logits, "probabilities").tolist() == [True, *[False] * 5]


@pytest.mark.parametrize("kind", ["logits", "logit_sum", "probabilities"])
@pytest.mark.parametrize("value", [NAN, INF])
def test_such_an_image_is_wrong_whatever_its_label_and_others_are_as_before(kind, value):
    outputs = torch.rand(6, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    expected = sample_metrics(outputs, labels, kind)
    broken = outputs.clone()
    broken[:3] = value
    metrics = sample_metrics(broken, labels, kind)
    assert metrics[0, :3].tolist() == [0.0, 0.0, 0.0]
    assert metrics[1:, :3].isnan().all()
    assert torch.equal(metrics[:, 3:], expected[:, 3:])


def test_only_stop_and_reset_wait_for_the_device():
    outputs = torch.full((4, 3), NAN)
    resets = []
    with SyncCounter() as counter:
        assert make_guard("mark", "logits", lambda: resets.append(1))(outputs)
        sample_metrics(outputs, torch.zeros(4, dtype=torch.int64), "logits")
    assert not counter.places
    assert not resets
    for policy, goes_on in (("stop", False), ("reset", True)):
        with SyncCounter() as counter:
            assert make_guard(policy, "logits", lambda: resets.append(1))(outputs) is goes_on
        assert counter.places.total() == 1
    assert len(resets) == 1


def test_batch_and_image_are_named():
    confidence = np.full(20, 0.5)
    starts = np.array([0, 8, 10, 18])
    assert nonfinite_facts(confidence, starts)["nonfinite_at_batch"] is None
    confidence[[9, 11, 12]] = NAN
    assert nonfinite_facts(confidence, starts) == {
        "nonfinite_at_batch": 2,
        "nonfinite_at_image": 9,
        "nonfinite_batches": 2,
        "nonfinite_images": 3,
    }


def test_images_without_a_class_are_no_collapse_and_no_class():
    labels = np.random.default_rng(0).integers(0, CLASSES, 2 * SIZE)
    watch = watch_of(labels, labels * 0, initial=labels)
    assert watch.batch == 1
    for value, verdict in ((NAN, None), (0.0, 1)):
        watch = watch_of(labels[:SIZE], labels[:SIZE], initial=labels)
        watch.values[0, :48] = value
        watch._judged = 0
        watch.judge()
        assert watch.batch == verdict
    watch.values[:, :SIZE] = NAN
    assert np.isnan(watch.domain_row(np.arange(SIZE // 2))["predicted_classes"])


@pytest.fixture
def config(tmp_path):
    def made(folder="runs", **options):
        options = {"method": METHOD, **SHORT, **options}
        return RunConfig(**options, output=str(tmp_path / folder))

    return made


def interrupted(config, monkeypatch, step):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setenv("TTA_TEST_INTERRUPT", str(step))
        run(config)


def plain(summary):
    """Return what must not depend on how often a run was interrupted."""
    parted = ("cost", "path", "resumed_at", "reused", "environment", "fingerprint")
    return {name: value for name, value in summary.items() if name not in parted}


def test_a_marked_run_counts_them_as_wrong(config):
    source, marked = run(config(method="source")), run(config())
    batches = pd.read_csv(Path(marked["path"], "batches.csv"))
    before = pd.read_csv(Path(source["path"], "batches.csv"))
    assert batches["correct"][:2].tolist() == before["correct"][:2].tolist()
    with np.load(Path(marked["path"], "samples.npz")) as samples:
        assert samples["correct"].reshape(6, 16)[2:, :8].sum() == 0
        assert np.isnan(samples["confidence"]).sum() == 4 * 8
    assert source["nonfinite_at_batch"] is None
    found = {name: marked[name] for name in marked if name.startswith("nonfinite")}
    assert found == {
        "nonfinite_at_batch": 3,
        "nonfinite_at_image": 32,
        "nonfinite_batches": 4,
        "nonfinite_images": 32,
        "nonfinite_weights_after": None,
    }
    assert marked["pooled_error"] > source["pooled_error"]
    assert marked["mean_ece"] is None
    assert marked["pooled_ece"] is None
    assert marked["finished"]


def test_resetting_is_the_same_after_an_interruption(config, monkeypatch):
    options = {"on_nonfinite": "reset", "set": {"after": 1}}
    whole = run(config("whole", **options))
    # Each second batch diverges, and the method is reset after it.
    assert whole["nonfinite_at_batch"] == 2
    assert (whole["nonfinite_batches"], whole["nonfinite_images"]) == (3, 24)
    interrupted(config("parts", checkpoint_every=1, **options), monkeypatch, 4)
    parts = run(config("parts", resume=True, **options))
    assert parts["resumed_at"] == [48]
    assert records(parts) == records(whole)
    assert plain(parts) == plain(whole)


@pytest.mark.parametrize("every", [0, 1])
def test_a_stopped_run_is_kept_as_unfinished_and_stops_there_again(config, every):
    stopped = run(config(on_nonfinite="stop", checkpoint_every=every))
    assert not stopped["finished"]
    assert stopped["samples"] == 48  # to the end of the third batch
    assert stopped["nonfinite_at_batch"] == 3
    folder = Path(stopped["path"])
    assert not (folder / "done").exists()
    assert json.loads((folder / "summary.json").read_text())["nonfinite_images"] == 8
    kept = records(stopped)
    again = run(config(on_nonfinite="stop", checkpoint_every=every, resume=True))
    assert plain(again) == plain(stopped)
    assert records(again) == kept


def test_the_command_says_it(tmp_path, capsys):
    shared = ["--domains", "contrast", "--num-samples", "48", "--batch-size", "16"]
    command = ["--method", METHOD, *shared, "--output", str(tmp_path)]
    said = "outputs not finite from batch 3: 8 images in 1 batches, counted as wrong"
    assert main(command) == EXIT_NOT_FINITE == 3
    assert capsys.readouterr().out.endswith(f"{said}\n")
    assert main([*command, "--json"]) == EXIT_NOT_FINITE  # finished before
    output = capsys.readouterr()
    assert json.loads(output.out)["nonfinite_at_batch"] == 3
    assert said in output.err
    assert main([*command, "--on-nonfinite", "stop"]) == EXIT_NOT_FINITE
    assert f"{said}; the run stopped there\n" in capsys.readouterr().out
    assert main(["--method", "source", *shared, "--output", str(tmp_path)]) == 0
    assert "finite" not in capsys.readouterr().out


def test_a_float16_overflow_is_no_class_0(tmp_path):
    options = {"domains": ("contrast",), "num_samples": 16, "output": str(tmp_path)}
    state = build(RunConfig(**options)).backbone.model.state_dict()
    state["bn1.bias"] = state["bn1.bias"] + 1e5  # beyond float16
    plain = {name: value.contiguous() for name, value in state.items()}
    save_file(plain, tmp_path / "large.safetensors")
    options["weights"] = str(tmp_path / "large.safetensors")
    assert run(RunConfig(**options))["nonfinite_images"] == 0
    narrow = run(RunConfig(**options, precision="fp16"))
    assert narrow["nonfinite_images"] == 16
    assert narrow["pooled_error"] == 1


def test_weights_may_diverge_before_outputs(config):
    method = f"{diverging.__file__}:BrokenWeights"
    summary = run(config(method=method, num_samples=16, domains=("contrast",)))
    assert summary["nonfinite_at_batch"] is None
    assert summary["nonfinite_weights_after"] == "contrast"


@pytest.fixture
def diverged(tmp_path):
    write_run(tmp_path, "bn")
    write_run(tmp_path, "tent", diverged=True)
    return tmp_path


@pytest.mark.parametrize("form", ["markdown", "latex", "html", "csv", "json"])
def test_its_row_is_marked_in_every_format(diverged, capsys, form):
    assert compare([str(diverged), "--format", form]) == 0
    text = capsys.readouterr().out
    assert "tent (outputs not finite from batch 17)" in text
    assert "bn (outputs" not in text
    if form == "csv":
        rows = {row["method"]: row for row in csv.DictReader(io.StringIO(text))}
        marks = ("nonfinite_at_batch", "nonfinite_images")
        assert [rows["tent"][name] for name in marks] == ["17", "160"]
        assert [rows["bn"][name] for name in marks] == ["", "0"]
    if form == "json":
        methods = {
            row["method"]: row["runs"][0] for row in json.loads(text)["tables"][0]["methods"]
        }
        assert methods["tent"]["nonfinite_at_batch"] == 17
        assert methods["tent"]["nonfinite_at_image"] == 160
        assert methods["bn"]["nonfinite_at_batch"] is None


def test_it_is_marked_on_the_page_and_in_pictures(diverged):
    pytest.importorskip("matplotlib")
    assert report([str(diverged), "-o", str(diverged / "a.html")]) == 0
    page = (diverged / "a.html").read_text(encoding="utf-8")
    assert "tent (outputs not finite from batch 17)" in page
    for kind in ("stream", "heatmap", "cost", "reliability"):
        assert plot([kind, str(diverged), "-o", str(diverged / "a.svg")]) == 0
        assert "outputs not finite" in (diverged / "a.svg").read_text()


def test_a_sweep_says_it():
    finished = Finished("a", False, "mean error 90.00 %", collapsed=False, nonfinite=True)
    line = _line(Outcome(Cell("tent", RunConfig()), finished))
    assert line == "tent: mean error 90.00 % (outputs not finite)"
    doubtful = dataclasses.replace(finished, nonfinite=False, warned=True)
    line = _line(Outcome(Cell("tent", RunConfig()), doubtful))
    assert line == "tent: mean error 90.00 % (doubtful: see the warning in its record)"
