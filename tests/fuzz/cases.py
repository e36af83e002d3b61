"""Cases by kind: what is damaged, and the command that meets it."""

from __future__ import annotations

import dataclasses
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.mutations import NUMBERS, damaged, word
from tests.fuzz.workspace import SMALL
from tta import compare, report, run, sweep
from tta.config import RunConfig
from tta.datasets.getting.extract import extract
from tta.foundation.errors import UserError
from tta.methods import find_method

Case = Callable[[], int | None]
"""Runs a command and returns its exit status."""


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
    return _run("--method", method, "--set", pair, *SMALL, "--output", str(here / "out"))


def _readers(good: Path, here: Path, rng: random.Random) -> Case:
    command = rng.choice((compare, report, sweep))
    flags = {
        compare: ("--metric", "--baseline", "--format", "--tables", "--split"),
        report: ("--metric", "--title", "--window"),
        sweep: ("--workers", "--executor", "--dry-run"),
    }[command]
    target = {sweep: good / "grid.yaml"}.get(command, good / "runs")
    arguments = [word(rng) if rng.random() < 0.3 else str(target), rng.choice(flags), word(rng)]
    if command is sweep:
        arguments.append("--dry-run")
    if command is report:
        arguments += ["-o", str(here / "page.html")]
    return lambda: command.main(arguments)


def _config(good: Path, here: Path, rng: random.Random) -> Case:
    file = _damage(good / "config.yaml", here, rng)
    return _run("--config", str(file), *SMALL, "--output", str(here / "out"))


def _grid(good: Path, here: Path, rng: random.Random) -> Case:
    file = _damage(good / "grid.yaml", here, rng)
    return lambda: sweep.main([str(file), "--dry-run"])


def _arrays(good: Path, here: Path, rng: random.Random) -> Case:
    file = _damage(good / "scans.npz", here, rng)
    return _own(f"arrays:{file}", good / "weights.safetensors", here)


def _images(good: Path, here: Path, rng: random.Random) -> Case:
    shutil.copytree(good / "folder", here / "folder")
    file = rng.choice(sorted(here.rglob("*.png")))
    file.write_bytes(damaged(file.read_bytes(), rng))
    return _own(f"folder:{here / 'folder'}", good / "weights.safetensors", here)


def _weights(good: Path, here: Path, rng: random.Random) -> Case:
    file = _damage(good / rng.choice(("weights.safetensors", "weights.pth")), here, rng)
    return _own(f"arrays:{good / 'scans.npz'}", file, here)


def _own(dataset: str, weights: Path, here: Path) -> Case:
    arguments = ["--dataset", dataset, "--backbone", "test_resnet", "--num-classes", "10"]
    return _run(*arguments, "--weights", str(weights), "--output", str(here / "out"))


def _records(good: Path, here: Path, rng: random.Random) -> Case:
    shutil.copytree(good / "runs", here / "runs")
    file = rng.choice(sorted(file for file in (here / "runs").rglob("*") if file.is_file()))
    file.write_bytes(damaged(file.read_bytes(), rng))
    if rng.random() < 0.5:
        return lambda: compare.main([str(here / "runs"), "--split"])
    return lambda: report.main([str(here / "runs"), "-o", str(here / "page.html")])


def _resumed(good: Path, here: Path, rng: random.Random) -> Case:
    shutil.copytree(good / "interrupted", here / "out")
    file = rng.choice(sorted(file for file in (here / "out").rglob("*") if file.is_file()))
    file.write_bytes(damaged(file.read_bytes(), rng))
    return _run("--method", "tent", *SMALL, "--resume", "--output", str(here / "out"))


def _archive(good: Path, here: Path, rng: random.Random) -> Case:
    file = _damage(good / rng.choice(("archive.tar.gz", "archive.zip")), here, rng)

    def unpack() -> int:
        try:
            extract(file, here / "out")
        except UserError:
            return 2
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
}
