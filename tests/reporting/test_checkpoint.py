"""Runs that end in the middle, and go on to the same bytes."""

import dataclasses
import json
import resource
import shutil
from pathlib import Path

import pytest
import torch

from tta.config import RunConfig
from tta.experiment import run
from tta.experiment.saving import checkpoints as checkpoint
from tta.experiment.saving.state_file import read_state, write_state
from tta.foundation.errors import UserError
from tta.foundation.lock import FolderLock
from tta.methods import find_method

SHORT = {"domains": ("contrast", "pixelate"), "num_samples": 48, "batch_size": 16}
METHODS = {
    "tent": {},
    "rmt": {"set": {"warm_up_samples": 64}},
    "cema": {"set": {"upload_batch": 4, "replay_batch": 2, "replay_from": 5, "link_latency": 1.0}},
}
RECORDS = ("batches.csv", "domains.csv", "samples.npz")


class Killed(BaseException):
    """Ends a run as no handler of errors expects."""


def config(folder, **options) -> RunConfig:
    return RunConfig(**{"checkpoint_every": 1, **SHORT, **options}, output=str(folder))


def kill_before_step(monkeypatch, method: str, step: int) -> None:
    """Let the method's ``step`` calls, counted from 1, come to an end."""
    adapt, calls = find_method(method).step, []

    def stop(self, images):
        calls.append(len(images))
        if len(calls) == step:
            raise Killed
        return adapt(self, images)

    monkeypatch.setattr(find_method(method), "step", stop)


def run_killed(monkeypatch, options: RunConfig, step: int):
    """Run until ``step`` and return the run's folder."""
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_before_step(patch, options.method, step)
        run(options)
    (folder,) = _folders(options)
    return folder


def _folders(options: RunConfig):
    return Path(options.output).glob("*/*/*/*/*")


def records(summary) -> list[bytes]:
    return [Path(summary["path"], name).read_bytes() for name in RECORDS]


def resumed(options: RunConfig) -> dict:
    return run(dataclasses.replace(options, resume=True, force=False))


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_run_goes_on_to_the_same_bytes(method, tmp_path, monkeypatch):
    expected = run(config(tmp_path / "whole", method=method, **METHODS[method]))
    options = config(tmp_path / "killed", method=method, **METHODS[method])
    run_killed(monkeypatch, options, 3)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_before_step(patch, method, 2)  # two batches were seen before: this is the fourth
        resumed(options)
    summary = resumed(options)
    assert records(summary) == records(expected)
    assert summary["resumed_at"] == [32, 48]
    assert summary["domains"] == expected["domains"]
    assert not list(tmp_path.glob("killed/*/*/*/*/*/*.pt"))


def test_a_window_of_single_images_goes_on(tmp_path, monkeypatch):
    single = {"num_samples": 10, "batch_size": 1, "window": 4, "method": "tent"}
    expected = run(config(tmp_path / "whole", **single))
    options = config(tmp_path / "killed", **{**single, "checkpoint_every": 7})
    run_killed(monkeypatch, options, 3)  # the third window, at image 12
    summary = resumed(options)
    assert summary["resumed_at"] == [7]
    assert records(summary) == records(expected)


def test_rows_after_the_checkpoint_are_cut_off(tmp_path, monkeypatch):
    expected = run(config(tmp_path / "whole", method="tent"))
    options = config(tmp_path / "killed", method="tent")
    folder = run_killed(monkeypatch, options, 4)
    with (folder / "batches.csv").open("a") as file:
        file.write("48,pixelate,5,16,1")  # half a row
    (folder / ".state.pt.tmp").write_bytes(b"half a checkpoint")
    assert records(resumed(options)) == records(expected)
    assert not (folder / ".state.pt.tmp").exists()


def test_an_unfinished_run_is_not_replaced_unasked(tmp_path, monkeypatch):
    options = config(tmp_path, method="tent")
    folder = run_killed(monkeypatch, options, 3)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(UserError, match="--resume to go on.*--force to start over"):
        run(options)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert run(dataclasses.replace(options, force=True))["resumed_at"] == []


