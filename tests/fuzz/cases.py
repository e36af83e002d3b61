"""Cases by kind: what is damaged, and the command that meets it."""

from __future__ import annotations

import dataclasses
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.mutations import NUMBERS, damaged, word
from tests.fuzz.workspace import EATA, OWN, PICTURE, SMALL, figures
from tta.commands import compare, get, plot, published, report, run, sweep
from tta.config import RunConfig
from tta.datasets.getting.extract import extract
from tta.datasets.getting.sources import SOURCES
from tta.foundation.errors import UserError
from tta.methods import find_method
from tta.reporting.records.finding import find_runs
from tta.sweeps.publications import table_file, table_names

Case = Callable[[], int | None]
"""Runs a command and returns its exit status."""


SETTINGS = {"rmt": ("warm_up_samples=0",), "eata": ("fisher_samples=16",)}
"""Of methods that prepare: little to compute."""


def draw(kind: str, good: Path, here: Path, rng: random.Random) -> Case:
    """Return a case of a kind of :data:`KINDS`.

    Args:
        kind: which.
        good: folder of good files, see ``workspace``; must stay as it is.
        here: an empty folder, for what is damaged and for records.
        rng: all that is drawn.
    """
    return KINDS[kind](good, here, rng)


def _damage(file: Path, here: Path, rng: random.Random) -> Path:
    copy = here / file.name
    copy.write_bytes(damaged(file.read_bytes(), rng))
    return copy


def _run(*arguments: str) -> Case:
    return lambda: run.main([*arguments, "--workers", "0"])


def _words(good: Path, here: Path, rng: random.Random) -> Case:
    names = [field.name for field in dataclasses.fields(RunConfig) if field.name != "output"]
    arguments = [*SMALL, "--output", str(here / "out")]
    for name in rng.sample(names, rng.choice((1, 1, 2, 3))):
        flag = "--" + name.replace("_", "-")
        arguments += [flag] if RunConfig.__annotations__[name] == "bool" else [flag, word(rng)]
    return _run(*arguments)


def _settings(good: Path, here: Path, rng: random.Random) -> Case:
    method = rng.choice(("tent", "rmt", "rotta", "eata", "sar", "cema", "lame", "roid", "t3a"))
    names = [field.name for field in dataclasses.fields(find_method(method).Params)]
    value = rng.choice(NUMBERS) if rng.random() < 0.8 else word(rng)
    pair = f"{rng.choice(names) if rng.random() < 0.9 else word(rng)}={value}"
    settings = [part for text in (*SETTINGS.get(method, ()), pair) for part in ("--set", text)]
    return _run("--method", method, *settings, *SMALL, "--output", str(here / "out"))


def _readers(good: Path, here: Path, rng: random.Random) -> Case:
    command = rng.choice((compare, report, sweep, plot))
    flags = {
        compare: ("--metric", "--baseline", "--format", "--tables", "--split"),
        report: ("--metric", "--title", "--window"),
        sweep: ("--workers", "--executor", "--dry-run"),
        plot: ("--window", "--count", "--severity", "--width", "--metric", "--methods", "--cost"),
    }[command]
    target = {sweep: good / "grid.yaml"}.get(command, good / "runs")
    arguments = [word(rng) if rng.random() < 0.3 else str(target), rng.choice(flags), word(rng)]
    if command is sweep:
        arguments.append("--dry-run")
    if command is report:
        arguments += ["-o", str(here / "page.html")]
    if command is plot:
        drawn = rng.choice((*plot.KINDS, word(rng)))
        arguments = [drawn, *arguments, "-o", str(here / "picture.svg")]
        if drawn == "samples":
            arguments[1] = "digits-c"
    return lambda: command.main(arguments)


def _config(good: Path, here: Path, rng: random.Random) -> Case:
    file = _damage(good / "config.yaml", here, rng)
    return _run("--config", str(file), *SMALL, "--output", str(here / "out"))


def _grid(good: Path, here: Path, rng: random.Random) -> Case:
    file = _damage(good / "grid.yaml", here, rng)
    return lambda: sweep.main([str(file), "--dry-run"])


def _arrays(good: Path, here: Path, rng: random.Random) -> Case:
    file = _damage(good / "scans.npz", here, rng)
    return _equal(_own(f"arrays:{file}", good / "weights.safetensors", here), here, good / "arrays")


def _images(good: Path, here: Path, rng: random.Random) -> Case:
    shutil.copytree(good / "folder", here / "folder")
    file = rng.choice(sorted(here.rglob("*.png")))
    content, head = file.read_bytes(), rng.choice((64, None))
    file.write_bytes(damaged(content[:head], rng) + content[len(content[:head]) :])
    own = _own(f"folder:{here / 'folder'}", good / "weights.safetensors", here)
    return _equal(own, here, good / "own")


def _weights(good: Path, here: Path, rng: random.Random) -> Case:
    file = _damage(good / rng.choice(("weights.safetensors", "weights.pth")), here, rng)
    own = _own(f"arrays:{good / 'scans.npz'}", file, here)
    # Of the two only the archive has checksums.
    return _equal(own, here, good / "arrays") if file.suffix == ".pth" else own


def _own(dataset: str, weights: Path, here: Path) -> Case:
    return _run("--dataset", dataset, *OWN, "--weights", str(weights), "--output", f"{here}/out")


def _equal(case: Case, here: Path, expected: Path) -> Case:
    """Ask of what is not refused that it give the figures of the undamaged input."""

    def run() -> int | None:
        status = case()
        if status == 0:
            assert figures(here / "out") == figures(expected)
        return status

    return run


