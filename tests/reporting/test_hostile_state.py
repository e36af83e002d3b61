"""A run folder from somebody else, or damaged, is refused, and nothing beside it changes."""

import dataclasses
import math
import os
import shutil
from pathlib import Path

import pytest
import torch

from tta.config import RunConfig
from tta.experiment import run
from tta.experiment.saving.state_file import position_of
from tta.foundation.errors import UserError
from tta.foundation.sealed import SealedFile, write_sealed
from tta.methods.tent import Tent
from tta.reporting.records.run_directory import RunDirectory

RECORDS = ("batches.csv", "domains.csv", "samples.npz")


class Killed(BaseException):
    """Ends a run as no handler of errors expects."""


def config(output, **options) -> RunConfig:
    small = {"domains": ("contrast", "pixelate"), "num_samples": 32, "batch_size": 16}
    return RunConfig(method="tent", checkpoint_every=1, output=str(output), **small, **options)


def folder_of(output) -> Path:
    (folder,) = Path(output).glob("*/*/*/*/*")
    return folder


def records(folder) -> list[bytes]:
    return [(folder / name).read_bytes() for name in RECORDS]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return a folder with a run that was killed after 32 of 64 images, and a finished one."""
    root = tmp_path_factory.mktemp("runs")
    run(config(root / "whole"))
    adapt, calls = Tent.step, []

    def die(self, images):
        calls.append(1)
        if len(calls) == 3:
            raise Killed
        return adapt(self, images)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Tent, "step", die)
        run(config(root / "killed"))
    return root


@pytest.fixture
def killed(runs, tmp_path) -> Path:
    shutil.copytree(runs / "killed", tmp_path / "killed")
    return folder_of(tmp_path / "killed")


@pytest.fixture
def finished(runs, tmp_path) -> Path:
    shutil.copytree(runs / "whole", tmp_path / "whole")
    return folder_of(tmp_path / "whole")


def output_of(folder) -> Path:
    return folder.parents[4]


def resume(folder, **options):
    return run(config(output_of(folder), resume=True, **options))


def forge(folder, name="state.pt", facts=None, **changes):
    """Change a state and seal it again, as somebody who knows how can."""
    file = SealedFile(folder / name)
    write_sealed(folder / name, file.content("cpu") | changes, file.facts | (facts or {}))


def contents(root) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in root.rglob("*") if file.is_file()}


TABLE = {"bytes": 1, "sha256": "0"}
RECORDER = {"samples": torch.zeros(6, 32), "seconds": 1.0, "watch": None}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sizes": {"../../../../../../victim": 0}}, "'sizes'"),
        ({"tables": {"../../../../../../victim": TABLE}}, "tables"),
        ({"tables": {"batches.csv": TABLE, "timing.csv": {"bytes": -1, "sha256": ""}}}, "tables"),
        ({"tables": {"batches.csv": TABLE, "timing.csv": {"bytes": 1.0, "sha256": ""}}}, "tables"),
        ({"tables": None}, "tables"),
        *(({"position": value}, "position") for value in (0, -16, 17, 2**70, "32", True, None)),
        *(({"resumed_at": value}, "resumed_at") for value in (32, [64], [-1], ["16"], [32, 16])),
        ({"method": []}, "method"),
        ({"method": {"generator": 1}}, "KeyError|AttributeError"),
        ({"recorder": RECORDER | {"samples": torch.zeros(6, 16)}}, "recorder"),
        ({"recorder": RECORDER | {"samples": torch.zeros(1, 32)}}, "figures are 1 per image"),
        ({"recorder": RECORDER | {"samples": [0.0]}}, "recorder"),
        ({"recorder": RECORDER | {"seconds": math.nan}}, "recorder"),
        ({"recorder": RECORDER | {"seconds": -1.0}}, "recorder"),
        ({"recorder": RECORDER | {"watch": {"values": torch.zeros(1, 32)}}}, "recorder"),
        ({"recorder": {}}, "recorder"),
    ],
)
def test_a_forged_state_is_refused_and_nothing_changes(changes, named, killed, tmp_path):
    (tmp_path / "victim").write_text("precious")
    forge(killed, **changes)
    before = contents(tmp_path)
    with pytest.raises(UserError, match=f"state.pt' does not fit this run.*(?:{named}).*--force"):
        resume(killed)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("trailer", [b"[" * 4000, b'{"format": 2}', b"[]", b"\xff", b""])
def test_a_trailer_that_is_none_is_damage(trailer, killed):
    content = (killed / "state.pt").read_bytes()
    (killed / "state.pt").write_bytes(content[: content.rfind(b"\n") + 1] + trailer)
    with pytest.raises(UserError, match="is damaged|another run|belongs to the run None"):
        resume(killed)


def test_a_sealed_file_may_hold_no_state(killed):
    state = killed / "state.pt"
    facts = SealedFile(state).facts
    write_sealed(state, ["no mapping"], facts)
    with pytest.raises(UserError, match="cannot be read .it holds no mapping"):
        resume(killed)
    write_sealed(state, {"code": Killed()}, facts)
    with pytest.raises(UserError, match="cannot be read"):
        resume(killed)
    assert position_of(state) == 32


@pytest.mark.parametrize("name", ["batches.csv", "timing.csv"])
def test_rows_altered_before_the_checkpoint_are_refused(name, killed):
    good = (killed / name).read_bytes()
    place = good.index(b"\n") + 3
    (killed / name).write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
    with pytest.raises(UserError, match=f"{name}' is damaged: its rows are not those"):
        resume(killed)
    (killed / name).write_bytes(good)
    assert resume(killed)["resumed_at"] == [32]


def test_another_number_of_threads_is_refused_with_the_cure(killed, runs):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        expected = f"made with {threads} threads, and this is {threads + 1} threads: figures may "
        with pytest.raises(UserError, match=f"{expected}.*set OMP_NUM_THREADS={threads}"):
            resume(killed)
    finally:
        torch.set_num_threads(threads)
    resume(killed)
    assert records(killed) == records(folder_of(runs / "whole"))
    assert run(config(output_of(killed)))["reused"]  # as whole as if nobody had killed it


@pytest.mark.parametrize(
    ("name", "cure"),
    [("numpy", "install numpy 0.1"), ("processor", "go on with processor 0.1")],
)
def test_what_else_rounds_otherwise_is_refused(name, cure, killed):
    made_with = SealedFile(killed / "state.pt").facts["made_with"]
    forge(killed, facts={"made_with": made_with | {name: "0.1"}})
    with pytest.raises(UserError, match=f"made with {name} 0.1, and this is .*{cure}"):
        resume(killed)


TEMPORARY = (".state.pt.tmp", ".summary.json.tmp", ".done.tmp", ".config.yaml.tmp")


@pytest.mark.parametrize("name", TEMPORARY)
@pytest.mark.parametrize("kind", [os.symlink, os.link])
def test_a_link_at_a_temporary_name_is_not_followed(name, kind, killed, runs, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    kind(victim, killed / name)
    resume(killed)
    assert victim.read_text() == "precious"
    assert not os.path.lexists(killed / name)
    assert records(killed) == records(folder_of(runs / "whole"))


@pytest.mark.parametrize("dangling", [False, True])
@pytest.mark.parametrize("name", ["batches.csv", "timing.csv", "lock"])
def test_a_table_or_lock_that_is_a_link_is_refused(name, dangling, killed, tmp_path):
    victim = tmp_path / "victim"
    if not dangling:
        victim.write_bytes(b"precious" if name == "lock" else (killed / name).read_bytes())
    before = victim.read_bytes() if victim.exists() else None
    (killed / name).unlink(missing_ok=True)
    os.symlink(victim, killed / name)
    with pytest.raises(UserError, match="has lost rows|cannot write to"):
        resume(killed)
    assert (victim.read_bytes() if victim.exists() else None) == before


def test_starting_over_replaces_links(killed, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for name in ("batches.csv", "timing.csv", "summary.json", "samples.npz"):
        (killed / name).unlink()
        os.symlink(victim, killed / name)
    assert run(config(output_of(killed), force=True))["finished"]
    assert victim.read_text() == "precious"
    assert not (killed / "batches.csv").is_symlink()


def empty(file):
    file.write_bytes(b"")


def double(file):
    file.write_bytes(2 * file.read_bytes())


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def remove(file):
    file.unlink()


FILES = ("config.yaml", "batches.csv", "timing.csv", "domains.csv", "samples.npz")


def pipe(file):
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize("damage", [empty, double, flip, remove, pipe])
def test_a_finished_run_with_an_altered_file_is_not_taken_for_whole(damage, finished):
    for name in (*FILES, "summary.json"):
        if name == "summary.json" and damage in (remove, pipe):
            continue  # then it has not finished, and is run again
        good = (finished / name).read_bytes()
        damage(finished / name)
        with pytest.raises(UserError, match=f"{name}' is .*pass --force to run it again"):
            run(config(output_of(finished)))
        (finished / name).unlink(missing_ok=True)
        (finished / name).write_bytes(good)
    assert run(config(output_of(finished)))["reused"]


def test_it_is_run_again_by_force(finished):
    good = records(finished)
    empty(finished / "domains.csv")
    assert not run(config(output_of(finished), force=True))["reused"]
    assert records(finished) == good
    assert run(config(output_of(finished)))["reused"]


def test_files_of_another_run_are_noticed(finished):
    options = dataclasses.replace(config(output_of(finished)), seed=2)
    other = Path(run(options)["path"])
    for name in RECORDS:
        shutil.copy(other / name, finished / name)
    with pytest.raises(UserError, match="batches.csv|domains.csv|samples.npz"):
        run(config(output_of(finished)))


@pytest.mark.parametrize("mark", ["", "{", "[]", '{"sha256": 3}', "[" * 100_000])
def test_a_mark_without_digests_is_not_trusted(mark, finished):
    (finished / "done").write_text(mark)
    with pytest.raises(UserError, match="done' holds no digests.*--force"):
        run(config(output_of(finished)))


def test_chosen_files_can_be_looked_at(finished, killed):
    empty(finished / "samples.npz")
    assert "samples.npz' is not as its run left it" in RunDirectory.damage(finished)
    assert "samples.npz" in RunDirectory.damage(finished, ("samples.npz",))
    assert RunDirectory.damage(finished, ("summary.json", "batches.csv")) == ""
    assert RunDirectory.damage(killed) == ""
