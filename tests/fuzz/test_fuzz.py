"""No drawn input ends in a traceback, in silence, or outside the output folder."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.fuzz.cases import KINDS, draw
from tests.fuzz.workspace import make, snapshot
from tta.commands.cli import EXIT_NOT_FINITE

SEED = 20
FEW = 27
"""Cases of each kind: some 500 in all."""
MANY = 264


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return make(tmp_path_factory.mktemp("good"))


@pytest.fixture
def fuzz(good, tmp_path, tmp_path_factory, monkeypatch, capsys):
    home, matplotlib = map(tmp_path_factory.mktemp, ("home", "matplotlib"))

    def run(kind, count, seed):
        before = snapshot(good)
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("TTA_CACHE_DIR", str(tmp_path / "case" / "cache"))
        monkeypatch.setenv("MPLCONFIGDIR", str(matplotlib))  # it keeps a list of fonts
        for variable in ("XDG_CACHE_HOME", "TTA_DATA_DIR"):
            monkeypatch.delenv(variable, raising=False)
        for number in range(count):
            here = tmp_path / "case"
            shutil.rmtree(here, ignore_errors=True)
            here.mkdir()
            monkeypatch.chdir(here)
            case = draw(kind, good, here, random.Random(f"{seed} {kind} {number}"))
            _judge(case, capsys, f"{kind} {number}")
        assert snapshot(good) == before
        assert not list(home.iterdir())
        assert [path.name for path in tmp_path.iterdir()] == ["case"]

    return run


def _judge(case, capsys, name):
    capsys.readouterr()
    try:
        status = case()
    except SystemExit as stop:  # --help
        status = stop.code
    captured = capsys.readouterr()
    if status == EXIT_NOT_FINITE:  # a learning rate of 1e20, say
        assert "outputs not finite from batch" in captured.out, name
    else:
        assert status in (0, 2), f"{name} ended with {status}: {captured.err}"
    assert "Traceback" not in captured.err, name
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(errors) <= 1, name
    if errors:
        assert status == 2, name
        assert captured.err.rstrip("\n").endswith(errors[0]), name
        assert len(errors[0]) > len("error: "), name
    assert "\x1b" not in captured.out + captured.err, name


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_input(kind, fuzz):
    fuzz(kind, FEW, SEED)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_much_drawn_input(kind, fuzz):
    fuzz(kind, MANY, SEED + 1)


def test_the_files_it_starts_from_are_good(good, tmp_path, monkeypatch):
    """Undamaged, every file that is handed over does what it should."""
    from tests.fuzz import cases

    whole = pytest.MonkeyPatch()
    whole.setattr(cases, "damaged", lambda content, rng: content)
    with whole.context():
        refused = ("words", "settings", "readers", "published", "got")
        for kind in cases.KINDS.keys() - set(refused):
            monkeypatch.setenv("TTA_CACHE_DIR", str(tmp_path / kind / "cache"))
            here = Path(tmp_path, kind)
            here.mkdir()
            assert cases.draw(kind, good, here, random.Random(0))() == 0, kind
