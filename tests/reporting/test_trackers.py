"""Figures that are sent to TensorBoard and Weights & Biases."""

import importlib.util
import sys
from types import SimpleNamespace

import pytest

from tests.reporting.fake_runs import write_run
from tta.commands.run import main
from tta.config import RunConfig
from tta.experiment import run
from tta.experiment.observing.trackers import headline, open_tracker
from tta.foundation.errors import UserError
from tta.reporting.records.runs import Run

SHORT = {"domains": ("contrast", "pixelate"), "num_samples": 40, "batch_size": 20}


def needs(package: str):
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"the extra {package!r} is not installed")


@needs("tensorboard")
def test_tensorboard_has_every_batch_and_the_domains(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    summary = run(RunConfig(**SHORT, output=str(tmp_path), track="tensorboard"))
    events = EventAccumulator(f"{summary['path']}/tensorboard").Reload()
    assert [event.step for event in events.Scalars("error")] == [20, 40, 60, 80]
    assert events.Scalars("running_error")[-1].value == pytest.approx(summary["pooled_error"])
    last = events.Scalars("domain_error/02_pixelate")[-1].value
    assert last == pytest.approx(summary["domains"][1]["error"])


def test_text_of_others_is_harmless_in_a_tracker(tmp_path, monkeypatch):
    said = []
    writer = SimpleNamespace(add_text=lambda *words: said.append(words))
    fake = SimpleNamespace(SummaryWriter=lambda *_, **__: writer)
    monkeypatch.setattr("tta.experiment.observing.trackers.import_module", lambda name: fake)
    open_tracker("tensorboard", tmp_path, {"dataset": "a\n<b>\x1b[2J", "seed": 1}, 0)
    assert said == [("config", "    dataset: a\\x0a<b>\\x1b[2J\n    seed: 1")]
    domains = [{"domain": "\x1b[2Jfog", "error": 0.5}]
    assert headline({"domains": domains}) == {"domain_error/01_\\x1b[2Jfog": 0.5}


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_planted_link_is_not_written_through(name, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is a link; remove it"):
        open_tracker(name, tmp_path / "run", {}, 0)
    assert not (tmp_path / "elsewhere").exists()


def test_a_figure_that_is_not_a_number_is_not_sent(tmp_path):
    figures = headline(Run.load(write_run(tmp_path, diverged=True)).summary)
    assert "mean_nll" not in figures
    assert all(isinstance(value, float) for value in figures.values())


@needs("wandb")
def test_wandb_writes_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    summary = run(RunConfig(**SHORT, output=str(tmp_path), track="wandb"))
    (record,) = tmp_path.rglob("offline-run-*/*.wandb")
    assert summary["fingerprint"] in record.name


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_named_before_anything_is_written(name, tmp_path, monkeypatch):
    for module in ("tensorboard", "torch.utils.tensorboard", "wandb"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"pip install 'tta-harness\[{name}\]'"):
        run(RunConfig(**SHORT, output=str(tmp_path), track=name))
    assert not list(tmp_path.iterdir())


def test_unknown_trackers_are_refused(capsys):
    assert main(["--track", "mlflow"]) == 2
    assert "one of none, tensorboard, wandb" in capsys.readouterr().err