def _records(good: Path, here: Path, rng: random.Random) -> Case:
    shutil.copytree(good / "runs", here / "runs")
    file = rng.choice(sorted(file for file in (here / "runs").rglob("*") if file.is_file()))
    file.write_bytes(damaged(file.read_bytes(), rng))
    if rng.random() < 0.3:
        return lambda: _shown_as_they_were(here / "runs", figures(good / "runs"))
    if rng.random() < 0.5:
        return lambda: compare.main([str(here / "runs"), "--split"])
    if rng.random() < 0.3:
        drawn = [rng.choice(("stream", "heatmap", "cost", "reliability")), str(here / "runs")]
        return lambda: plot.main([*drawn, "--split", "-o", str(here / "picture.svg")])
    return lambda: report.main([str(here / "runs"), "-o", str(here / "page.html")])


def _shown_as_they_were(folder: Path, expected: list[tuple]) -> int:
    try:
        runs, _ = find_runs([folder])
    except UserError:
        return 2
    assert all(known in expected for run in runs for known in figures(run.path))
    return 0


def _resumed(good: Path, here: Path, rng: random.Random) -> Case:
    shutil.copytree(good / "interrupted", here / "out")
    file = rng.choice(sorted(file for file in (here / "out").rglob("*") if file.is_file()))
    file.write_bytes(damaged(file.read_bytes(), rng))
    resumed = _run("--method", "tent", *SMALL, "--resume", "--output", str(here / "out"))
    return _equal(resumed, here, good / "whole")


def _finished(good: Path, here: Path, rng: random.Random) -> Case:
    shutil.copytree(good / "whole", here / "out")
    file = rng.choice(sorted(file for file in (here / "out").rglob("*") if file.is_file()))
    if rng.random() < 0.2:
        next((here / "out").rglob("done")).unlink()
    file.write_bytes(damaged(file.read_bytes(), rng)) if file.exists() else None
    again = _run("--method", "tent", *SMALL, "--output", str(here / "out"))
    return _equal(again, here, good / "whole")


def _prepared(good: Path, here: Path, rng: random.Random) -> Case:
    shutil.copytree(good / "cache", here / "cache", dirs_exist_ok=True)
    (file,) = (here / "cache").rglob("*.pt")
    file.write_bytes(damaged(file.read_bytes(), rng))
    return _whole(_equal(_run(*EATA, "--output", str(here / "out")), here, good / "eata"))


def _decoded(good: Path, here: Path, rng: random.Random) -> Case:
    shutil.copytree(good / "decoded", here / "decoded")
    file = rng.choice(sorted((here / "decoded").glob("*.rgb")))
    file.write_bytes(damaged(file.read_bytes(), rng))
    own = ["--dataset", f"folder:{good / 'folder'}", *OWN, "--decoded-cache", f"{here}/decoded"]
    own += ["--weights", str(good / "weights.safetensors"), "--output", str(here / "out")]
    return _whole(_equal(_run(*own), here, good / "own"))


def _whole(case: Case) -> Case:
    """Ask that nothing be refused: what is damaged can be made again."""

    def run() -> int:
        assert case() == 0
        return 0

    return run


def _classes(good: Path, here: Path, rng: random.Random) -> Case:
    file = _damage(good / "classes.txt", here, rng)
    own = ["--dataset", f"folder:{good / 'folder'}", *OWN, "--classes", str(file)]
    own += ["--weights", str(good / "weights.safetensors"), "--output", str(here / "out")]
    return _equal(_run(*own), here, good / "own")


def _card(good: Path, here: Path, rng: random.Random) -> Case:
    shutil.copy(good / "weights.safetensors", here)
    (here / "config.json").write_bytes(damaged((good / "card.json").read_bytes(), rng))
    return _own(f"arrays:{good / 'scans.npz'}", here / "weights.safetensors", here)


def _published(good: Path, here: Path, rng: random.Random) -> Case:
    chosen = rng.choice(table_names())
    file = here / "table.yaml"
    file.write_bytes(damaged(table_file(chosen).read_bytes(), rng))
    return lambda: published.main([str(file), "--data-dir", str(here)])


def _method(good: Path, here: Path, rng: random.Random) -> Case:
    """Damage what runs at import; an error of a step is the user's own, with its traceback."""
    content = (good / "method.py").read_bytes()
    start = content.index(b"    def step")
    (here / "method.py").write_bytes(damaged(content[:start], rng) + content[start:])
    name = f"{here / 'method.py'}:Mine"
    return _run("--method", name, *SMALL, "--output", str(here / "out"))


def _got(good: Path, here: Path, rng: random.Random) -> Case:
    """Only what is on the disk: nothing may be downloaded."""
    names = [rng.choice((*SOURCES, word(rng))) for _ in range(rng.choice((1, 2)))]
    data_dir = word(rng) if rng.random() < 0.5 else str(here)
    return lambda: get.main(["verify", *names, "--data-dir", data_dir])


def _archive(good: Path, here: Path, rng: random.Random) -> Case:
    file = _damage(good / rng.choice(("archive.tar.gz", "archive.tar", "archive.zip")), here, rng)

    def unpack() -> int:
        try:
            extract(file, here / "out")
        except UserError:
            assert not list((here / "out").iterdir())
            return 2
        if file.suffix == ".gz":  # the one with a checksum of all that it holds
            found = [path.read_bytes() for path in (here / "out").rglob("*.png")]
            assert found == [PICTURE] * 3
        return 0

    return unpack


KINDS = {
    "words": _words,
    "settings": _settings,
    "readers": _readers,
    "config": _config,
    "grid": _grid,
    "arrays": _arrays,
    "images": _images,
    "weights": _weights,
    "records": _records,
    "resumed": _resumed,
    "archive": _archive,
    "finished": _finished,
    "prepared": _prepared,
    "decoded": _decoded,
    "classes": _classes,
    "card": _card,
    "published": _published,
    "method": _method,
    "got": _got,
}