def test_resume_without_a_checkpoint_starts_at_the_beginning(tmp_path, monkeypatch):
    options = config(tmp_path, method="tent", checkpoint_every=0)
    folder = run_killed(monkeypatch, options, 3)
    assert not (folder / "state.pt").exists()
    assert resumed(options)["resumed_at"] == []
    assert resumed(options)["reused"]


@pytest.fixture(scope="module")
def killed_rmt(tmp_path_factory):
    """Return the configuration of a run that left a checkpoint."""
    folder = tmp_path_factory.mktemp("killed")
    options = config(folder, method="rmt", set={"warm_up_samples": 16}, batch_size=48)
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_killed(monkeypatch, options, 2)
    return options


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def _other_run(path):
    write_state(path, {}, "0123456789ab")


def _other_format(path):
    path.write_bytes(path.read_bytes().replace(b'"format": 2', b'"format": 9'))


def _other_torch(path):
    path.write_bytes(path.read_bytes().replace(f'"{torch.__version__}"'.encode(), b'"1.0"'))


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("state.pt", _flip, "is damaged"),
        ("state.pt", _cut, "is damaged"),
        ("state.pt", _other_run, "belongs to the run 0123456789ab, not to"),
        ("state.pt", _other_format, "another version of this package"),
        ("state.pt", _other_torch, "made with torch 1.0, and this is torch"),
        ("prepared.pt", _flip, "is damaged"),
        ("prepared.pt", lambda path: path.unlink(), "cannot read"),
        ("batches.csv", lambda path: path.write_text("position\n"), "has lost rows"),
    ],
)
def test_a_wrong_file_is_refused_and_nothing_is_lost(name, damage, message, killed_rmt, tmp_path):
    options = dataclasses.replace(killed_rmt, output=str(tmp_path))
    shutil.copytree(killed_rmt.output, options.output, dirs_exist_ok=True)
    (folder,) = _folders(options)
    damage(folder / name)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(UserError, match=message):
        resumed(options)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_full_disk_ends_the_run_and_keeps_the_latest_checkpoint(tmp_path, monkeypatch):
    options = config(tmp_path / "full", method="tent")
    folder = run_killed(monkeypatch, options, 3)
    checkpoint_before = (folder / "state.pt").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))  # a state file is larger
    try:
        with pytest.raises(UserError, match="cannot write.*state.pt.*make room.*--resume"):
            resumed(options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (folder / "state.pt").read_bytes() == checkpoint_before
    expected = run(config(tmp_path / "whole", method="tent"))
    assert records(resumed(options)) == records(expected)


def test_two_writers_are_kept_apart(tmp_path):
    options = config(tmp_path, method="source")
    first = run(options)
    lock = FolderLock(next(_folders(options)))
    with pytest.raises(UserError, match="another process is writing"):
        run(dataclasses.replace(options, force=True))
    lock.release()
    assert json.loads(json.dumps(run(options)["domains"])) == first["domains"]
    assert not run(dataclasses.replace(options, force=True))["reused"]


def test_state_files_hold_tensors_and_plain_values_alone(tmp_path):
    state = {"weights": torch.arange(5.0), "steps": 3, "rows": [(1, "a")]}
    write_state(tmp_path / "state.pt", state, "f")
    loaded = read_state(tmp_path / "state.pt", "f")
    assert torch.equal(loaded.pop("weights"), state.pop("weights"))
    assert loaded == state
    write_state(tmp_path / "state.pt", {"code": Killed()}, "f")
    with pytest.raises(UserError, match="cannot be read"):
        read_state(tmp_path / "state.pt", "f")


def test_checkpoints_cost_a_bounded_share_of_the_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(checkpoint.time, "perf_counter", lambda: now[0])
    spent = []

    class Slow(checkpoint.Checkpoints):
        def save(self, position):
            spent.append(1.0)
            now[0] += 1.0
            self._last, self._interval = now[0], checkpoint._interval(1.0)

    class Quiet:
        def update(self, *batch):
            now[0] += 0.5

    checkpoints = Slow(Quiet(), None, None, 10**9, first_bytes=int(1.0 * checkpoint.FIRST_GUESS))
    batch = dataclasses.make_dataclass("Batch", [("stop", int)])(1)
    for _ in range(4000):
        checkpoints.update(batch, None)
    assert spent
    assert sum(spent) / now[0] < 0.02
